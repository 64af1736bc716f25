"""Power over the last hour: what the agent remembers to begin with, then what was seen here."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.terminal.facts import Scene

SPAN_S = 3600.0
TOTAL = "total"
_MERGED_S = 5.0
"""Samples of less time than this are joined: an hour of one series is no more than 720 of them."""


class PowerTrend:
    """Mean power of stretches of time, ascending, with holes where nothing is known."""

    def __init__(self) -> None:
        self._ends, self._lengths, self._watts = array("d"), array("d"), array("d")

    @property
    def end_s(self) -> float | None:
        """Until when it reaches."""
        return self._ends[-1] if self._ends else None

    def add(self, end_s: float, length_s: float, watts: float) -> None:
        """Append a stretch that ended at ``end_s``; what overlaps the last is cut off."""
        if self._ends:
            length_s = min(length_s, end_s - self._ends[-1])
        if length_s <= 0:
            return
        joined = self._lengths[-1] + length_s if self._ends else length_s
        if self._ends and end_s - length_s - self._ends[-1] < 1e-6 and joined <= _MERGED_S:
            self._watts[-1] += (watts - self._watts[-1]) * length_s / joined
            self._ends[-1], self._lengths[-1] = end_s, joined
        else:
            self._ends.append(end_s)
            self._lengths.append(length_s)
            self._watts.append(watts)

    def forget(self, before_s: float) -> None:
        """Drop what is older."""
        old = next((i for i, end_s in enumerate(self._ends) if end_s > before_s), len(self._ends))
        for column in (self._ends, self._lengths, self._watts):
            del column[:old]

    def cells(self, count: int, end_s: float, span_s: float) -> list[float | None]:
        """Return the mean power of ``count`` equal stretches that end at ``end_s``; None: nothing is known."""
        width = span_s / count if count else span_s
        energy, known = [0.0] * count, [0.0] * count
        start_s = end_s - span_s
        for end, length, watts in zip(
            reversed(self._ends), reversed(self._lengths), reversed(self._watts), strict=True
        ):
            if end <= start_s:
                break
            first = max(0, int((end - length - start_s) / width))
            for i in range(first, min(count, int((end - start_s) / width) + 1)):
                part = min(end, start_s + (i + 1) * width) - max(end - length, start_s + i * width)
                if part > 0:
                    energy[i] += watts * part
                    known[i] += part
        return [joules / seconds if seconds > 1e-9 else None for joules, seconds in zip(energy, known, strict=True)]


class Trends:
    """PowerTrend by GPU, by job and of all GPUs together."""

    def __init__(self) -> None:
        self._series: dict[str, PowerTrend] = {}
        self._last_s: float | None = None

    def cells(self, key: str, count: int, end_s: float, span_s: float) -> list[float | None]:
        """See `PowerTrend.cells`; of a key that nobody knows nothing is known."""
        series = self._series.get(key)
        return series.cells(count, end_s, span_s) if series is not None else [None] * count

    def follow(self, shown: Scene, job_w: Mapping[str, float]) -> None:
        """Take in a snapshot: the agent's memory for the time that was not looked at, then this moment."""
        now_s, history = shown.time_s, shown.history
        step_s = history.get("step_s", 10.0)
        missed = self._last_s is None or now_s - self._last_s > 1.5 * step_s
        if missed:
            self._recall(history, step_s)
        length_s = step_s if self._last_s is None or missed else now_s - self._last_s
        self._last_s = now_s
        gpu_w = {gpu.uuid: gpu.power_w for gpu in shown.gpus if gpu.power_w is not None}
        for key, watts in {**gpu_w, **job_w}.items():
            self._of(key).add(now_s, length_s, watts)
        if gpu_w:
            self._of(TOTAL).add(now_s, length_s, sum(gpu_w.values()))
        self._forget(shown, now_s)

    def _of(self, key: str) -> PowerTrend:
        return self._series.setdefault(key, PowerTrend())

    def _recall(self, history: Mapping[str, Mapping[str, Sequence[float | None]]], step_s: float) -> None:
        times = history.get("time_s", ())
        columns = [*history.get("gpus", {}).items(), *history.get("jobs", {}).items()]
        for key, line in columns:
            for end_s, watts in zip(times, line, strict=False):
                if watts is not None:
                    self._of(key).add(float(end_s), step_s, watts)
        for end_s, *row in zip(times, *history.get("gpus", {}).values(), strict=False):
            known = [watts for watts in row if watts is not None]
            if known:
                self._of(TOTAL).add(float(end_s), step_s, sum(known))

    def _forget(self, shown: Scene, now_s: float) -> None:
        alive = {TOTAL, *(gpu.uuid for gpu in shown.gpus), *(job.key for job in shown.jobs)}
        self._series = {key: series for key, series in self._series.items() if key in alive}
        for series in self._series.values():
            series.forget(now_s - SPAN_S)
