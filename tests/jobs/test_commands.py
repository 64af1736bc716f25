"""Commands of others, run within bounds of time and size; what goes wrong is said in one line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time

import pytest

from wattshed.agent.jobs import commands
from wattshed.agent.jobs.commands import run


def sh(text, stopped=None):
    return run(("/bin/sh", "-c", text), stopped or threading.Event())


def test_what_is_printed_and_nothing_of_what_is_complained_of():
    assert sh("echo a; echo no >&2; printf 'b\\377'; cat") == "a\nb�"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exit 3", "/bin/sh ended with 3: no reason given"),
        ("echo out; printf 'first\\n\\033[1mlast \\n\\n' >&2; exit 1", "/bin/sh ended with 1: \\x1b[1mlast"),
        ("kill -9 $$", "/bin/sh ended with -9: no reason given"),
    ],
)
def test_a_command_that_fails_says_why_by_its_last_line(text, words):
    with pytest.raises(subprocess.SubprocessError) as error:
        sh(text)
    assert str(error.value) == words


def test_a_command_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        run(("/nowhere/squeue",), threading.Event())


class Started:
    """Set as soon as a shell has written into a pipe, which ends when all who hold it have ended."""

    def __init__(self, pipe):
        os.mkfifo(pipe)
        self._end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.seen = b""

    def is_set(self):
        with contextlib.suppress(BlockingIOError):
            self.seen += os.read(self._end, 99)
        return bool(self.seen)

    def is_over(self):
        try:
            return os.read(self._end, 99) == b""
        except BlockingIOError:
            return False


def test_a_command_that_is_ended_takes_with_it_what_it_started(tmp_path):
    started = Started(tmp_path / "pipe")
    with pytest.raises(subprocess.SubprocessError, match=r"^/bin/sh was stopped$"):
        sh(f"(echo up; sleep 60) > {tmp_path}/pipe & sleep 60", started)
    assert started.seen == b"up\n"
    until = time.monotonic() + 10
    while not started.is_over():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_command_that_closes_its_output_and_hangs_is_ended_too(monkeypatch):
    monkeypatch.setattr(commands, "TIMEOUT_S", 0.3)
    with pytest.raises(subprocess.SubprocessError):
        sh("exec >&- 2>&-; sleep 60")


def test_why_a_command_was_ended(monkeypatch):
    monkeypatch.setattr(commands, "TIMEOUT_S", 0.3)
    with pytest.raises(subprocess.SubprocessError, match=r"^/bin/sh did not answer within 0\.3 s$"):
        sh("sleep 60")
    monkeypatch.setattr(commands, "TIMEOUT_S", 60)
    monkeypatch.setattr(commands, "LARGEST_ANSWER", 1_000)
    assert len(sh("printf %0900d 1; printf %0100d 1 >&2")) == 900
    with pytest.raises(subprocess.SubprocessError, match=r"^/bin/sh did not stop writing$"):
        sh("printf %0900d 1; printf %0101d 1 >&2")
