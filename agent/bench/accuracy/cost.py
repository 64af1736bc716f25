"""What a tool costs in real time: processor time, memory and driver calls while it measures eight busy GPUs.

Virtual time cannot tell: nobody sleeps there, and threads hand over by semaphores. The processor time that the
simulated driver takes for its answers is measured call by call and left out; the way into it and back is not.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.accuracy import tools
from wattshed.agent.bench.accuracy.measuring import counted
from wattshed.agent.bench.simulated_agent import free_port, serve_simulated
from wattshed.agent.clock import RealClock
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.node import SimulatedNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.bench.accuracy.measuring import DriverCalls

GPUS = 8
TEXT = f"""gpus = {GPUS}

[[job]]
name = "1"
gpus = {list(range(GPUS))}
load = [[1.61, 560.0, 98], [0.43, 330.0, 60]]
"""
BARE = tools.ToolName("no tool", "bare")
"""The simulated node alone: what the others' numbers contain of it."""
SETTLES_S = 3.0


def cost(tool: tools.ToolName, seconds: float, folder: Path, answer: Callable[[dict[str, Any]], None]) -> None:
    """Measure what a tool costs for so many seconds, in this process and from its main thread.

    Parameters
    ----------
    tool : ToolName
    seconds : float, s
    folder : Path
        Empty; what the node and the tool write goes there.
    answer : callable
        Is called with ``core_percent`` (of one core), ``peak_mib`` (resident memory) and ``calls_per_s``; for it to
        end the process, since what is measured goes on.
    """
    script = folder / "node.toml"
    script.write_text(TEXT, encoding="utf-8")
    with counted() as calls:
        if tool.source == tools.OWN:
            _serve(script, folder, lambda: answer(_watched(calls, seconds)), min(SETTLES_S, seconds))
            return
        clock = RealClock()
        (folder / "node").mkdir()
        node = SimulatedNode(clock, folder / "node", str(script))
        driver = Nvml(clock, node.library)
        node.keep_time()
        if tool.source == BARE.source:
            answer(_watched(calls, seconds))
            return
        driver.open()  # some peers ask at import time whether there is one
        measurement = tools.kind_of(tool)(tuple(range(GPUS)))
        measurement.begin()
        time.sleep(min(SETTLES_S, seconds))
        answer(_watched(calls, seconds))


def _watched(calls: DriverCalls, seconds: float) -> dict[str, Any]:
    """Compare this process before and after a while."""
    begun_s, cpu_ns, inside_ns, count = time.monotonic(), time.process_time_ns(), calls.inside_ns, calls.counts.total()
    time.sleep(seconds)
    passed_s = time.monotonic() - begun_s
    own_ns = time.process_time_ns() - cpu_ns - (calls.inside_ns - inside_ns)
    return {
        "core_percent": round(own_ns / passed_s / 1e7, 2),
        "peak_mib": round(_peak_kib() / 1024, 1),
        "calls_per_s": round((calls.counts.total() - count) / passed_s, 1),
    }


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _serve(script: Path, folder: Path, watch: Callable[[], None], settles_s: float) -> None:
    """Run the agent, and watch it when it has been ready for a while."""

    def ready() -> None:
        time.sleep(settles_s)
        watch()

    serve_simulated(folder, f"simulated:{script}", free_port(), ready)
