"""Compiled kernels for an agent that began without: built by a process of their own, exchanged between two windows.

Nothing waits for them. Plain Python books the same integers, for 40 us a reading more: 0.08 % of a core at eight GPUs
and the default rates, where a build (20 s of a processor) would pay off after seven hours. So it is done only where
more than `MANY` readings a second are to be booked, and once: the library is kept for the next start
(docs/decisions/1019).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wattshed.exporters.snapshot import KernelFacts
from wattshed.kernels import load
from wattshed.kernels.cache import cache_folder, passed_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from wattshed.agent.window import Window
    from wattshed.kernels.load import Form

LOG = logging.getLogger(__name__)

MANY = 500  # readings a second
OVER_US = 10_000_000
LIMIT_S = 120
"""Of processor time, for a build that takes 20: by the clock the lowest priority may take long on a busy host."""
PATIENCE_S = 1800.0
WITHHELD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
"""Of the environment: what a child could speak for us with."""
_PR_SET_PDEATHSIG = 1
_FIRST_TO_KILL = b"1000"


class CannotBuild(Exception):  # noqa: N818 - a finding, not a fault
    """Why nothing can be built here."""


class Compiling:
    """Builds the kernels once if there is much to book, and has them exchanged.

    Parameters
    ----------
    plan : callable
        Returns what builds them: a module, as ``python -m`` runs it, and its arguments; raises `CannotBuild`.
    look_again : callable
        Exchanges the kernels for what was built, and returns the form that they have then; None if it is not there.
    now_s : callable
        Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        plan: Callable[[], Sequence[str]],
        look_again: Callable[[], Form | None],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._look_again, self._now_s = plan, look_again, now_s
        self._child: subprocess.Popen[bytes] | None = None
        self._said: BinaryIO | None = None
        self._until_s = 0.0
        self._over = False
        self._readings = self._length_us = 0
        self._began = False

    def after(self, readings: int, length_us: int) -> None:
        """Take note of a window that was booked; begin, or look whether it is done.

        Parameters
        ----------
        readings : int
        length_us : int, us
        """
        if self._over:
            return
        if self._child is not None:
            self._poll(self._child)
        elif self._is_much(readings, length_us):
            self._start()

    def _is_much(self, readings: int, length_us: int) -> bool:
        if not self._began:  # the first window has those that learn
            self._began = True
            return False
        self._readings, self._length_us = self._readings + readings, self._length_us + length_us
        if self._length_us < OVER_US:
            return False
        much = self._readings * 1_000_000 > MANY * self._length_us
        self._readings = self._length_us = 0
        return much

    def _start(self) -> None:
        try:
            plan = self._plan()
            self._said = os.fdopen(os.memfd_create("compiling"), "r+b")  # a disk may be full, and a pipe fills up
            self._child = build_beside(plan, self._said)
        except CannotBuild as error:
            self._give_up(str(error))
            return
        except OSError as error:
            self._give_up(f"no process can be started ({error.strerror})")
            return
        self._until_s = self._now_s() + PATIENCE_S
        LOG.info("compiling kernels in the background (pid %d); metering continues", self._child.pid)

    def _poll(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            if self._now_s() >= self._until_s:
                self.close()
                self._give_up(f"compiling took longer than {PATIENCE_S / 60:.0f} minutes")
            return
        killed = signal.Signals(-child.returncode).name if child.returncode < 0 else ""
        took_all = f"it took more than {LIMIT_S} s of a processor" if killed == "SIGXCPU" else ""
        why = took_all or (f"it was killed ({killed})" if killed else self._last_words())
        self.close()
        if child.returncode:
            self._give_up(f"compiling failed: {why or f'exit code {child.returncode}'}")
            return
        form = self._look_again()
        if form is None:
            self._give_up("what was compiled cannot be loaded")
            return
        self._over = True
        LOG.info("kernels compiled (%s, %s), now in use", form.name, form.cpu)

    def _last_words(self) -> str:
        """Return the last line that the child said."""
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _give_up(self, why: str) -> None:
        self._over = True
        LOG.warning("kernels stay plain Python (same results, more CPU time): %s", why)

    def close(self) -> None:
        """End the child and whatever it started, and do not wait for it."""
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.poll()
        if self._said is not None:
            self._said.close()
            self._said = None


def build_beside(plan: Sequence[str], said: BinaryIO | int) -> subprocess.Popen[bytes]:
    """Begin what was planned in a process of the lowest priority, which dies with this one.

    Parameters
    ----------
    plan : sequence of str
        A module and its arguments.
    said : file or int
        Where it says what went wrong.

    Raises
    ------
    OSError
        No process can be started.
    """
    environ = {name: text for name, text in os.environ.items() if name not in WITHHELD}
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # it imports what we do
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(os.getpid()), *plan],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env=environ,
        process_group=0,
    )


def plan_of(folder: Path | None) -> list[str]:
    """Plan to build the kernels into a folder.

    Raises
    ------
    CannotBuild
        What builds them may not run here, or has nowhere to put them.
    """
    if not load.may_run_new_code():
        raise CannotBuild("nothing can be compiled where memory may not be both written and executed")
    if not load.has_compiler():
        raise CannotBuild(load.NO_COMPILER)
    if folder is None:
        raise CannotBuild("there is no folder for compiled kernels that only this user can write to; set cache_dir")
    return ["wattshed.kernels.build", "--out", str(folder)]


def begin() -> Form:
    """Settle in which form the kernels begin: as is set, but nothing waits for a compiler that nobody asked for."""
    return load.use(load.setting(), just_in_time=load.setting() == "numba")


def settle_form(opened: ExitStack) -> Callable[[Window], None]:
    """Settle in which form the kernels begin, and return what is to be called between two windows.

    Parameters
    ----------
    opened : ExitStack
        Ends what was begun.
    """
    for line in passed_over():
        LOG.warning("%s", line)
    form, asked = begin(), load.setting()
    if form.name == "off" and asked in {"so", "objects", "numba"}:
        LOG.warning("plain Python computes the energies, not jit = %s: %s", asked, form.reason)
    if form.name != "off" or asked != "auto":
        return lambda _: None
    compiling = Compiling(lambda: plan_of(cache_folder()), load.look_again)
    opened.callback(compiling.close)
    return lambda window: compiling.after(len(window.readings.time_us), window.end_us - window.start_us)


def kernel_facts() -> KernelFacts:
    """Return the form that the kernels have now."""
    form = load.form()
    return KernelFacts(form.name, form.cpu)


def _be_a_child(of: int, module: str, flags: list[str]) -> None:
    """Run a module as a process that is the last to be served, the first to be killed, and dies with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != of:
        sys.exit(1)  # it was gone before that could be said
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_FIRST_TO_KILL)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _be_a_child(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
