"""``wattshed release`` and ``wattshed resume``: have the agent let go of the driver for a while, and take it back."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from wattshed.agent.meters.device_nodes import Holder

_RELEASE_EXAMPLES = """examples:
  wattshed release                      before a driver upgrade: all of it, for
                                        10 minutes
  wattshed release --gpu 3 --for 2min   before a reset of one GPU
  wattshed resume                       take everything back now
"""
_UNITS_S = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600}
_ASK_AGAIN_S = 0.1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands to the command line."""
    release = commands.add_parser(
        "release",
        help="let go of the driver, so that a GPU can be reset or the driver unloaded",
        description="Have the agent of this host let go of its GPUs, so that they can be reset, bound elsewhere or "
        "switched to MIG, and the driver unloaded. Says who else has them open. The agent takes them back when the "
        "time is over, whatever happens, or at `wattshed resume`.",
        epilog=_RELEASE_EXAMPLES,
    )
    release.add_argument(
        "--gpu", metavar="N|UUID", action="append", default=[], help="only this GPU (repeatable); default all"
    )
    release.add_argument("--for", dest="for_time", metavar="TIME", default="600s", help="for so long (default 600s)")
    release.add_argument(
        "--wait", metavar="TIME", default="30s", help="wait for the agent at most so long (default 30s)"
    )
    release.set_defaults(run=run_release)
    resume = commands.add_parser(
        "resume",
        help="take the driver back after `wattshed release`",
        description="Have the agent of this host take back all GPUs that it let go of.",
    )
    resume.set_defaults(run=run_resume)


def run_release(args: argparse.Namespace) -> int:
    """Ask, wait until it is done, and say who else has the GPUs open; returns 1 if it was not done.

    Raises
    ------
    InputError
        A flag cannot be used.
    """
    from wattshed.agent.errors import InputError  # noqa: PLC0415 - a command imports its parts when it runs

    for_s, wait_s = seconds(args.for_time, "--for"), seconds(args.wait, "--wait")
    question = {"op": "release", "for_s": for_s, "gpus": args.gpu, "why": f"asked by {_asker()}"}
    if (answer := _asked(question)) is None:
        return 1
    if "error" in answer:
        raise InputError(answer["error"])
    wanted = answer["wanted"]
    if (status := _when_done(wanted, wait_s)) is None:
        _say(f"the agent has not let go within {args.wait}; see its log")
        return 1
    return _report(status, args.gpu, for_s)


def run_resume(_args: argparse.Namespace) -> int:
    """Ask; returns 1 if nobody answers."""
    answer = _asked({"op": "resume"})
    if answer is None or "error" in answer:
        if answer is not None:
            _say(answer["error"])
        return 1
    sys.stdout.write("The agent takes its GPUs back.\n")
    return 0


def seconds(text: str, flag: str) -> float:
    """Read a time: ``600``, ``600s``, ``10min``, ``1h``.

    Raises
    ------
    InputError
        It is none.
    """
    from wattshed.agent.errors import InputError  # noqa: PLC0415 - as above

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip(), re.ASCII)
    if not match or match[2] not in _UNITS_S:
        raise InputError(f"{text!r} is not a time; write 600s, 10min or 1h", flag)
    return float(match[1]) * _UNITS_S[match[2]]


def _asker() -> str:
    """Name whoever runs this, as sudo says where it was used."""
    return os.environ.get("SUDO_USER") or f"uid {os.getuid()}"


def _say(line: str) -> None:
    sys.stderr.write(f"wattshed: {line}\n")


def _asked(question: dict[str, Any], *, quiet: bool = False) -> dict[str, Any] | None:
    """Ask the agent; None if it does not answer, which is said."""
    from wattshed.agent.wire.agent_socket import AgentAbsentError, ask  # noqa: PLC0415 - as above
    from wattshed.agent.wire.control_socket import control_socket  # noqa: PLC0415

    try:
        return ask(control_socket(os.environ, os.geteuid()), question)
    except AgentAbsentError as error:
        if not quiet:
            _say(f"no agent can be asked: {error}")
        return None


def _when_done(wanted: dict[str, Any], wait_s: float) -> dict[str, Any] | None:
    """Return what the agent says once it has let go; it may end for that, and be started again meanwhile."""
    until_s = time.monotonic() + wait_s
    while True:
        status = _asked({"op": "status"}, quiet=True)
        done = status and status.get("released")
        if done and (not done["gpus"] or (wanted["gpus"] and set(wanted["gpus"]) <= set(done["gpus"]))):
            return status
        if time.monotonic() >= until_s:
            return None
        time.sleep(_ASK_AGAIN_S)


def _report(status: dict[str, Any], gpus: list[str], for_s: float) -> int:
    """Say what is let go of, and who else has it open; returns 1 if it is the agent itself."""
    from wattshed.agent.errors import counted  # noqa: PLC0415 - as above
    from wattshed.agent.meters.device_nodes import holders  # noqa: PLC0415
    from wattshed.agent.printing.figures import age  # noqa: PLC0415
    from wattshed.agent.printing.tables import Column, print_rows, printer_for  # noqa: PLC0415

    printer, done = printer_for(sys.stdout), status["released"]
    until = time.strftime("%H:%M:%S", time.localtime(done["until_us"] / 1e6))
    what = "the driver" if not done["gpus"] else f"GPU {', '.join(gpus)}"
    printer.folded(f"Let go of {what} until {until} ({age(for_s)}); `wattshed resume` takes it back earlier.")
    found, hidden = holders(Path("/proc"), Path(status["dev"]))
    others = list(_of_these(found, status, gpus))
    if others:
        printer.folded(f"{counted(len(others), 'other process has', 'other processes have')} it open:")
        columns = (
            Column("pid", right=True),
            Column("user"),
            Column("open", least=9, folds=True),
            Column("command", least=16),
        )
        rows = [
            {"pid": str(one.pid), "user": one.user, "open": ", ".join(one.nodes), "command": one.command}
            for one in others
        ]
        print_rows(printer, columns, rows, gap=2)
    if hidden:
        printer.folded(f"{counted(hidden, 'process', 'processes')} cannot be looked into; root sees all.")
    if own := [one for one in others if one.pid == status["pid"]]:
        _say(f"the agent itself still has {', '.join(own[0].nodes)} open")
    return int(bool(own))


def _of_these(found: list[Holder], status: dict[str, Any], gpus: list[str]) -> Iterator[Holder]:
    """Yield the processes that have one of these GPUs open; without any, those that have anything open."""
    from wattshed.agent.meters.device_nodes import of_gpu  # noqa: PLC0415 - as above

    minors = [one["minor"] for one in status["gpus"] if {str(one["gpu"]), one["uuid"]} & set(gpus)]
    for one in found:
        if not gpus or any(of_gpu(set(one.nodes), minor, Path("/proc")) for minor in minors):
            yield one
