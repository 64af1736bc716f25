"""Runs the benchmark: a process for each tool, and their answers in one document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.accuracy.cost import BARE, GPUS
from wattshed.agent.bench.accuracy.measuring import truth
from wattshed.agent.bench.machine import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.bench.accuracy.scenarios import KnownLoad
    from wattshed.agent.bench.accuracy.tools import ToolName
    from wattshed.agent.printing.progress import Far

SCHEMA = "wattshed.accuracy/1"
WORKER = "wattshed.agent.bench.accuracy.worker"


class ToolProcessError(Exception):
    """A tool's process ended before its work; the message is its last line."""


def document(
    tools: Sequence[ToolName],
    scenarios: Sequence[KnownLoad],
    absent: Sequence[str],
    real_time_s: float,
    far: Far,
) -> dict[str, Any]:
    """Measure everything.

    Parameters
    ----------
    tools, scenarios
    absent : sequence of str
        Peers that are not installed, to be named.
    real_time_s : float, s
        How long each tool's cost is measured; 0: not at all.
    far : callable
        Told what share is done, and what is being done.

    Raises
    ------
    ToolProcessError
        A tool could not even be made ready.
    """
    rows: dict[str, dict[str, Any]] = {
        one.name: {"title": one.title, "true_j": truth(one), "tools": {}} for one in scenarios
    }
    steps, done = len(tools) * len(scenarios) + (len(tools) + 1) * bool(real_time_s), 0

    def measure(tool: ToolName) -> None:
        nonlocal done
        asked = {"tool": asdict(tool), "real_time_s": 0, "scenarios": [asdict(one) for one in scenarios]}
        for found in _answers(tool, asked):
            rows[found.pop("scenario")]["tools"][tool.name] = found
            done += 1
            far(done / steps, f"measured with {tool.name}")

    def in_real_time(more: float, what: str) -> None:
        far((done + more) / steps, what)

    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        list(pool.map(measure, tools))
    for row in rows.values():
        row["tools"] = {tool.name: row["tools"][tool.name] for tool in tools}
    return {
        "schema": SCHEMA,
        "simulated": True,
        "versions": {tool.name: tool.version for tool in tools},
        "absent": list(absent),
        "scenarios": rows,
        **({"cost": _costs(tools, real_time_s, in_real_time)} if real_time_s else {}),
    }


def _costs(tools: Sequence[ToolName], seconds: float, far: Far) -> dict[str, Any]:
    """Let each tool run for a while in real time, one after another."""
    found = {}
    for number, tool in enumerate((BARE, *tools)):
        far(number, f"{tool.name}: {seconds:g} s in real time")
        with tempfile.TemporaryDirectory() as folder:
            (found[tool.name],) = _answers(tool, {"tool": asdict(tool), "real_time_s": seconds, "folder": folder})
    return {"machine": machine(), "gpus": GPUS, "seconds": seconds, "tools": found}


def _answers(tool: ToolName, asked: dict[str, Any]) -> Any:
    """Start a tool's process, and yield its answers as they come."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
        try:
            json.dump(asked, process.stdin)
            process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            said.seek(0)
            last = said.read().strip().splitlines() or [f"it ended with exit code {process.returncode}"]
            raise ToolProcessError(f"{tool.name}: {last[-1]}")
