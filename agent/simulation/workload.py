"""What a simulated node does: jobs with known power, and the exact joules of every GPU and job.

Power is piecewise constant in whole milliwatts over whole microseconds, so energies are whole nanojoules and the truth
is a sum, not an integral. The schedule repeats with a fixed cycle; jobs that come again do so under new ids and pids.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

SECOND_US = 1_000_000
FIRST_PID = 5_000_000
"""Above the largest pid that Linux gives out (2**22), so that no simulated pid is a real process of this machine."""


class Step(NamedTuple):
    """A part of a job's load: for how long, dynamic power above idle, and SM utilisation in percent."""

    duration_us: int
    dynamic_mw: int
    sm_percent: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the schedule.

    Attributes
    ----------
    name : str
        Slurm job id (a number; grows by ten every cycle), pod UID, unit or container id.
    manager : str
        ``slurm``, ``kubernetes``, ``docker``, ``systemd`` or ``user``.
    gpus : tuple of int
    start_us, end_us : int, us
        Within the cycle.
    forever : bool
        Fills the whole cycle and never ends: the same id and process in every cycle.
    load : tuple of Step
        Repeated from the job's start to its end. Empty: the GPU is held and no process is on it.
    instance : str
        Under MIG, ``gpu-instance/compute-instance``.
    memory_mib : int
    command : str
    container : str
    uid : int
    pid_file : str
        Holds the pid of the process of this machine that stands for the job's; empty: it is made up.
    cores : int
        Of the processors, kept busy from start to end.
    tensor, dram : float
        How busy it keeps tensor cores and memory, as parts of its activity.
    earlier : int
        Cycles of the node's earlier lives: Slurm ids go on after them.
    """

    name: str
    manager: str
    gpus: tuple[int, ...]
    start_us: int
    end_us: int
    load: tuple[Step, ...] = ()
    instance: str = ""
    memory_mib: int = 20_480
    command: str = "python"
    container: str = "main"
    uid: int = 1000
    pid_file: str = ""
    cores: int = 0
    forever: bool = False
    earlier: int = 0
    tensor: float = 0.4
    dram: float = 0.3

    def key(self, cycle: int) -> str:
        """Return the owner's key in the agent's output."""
        if self.manager == "slurm":
            return f"slurm:{self.number(cycle)}"
        if self.manager == "kubernetes":
            return f"k8s:{self.name}/{self.container}"
        return {"docker": f"container:{self.name[:12]}", "systemd": f"unit:{self.name}"}.get(
            self.manager, f"user:{self.uid}/{self.command}"
        )

    def number(self, cycle: int) -> int:
        """Slurm job id in that cycle."""
        return int(self.name) + (0 if self.forever else 10 * (self.earlier + cycle))


class Segment(NamedTuple):
    """A stretch of a GPU's cycle: its power, and who draws how much of it."""

    start_us: int
    power_mw: int
    parts: tuple[tuple[int, int, int], ...]  # job index, dynamic mW, SM percent
    residents: tuple[int, ...]  # jobs that hold the GPU, running or not


class Timeline:
    """One GPU's power over the cycle, forever.

    Parameters
    ----------
    gpu : int
    jobs : sequence of Job
    cycle_us, origin_us : int, us
        Length of the cycle, and the moment at which one began.
    idle_mw : int, mW
    scale_permille : int
        This card's dynamic power against the schedule's, in thousandths: no two cards draw alike.
    limit_mw : int, mW
        Never exceeded.
    context_mw, linger_us : int, mW and us
        Drawn on top of idle power while a process is there, whether or not it computes, and for so long after the last
        one went; who has a process shares it equally, and of what comes after that it is nobody's.
    since_us : int, us
        When the GPU came to the host: before, it draws nothing that counts.
    """

    def __init__(
        self,
        gpu: int,
        jobs: tuple[Job, ...],
        cycle_us: int,
        origin_us: int,
        idle_mw: int,
        *,
        scale_permille: int = 1000,
        limit_mw: int = 700_000,
        since_us: int = 0,
        context_mw: int = 0,
        linger_us: int = 0,
    ) -> None:
        self.since_us = since_us
        self.gpu, self.jobs, self.cycle_us, self.origin_us, self.idle_mw = gpu, jobs, cycle_us, origin_us, idle_mw
        mine = [(i, job) for i, job in enumerate(jobs) if gpu in job.gpus]
        steps = {i: _steps(job) for i, job in mine}
        edges = {0, *(t for at in steps.values() for t, _, _ in at if t < cycle_us)}
        edges |= {t for _, job in mine for t in (job.start_us, job.end_us) if t < cycle_us}
        left = [job.end_us for _, job in mine if job.load and not job.forever] if context_mw else []
        edges |= {(end_us + linger_us) % cycle_us for end_us in left}
        self.segments: list[Segment] = []
        for start_us in sorted(edges):
            parts = []
            for i, job in mine:
                if job.load and job.start_us <= start_us < job.end_us:
                    at = steps[i]
                    _, dynamic_mw, sm = at[bisect_right(at, (start_us, 1 << 62, 0)) - 1]
                    parts.append((i, dynamic_mw * scale_permille // 1000, sm))
            nobodys_mw = context_mw if any((start_us - t) % cycle_us < linger_us for t in left) and not parts else 0
            parts = [(i, mw + context_mw // len(parts), sm) for i, mw, sm in parts]
            residents = tuple(i for i, job in mine if job.start_us <= start_us < job.end_us)
            power_mw = idle_mw + nobodys_mw + sum(mw for _, mw, _ in parts)
            if power_mw > limit_mw:
                parts = [(i, mw * (limit_mw - idle_mw) // (power_mw - idle_mw), sm) for i, mw, sm in parts]
                power_mw = idle_mw + sum(mw for _, mw, _ in parts)
            self.segments.append(Segment(start_us, power_mw, tuple(parts), residents))
        self._starts = [s.start_us for s in self.segments]
        ends = [*self._starts[1:], cycle_us]
        lengths = [b - a for a, b in zip(self._starts, ends, strict=True)]
        self._last = (origin_us, 0)
        self._power = [s.power_mw for s in self.segments]
        names = [next((i for i, _, sm in reversed(s.parts) if sm > 0), None) for s in self.segments]
        last = next(((-1, i) for i in reversed(names) if i is not None), None)
        self._last_busy = [last := last if i is None else (0, i) for i in names]
        self._before = [0, *accumulate(p * n for p, n in zip(self._power, lengths, strict=True))]

    def place(self, time_us: int) -> tuple[int, int, int]:
        """Return cycle, offset within it, and the index of the segment."""
        cycle, offset_us = divmod(time_us - self.origin_us, self.cycle_us)
        return cycle, offset_us, bisect_right(self._starts, offset_us) - 1

    def segment(self, time_us: int) -> Segment:
        """Return what goes on at a moment."""
        return self.segments[self.place(time_us)[2]]

    def last_busy(self, place: int) -> tuple[int, int] | None:
        """Return whose turn it was last at or before a segment: how many cycles ago (0 or -1), and the job's index."""
        return self._last_busy[place]

    def energy_nj(self, time_us: int) -> int:
        """Energy since the origin: milliwatts times microseconds are nanojoules, exactly."""
        if time_us != self._last[0]:  # counter and powers are published at the same moment
            cycle, offset_us, i = self.place(time_us)
            energy_nj = cycle * self._before[-1] + self._before[i] + self._power[i] * (offset_us - self._starts[i])
            self._last = (time_us, energy_nj)
        return self._last[1]

    def between(self, start_us: int, end_us: int) -> list[tuple[int, int, Segment]]:
        """Return (cycle, length in us, segment) of every piece of a stretch."""
        pieces = []
        while start_us < end_us:
            cycle, offset_us, i = self.place(start_us)
            until_us = (self._starts[i + 1] if i + 1 < len(self._starts) else self.cycle_us) - offset_us
            length_us = min(end_us - start_us, until_us)
            pieces.append((cycle, length_us, self.segments[i]))
            start_us += length_us
        return pieces

    def used_since_us(self, start_us: int, end_us: int) -> int:
        """Return since when there was a process on it at all times until ``end_us``: from ``start_us`` to then."""
        at_us = since_us = start_us
        for _, length_us, segment in self.between(start_us, end_us):
            at_us += length_us
            if not any(self.jobs[i].load for i in segment.residents):
                since_us = at_us
        return since_us

    def busy(self, start_us: int, end_us: int) -> dict[tuple[int, int], int]:
        """SM-microseconds in hundredths by (job index, cycle) over a stretch, of those who had any."""
        busy: dict[tuple[int, int], int] = {}
        for cycle, length_us, segment in self.between(start_us, end_us):
            for i, _, sm in segment.parts:
                if sm:
                    busy[i, cycle] = busy.get((i, cycle), 0) + sm * length_us
        return busy


def _steps(job: Job) -> list[tuple[int, int, int]]:
    """Start, dynamic mW and SM percent of every step of a job within the cycle."""
    steps, at_us, i = [], job.start_us, 0
    while job.load and at_us < job.end_us:
        step = job.load[i % len(job.load)]
        steps.append((at_us, step.dynamic_mw, step.sm_percent))
        at_us += step.duration_us
        i += 1
    return steps


@dataclass(frozen=True, slots=True)
class Truth:
    """The joules that really flowed, to compare any meter's with. Energies in nanojoules, exactly.

    What a GPU drew before it came to the host (elsewhere, if anywhere) is not counted.
    """

    timelines: tuple[Timeline, ...]

    def gpu_nj(self, gpu: int, start_us: int, end_us: int) -> int:
        """Energy of one GPU over a stretch."""
        line = self.timelines[gpu]
        since_us = min(max(start_us, line.since_us), end_us)
        return line.energy_nj(end_us) - line.energy_nj(since_us)

    def jobs_nj(self, start_us: int, end_us: int) -> dict[tuple[str, int], tuple[int, int]]:
        """Energy by (owner, GPU) over a stretch: (static, dynamic).

        Idle power is shared equally by those who hold the GPU at the moment and goes to ``_idle`` when nobody does;
        what it draws above idle without a process is ``_unattributed``'s. The odd nanojoules of a division go to the
        first.
        """
        found: dict[tuple[str, int], tuple[int, int]] = {}

        def add(key: str, gpu: int, static: int, dynamic: int) -> None:
            before = found.get((key, gpu), (0, 0))
            found[key, gpu] = (before[0] + static, before[1] + dynamic)

        for line in self.timelines:
            for cycle, length_us, segment in line.between(max(start_us, line.since_us), end_us):
                idle_nj = line.idle_mw * length_us
                rest_mw = segment.power_mw - line.idle_mw - sum(mw for _, mw, _ in segment.parts)
                if rest_mw:
                    add("_unattributed", line.gpu, 0, rest_mw * length_us)
                for i, dynamic_mw, _ in segment.parts:
                    add(line.jobs[i].key(cycle), line.gpu, 0, dynamic_mw * length_us)
                if not segment.residents:
                    add("_idle", line.gpu, idle_nj, 0)
                for nth, i in enumerate(segment.residents):
                    count = len(segment.residents)
                    share = idle_nj // count + (idle_nj % count if nth == 0 else 0)
                    add(line.jobs[i].key(cycle), line.gpu, share, 0)
        return found
