"""What a past event spared, against like days; and what a grid takes if new load gives way in its highest hours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.inputs.tables import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKE_DAYS = 10
_FARTHEST = 45  # days before an event that may be like it


@dataclass(frozen=True, slots=True)
class PastEvent:
    """Mean power during an event, on like days at the same time, and what was spared with its 95 % interval; W."""

    days: int
    during_w: float
    like_w: float
    spared_w: float
    lower_w: float
    upper_w: float


def spared(power_w: NDArray[np.float64], step_s: float, first_us: float, event: tuple[datetime, datetime]) -> PastEvent:
    """Compare an event with the ten like days before it: of working days these, of weekends those.

    Parameters
    ----------
    power_w : float64[n], W
        Mean of each step.
    step_s : float, s
    first_us : float, us
        Time of the first reading, since 1970.
    event : (datetime, datetime)
        The readings from the first of them up to the second count.

    The interval is that of one more such day: Student's t with ``days - 1`` degrees of freedom times
    ``s sqrt(1 + 1/days)``.

    Raises
    ------
    InputError
        If the event or like days are not in the recording.
    """
    begin, end = event

    def mean(back: int) -> float:
        at = [(t - timedelta(days=back)).timestamp() - first_us / 1e6 for t in (begin, end)]
        first, last = (math.ceil(t / step_s - 1e-6) for t in at)
        piece = power_w[max(first, 0) : max(last, 0)]
        whole = first >= 0 and piece.size == last - first and piece.size > 0 and not np.isnan(piece).any()
        return float(piece.mean()) if whole else math.nan

    during = mean(0)
    if math.isnan(during):
        raise InputError("the event is not in the recording as a whole, or holds a hole")
    weekend = begin.weekday() >= 5
    days = [d for d in range(1, _FARTHEST + 1) if ((begin - timedelta(days=d)).weekday() >= 5) == weekend]
    like = np.array([w for d in days if not math.isnan(w := mean(d))][:LIKE_DAYS])
    if like.size < 2:
        raise InputError(f"{like.size} like days before the event are in the recording; at least 2 are needed")
    half = quantile(0.95, like.size - 1) * float(like.std(ddof=1)) * math.sqrt(1.0 + 1.0 / like.size)
    less = float(like.mean()) - during
    return PastEvent(like.size, during, float(like.mean()), less, less - half, less + half)


def event_of(text: str) -> tuple[datetime, datetime]:
    """Read ``2026-05-04T14:00..2026-05-04T17:00``; without a zone it is UTC.

    Raises
    ------
    InputError
        If it is something else.
    """
    parts = text.split("..")
    try:
        begin, end = (datetime.fromisoformat(part.strip()) for part in parts)
    except ValueError:
        raise InputError(f"--event {text!r} is not two times, such as 2026-05-04T14:00..2026-05-04T17:00") from None
    begin, end = (t.replace(tzinfo=UTC) if t.tzinfo is None else t for t in (begin, end))
    if not timedelta(0) < end - begin <= timedelta(days=1):
        raise InputError(f"--event {text!r} must end after it begins, and last a day at most")
    return begin, end


def read_grid_load(path: str) -> NDArray[np.float64]:
    """Read the hourly load of a grid, column ``load_mw``: float64[hours], W.

    Raises
    ------
    InputError
        If it has none, or a cell is not a number.
    """
    rows = read_table(path, ("load_mw",), used=("time", "hour", "load_mw"))
    loads = [row.number("load_mw", least=0.0) for row in rows]
    if not loads:
        raise InputError("holds no hour; add a row for each", path, 2)
    return np.array(loads) * 1e6


def new_load(grid_w: NDArray[np.float64], curtailed: float) -> float:
    """Return how much constant load a grid takes without a higher peak, if it gives way for a share of its energy; W.

    H of ``sum max(0, L + H - peak) = r H hours`` (T. H. Norris et al., Duke University 2025).
    """
    peak, hours = float(grid_w.max()), grid_w.size
    low, high = 0.0, peak
    # What gives way grows faster than in proportion to H: its share of H grows with it.
    while float(np.maximum(grid_w + high - peak, 0.0).sum()) < curtailed * high * hours:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        gives = float(np.maximum(grid_w + middle - peak, 0.0).sum())
        low, high = (middle, high) if gives <= curtailed * middle * hours else (low, middle)
    return low
