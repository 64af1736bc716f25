"""One host's own node model: what its node's meter shows beside its GPUs, minute by minute, over a day.

A BMC is late and averages: a line through the minutes of both as they stand is too flat, by 1 to 5 % where jobs last
some minutes and the meter is 10 to 20 s late. So the minutes are summed up for each lag that the meter may have, and
the line of the lag that leaves least unexplained counts (docs/decisions/1096).
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.fleet.live.node_fits import MinuteSums, aligned
from wattshed.exporters.units import HNJ_PER_JOULE, MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wattshed.agent.fleet.estimate.node_model import NodeModel
    from wattshed.exporters.snapshot import GpuFacts, NodeFacts

SCHEMA = "wattshed.node-minutes/1"
LAGS_S = tuple(range(0, 61, 5))
MINUTE_US, HOUR_US, DAY_HOURS = 60_000_000, 3_600_000_000, 24
READINGS = 4
"""Of the node's meter that a mean needs, however rare they are."""
MOST_OFF = 0.1
"""A node's meter, and GPUs, that cover so much more or less than the time that they are taken for have gaps."""


class _Gpus(NamedTuple):
    """What the boards used by a time: hnj, and us covered, of all together."""

    time_us: int
    energy_hnj: int
    covered_us: int


class _Start(NamedTuple):
    """Where a mean began: us on the agent's time line, and the node's meter then."""

    time_us: int
    node_hnj: int
    covered_us: int


class NodeMinutes:
    """Follows one host, window by window, and fits its node's meter to its GPUs."""

    def __init__(self) -> None:
        self._curve: deque[_Gpus] = deque()
        self._of: tuple[str, ...] = ()  # the meter, and the boards
        self._start: _Start | None = None
        self._readings = 0
        self._covered_us = -1
        self._hours: deque[tuple[int, list[MinuteSums]]] = deque()

    def see(self, time_us: int, gpus: Sequence[GpuFacts], node: NodeFacts | None) -> None:
        """Take what is known at the end of a window; only of hosts all of whose GPUs are metered as boards."""
        metered = all(gpu.boundary == "board" and gpu.energy_source != "none" for gpu in gpus)
        if node is None or not gpus or not metered:
            self._forget()
            return
        of = node.meter, *(gpu.uuid for gpu in gpus)
        silent = self._start is not None and time_us - self._start.time_us > HOUR_US  # the curve would grow for good
        if of != self._of or silent or (self._curve and time_us <= self._curve[-1].time_us):
            self._forget()
            self._of = of
        energy_hnj, covered_us = sum(gpu.energy_hnj for gpu in gpus), sum(gpu.covered_us for gpu in gpus)
        self._curve.append(_Gpus(time_us, energy_hnj, covered_us))
        if node.covered_us == self._covered_us:
            return
        self._covered_us = node.covered_us
        self._readings += 1
        start = self._start
        if start is not None and (time_us - start.time_us < MINUTE_US or self._readings < READINGS):
            return
        now = _Start(time_us, node.node_hnj, node.covered_us)
        if start is not None:
            self._book(start, now, len(gpus))
        self._start, self._readings = now, 0
        while len(self._curve) > 1 and self._curve[1].time_us <= time_us - LAGS_S[-1] * MICRO:
            self._curve.popleft()

    def _forget(self) -> None:
        self._curve.clear()
        self._start, self._readings, self._covered_us = None, 0, -1

    def _book(self, start: _Start, now: _Start, boards: int) -> None:
        """Add one mean at each lag, if node and GPUs were metered all the time."""
        lasted_us, covered_us = now.time_us - start.time_us, now.covered_us - start.covered_us
        if abs(covered_us - lasted_us) > MOST_OFF * lasted_us:
            return
        node_w = (now.node_hnj - start.node_hnj) / HNJ_PER_JOULE * MICRO / covered_us
        powers_w = []
        for lag_s in LAGS_S:
            gpu_w = self._gpu_w(start.time_us - lag_s * MICRO, now.time_us - lag_s * MICRO, boards)
            if gpu_w is None:
                return
            powers_w.append(gpu_w)
        hour = now.time_us // HOUR_US
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, [MinuteSums() for _ in LAGS_S]))
        for sums, gpu_w in zip(self._hours[-1][1], powers_w, strict=True):
            sums.see(lasted_us / MINUTE_US, gpu_w, node_w)

    def _gpu_w(self, start_us: int, end_us: int, boards: int) -> float | None:
        """Return the mean power of the boards together; None where they were not metered all the time."""
        (start_hnj, start_covered_us), (end_hnj, end_covered_us) = self._at(start_us), self._at(end_us)
        covered_us, whole_us = end_covered_us - start_covered_us, boards * (end_us - start_us)
        if start_us < self._curve[0].time_us or abs(covered_us - whole_us) > MOST_OFF * whole_us:
            return None
        return (end_hnj - start_hnj) / HNJ_PER_JOULE * MICRO / covered_us * boards

    def _at(self, time_us: int) -> tuple[float, float]:
        """Return energy and time covered by then, between two windows in proportion."""
        after = next((one for one in self._curve if one.time_us >= time_us), self._curve[-1])
        before = next((one for one in reversed(self._curve) if one.time_us <= time_us), self._curve[0])
        part = (time_us - before.time_us) / (after.time_us - before.time_us) if after.time_us > before.time_us else 0.0
        return (
            before.energy_hnj + part * (after.energy_hnj - before.energy_hnj),
            before.covered_us + part * (after.covered_us - before.covered_us),
        )

    def model(self, now_us: int) -> NodeModel | str:
        """Fit the last 24 hours; returns why not, where they do not allow it."""
        hour = now_us // HOUR_US
        while self._hours and not 0 <= hour - self._hours[0][0] < DAY_HOURS:
            self._hours.popleft()
        found = aligned({lag_s: [self._day(place)] for place, lag_s in enumerate(LAGS_S)})
        return found if isinstance(found, str) else found[1]

    def _day(self, place: int) -> MinuteSums:
        day = MinuteSums()
        for _, sums in self._hours:
            day.add(sums[place])
        return day

    def save(self, path: Path) -> None:
        """Keep it for the next start.

        Raises
        ------
        OSError
            It cannot be written.
        """
        hours = [[hour, [one.plain for one in sums]] for hour, sums in self._hours]
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"schema": SCHEMA, "lags_s": LAGS_S, "hours": hours}), encoding="utf-8")
        draft.replace(path)

    def load(self, path: Path) -> None:
        """Go on with what an earlier start kept.

        Raises
        ------
        FileNotFoundError
            There is nothing.
        OSError, ValueError, KeyError, TypeError
            It cannot be used.
        """
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA or tuple(about["lags_s"]) != LAGS_S:
            raise ValueError("it is of another version")
        hours = [(int(hour), [MinuteSums(*map(float, one)) for one in sums]) for hour, sums in about["hours"]]
        if any(len(sums) != len(LAGS_S) for _, sums in hours):
            raise ValueError("sums are missing")
        self._hours = deque(sorted(hours, key=lambda one: one[0]))
