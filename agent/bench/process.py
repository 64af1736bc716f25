"""What a command takes, each in a fresh process: seconds, processor time, and the peak of its own memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAUNCHER = Path(__file__).with_name("launch.py")
_LAST = 300


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process used.

    Attributes
    ----------
    seconds, cpu_s : float, s
        Of the whole process, from its start to its end.
    peak_mib : float, MiB
        The most that was resident at a time.
    output : str
        What it wrote to standard output.
    """

    seconds: float
    cpu_s: float
    peak_mib: float
    output: str


class ProcessFailedError(RuntimeError):
    """A process that was to be measured failed, or was not done in time; the message is one line that says which."""


def measured(command: Sequence[str], *, limit_s: float) -> Spent:
    """Run a command to its end.

    Parameters
    ----------
    command : sequence of str
        The first is the path of a program.
    limit_s : float, s
        After this it is ended, with all that it started.

    Raises
    ------
    ProcessFailedError
    """
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as folder:
        result = Path(folder, "used")
        # Into files: a pipe that nobody empties would stop what writes much.
        with Path(folder, "out").open("w+b") as output, Path(folder, "errors").open("w+b") as errors:
            launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), *command]
            with subprocess.Popen(
                launcher, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            ) as process:
                try:
                    process.wait(limit_s)
                except BaseException as error:
                    os.killpg(process.pid, signal.SIGKILL)
                    if isinstance(error, subprocess.TimeoutExpired):
                        raise ProcessFailedError(f"was not done after {limit_s:.0f} s") from None
                    raise
            output.seek(0)
            errors.seek(0)
            text, said = output.read().decode(), errors.read().decode(errors="replace").strip()
        if not result.exists():
            raise ProcessFailedError(f"did not start ({said[-_LAST:]})")
        seconds, cpu_s, kib, code = result.read_text(encoding="ascii").split()
    if int(code):
        last = said.splitlines()[-1][-_LAST:] if said else f"exit code {code}"
        raise ProcessFailedError(f"failed: {last}")
    return Spent(float(seconds), float(cpu_s), int(kib) / 1024, text)
