"""Where bars and lines of a report's plots lie: numbers for a template, which draws them.

Places along a plot are percent of its width, heights are pixels: a plot fills any width, and its text keeps its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.figures import SIGMAS
from wattshed.agent.reports.amounts import IDLE, NO_JOBS, OTHER, UNATTRIBUTED, kwh
from wattshed.agent.reports.sheet import row_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_BARS = 14
MOST_SERIES = 7
MOST_DAYS = 92
HEIGHT_PX = 240
_DAY_S = 86_400
_LABEL = 34  # characters of a name in a plot
_LEFT, _RIGHT = 11.0, 100.0  # percent between which bars of time stand; their axis is left of it
_LABELS = 6
_COLOURS = {IDLE: "idle", UNATTRIBUTED: "unattributed", OTHER: "other"}
_REST = "others"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row's energy: a name, what it is worth, and percent of the plot's width; ``low`` to ``high`` is two sigma."""

    name: str
    label: str
    value: str
    colour: str
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Piece:
    """What one series has in a stretch of time: percent and pixels, from the top left corner."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    told: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line or a label of an axis, at percent of the width or at pixels from the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Stacks:
    """Energy over time, one bar for each day or month.

    Attributes
    ----------
    unit : str
        ``day`` or ``month``.
    series : tuple of (str, str)
        Name and colour, from the bottom up.
    times : tuple of str
    values : tuple of tuple of float, kWh
        By time and series.
    pieces, marks, labels
        What is drawn: bars, lines across at round values, and times below.
    """

    unit: str
    series: tuple[tuple[str, str], ...]
    times: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    pieces: tuple[Piece, ...]
    marks: tuple[Tick, ...]
    labels: tuple[Tick, ...]


def bars_of(document: Mapping[str, Any], texts: Sequence[str]) -> list[Bar]:
    """Lay out the largest rows of a report; the smaller ones are in its table.

    Parameters
    ----------
    document : mapping
        Of `amounts.priced`.
    texts : sequence of str
        The energy of each row as its table has it.
    """
    rows = [
        (row["name"], text, float(kwh(row["energy_j"])), SIGMAS * row["sigma_j"] / 3_600_000)
        for row, text in zip(document["rows"], texts, strict=True)
    ]
    if len(rows) > MOST_BARS:
        jobs = [row for row in rows if row[0] not in NO_JOBS]
        rows = jobs[: MOST_BARS - (len(rows) - len(jobs))] + [row for row in rows if row[0] in NO_JOBS]
    most = max((value + doubt for _, _, value, doubt in rows), default=0.0) or 1.0
    return [
        Bar(
            row_name(name), shortened(row_name(name)), text, _COLOURS.get(name, "c0"), max(value, 0.0) / most * 100,
            max(value - doubt, 0.0) / most * 100, max(value + doubt, 0.0) / most * 100,
        )
        for name, text, value, doubt in rows
    ]  # fmt: skip


def stacks_of(found: Mapping[str, Any]) -> Stacks | None:
    """Lay out a report over time; None where it is no longer than a day, or goes by time itself.

    Parameters
    ----------
    found : mapping
        ``wattshed.report/1`` with steps.
    """
    days = {int(from_s) // _DAY_S for _, from_s, _, _ in found["steps"]}
    if len(days) < 2 or found["by"] in {"day", "month"}:
        return None
    unit = "day" if max(days) - min(days) < MOST_DAYS else "month"
    series, place_of = _series(found["rows"])
    times = _times(min(days), max(days), unit)
    index = {time: place for place, time in enumerate(times)}
    values = [[0.0] * len(series) for _ in times]
    for row, from_s, energy, _ in found["steps"]:
        values[index[_time(int(from_s) // _DAY_S, unit)]][place_of[row]] += float(kwh(energy))
    top, marks = _axis(max(sum(max(value, 0.0) for value in stack) for stack in values))
    pieces = _pieces(times, values, series, top)
    return Stacks(
        unit, tuple(series), tuple(times), tuple(map(tuple, values)), tuple(pieces), tuple(marks), tuple(_labels(times))
    )


def shortened(name: str, most: int = _LABEL) -> str:
    """Cut a name to so many characters, so that it fits into a plot."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _series(rows: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], list[int]]:
    """Choose the series: the largest rows, all others as one, and what is nobody's; and say which row is in which."""
    order = sorted(range(len(rows)), key=lambda place: -kwh(rows[place]["energy_j"]))
    largest = [place for place in order if rows[place]["name"] not in NO_JOBS]
    alone = largest[: MOST_SERIES if len(largest) > MOST_SERIES + 1 else MOST_SERIES + 1]
    nobody = [place for place, row in enumerate(rows) if row["name"] in NO_JOBS]
    series = [(row_name(rows[place]["name"]), f"c{colour}") for colour, place in enumerate(alone)]
    place_of = {place: i for i, place in enumerate(alone)}
    if len(largest) > len(alone):
        place_of |= dict.fromkeys(largest[len(alone) :], len(series))
        series.append((f"{len(largest) - len(alone):,} {_REST}", "rest"))
    for place in nobody:
        place_of[place] = len(series)
        series.append((rows[place]["name"], _COLOURS[rows[place]["name"]]))
    return series, [place_of[place] for place in range(len(rows))]


def _times(first: int, last: int, unit: str) -> list[str]:
    return list(dict.fromkeys(_time(day, unit) for day in range(first, last + 1)))


def _time(day: int, unit: str) -> str:
    return datetime.fromtimestamp(day * _DAY_S, UTC).strftime("%Y-%m-%d" if unit == "day" else "%Y-%m")


def _pieces(
    times: Sequence[str], values: Sequence[Sequence[float]], series: Sequence[tuple[str, str]], top: float
) -> list[Piece]:
    wide = (_RIGHT - _LEFT) / len(times)
    gap = wide * (0.18 if len(times) < 40 else 0.08)
    pieces = []
    for column, (time, stack) in enumerate(zip(times, values, strict=True)):
        y = float(HEIGHT_PX)
        for value, (name, colour) in zip(stack, series, strict=True):
            height = max(value, 0.0) / top * HEIGHT_PX
            if height > 0:
                y -= height
                told = f"{time}, {name}: {value:,.3g} kWh"
                pieces.append(Piece(_LEFT + column * wide + gap / 2, y, wide - gap, height, colour, told))
    return pieces


def _axis(most: float) -> tuple[float, list[Tick]]:
    """Choose round values up to a little more than the largest; returns where the axis ends, and its marks."""
    if most <= 0:
        return 1.0, [Tick(HEIGHT_PX, "0")]
    size = 10.0 ** int(f"{most / 4:e}".partition("e")[2])
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size * 4 >= most)
    top = max(most * 1.04, step)
    count = int(top / step)
    return top, [Tick(HEIGHT_PX - i * step / top * HEIGHT_PX, f"{i * step:,.6g}") for i in range(count + 1)]


def _labels(times: Sequence[str]) -> list[Tick]:
    """Name some of the times below their bars."""
    wide = (_RIGHT - _LEFT) / len(times)
    every = -(-len(times) // _LABELS)
    return [
        Tick(_LEFT + (place + 0.5) * wide, times[place][5:] if len(times[place]) > 7 else times[place])
        for place in range(0, len(times), every)
    ]
