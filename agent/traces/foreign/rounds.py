"""Rounds of rows: how many GPUs a log is of that has no column for them, told by its times, else by its powers.

A logger asks n GPUs one after the other, then waits: the log has n rows with equal stamps or some milliseconds apart,
then a pause, over and over. The rows of a full round are GPU 0, 1, ..., n - 1, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MOST_GPUS = 64
_SLACK = 0.02  # of the rows may be missing, or late, before the share of pauses among the steps is another
_SHARP = 2  # a pause is so many times as long as the usual step within a round
_CLEAR = 4  # from here on, times alone tell
_FINE_US = 1000  # steps below are all alike: stamps that fall on both sides of a printed digit
_CLOCK_US = 16_000  # clocks may go in such steps whatever they print: those of Windows do
_SECOND_US = 1_000_000
_CLOSE_US = 50_000  # rows so close are of one round; up to the next bound their powers must say so, too
_FAR_US = 250_000
_OFTEN = 0.1  # so many of the rounds, or more, are of the length that is a full one's
_THERE = 0.85  # of the rows that full rounds would have
_ALIKE = 0.5  # a GPU's powers of two rounds differ less than this, measured by the difference between GPUs
_BURSTS = 20  # pauses are one step in so many, or more, where rows come in bursts of no fixed length
_SEEN = 10  # and there are so many at least: one GPU's logger was stopped some times in a short log
_MOSTLY = 0.8  # of the steps are pauses: some rows of one GPU may be close to others
_FEW = 5  # full rounds; where there are fewer, nearly all rows must be there, but for those of the last round
_NEARLY = 0.9
_LOOKED_AT = 1 << 16  # rows whose powers are compared
_TURNS = 0.2  # of the difference between rows; a power that comes again after n rows is less than that away
_UNEVEN = "rows come in bursts of different lengths"


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the times of a log say of its GPUs.

    Attributes
    ----------
    gpus : int
        Rows a round; 1 where rows do not come in rounds.
    pause_us : int, us
        A row that comes so long after the one before begins a round.
    unclear : str
        Why it cannot be told; empty if it can.
    doubt : str
        What speaks against ``gpus``, too little to refuse the log; empty if nothing does.
    by_time : bool
        The times alone say so: no clock, however coarse, gives such stamps to one GPU.
    by_power : bool
        Each place in the round has its own power.
    """

    gpus: int
    pause_us: int = 0
    unclear: str = ""
    doubt: str = ""
    by_time: bool = False
    by_power: bool = False


ONE = Rounds(1)


@dataclass(frozen=True, slots=True)
class _Level:
    """One way to cut the rows: at the pauses of a length."""

    pause_us: int
    gpus: int
    regular: bool
    within_us: int
    between_us: int
    sharpness: float


def judge(time_us: NDArray[np.int64], power_mw: NDArray[np.integer], tick_us: int) -> Rounds:
    """Tell how many GPUs the rows are of.

    Parameters
    ----------
    time_us : int64[n], us
        Ascending.
    power_mw : int[n], mW
        Below 1: no reading.
    tick_us : int, us
        What the last printed digit of the stamps stands for.
    """
    steps = np.diff(time_us)
    if not (time_us % _SECOND_US).any():
        tick_us = max(tick_us, _SECOND_US)  # printed with more digits, perhaps, that are all 0
    levels = [_level(steps, pause) for pause in _pauses(steps)]
    regular = [level for level in levels if level.regular and level.within_us <= _FAR_US]
    if not regular:
        return _without_rounds(steps, power_mw, tick_us, levels)
    slow = [level for level in regular if level.between_us > _CLOCK_US]
    if slow:
        level = min(slow, key=lambda one: (one.gpus, -one.pause_us))
    else:
        level = max(regular, key=lambda one: (one.gpus, one.pause_us))
    n, alike = level.gpus, _alike(power_mw, level.gpus)
    if len({one.gpus for one in slow}) > 1 and not alike:
        counts = " or ".join(str(one.gpus) for one in sorted(slow, key=lambda one: one.gpus))
        return Rounds(n, unclear=f"rows come in rounds of {counts}")
    if _of_the_clock(steps, level, tick_us):
        why = f"{n} rows have one stamp each time: {n} GPUs, or a clock that is coarser than the sampling"
        return Rounds(n, level.pause_us, by_power=True) if alike else Rounds(n, unclear=why)
    if alike or (level.sharpness >= _CLEAR and level.within_us <= _CLOSE_US):
        return Rounds(n, level.pause_us, by_time=level.sharpness >= _CLEAR, by_power=alike)
    return Rounds(n, unclear=f"rows come in bursts of {n}: {n} GPUs, or one that was read {n} times")


def _pauses(steps: NDArray[np.int64]) -> Iterator[int]:
    """Lengths of a pause that part the steps into those within rounds and those between, whatever their shares."""
    ordered, parted = np.sort(steps), -1
    slack = int(_SLACK * steps.size)
    for within in range(max(steps.size // 10, 1), steps.size, max(slack, 1)):
        low = int(ordered[max(within - 1 - slack, 0)])
        high = int(ordered[min(within + slack, steps.size - 1)])
        if high > _SHARP * max(low, _FINE_US):
            pause = int(min((max(low, _FINE_US) * high) ** 0.5, 0.7 * high)) or 1
            before = int(np.searchsorted(ordered, pause))
            if before != parted:
                parted = before
                yield pause


def _level(steps: NDArray[np.int64], pause_us: int) -> _Level:
    sizes = sizes_of(steps, pause_us)
    inner = sizes[1:-1] if sizes.size > 3 else sizes  # the first and the last may be cut
    counts = np.bincount(inner)
    often = np.flatnonzero(counts >= max(2, _OFTEN * inner.size))
    # Rows may be missing, but nothing adds any.
    n = int(often[-1]) if often.size and inner.size > _FEW else int(sizes.max())
    odd = inner[(inner > n) & (inner % n != 0)]
    full = int((sizes == n).sum())
    regular = 2 <= n <= MOST_GPUS and full >= 2 and odd.size <= max(1, _SLACK * inner.size)
    if full < _FEW:
        regular &= full >= min(3, sizes.size - 1)
        regular &= int(sizes.max()) <= n and int(sizes[:-1].sum()) >= _NEARLY * n * (sizes.size - 1)
    regular &= int(np.minimum(inner, n).sum()) >= _THERE * n * inner.size
    short, long = steps[steps < pause_us], steps[steps >= pause_us]
    within = int(np.quantile(short, 0.9)) if short.size else 0
    between = int(np.quantile(long, 0.1)) if long.size else 0
    return _Level(pause_us, n, bool(regular), within, between, between / max(within, 1))


def sizes_of(steps: NDArray[np.int64], pause_us: int) -> NDArray[np.int64]:
    """Count the rows of each round: int64[rounds]."""
    first = np.concatenate(([0], np.flatnonzero(steps >= pause_us) + 1, [steps.size + 1]))
    return np.diff(first)


def _alike(power_mw: NDArray[np.integer], n: int, share: float = _ALIKE) -> bool:
    """Return whether powers n rows apart are closer than those of neighbours: whether each place has its own power."""
    power = np.where(power_mw > 0, power_mw, np.nan)
    near, far = np.abs(np.diff(power)), np.abs(power[n:] - power[:-n])
    near, far = near[~np.isnan(near)], far[~np.isnan(far)]
    return bool(far.size >= n and far.mean() <= share * near.mean() and near.any())


def _of_the_clock(steps: NDArray[np.int64], level: _Level, tick_us: int) -> bool:
    """Return whether equal stamps may be those of one GPU, read more often than its clock goes on."""
    tick_us = max(tick_us, _CLOCK_US)
    if level.within_us > 0:
        return False
    long = steps[steps >= level.pause_us]
    # After two steps of the clock, one GPU would have twice the rows.
    slow = int((long > 1.5 * tick_us).sum())
    return slow < min(3, long.size) or slow * 10 < long.size


def _without_rounds(
    steps: NDArray[np.int64], power_mw: NDArray[np.integer], tick_us: int, levels: list[_Level]
) -> Rounds:
    """Judge rows that come in no regular rounds: of one GPU, unless they come in bursts all the same."""
    for level in levels:
        pauses = int((steps >= level.pause_us).sum())
        if level.sharpness < 10 or level.within_us > _FAR_US or pauses * _BURSTS < steps.size:
            continue
        if _of_the_clock(steps, level, tick_us):
            found = next((n for n in range(2, min(MOST_GPUS, steps.size // 4) + 1) if _alike(power_mw, n)), 0)
            if found:
                why = f"powers repeat every {found} rows, but the number of rows a stamp changes"
                return Rounds(found, unclear=why)
        elif pauses >= _SEEN and pauses < _MOSTLY * steps.size:
            return Rounds(level.gpus, unclear=_UNEVEN)
        elif pauses > 1:
            return Rounds(1, doubt=_UNEVEN)
    power_mw = power_mw[:_LOOKED_AT]
    for n in range(2, min(16, power_mw.size // 8) + 1):
        if _alike(power_mw, n, _TURNS):
            return Rounds(
                n, unclear=f"powers come again every {n} rows: {n} GPUs in turn, or a load that goes up and down"
            )
    return ONE
