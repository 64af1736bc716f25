"""The whole daemon on a real Slurm, without any privilege: the driver is simulated, jobs and processes are real.

    python tests/jobs/agent_on_slurm.py MAPPING_DIR|- NODE STATE_DIR ADDRESS:PORT [SQUEUE]

Every GPU draws 300 W above idle all the time. Each real process of a Slurm job counts as seen on its job's GPU, except
those that ended before anyone looked: what a driver would say. Without a mapping directory none is seen. Started by
root, it becomes ``nobody`` before the first window (not earlier: Python itself may be readable by root only).
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from wattshed.agent.clock import RealClock
from wattshed.agent.config.settings import Config, HistorySettings, Log
from wattshed.agent.daemon import assembly
from wattshed.agent.daemon.source import Source
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.procfs import exists
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.simulation.scenario import Gpu, NodeScenario
from wattshed.agent.simulation.workload import Job, Step
from wattshed.agent.window import ProcessObservation

GPUS = 4
NOBODY = 65534
CYCLE_US = 3_600_000_000


class SlurmsProcesses:
    """A sampler whose processes are those of real jobs."""

    def __init__(self, sampler: Sampler, mapping: Path, state: str) -> None:
        self._sampler, self._mapping, self._state = sampler, mapping, state

    def __getattr__(self, name):
        return getattr(self._sampler, name)

    def next(self):
        if os.geteuid() == 0:
            become_nobody(self._state)
        window, _ = self._sampler.next()
        files = {f.name: f.read_text().split() for f in self._mapping.glob("[0-9]") if f.exists()}
        gpus = {job: int(name) for name, jobs in files.items() for job in jobs}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    text = (entry / "cgroup").read_text()
                    name = (entry / "comm").read_text().strip()
                except OSError:
                    continue
                for job, gpu in gpus.items():
                    if name == "sleep" and f"/job_{job}/" in text and "/step_extern" not in text:
                        sm_us = (window.end_us - window.start_us) // 4
                        found.append(ProcessObservation(gpu, int(entry.name), window.start_us, window.end_us, sm_us))
        return replace(window), found


def become_nobody(state: str) -> None:
    """Give up root for good, and with it every capability; say so."""
    for folder, _, files in os.walk(state):
        for name in ("", *files):
            os.chown(Path(folder) / name, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    status = Path("/proc/self/status").read_text()
    left = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapInh"))]
    print(f"uid {os.geteuid()}, capabilities {int(''.join(left), 16)}", file=sys.stderr, flush=True)


def main(mapping: str, node: str, state: str, listen: str, squeue: str = "squeue") -> int:
    load = (Step(60_000_000, 300_000, 50),)
    busy = Job("9", "systemd", tuple(range(GPUS)), 0, CYCLE_US, load, forever=True)
    scenario = NodeScenario((Gpu(),) * GPUS, (busy,), CYCLE_US)

    def open_source(config: Config, host: str, *_: object) -> Source:
        clock = RealClock()
        folder = tempfile.mkdtemp(dir=state)
        simulated = SimulatedNode(clock, Path(folder), scenario)
        meter = NvmlMeter(Nvml(clock, simulated.library), clock, host, simulated=True)
        meter.open()
        sampler = Sampler(meter, clock, host, Rates(window_us=500_000), alive=partial(exists, simulated.proc_root))
        scontrol = str(Path(squeue).with_name("scontrol"))
        slurm = Slurm(clock.now_us, node, None if mapping == "-" else Path(mapping), (squeue,), (scontrol,))
        resolver = JobResolver(Processes(Path("/proc"), clock.now_us), slurm)

        def close() -> None:
            sampler.close()
            resolver.close()

        windows = SlurmsProcesses(sampler, Path(mapping), state)
        return Source("simulated", "simulated", windows, resolver, resolver.faults, close)

    assembly.open_source = open_source
    config = Config(
        listen=(listen,),
        state_dir=f"{state}/state",
        cache_dir=f"{state}/cache",
        jit="off",
        host="n1",
        history=HistorySettings(socket=f"{state}/api.sock"),
        log=Log(level="info"),
    )
    return assembly.serve(config, "0")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
