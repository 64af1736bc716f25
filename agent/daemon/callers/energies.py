"""What each job had used at any moment of the last two minutes: one cumulative function of time for each of its GPUs.

It is known where a window ended, as far as the GPU's energy was booked by then; for what lies in between see
`agent.meters.load_change`. What was used between two moments is the difference of two values, so adjacent stretches add
up to the whole exactly.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.accounts.uncertainty import gain_j
from wattshed.agent.meters.load_change import part_before, sigma_of_moment
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey, Line
    from wattshed.agent.window import Window

KEPT_WINDOWS = 128
FRESH_US = 10_000_000
"""A GPU that was not read for so long keeps only those waiting who are on it."""
ENDED_US = 10_000_000


class UsedSoFar(NamedTuple):
    """A value of the function: until when it counts, the energy, and what of it is in doubt, in J that add up."""

    time_us: int
    energy_hnj: int
    gain_j: float
    doubt_j: float


class JobEnergies:
    """Keeps the marks of all running jobs. The loop notes them, any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[str, dict[GpuKey, deque[UsedSoFar]]] = {}
        self._began_us: dict[str, int] = {}
        self._known_us: dict[GpuKey, int] = {}
        self._since_us: int | None = None
        self._first_us = self._end_us = 0

    def follow(self, accounts: Accounts, window: Window) -> None:
        """Note what each job has used by the end of a window."""
        known_us = accounts.known_us(window.end_us)
        jobs = accounts.ledger.jobs
        with self._lock:
            before, self._known_us = self._known_us, known_us
            self._since_us, self._end_us = accounts.since_us, window.end_us
            self._first_us = self._first_us or window.start_us
            self._marks = {key: marks for key, marks in self._marks.items() if key in jobs}
            for key, job in jobs.items():
                if job.end_us < window.end_us - ENDED_US and key in self._marks:
                    continue
                self._began_us[key] = job.start_us
                marks = self._marks.setdefault(key, {})
                for gpu, line in job.lines.items():
                    _note(marks, gpu, line, accounts.gpus[gpu], known_us.get(gpu, 0), before.get(gpu))
            self._began_us = {key: began for key, began in self._began_us.items() if key in self._marks}

    def knows(self, job: str) -> bool:
        """Tell whether a job was on a GPU lately."""
        with self._lock:
            return job in self._marks

    def between(self, job: str, start_us: int, end_us: int) -> dict[str, Any]:
        """Return what a job used of each GPU until two moments, and in between.

        Parameters
        ----------
        job : str
        start_us, end_us : int, us
            On the time line of the windows.

        Returns
        -------
        dict
            ``epoch`` names the agent's count: values of different ones cannot be compared, nor those of accounts that
            were opened at different times (``began_us``, us; left out where the job was on no GPU). ``start`` and
            ``end`` have for each GPU's UUID the energy (hnj), what the gain and the split of it are in doubt by (J, one
            sigma, adding up), and what this moment may be off by (J, one sigma). ``energy_hnj`` is the difference. Or
            ``wait``, or ``error``.
        """
        with self._lock:
            marks = self._marks.get(job, {})
            late = [
                gpu.gpu
                for gpu, known_us in self._known_us.items()
                if known_us <= end_us and (gpu in marks or self._end_us - known_us < FRESH_US)
            ]
            # What it was before a moment depends on the power after: a moment is told once the next mark is there.
            next_us = [line[-2].time_us for line in marks.values() if len(line) > 1 and line[-1].time_us > end_us]
            if late or end_us > self._end_us or min(next_us, default=end_us + 1) <= end_us:
                return {"wait": f"{late[0]} is not read that far yet" if late else "that window is not over yet"}
            if start_us < self._first_us:
                return {"error": "the agent was not there yet", "reason": "before_the_agent"}
            if any(start_us < line[0].time_us and line[0].energy_hnj for line in marks.values()):
                return {"error": "that is too long ago to be asked for", "reason": "forgotten"}
            told = [{gpu.gpu: _at(line, time_us) for gpu, line in marks.items()} for time_us in (start_us, end_us)]
            began = {"began_us": self._began_us[job]} if job in self._began_us else {}
            since_us = self._since_us
        start, end = told
        return {
            "epoch": since_us,
            **began,
            "start": start,
            "end": end,
            "energy_hnj": sum(end[gpu][0] - start[gpu][0] for gpu in end),
        }


def _note(  # noqa: PLR0917 - called once, just above
    marks: dict[GpuKey, deque[UsedSoFar]],
    gpu: GpuKey,
    line: Line,
    account: GpuAccount,
    known_us: int,
    before_us: int | None,
) -> None:
    """Add a mark, if more is known than before; a job that is new had used nothing by the window before."""
    found = marks.get(gpu)
    if found is None:
        found = marks[gpu] = deque(maxlen=KEPT_WINDOWS)
        if before_us is not None and before_us < known_us:
            found.append(UsedSoFar(before_us, 0, 0.0, 0.0))
    hnj = line.static_hnj + line.dynamic_hnj
    doubt_j = (line.split_hnj + abs(line.idle_hnj) + line.untold_hnj) / HNJ_PER_JOULE
    mark = UsedSoFar(known_us, hnj, gain_j(account, hnj / HNJ_PER_JOULE), doubt_j)
    if found and known_us <= found[-1].time_us:
        return
    found.append(mark)


def _at(line: deque[UsedSoFar], time_us: int) -> tuple[int, float, float, float]:
    """Return energy (hnj), doubts (J), and what the straight line between two marks may be off by at a moment (J)."""
    times = [mark.time_us for mark in line]
    place = bisect_right(times, time_us)
    if place == 0:
        return 0, 0.0, 0.0, 0.0
    if place == len(line):
        last = line[-1]
        return last.energy_hnj, last.gain_j, last.doubt_j, 0.0
    a, b = line[place - 1], line[place]
    part, step = (time_us - a.time_us) / (b.time_us - a.time_us), b.energy_hnj - a.energy_hnj
    after = _power(b, line[place + 1])
    before = _power(line[place - 2], a) if place > 1 else after
    edge_j = sigma_of_moment(step / HNJ_PER_JOULE, part, (b.time_us - a.time_us) / 1e6)
    return (
        a.energy_hnj + int(step * part_before(part, before, after)),
        a.gain_j + (b.gain_j - a.gain_j) * part,
        a.doubt_j + (b.doubt_j - a.doubt_j) * part,
        edge_j,
    )


def _power(a: UsedSoFar, b: UsedSoFar) -> float:
    """Return the mean power between two marks, in any unit."""
    return (b.energy_hnj - a.energy_hnj) / (b.time_us - a.time_us)
