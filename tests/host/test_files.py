"""The kernel's own files: kept open, opened anew, given by the service manager, and never too many."""

import errno
import os
from pathlib import Path

import pytest

from wattshed.agent.host import files
from wattshed.agent.host.files import KernelFiles


def opened():
    """How many descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_file_is_opened_once_and_says_what_it_says_now(tmp_path):
    (tmp_path / "value").write_text("1\n")
    kernel = KernelFiles(tmp_path)
    before = opened()
    assert kernel.read("value") == b"1\n"
    (tmp_path / "value").write_text("22\n")
    assert kernel.read("value") == b"22\n"
    assert opened() == before + 1
    kernel.close()
    assert opened() == before


def test_one_that_cannot_be_read_is_opened_anew(tmp_path, monkeypatch):
    (tmp_path / "value").write_text("1\n")
    kernel = KernelFiles(tmp_path)
    kernel.read("value")

    def gone(*_):
        raise OSError(errno.ENODEV, "no such device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", gone)
        with pytest.raises(OSError, match="no such device"):
            kernel.read("value")
    (tmp_path / "value").unlink()
    with pytest.raises(FileNotFoundError):
        kernel.read("value")
    (tmp_path / "value").write_text("2\n")
    assert kernel.read("value") == b"2\n"
    kernel.close()


def test_files_that_were_given_need_no_permission(tmp_path):
    secret = tmp_path / "elsewhere"
    secret.write_text("7\n")
    kernel = KernelFiles(tmp_path, {"class/energy_uj": os.open(secret, os.O_RDONLY)})
    assert kernel.read("class/energy_uj") == b"7\n"
    kernel.close()


def test_a_folder_without_end_and_files_without_end_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_NAMES", 50)
    monkeypatch.setattr(files, "MOST_OPEN", 10)
    for number in range(80):
        (tmp_path / f"{number:03}").write_text(f"{number}\n")
    kernel, before = KernelFiles(tmp_path), opened()
    assert len(kernel.names(".")) == 50
    assert all(kernel.read(f"{number:03}") == f"{number}\n".encode() for number in range(80))
    assert opened() - before <= 11
    assert kernel.read("000") == b"0\n"
    kernel.close()
    assert opened() == before


def test_a_folder_that_is_none_is_empty_and_a_pipe_hangs_nobody(tmp_path):
    kernel = KernelFiles(tmp_path)
    assert kernel.names("none") == []
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Illegal seek"):
        kernel.read("pipe")
