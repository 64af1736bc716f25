"""Rows of ``nvidia-smi --query-gpu`` without a header: their columns are told by what stands in them."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from wattshed.agent.inputs.partial_times import of_day
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UUID = re.compile(r"(GPU|MIG)-[0-9a-fA-F]{8}.*")
_PCI = re.compile(r"[0-9a-fA-F]{8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_WATTS = re.compile(r"\d+[.,]\d+ W")
_HUNDREDTHS = re.compile(r"\d{1,5}\.\d\d")
_NUMBER = re.compile(r"\d+[.,]\d+( W)?")
_SMALL = re.compile(r"\d{1,3}")
_MODEL = re.compile(r"NVIDIA|Tesla|GeForce|Quadro|RTX|[AHBLTV]\d{1,3}\b")
_EPOCH = re.compile(r"1[2-9]\d{8}(?:\.\d{1,9})?|1[2-9]\d{11}|1[2-9]\d{14}|1[2-9]\d{17}")
_DATE = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[./-]\d\d?[./-]\d{4}")


def layout_of_rows(rows: Sequence[Sequence[str]]) -> TableLayout | None:
    """Find the columns of a query without header by what stands in them; columns are named 1, 2, ...

    nvidia-smi prints watts with two decimals and nothing else so. Of several such columns the one that changes most is
    power (limits stand still), and where none changes, one that is not whole (limits are), or the lowest; numbers that
    count up and start again are the index.

    Returns
    -------
    TableLayout or None
        Without time where no column is one; None where none is power.
    """
    columns = list(zip(*rows, strict=True))

    def where(fits: re.Pattern[str]) -> list[int]:
        return [i for i, column in enumerate(columns) if any(map(fits.fullmatch, column))]

    date, time = _clock(columns)
    powers = [i for i in where(_WATTS) or where(_HUNDREDTHS) if i not in {date, time}]
    if not powers:
        return None
    power = max(powers, key=lambda i: (len(set(columns[i])), not _is_whole(columns[i]), -_mean(columns[i])))
    still = [i for i in powers if i != power and _mean(columns[i]) > 0 and 4 * len(set(columns[i])) <= len(rows)]
    named = (where(_UUID) or where(_PCI))[:1]
    if not named:
        named = [i for i in where(_SMALL) if _counts_gpus(columns[i])][:1]
    words = [i for i, column in enumerate(columns) if _MODEL.search(column[0]) and i not in {*named, date, time}]
    return TableLayout(
        time=_name(time),
        date=_name(date),
        gpu=tuple(map(_name, named)),
        power=(Quantity(_name(power), "W"),),
        limit=Quantity(_name(still[0]), "W") if still else None,
        model=_name(words[0]) if words else "",
    )


def _is_whole(column: Sequence[str]) -> bool:
    """Whether a column has whole watts only."""
    return all(cell.removesuffix(" W").endswith((".00", ",00")) for cell in column)


def _name(place: int) -> str:
    return str(place + 1) if place >= 0 else ""


def _clock(columns: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Find the columns of date and time; -1 where there is none."""

    def first(fits: Callable[[str], object]) -> int:
        return next((i for i, column in enumerate(columns) if all(fits(cell) for cell in column)), -1)

    time = first(lambda cell: ":" in cell and parse_text(cell))
    if time < 0:
        time = first(_EPOCH.fullmatch)
    if time >= 0:
        return -1, time
    time = first(lambda cell: of_day(cell) is not None)
    return (first(_DATE.fullmatch) if time >= 0 else -1), time


def _mean(cells: Sequence[str]) -> float:
    """Mean of what is a number among cells like ``400.00 W``; 0 where nothing is."""
    numbers = [float(cell.removesuffix(" W").replace(",", ".")) for cell in cells if _NUMBER.fullmatch(cell)]
    return sum(numbers) / len(numbers) if numbers else 0.0


def _counts_gpus(cells: Sequence[str]) -> bool:
    """Return whether a column counts 0, 1, ..., n - 1 over and over; a few rows may be missing."""
    if not all(_SMALL.fullmatch(cell) for cell in cells) or len(cells) < 2:
        return False
    numbers = [int(cell) for cell in cells]
    n = max(numbers) + 1
    steps = [(b - a) % n for a, b in itertools.pairwise(numbers)]
    return 1 < n == len(set(numbers)) and steps.count(1) >= 0.9 * len(steps)
