"""A bell that rings for every kind of change, and says so where it may stay silent."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from wattshed.agent.jobs.doorbell import Doorbell

LONG_S = 30.0


@pytest.fixture
def hang(tmp_path):
    """A bell at a folder; none is left behind."""
    bells = []

    def made(folder=tmp_path / "up/map", libc=None):
        bells.append(Doorbell(str(folder), libc))
        return bells[-1]

    yield made
    for bell in bells:
        bell.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "up/map"
    made.mkdir(parents=True)
    (made / "0").write_text("12\n")
    return made


def hush(bell):
    """Hear what rang already."""
    while bell.wait(0):
        pass


def rings(bell, act):
    hush(bell)
    act()
    return bell.wait(LONG_S)


def write_and_keep_open(folder):
    kept = (folder / "0").open("a")
    kept.write("13\n")
    kept.flush()
    return kept


CHANGES = {
    "a new file": lambda f: (f / "1").write_text("13\n"),
    "written in place": lambda f: (f / "0").write_text("13\n"),
    "emptied": lambda f: os.truncate(f / "0", 0),
    "written and not closed": write_and_keep_open,
    "renamed over": lambda f: ((f.parent / "x").write_text("13\n"), (f.parent / "x").rename(f / "0")),
    "a link to another": lambda f: (f / "1").symlink_to("0"),
    "a second name": lambda f: (f / "1").hardlink_to(f / "0"),
    "who may write": lambda f: (f / "0").chmod(0o666),
    "who may write the folder": lambda f: f.chmod(0o777),
    "another time": lambda f: os.utime(f / "0", (1, 1)),
    "removed": lambda f: (f / "0").unlink(),
    "moved out": lambda f: (f / "0").rename(f.parent / "x"),
    "the folder moved": lambda f: f.rename(f.parent / "x"),
    "what is above moved": lambda f: f.parent.rename(f.parent.parent / "x"),
    "another folder in its place": lambda f: (f.rename(f.parent / "x"), f.mkdir(), (f / "0").write_text("13\n")),
    "the folder removed": lambda f: ((f / "0").unlink(), f.rmdir()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_rings(hang, folder, change):
    bell = hang()
    assert bell.listen()
    hush(bell)
    assert not bell.wait(0)
    kept = CHANGES[change](folder)
    assert bell.wait(LONG_S)
    if change == "written and not closed":
        kept.close()
    assert bell.listen()
    folder.mkdir(parents=True, exist_ok=True)
    assert bell.listen()
    assert rings(bell, lambda: (folder / "5").write_text("14\n")), "whatever it was, it goes on"


def test_it_rings_for_a_folder_that_comes(hang, tmp_path):
    bell, above = hang(tmp_path / "a/b/map"), [tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/map"]
    for path in above:
        assert bell.listen()
        assert rings(bell, path.mkdir)
    assert bell.listen()
    assert rings(bell, lambda: (above[-1] / "0").write_text("1\n"))


def test_what_happens_beside_it_is_not_its_concern(hang, folder, tmp_path):
    bell = hang()
    assert bell.listen()
    hush(bell)
    (tmp_path / "beside").write_text("x")
    (folder.parent / "beside").mkdir()
    assert not bell.wait(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_it_rings_when_something_is_mounted_over(hang, folder):
    bell = hang()
    assert bell.listen()
    try:
        assert rings(bell, lambda: mount("-t", "tmpfs", "none", folder))
        assert bell.listen()
        assert rings(bell, lambda: (folder / "1").write_text("14\n"))
    finally:
        subprocess.run(["umount", folder], check=False)
    assert bell.wait(LONG_S)
    assert bell.listen()
    assert rings(bell, lambda: (folder / "0").write_text("14\n"))


def mount(*words):
    if subprocess.run(["mount", *words], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")


def test_it_rings_when_more_happened_than_the_kernel_keeps(hang, folder):
    bell = hang()
    assert bell.listen()
    hush(bell)
    (folder / "1").write_text("13\n")
    for turn in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) + 10):
        os.utime(folder / "01"[turn % 2])
    assert bell.wait(LONG_S)
    assert bell.listen()
    assert rings(bell, lambda: (folder / "0").write_text("14\n"))


def test_somebody_may_ring(hang, folder):
    bell = hang()
    assert bell.listen()
    hush(bell)
    bell.ring()
    begun = time.monotonic()
    assert bell.wait(LONG_S)
    assert time.monotonic() - begun < LONG_S
    assert not bell.wait(0)


class Libc:
    """The C library, but for what a test says."""

    def __init__(self, **other):
        self._plain = ctypes.CDLL(None, use_errno=True)
        self.__dict__.update(other)

    def __getattr__(self, name):
        return getattr(self._plain, name)


def on(kind):
    """A file system of a kind."""

    def statfs(path, found):
        struct.pack_into("@l", found, 0, kind)
        return 0

    return statfs


@pytest.mark.parametrize(
    "other",
    [
        {"inotify_init1": lambda flags: -1},
        {"inotify_add_watch": lambda descriptor, path, mask: -1},
        {"statfs": lambda path, found: -1},
        {"statfs": on(0x6969)},  # NFS
        {"statfs": on(0x65735546)},  # FUSE
        {"statfs": on(0x794C7630)},  # overlay
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_it_says_where_it_may_be_silent(hang, folder, other, there):
    bell = hang(folder if there else folder / "none", Libc(**other))
    assert not bell.listen()
    assert not bell.wait(0)


def test_it_says_so_without_inotify_and_through_links_and_without_a_folder(hang, folder, tmp_path):
    assert not hang(libc=object()).listen()
    (tmp_path / "link").symlink_to(folder.parent)
    assert not hang(tmp_path / "link/map").listen()
    assert not hang(folder / "0").listen()
    assert hang().listen()
