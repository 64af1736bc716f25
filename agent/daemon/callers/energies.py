"""What each job had used at any moment of the last two minutes: one cumulative function of time for each of its GPUs.

The same of callers that are in no job (`agent.daemon.callers.own_parts`).

It is known where a window ended, as far as the GPU's energy was booked by then; for what lies in between see
`agent.meters.load_change`. What was used between two moments is the difference of two values, so adjacent stretches add
up to the whole exactly.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.accounts.uncertainty import estimated_w, gain_j
from wattshed.agent.meters.load_change import part_before, sigma_of_moment
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey, Line
    from wattshed.agent.daemon.callers.own_parts import CallerKey, OwnPart
    from wattshed.agent.window import JobKey, Window

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
    """Keeps the marks of all running jobs, and of callers in none. The loop notes them, any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[JobKey | CallerKey, dict[GpuKey, deque[UsedSoFar]]] = {}
        self._began_us: dict[JobKey | CallerKey, int] = {}
        self._known_us: dict[GpuKey, int] = {}
        self._unseen_w: dict[GpuKey, float] = {}
        self._since_us: int | None = None
        self._first_us = self._end_us = 0

    def follow(
        self,
        accounts: Accounts,
        window: Window,
        callers: Mapping[CallerKey, tuple[int, Mapping[GpuKey, OwnPart]]] = MappingProxyType({}),
    ) -> None:
        """Note what each job has used by the end of a window; and each caller in none, since when it is followed."""
        known_us = accounts.known_us(window.end_us)
        jobs = accounts.ledger.jobs
        with self._lock:
            before, self._known_us = self._known_us, known_us
            self._since_us, self._end_us = accounts.since_us, window.end_us
            self._first_us = self._first_us or window.start_us
            self._marks = {key: marks for key, marks in self._marks.items() if key in jobs or key in callers}
            self._unseen_w = {gpu: estimated_w(account) for gpu, account in accounts.gpus.items()}

            def note(key: JobKey | CallerKey, gpu: GpuKey, energy_hnj: int, doubt_j: float) -> None:
                gain = gain_j(accounts.gpus[gpu], energy_hnj / HNJ_PER_JOULE)
                mark = UsedSoFar(known_us.get(gpu, 0), energy_hnj, gain, doubt_j)
                _note(self._marks.setdefault(key, {}), gpu, mark, before.get(gpu))

            for key, job in jobs.items():
                if job.end_us < window.end_us - ENDED_US and key in self._marks:
                    continue
                self._began_us[key] = job.start_us
                for gpu, line in job.lines.items():
                    note(key, gpu, line.static_hnj + line.dynamic_hnj, _doubt_j(line))
            for caller, (since_us, parts) in callers.items():
                self._began_us[caller] = since_us
                for gpu, part in parts.items():
                    note(caller, gpu, part.energy_hnj, part.doubt_j)
            self._began_us = {key: us for key, us in self._began_us.items() if key in self._marks or key in callers}

    def knows(self, whose: JobKey | CallerKey) -> bool:
        """Tell whether a job, or a caller, was on a GPU lately."""
        with self._lock:
            return whose in self._marks

    def between(self, whose: JobKey | CallerKey, start_us: int, end_us: int) -> dict[str, Any]:
        """Return what a job, or a caller in none, used of each GPU until two moments, and in between.

        Parameters
        ----------
        whose : JobKey or CallerKey
        start_us, end_us : int, us
            On the time line of the windows.

        Returns
        -------
        dict
            ``epoch`` names the agent's count: values of different ones cannot be compared, nor those of accounts that
            were opened at different times (``began_us``, us; left out where the job was on no GPU). ``start`` and
            ``end`` have for each GPU's UUID the energy (hnj), what the gain and the split of it are in doubt by (J, one
            sigma, adding up), and what this moment may be off by (J, one sigma). ``energy_hnj`` is the difference. With
            ``wait`` all this is an estimate, if it is there, of which the doubt of the moment is large; or ``error``.
        """
        with self._lock:
            marks = self._marks.get(whose, {})
            late = [
                gpu.gpu
                for gpu, known_us in self._known_us.items()
                if known_us <= end_us and (gpu in marks or self._end_us - known_us < FRESH_US)
            ]
            # What it was before a moment depends on the power after: a moment is told once the next mark is there.
            next_us = [line[-2].time_us for line in marks.values() if len(line) > 1 and line[-1].time_us > end_us]
            wait = {}
            if late or end_us > self._end_us or min(next_us, default=end_us + 1) <= end_us:
                wait = {"wait": f"{late[0]} is not read that far yet" if late else "that window is not over yet"}
            began_us = self._began_us.get(whose)
            if start_us < self._first_us:
                return wait or {"error": "the agent was not there yet", "reason": "before_the_agent"}
            if not isinstance(whose, str) and (began_us is None or start_us < began_us):
                return wait or {"error": "it is not known what this process used before it asked", "reason": "unasked"}
            if any(start_us < line[0].time_us and line[0].energy_hnj for line in marks.values()):
                return wait or {"error": "that is too long ago to be asked for", "reason": "forgotten"}
            if wait and not marks:
                return wait
            told = [
                {gpu.gpu: _at(line, time_us, self._unseen_w[gpu] if wait else 0.0) for gpu, line in marks.items()}
                for time_us in (start_us, end_us)
            ]
            since_us = self._since_us
        start, end = told
        return {
            **wait,
            "epoch": since_us,
            **({"began_us": began_us} if began_us is not None else {}),
            "start": start,
            "end": end,
            "energy_hnj": sum(end[gpu][0] - start[gpu][0] for gpu in end),
        }


def _doubt_j(line: Line) -> float:
    return (line.split_hnj + abs(line.idle_hnj) + line.untold_hnj) / HNJ_PER_JOULE


def _note(marks: dict[GpuKey, deque[UsedSoFar]], gpu: GpuKey, mark: UsedSoFar, before_us: int | None) -> None:
    """Add a mark, if more is known than before; a job that is new had used nothing by the window before."""
    found = marks.get(gpu)
    if found is None:
        found = marks[gpu] = deque(maxlen=KEPT_WINDOWS)
        if before_us is not None and before_us < mark.time_us:
            found.append(UsedSoFar(before_us, 0, 0.0, 0.0))
    if found and mark.time_us <= found[-1].time_us:
        return
    found.append(mark)


def _at(line: deque[UsedSoFar], time_us: int, unseen_w: float) -> tuple[int, float, float, float]:
    """Return energy (hnj), doubts (J), and what the straight line between two marks may be off by at a moment (J).

    What is behind the last mark is nothing, of a job that has ended; else it goes on with the power before, which may
    be off by so much (W).
    """
    times = [mark.time_us for mark in line]
    place = bisect_right(times, time_us)
    if place == 0:
        return 0, 0.0, 0.0, 0.0
    if place == len(line):
        last, past_us = line[-1], time_us - line[-1].time_us
        power = _power(line[-2], last) if place > 1 and unseen_w else 0.0
        return last.energy_hnj + int(power * past_us), last.gain_j, last.doubt_j, unseen_w * past_us / 1e6
    a, b = line[place - 1], line[place]
    part, step = (time_us - a.time_us) / (b.time_us - a.time_us), b.energy_hnj - a.energy_hnj
    before = _power(line[place - 2], a) if place > 1 else None
    after = _power(b, line[place + 1]) if place + 1 < len(line) else before
    after = after if after is not None else _power(a, b)
    before = before if before is not None else after
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
