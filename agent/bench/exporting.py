"""One exporter in this process, on a simulated driver below NVIDIA's binding: what it costs while it is scraped.

Run by `agent_cost` as ``python -m wattshed.agent.bench.exporting NAME SECONDS FOLDER``; says what it cost while nobody
asked and where it listens in one line, which is the moment to ask, and what it cost then in another.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.accuracy.measuring import counted
from wattshed.agent.bench.simulated_agent import free_port, serve_simulated
from wattshed.agent.clock import RealClock
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.abi import place_of
from wattshed.agent.simulation.driver import SimulatedLibrary
from wattshed.agent.simulation.node import SimulatedNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.bench.accuracy.measuring import DriverCalls

NOBODY = "nobody"
WATTSHED = "wattshed run"
EVERYTHING = "wattshed run, with everything at once"
"""Scrapes and saves as ever, and beside them reports of its history and a build of the kernels."""
SETTLES_S = 2.0
_POWER = frozenset({"nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage"})
_EACH: dict[str, tuple[str, Callable[[Any], float]]] = {
    "gpu_power_watts": ("nvmlDeviceGetPowerUsage", lambda mw: mw / 1e3),
    "gpu_energy_joules": ("nvmlDeviceGetTotalEnergyConsumption", lambda mj: mj / 1e3),
    "gpu_memory_used_bytes": ("nvmlDeviceGetMemoryInfo", lambda memory: memory.used),
    "gpu_utilisation_percent": ("nvmlDeviceGetUtilizationRates", lambda rates: rates.gpu),
}


def names() -> tuple[str, ...]:
    """Name the exporters that can be run here."""
    others = ("a loop of pynvml, 1 Hz", "a loop of pynvml, 10 Hz") if find_spec("prometheus_client") else ()
    nvitop = ("nvitop-exporter",) if find_spec("nvitop_exporter") else ()
    return (NOBODY, WATTSHED, *((EVERYTHING,) if find_spec("numba") else ()), *others, *nvitop)


def main() -> None:
    """Run one, and measure it."""
    name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    jobs_socket = str(folder / "jobs.sock") if name == EVERYTHING else ""
    with counted() as calls, _stamped() as stamps:
        port = free_port()

        def ready() -> None:
            time.sleep(SETTLES_S)
            alone = {} if name == EVERYTHING else _watched(calls, stamps, seconds)
            if name == EVERYTHING:
                _build(folder)
            _say({"port": port if name != NOBODY else 0, "jobs": jobs_socket, "alone": alone})
            _say(_watched(calls, stamps, seconds) if name != NOBODY else alone)
            os._exit(0)  # what is measured goes on for ever

        if name in {WATTSHED, EVERYTHING}:
            serve_simulated(folder, "simulated", port, ready, jobs_socket=jobs_socket)
            return
        clock = RealClock()
        node = SimulatedNode(clock, folder)
        driver = Nvml(clock, node.library)  # puts the library below the binding
        node.keep_time()
        if name != NOBODY:
            driver.open()
            work = _nvitop(port) if name == "nvitop-exporter" else _loop(port, 10.0 if "10 Hz" in name else 1.0)
            threading.Thread(target=work, daemon=True).start()
        ready()


def _build(folder: Path) -> None:
    """Begin to compile the kernels as an agent does; the child ends with this process."""
    from wattshed.agent.daemon.compiling import build_beside, plan_of  # noqa: PLC0415 - it is not the others' memory

    out = folder / "kernels"
    out.mkdir(mode=0o700)
    build_beside(plan_of(out), subprocess.DEVNULL)


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


@contextmanager
def _stamped() -> Iterator[dict[int, list[int]]]:
    """Note when each GPU's power is asked for (ns), by its place."""
    plain, stamps = SimulatedLibrary.answering, defaultdict(list)

    def answering(library: SimulatedLibrary, name: str, function: Callable[..., int]) -> Callable[..., int]:
        inside = plain(library, name, function)
        if name not in _POWER:
            return inside

        def call(*args: int) -> int:
            stamps[place_of(args[0])].append(time.monotonic_ns())
            return inside(*args)

        return call

    SimulatedLibrary.answering = answering  # type: ignore[method-assign, assignment]
    try:
        yield stamps
    finally:
        SimulatedLibrary.answering = plain  # type: ignore[method-assign]


def _watched(calls: DriverCalls, stamps: dict[int, list[int]], seconds: float) -> dict[str, Any]:
    """Compare this process before and after a while."""
    for one in stamps.values():
        one.clear()
    begun_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
    inside_ns, count = calls.inside_ns, calls.counts.total()
    time.sleep(seconds)
    passed_ns = time.monotonic_ns() - begun_ns
    own_ns = time.process_time_ns() - cpu_ns - (calls.inside_ns - inside_ns)
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {
        "core_percent": round(own_ns / passed_ns * 100, 3),
        "resident_mib": round(next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024, 1),
        "calls_per_s": round((calls.counts.total() - count) / passed_ns * 1e9, 1),
        **unevenness(stamps),
    }


def unevenness(stamps: dict[int, list[int]]) -> dict[str, float | None]:
    """Say how often power is read, and how far intervals are from their median.

    Parameters
    ----------
    stamps : dict of int to list of int, ns
        When each GPU was read.

    Returns
    -------
    dict
        ``readings_per_s`` of one GPU, by the median interval, and ``late_p99_ms``: 99 % of the intervals are no longer
        than the median by more; None without readings.
    """
    late: list[int] = []
    medians: list[int] = []
    for times in stamps.values():
        intervals = sorted(b - a for a, b in pairwise(times))
        if intervals:
            medians.append(intervals[len(intervals) // 2])
            late += [max(interval - medians[-1], 0) for interval in intervals]
    if not late:
        return {"readings_per_s": None, "late_p99_ms": None}
    late.sort()
    medians.sort()
    return {
        "readings_per_s": round(1e9 / medians[len(medians) // 2], 2),
        "late_p99_ms": round(late[(len(late) - 1) * 99 // 100] / 1e6, 2),
    }


def _loop(port: int, per_s: float) -> Callable[[], None]:
    """Return a loop as most scripts have it: a few calls a GPU, gauges, a pause."""
    client, pynvml = importlib.import_module("prometheus_client"), importlib.import_module("pynvml")
    client.start_http_server(port, "127.0.0.1")
    gauges = {name: client.Gauge(name, name, ["gpu"]) for name in _EACH}
    handles = [pynvml.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(pynvml.nvmlDeviceGetCount())]

    def run() -> None:
        while True:
            for gpu, handle in enumerate(handles):
                for name, (asked, value) in _EACH.items():
                    gauges[name].labels(gpu).set(value(getattr(pynvml, asked)(handle)))
            time.sleep(1 / per_s)

    return run


def _nvitop(port: int) -> Callable[[], None]:
    """Return the loop of nvitop's exporter, as its command starts it."""
    module, nvitop = importlib.import_module("nvitop_exporter"), importlib.import_module("nvitop")
    importlib.import_module("prometheus_client").start_http_server(port, "127.0.0.1")
    run: Callable[[], None] = module.PrometheusExporter(nvitop.Device.all(), interval=1.0).collect
    return run


if __name__ == "__main__":
    main()
