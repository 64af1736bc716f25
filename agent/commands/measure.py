"""``wattshed measure -- COMMAND``: the joules of one command, in a line on standard error."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from wattshed.agent.measuring.measured import MeasuredEnergy

SCHEMA = "wattshed.measure/1"
NOT_FOUND, NOT_RUN = 127, 126
"""Exit codes of a command that there is not, or that cannot be run, as shells have them."""
PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH,
)  # fmt: skip
BY_A_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH}
"""A terminal sends these to all in front of it, the command too."""
SI_KERNEL = 0x80
PATIENCE_S = 10.0
"""An agent knows the end after two seconds or three."""
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): what loses its parent becomes this process's child, as if it had started it: so it counts."""
LOCAL_RANKS = ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID")
"""Which of the tasks on its node a task is, as srun, Open MPI, Intel MPI or MPICH, and Cray's PALS tell it."""
NODES = "SLURM_STEP_NUM_NODES"
EXAMPLES = """examples:
  wattshed measure -- python train.py             its joules, when it has ended
  wattshed measure --json energy.json -- ./train  the same in a file, too
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "measure",
        help="run a command, and tell the GPUs' joules of it",
        description="Run a command, and tell on standard error how much energy it used on GPUs: that of its job, or "
        "outside of jobs that of its processes, by the agent of this host where one runs; else all that the GPUs used. "
        "Signals and the exit code are passed on. Of the tasks that srun or mpirun starts on a node, one measures.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--json",
        metavar="F",
        nargs="?",
        const="-",
        help="write the answer to this file, too; without F, in place of the line",
    )
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="and its arguments, after --")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code, or ends as it did by a signal.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if any(os.environ.get(name, "0") != "0" for name in LOCAL_RANKS):
        return _become(args.command)
    from wattshed.agent.measuring.points import NO_GPU  # noqa: PLC0415 - not for the other tasks of a node
    from wattshed.agent.measuring.process import measure  # noqa: PLC0415

    answer = _opened(args.json) if args.json not in {None, "-"} else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # What the command used, or its job, only an agent knows; without one it is all that the GPUs used.
    with measure(scope="job", sync=False) as own, measure(scope="gpu", sync=False) as whole:
        try:
            pid = _started(args.command, before)
        except OSError as error:
            sys.stderr.write(f"wattshed: {args.command[0]}: {error.strerror}\n")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN
        status = _ended(pid)
    job = own.running(PATIENCE_S)
    found = job if job.reason in {"", NO_GPU} else whole.running()
    if found.reason and found is not job:
        found = replace(found, reason=f"{job.reason}; {found.reason}")
    _tell(found, args.command, status, args.json, answer)
    return _end_alike(status)


def _become(command: list[str]) -> NoReturn:
    """Run the command in place of this process."""
    try:
        os.execvp(command[0], command)  # noqa: S606 - what the user asked for
    except OSError as error:
        sys.stderr.write(f"wattshed: {command[0]}: {error.strerror}\n")
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN)


def _node() -> str:
    """Name this node where the command runs on several, each with a line of its own; else nothing."""
    return socket.gethostname() if os.environ.get(NODES, "1") != "1" else ""


def _opened(path: str) -> TextIO:
    where = Path(path)
    if host := _node():  # one file each, in a folder that they may share
        where = where.with_name(f"{where.stem}.{host}{where.suffix}")
    try:
        return where.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path) from error


def _started(command: Sequence[str], mask: set[signal.Signals | int]) -> int:
    """Start the command with the signals as they were before; returns its pid."""
    own = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these
    return os.posix_spawnp(command[0], list(command), os.environ, setsigmask=list(mask), setsigdef=own)


def _ended(pid: int) -> int:
    """Pass signals on until the command has ended; returns its status, as of waitpid(2)."""
    while True:
        told = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD})
        if told.si_signo == signal.SIGCHLD:
            if (status := _reaped(pid)) is not None:
                return status
        elif not (told.si_signo in BY_A_TERMINAL and told.si_code == SI_KERNEL):
            os.kill(pid, told.si_signo)


def _reaped(pid: int) -> int | None:
    """Take note of every child that ended; returns the command's status once it has."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (told := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0]:
            child, status = told
            if child == pid and os.WIFSTOPPED(status):
                os.kill(os.getpid(), signal.SIGSTOP)  # a shell sees that it is stopped
                os.kill(pid, signal.SIGCONT)
            elif child == pid:
                found = status
    return found


def _tell(found: MeasuredEnergy, command: Sequence[str], status: int, where: str | None, answer: TextIO | None) -> None:
    if where is not None:
        (answer or sys.stderr).write(f"{json.dumps(_document(found, command, status))}\n")
    if answer is not None:
        answer.close()
    if where != "-":
        sys.stderr.write(f"wattshed: {': '.join(filter(None, (_node(), str(found))))}\n")
    sys.stderr.flush()


def _document(found: MeasuredEnergy, command: Sequence[str], status: int) -> dict[str, Any]:
    killed = os.WIFSIGNALED(status)
    return {
        "schema": SCHEMA,
        "host": socket.gethostname(),
        "command": list(command),
        "exit_code": None if killed else os.WEXITSTATUS(status),
        "signal": os.WTERMSIG(status) if killed else None,
        "joules": None if math.isnan(found.joules) else found.joules,
        "sigma_j": None if math.isnan(found.sigma_j) else found.sigma_j,
        "energy_hnj": found.energy_hnj,
        "seconds": found.seconds,
        "gpus": list(found.gpus),
        "scope": found.scope,
        "source": found.source,
        "flags": list(found.flags),
        "reason": found.reason,
    }


def _end_alike(status: int) -> int:
    """Return the command's exit code; what a signal has ended, this ends by the same one."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # one core is enough
    sys.stdout.flush()
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number
