"""Power over time as a plot of a report's page: bands by job, or by GPU, with what is not known left out.

A plot is laid out in steps along and thousandths of its height; the page stretches it to any width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.printing.figures import JOULES_PER_KWH, printable
from wattshed.agent.reports.amounts import IDLE, OTHER, UNATTRIBUTED
from wattshed.agent.reports.plots import MOST_SERIES, Tick, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

UNITS = 1000
"""Of the height; the highest power stands a little below."""
_NOBODY = {IDLE: ("idle", "idle"), UNATTRIBUTED: ("unattributed", "unattributed")}
_HEADROOM = 1.04
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY_S = 86_400
_LABELS = 5
_LEFT, _RIGHT = 11.0, 100.0  # percent, as in `plots`


@dataclass(frozen=True, slots=True)
class PowerBand:
    """What one series adds on top of those below: a path, and its energy in words."""

    name: str
    colour: str
    told: str
    path: str


@dataclass(frozen=True, slots=True)
class PowerPlot:
    """Power over time.

    Attributes
    ----------
    of : str
        ``job`` or ``GPU``.
    steps : int
        Units along.
    step : str
        How long one is, in words.
    begin, end : str
        UTC.
    unit : str
        Of the marks.
    bands : tuple of PowerBand
        From the bottom up.
    gaps : tuple of (int, int)
        Step that begins one, and how many it has: nothing is known of them.
    marks, labels : tuple of Tick
        Powers in thousandths from the top, and times in percent of the page's width.
    """

    of: str
    steps: int
    step: str
    begin: str
    end: str
    unit: str
    bands: tuple[PowerBand, ...]
    gaps: tuple[tuple[int, int], ...]
    marks: tuple[Tick, ...]
    labels: tuple[Tick, ...]


def power_plot(
    of: str,
    steps: Mapping[int, Mapping[str, float]],
    joules: Mapping[str, float],
    step_s: float,
    names: Mapping[str, str] | None = None,
) -> PowerPlot | None:
    """Lay out power over time; None if none is known.

    Parameters
    ----------
    of : str
        ``job`` or ``GPU``.
    steps : mapping of int -> mapping of key -> float, W
        By the number of the step since 1970; a step that is absent is a gap.
    joules : mapping of key -> float, J
    step_s : float, s
    names : mapping of key -> str, optional
        What keys are called.
    """
    if not steps:
        return None
    first, last = min(steps), max(steps) + 1
    series = _series(of, joules, names or {})
    known: NDArray[np.float64] = np.full(last - first, np.nan)
    known[[place - first for place in steps]] = 0.0
    watts = [known.copy() for _ in series]
    place_of = {key: place for place, (_, _, keys) in enumerate(series) for key in keys}
    for step, powers in steps.items():
        for key, value in powers.items():
            watts[place_of[key]][step - first] += value
    top_w = float(np.nanmax(np.sum(watts, axis=0)))
    scale, unit = (1000.0, "kW") if top_w >= 10_000 else (1.0, "W")
    top, marks = _axis(top_w / scale)
    bands: list[PowerBand] = []
    low = known
    for (name, colour, keys), power in zip(series, watts, strict=True):
        high = low + power
        joined = sum(joules.get(key, 0.0) for key in keys)
        told = f"{joined / JOULES_PER_KWH:,.4g} kWh"
        bands.append(PowerBand(name, colour, told, _area(low / scale / top, high / scale / top)))
        low = high
    begin_s, end_s = first * step_s, last * step_s
    return PowerPlot(
        of, last - first, _length(step_s), _moment(begin_s), _moment(end_s), unit, tuple(bands), tuple(_gaps(known)),
        tuple(marks), tuple(_labels(begin_s, end_s)),
    )  # fmt: skip


def _series(of: str, joules: Mapping[str, float], names: Mapping[str, str]) -> list[tuple[str, str, list[str]]]:
    """Choose the series from the bottom up: a name, a colour and keys; the smaller ones are one."""
    found = [(name, colour, [key]) for key, (name, colour) in _NOBODY.items() if key in joules]
    order = sorted((key for key in joules if key not in _NOBODY), key=lambda key: (-joules[key], key))
    named = [key for key in order if key != OTHER]
    shown = named[: MOST_SERIES if len(order) > MOST_SERIES + 1 else MOST_SERIES + 1]
    found += [(shortened(printable(names.get(key, key))), f"c{i}", [key]) for i, key in enumerate(shown)]
    if rest := [key for key in order if key not in shown]:
        called = "other jobs" if OTHER in rest else counted(len(rest), f"other {of}")
        found.append((called, "rest", rest))
    return found


def _area(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Draw what lies between two stepped lines, stretch by stretch: the path of an SVG."""
    bottom, top = (np.rint(UNITS * (1 - line)) for line in (low, high))
    runs = _runs(~np.isnan(high))
    return "".join(
        _stretch(begin, end, bottom, top) for begin, end in runs if (top[begin:end] < bottom[begin:end]).any()
    )


def _stretch(begin: int, end: int, bottom: NDArray[np.float64], top: NDArray[np.float64]) -> str:
    forth = "".join(f"V{top[at]:.0f}H{until}" for at, until in _level(begin, end, top))
    back = "".join(f"V{bottom[at]:.0f}H{at}" for at, _ in reversed(list(_level(begin, end, bottom))))
    return f"M{begin} {bottom[begin]:.0f}{forth}{back}Z"


def _level(begin: int, end: int, line: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Part a stretch into pieces in which a line is level."""
    turns = begin + 1 + np.flatnonzero(np.diff(line[begin:end]))
    bounds = [begin, *turns.tolist(), end]
    return list(itertools.pairwise(bounds))


def _runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    change = np.flatnonzero(np.diff(np.concatenate(([0], there.astype(np.int8), [0]))))
    return list(zip(change[::2].tolist(), change[1::2].tolist(), strict=True))


def _gaps(known: NDArray[np.float64]) -> list[tuple[int, int]]:
    return [(begin, end - begin) for begin, end in _runs(np.isnan(known))]


def _axis(most: float) -> tuple[float, list[Tick]]:
    """Choose round powers up to a little more than the largest: where the axis ends, and its marks."""
    if most <= 0:
        return 1.0, [Tick(UNITS, "0")]
    size = 10.0 ** int(f"{most / 4:e}".partition("e")[2])
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size * 4 >= most)
    top = most * _HEADROOM
    return top, [Tick(UNITS * (1 - i * step / top), f"{i * step:,.6g}") for i in range(int(top / step) + 1)]


def _labels(begin_s: float, end_s: float) -> list[Tick]:
    """Name some round times below."""
    span_s = end_s - begin_s
    in_days = float(_DAY_S * -(-span_s // (_DAY_S * _LABELS)))
    step_s = next((float(s) for s in _STEPS_S if s * _LABELS >= span_s), in_days)
    form = "%m-%d" if step_s >= _DAY_S else "%H:%M" if step_s >= 60 else "%H:%M:%S"
    first = -(-begin_s // step_s) * step_s
    times = [first + i * step_s for i in range(int((end_s - first) // step_s) + 1)]
    wide = (_RIGHT - _LEFT) / span_s
    return [
        Tick(_LEFT + (at - begin_s) * wide, datetime.fromtimestamp(at, UTC).strftime(form))
        for at in times
        if (at - begin_s) * wide < _RIGHT - _LEFT - 4  # its middle is there, and it must not be cut off
    ]


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _length(step_s: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if step_s >= size and step_s % size == 0:
            return f"{step_s / size:g} {unit}"
    return f"{step_s:g} s"


def rejected_lines(sources: Sequence[Mapping[str, object]]) -> list[str]:
    """Say of each source what was rejected of it."""
    lines = []
    for source in sources:
        rejected = source["rejected"]
        if isinstance(rejected, dict) and rejected:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())
            count = f"{source['rows_rejected']:,} of {source['rows']:,} rows rejected"
            lines.append(f"{printable(str(source['path']))}: {count} ({reasons})")
    return lines
