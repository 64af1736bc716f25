"""For how long each job of a replay was there, on whatever GPUs and hosts: its own time."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.window import Window


class JobTimes:
    """The stretches of each job, united: ascending, and apart from each other."""

    def __init__(self) -> None:
        self._spans: dict[str, list[list[int]]] = {}

    def add(self, window: Window) -> None:
        """Note who was there in a window."""
        usage = window.usage
        rows = zip(usage.owner.tolist(), usage.start_us.tolist(), usage.end_us.tolist(), strict=True)
        for owner, start, end in set(rows):
            self.note(window.owners[owner].key, start, end)

    def merge(self, other: JobTimes) -> None:
        """Add what was noted of other hosts."""
        for job, spans in other._spans.items():
            for start, end in spans:
                self.note(job, start, end)

    def of(self, job: str) -> int:
        """Return a job's time, us."""
        return sum(end - start for start, end in self._spans.get(job, ()))

    def note(self, job: str, start: int, end: int) -> None:
        """Note that a job was there from ``start`` to ``end`` (us)."""
        spans = self._spans.setdefault(job, [])
        if not spans or spans[-1][1] < start:
            spans.append([start, end])
            return
        if spans[-1][0] <= start:  # mostly: it goes on where it was
            spans[-1][1] = max(spans[-1][1], end)
            return
        first = bisect_left(spans, start, key=lambda span: span[1])  # the first that does not end before it
        last = first
        while last < len(spans) and spans[last][0] <= end:
            start, end = min(start, spans[last][0]), max(end, spans[last][1])
            last += 1
        spans[first:last] = [[start, end]]
