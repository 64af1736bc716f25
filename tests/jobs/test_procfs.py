"""Whether there is a process, as /proc tells."""

import os

import pytest

from wattshed.agent.jobs import procfs
from wattshed.agent.jobs.procfs import PF_KTHREAD, exists, listed, read
from wattshed.agent.jobs.procfs import stat as stat_of


def stat(flags):
    return f"7 (a) b) S 1 7 7 0 -1 {flags} 0 0\n"


@pytest.mark.parametrize(
    ("pid", "text", "there"),
    [
        (7, stat(4_194_560), True),
        (7, stat(PF_KTHREAD | 64), False),
        (7, "7 (a", True),
        (7, None, False),
        (0, stat(0), False),
    ],
)
def test_who_can_be_on_a_gpu(tmp_path, pid, text, there):
    if text is not None:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(text)
    assert exists(tmp_path, pid) == there


def test_a_kernel_thread_is_on_no_gpu(tmp_path):
    for pid, flags in ((2, 0x208040), (30, 0x400000)):
        (tmp_path / str(pid)).mkdir()
        text = f"{pid} (a) b) S 0 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"
        (tmp_path / str(pid) / "stat").write_text(text)
    (tmp_path / "31").mkdir()
    (tmp_path / "0").mkdir()
    assert [exists(tmp_path, pid) for pid in (0, 2, 30, 31, 32)] == [False, False, True, True, False]


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 4096, 6000, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("at_once", [2048, 4096, 1 << 20])
def test_a_file_is_read_whole_though_the_kernel_fills_a_page_at_a_time(tmp_path, monkeypatch, size, at_once):
    real = os.read
    monkeypatch.setattr(procfs.os, "read", lambda descriptor, most: real(descriptor, min(most, at_once)))
    (tmp_path / "x").write_bytes(b"ab" * (size // 2) + b"c" * (size % 2))
    assert read(f"{tmp_path}/x") == "ab" * (size // 2) + "c" * (size % 2)


def test_a_file_without_end_is_not_read_for_ever(tmp_path):
    (tmp_path / "x").write_bytes(b"a" * 1_000_000)
    assert len(read(f"{tmp_path}/x")) == 131_072


def test_what_cannot_be_read_is_nothing(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\n")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert read(f"{tmp_path}/x") == "\udcff\n"
    assert read(f"{tmp_path}/link") == read(f"{tmp_path}/none") == read(f"{tmp_path}") == ""
    assert sorted(listed(str(tmp_path))) == ["link", "x"]
    assert listed(f"{tmp_path}/none") == listed(f"{tmp_path}/x") == []


def test_a_name_may_hold_what_stands_around_names(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (a) (b c) S 1 2 3\n")
    assert stat_of(str(tmp_path), 7) == ("a) (b c", ["S", "1", "2", "3"])
    assert stat_of(str(tmp_path), 8) == ("", [])
