"""Power of a host's GPUs before its agent was started: from parts, hour by hour, over the time that was measured.

How much of a part's time a GPU was measured, its parts of ``_idle`` tell; those of an agent that did not count that
tell nothing, and then each part counts as measured throughout.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from wattshed.agent.window import IDLE
from wattshed.agent.wire.parts import join_hnj
from wattshed.exporters.web.power_steps import PowerStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.history.sql import SqlDatabase

MOST_PARTS = 300_000
"""Parts that are read for one answer, the newest: of very many jobs it reaches less far back."""


def stored_power(database: SqlDatabase, since_us: int, until_us: int, step_us: int) -> list[PowerStep]:
    """Add up what was used by step, GPU and owner.

    Parameters
    ----------
    database : SqlDatabase
        Of one host.
    since_us, until_us, step_us : int, us
        What lies across an edge is spread evenly.

    Returns
    -------
    list of PowerStep
        In order; of a time in which no GPU was measured there is none.

    Raises
    ------
    DatabaseError
    """
    gpus: dict[int, dict[str, _Measured]] = defaultdict(lambda: defaultdict(_Measured))
    shares: dict[int, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    rows = database.each(
        "SELECT gpu.uuid, job.key, part.from_us, part.to_us, part.static_j + part.dynamic_j, "
        "part.static_r + part.dynamic_r, part.covered_us FROM part JOIN job ON job.id = part.job "
        "JOIN gpu ON gpu.id = part.gpu "
        "WHERE part.to_us > ? AND part.from_us < ? ORDER BY part.to_us DESC LIMIT ?",
        (since_us, until_us, MOST_PARTS),
    )
    count, oldest_us = 0, until_us
    for uuid, owner, from_us, to_us, whole_j, rest_hnj, covered_us in rows:
        count, oldest_us = count + 1, to_us
        whole = join_hnj(whole_j, rest_hnj), covered_us if owner == IDLE else None
        for step, begin, end, hnj, covered in _pieces(from_us, to_us, *whole, step_us):
            if end > since_us and begin < until_us:
                gpus[step][uuid].add(begin, end, covered)
                shares[step][owner, uuid] += hnj
    # Of a step that begins before the end of the oldest part that was read, others may not have been.
    first = -(-oldest_us // step_us) if count == MOST_PARTS else since_us // step_us
    return [_step(gpus[step], shares[step], until_us) for step in sorted(gpus) if step >= first]


class _Measured:
    """When there are parts of a GPU, and how much of that it was measured."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self._told: list[tuple[int, int]] = []
        self._covered_us = 0

    def add(self, begin: int, end: int, covered_us: int | None) -> None:
        """Take note of a part, or a piece of one."""
        self.spans.append((begin, end))
        if covered_us is not None:
            self._told.append((begin, end))
            self._covered_us += covered_us

    def covered_us(self) -> int:
        """Return how long it was measured: as was told, and wherever nothing is told but there is a part."""
        length_us = _length_us(self.spans)
        return min(self._covered_us + length_us - _length_us(self._told), length_us)


def _pieces(
    from_us: int, to_us: int, hnj: int, covered_us: int | None, step_us: int
) -> Iterator[tuple[int, int, int, int, int | None]]:
    """Yield the step, begin, end, energy and covered time of each piece of a part; they add up to it exactly."""
    done_hnj, done_us = 0, 0
    for step in range(from_us // step_us, max(to_us - 1, from_us) // step_us + 1):
        begin, end = max(from_us, step * step_us), min(to_us, (step + 1) * step_us)
        length, by_then = (to_us - from_us, end - from_us) if end < to_us else (1, 1)
        by_then_hnj, by_then_us = hnj * by_then // length, (covered_us or 0) * by_then // length
        yield step, begin, end, by_then_hnj - done_hnj, None if covered_us is None else by_then_us - done_us
        done_hnj, done_us = by_then_hnj, by_then_us


def _step(gpus: dict[str, _Measured], shares: dict[tuple[str, str], int], until_us: int) -> PowerStep:
    begin = min(begin for gpu in gpus.values() for begin, _ in gpu.spans)
    end = max(end for gpu in gpus.values() for _, end in gpu.spans)
    energy: dict[str, int] = defaultdict(int)
    for (_, uuid), hnj in shares.items():
        energy[uuid] += hnj
    covered = {uuid: (energy[uuid], gpu.covered_us()) for uuid, gpu in gpus.items()}
    return PowerStep(begin, max(begin, min(end, until_us)), covered, dict(shares)).folded()


def _length_us(spans: Iterable[tuple[int, int]]) -> int:
    """Return how long it is in all that is in any of these stretches of time."""
    length, until = 0, 0
    for begin, end in sorted(spans):
        length += max(0, end - max(begin, until))
        until = max(until, end)
    return length
