"""Run a command of somebody else within bounds of time and size."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from wattshed.agent.jobs.text import printable

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

TIMEOUT_S = 10
"""A command that takes longer is killed."""
LARGEST_ANSWER = 64 << 20


def run(argv: Sequence[str], stopped: threading.Event) -> str:
    """Run a command and return what it prints; whatever it started ends with it.

    Parameters
    ----------
    argv : sequence of str
    stopped : threading.Event
        Ends the command early.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If the command is missing, fails, hangs, or does not stop writing.
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    answer: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with (
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        ) as process,
        selectors.DefaultSelector() as ready,
    ):
        ready.register(process.stdout, selectors.EVENT_READ, "out")  # type: ignore[arg-type] # it is a pipe
        ready.register(process.stderr, selectors.EVENT_READ, "err")  # type: ignore[arg-type]
        try:
            while ready.get_map():
                for key, _ in ready.select(timeout=0.1):
                    chunk = os.read(key.fd, 1 << 20)
                    if not chunk:
                        ready.unregister(key.fileobj)
                    answer[key.data] += chunk
                _bounded(argv[0], deadline_s, sum(map(len, answer.values())), stopped)
            process.wait(timeout=TIMEOUT_S)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        words = answer["err"].decode("utf-8", "replace").strip().splitlines()
        message = f"{argv[0]} ended with {process.returncode}: {printable(words[-1]) if words else 'no reason given'}"
        raise subprocess.SubprocessError(message)
    return answer["out"].decode("utf-8", "replace")


def _bounded(command: str, deadline_s: float, size: int, stopped: threading.Event) -> None:
    if stopped.is_set():
        why = "was stopped"
    elif time.monotonic() > deadline_s:
        why = f"did not answer within {TIMEOUT_S} s"
    elif size > LARGEST_ANSWER:
        why = "did not stop writing"
    else:
        return
    message = f"{command} {why}"
    raise subprocess.SubprocessError(message)
