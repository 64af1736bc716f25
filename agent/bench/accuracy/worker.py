"""One tool's process: it measures the scenarios that it is told, each in a fork of its own, and answers a line each.

A fork, so that what a tool leaves behind (a session, threads, replaced names) helps or hurts no other scenario, and so
that a tool which ends its process or never comes back costs one row. What is imported is imported once.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import tempfile
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.bench.accuracy import measuring, tools
from wattshed.agent.bench.accuracy.cost import cost
from wattshed.agent.bench.accuracy.measuring import ToolAnswer
from wattshed.agent.bench.accuracy.scenarios import KnownLoad

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

LIMIT_S = 600.0


def apart(work: Callable[[], ToolAnswer], jobs: tuple[str, ...], limit_s: float = LIMIT_S) -> ToolAnswer:
    """Do some work in a fork; if that ends without an answer, this is the answer for all jobs."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_answer, args=(there, work))
    child.start()
    there.close()
    found = None
    try:
        if here.poll(limit_s):
            found = here.recv()
            reason = ""
        else:
            reason = f"no answer within {limit_s:g} s"
    except EOFError:
        child.join()
        reason = f"its process ended with exit code {child.exitcode}"
    child.kill()
    child.join()
    return ToolAnswer(dict.fromkeys(jobs, reason)) if found is None else found


def _answer(there: Connection, work: Callable[[], ToolAnswer]) -> None:
    there.send(work())
    there.close()


def _measure(tool: tools.ToolName, scenarios: list[KnownLoad], answers: TextIO) -> None:
    """Measure every scenario in virtual time."""
    if tool.source == tools.OWN:
        for scenario in scenarios:  # it leaves nothing behind, and a fork would load its kernels again
            _say(measuring.wattshed(scenario), scenario, answers)
        return
    with tempfile.TemporaryDirectory() as folder, measuring.some_driver(Path(folder)):
        kind = tools.kind_of(tool)  # some peers ask at import time whether there is a driver
        tools.imported(kind)
    for scenario in scenarios:
        jobs = tuple(measuring.truth(scenario))
        _say(apart(partial(measuring.peer, scenario, kind), jobs), scenario, answers)


def _say(found: ToolAnswer, scenario: KnownLoad, answers: TextIO) -> None:
    print(json.dumps({"scenario": scenario.name, **asdict(found)}), file=answers, flush=True)


def _say_and_end(answers: TextIO, found: dict[str, Any]) -> None:
    """Answer, and end the process at once: an agent serves on, and threads of tools may never end."""
    print(json.dumps(found), file=answers, flush=True)
    os._exit(0)


def main() -> None:
    """Read what to do from standard input; nothing but answers goes to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what tools print
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    asked: dict[str, Any] = json.load(sys.stdin)
    tool = tools.ToolName(**asked["tool"])
    if asked["real_time_s"]:
        cost(tool, asked["real_time_s"], Path(asked["folder"]), partial(_say_and_end, answers))
        return
    _measure(tool, [KnownLoad(**one) for one in asked["scenarios"]], answers)


if __name__ == "__main__":
    main()
