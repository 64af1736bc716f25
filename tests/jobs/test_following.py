"""Followed by inotify or by looking again and again, a mapping directory says the same."""

from __future__ import annotations

import os
import time

import pytest

from wattshed.agent.errors import Faults
from wattshed.agent.jobs.doorbell import Doorbell
from wattshed.agent.jobs.following import Following
from wattshed.agent.jobs.mapping import MappingDirectory

LONG_S = 30.0


class Deaf:
    """A C library without inotify."""


class Followed:
    def __init__(self, folder, libc=None):
        self.mapping = MappingDirectory(folder, now, at_us=lambda ns: ns // 1000)
        self.faults, self.changed = Faults(), []
        self._thread = Following(
            self.mapping, Doorbell(str(folder), libc), self.faults, lambda: self.changed.append(now())
        )
        self.close = self._thread.close

    @property
    def open(self):
        return sorted((h.index, h.job) for h in self.mapping.holds(0, 1 << 62) if h.end_us is None)

    @property
    def edges(self):
        return sorted((h.start_us, h.index, h.job, h.end_us or 0) for h in self.mapping.holds(0, 1 << 62))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "map"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def both(folder):
    pair = Followed(folder), Followed(folder, Deaf())
    yield pair
    for one in pair:
        one.close()


def now():
    return time.time_ns() // 1000


def wait_for(what):
    until = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def in_place(path, text):
    path.write_text(text)
    path.chmod(0o644)


def aside(path, text):
    part = path.with_name(f".{path.name}")
    in_place(part, text)
    part.rename(path)


def test_every_kind_of_change_has_the_same_edges(folder, both):
    steps = [
        (lambda: aside(folder / "0", "7\n"), [(0, "7")]),
        (lambda: aside(folder / "1", "7\n8\n"), [(0, "7"), (1, "7"), (1, "8")]),
        (lambda: in_place(folder / "0", "9\n"), [(0, "9"), (1, "7"), (1, "8")]),
        (lambda: in_place(folder / "0", "9\n6\n"), [(0, "6"), (0, "9"), (1, "7"), (1, "8")]),
        (lambda: aside(folder / "1", "8\n"), [(0, "6"), (0, "9"), (1, "8")]),
        ((folder / "0").unlink, [(1, "8")]),
        (lambda: (folder / "1").rename(folder / "2"), [(2, "8")]),
        (lambda: (folder / "3").hardlink_to(folder / "2"), [(2, "8"), (3, "8")]),
        (lambda: in_place(folder / "2", ""), []),
        (lambda: in_place(folder / "2", "5\n"), [(2, "5"), (3, "5")]),
        ((folder / "3").unlink, [(2, "5")]),
        ((folder / "2").unlink, []),
    ]
    for act, held in steps:
        act()
        wait_for(lambda held=held: all(one.open == held for one in both))
    told, asked = both
    assert told.edges == asked.edges
    assert len(told.edges) == 9
    assert not told.faults.counts
    assert all(one.changed for one in both)


def test_what_others_may_write_is_refused_from_the_moment_on(folder, both):
    aside(folder / "0", "7\n")
    wait_for(lambda: all(one.open == [(0, "7")] for one in both))
    for loose, tight in ((folder, 0o755), (folder / "0", 0o644)):
        before = [one.faults.counts["mapping"] for one in both]
        loose.chmod(0o777)
        wait_for(lambda before=before: all(a.faults.counts["mapping"] > b for a, b in zip(both, before, strict=True)))
        assert all((0, "7") in one.open for one in both), "the last answer stays"
        loose.chmod(tight)
        aside(folder / "1", f"{tight}\n")
        wait_for(lambda tight=tight: all((1, f"{tight}") in one.open for one in both))
    (folder / "2").symlink_to(folder / "0")
    before = [one.faults.counts["mapping"] for one in both]
    wait_for(lambda: all(a.faults.counts["mapping"] > b for a, b in zip(both, before, strict=True)))
    assert all((2, "7") not in one.open for one in both)


def test_a_folder_that_goes_comes_and_is_another(folder, both):
    aside(folder / "0", "7\n")
    wait_for(lambda: all(one.open == [(0, "7")] for one in both))
    gone_us = now()
    folder.rename(folder.with_name("was"))
    wait_for(lambda: not any(one.open for one in both))
    assert all(gone_us - 100_000 <= edge[3] <= now() for one in both for edge in one.edges)
    folder.mkdir(mode=0o755)
    aside(folder / "1", "8\n")
    wait_for(lambda: all(one.open == [(1, "8")] for one in both))
    folder.rename(folder.with_name("old"))
    folder.with_name("was").rename(folder)
    wait_for(lambda: all(one.open == [(0, "7")] for one in both))


def test_two_changes_within_one_tick_of_the_file_system_are_two(folder):
    """Of the same length, in the same file, at the same time as far as it says: by its stamp it is the same."""
    mapping = MappingDirectory(folder, now)
    in_place(folder / "0", "12\n")
    at = (folder / "0").stat()
    mapping.scan()
    in_place(folder / "0", "13\n")
    os.utime(folder / "0", ns=(at.st_atime_ns, at.st_mtime_ns))
    mapping.scan()
    assert [h.job for h in mapping.holds(0, 1 << 62) if h.end_us is None] == ["13"]


def test_jobs_that_follow_each_other_as_soon_as_seen_are_all_told(folder):
    """Each begins when the one before was seen, which ends where it begins."""
    one = Followed(folder)
    try:
        aside(folder / "0", "1\n")
        wait_for(lambda: one.open == [(0, "1")])
        for job in range(2, 12):
            aside(folder / "0", f"{job}\n")
            wait_for(lambda job=job: one.open == [(0, f"{job}")])
        assert [edge[2] for edge in one.edges] == [str(job) for job in range(1, 12)]
        assert [a[3] for a in one.edges[:-1]] == [b[0] for b in one.edges[1:]], "one ends where the next begins"
    finally:
        one.close()
        one.close()
