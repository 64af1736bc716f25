"""JSON objects into rows of a table: nested keys are joined with dots, a list of GPUs is a row for each of them.

``{"time": 1, "gpus": [{"power": 70}, {"power": 90}]}`` is two rows, of GPU 0 and 1, at the same time. A GPU's place in
its list is its index where nothing in it says which it is. Lists and objects without power in them are left out.
A table that is written column by column (as pandas does: ``{"time": [1, 2], "power": [70, 71]}``) is a row for each of
its times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.inputs.columns import guess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PLACE = "gpu"
"""Column of a GPU's place in its list, or of the key that it stands under."""
_DEEPEST = 8
_OF_POWER = re.compile(r"power|watt|energy|joule|\bpwr\b", re.IGNORECASE)
_OF_GPU = re.compile(r"(gpu|nvidia|cuda|device|card)?[\s_:-]*\d{1,4}|(GPU|MIG)-[0-9a-f-]{8,}", re.IGNORECASE)
_NAMING = re.compile(
    r"(gpu|device|minor)?[_ .]?(id|idx|index|uuid|number|num)|gpu|device|pci[._]?bus[._]?id", re.IGNORECASE
)


def rows_of(value: Any) -> Iterator[dict[str, str]]:
    """Yield the rows of one JSON value, each a mapping of column to text; nothing if no power is in it."""
    if isinstance(value, list):
        for member in value:
            yield from rows_of(member)
    elif isinstance(value, dict):
        columns = _columns(value)
        records = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        for record in records if columns else [value]:
            yield from _expanded(record, {})


def _columns(value: Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    """Return the columns of an object that is a table by columns, all of one length; else nothing."""
    names, rows = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(rows, list):
        fits = [row for row in rows if isinstance(row, list) and len(row) == len(names)]
        return dict(zip(map(str, names), zip(*fits, strict=True), strict=True)) if fits else {}
    time = value.get(guess(list(value)).get("time", ""))
    if isinstance(time, list):
        lists = {name: one for name, one in value.items() if isinstance(one, list) and len(one) == len(time)}
        return lists if len(time) > 1 else {}
    if not isinstance(time, dict) or len(time) < 2:
        return {}
    alike = {name: one for name, one in value.items() if isinstance(one, dict) and one.keys() == time.keys()}
    return {name: list(one.values()) for name, one in alike.items()}


@dataclass(slots=True)
class _Members:
    """The members of an object: cells, lists of GPUs, and lists of numbers, one a GPU."""

    cells: dict[str, str]
    groups: list[list[dict[str, Any]]] = field(default_factory=list)
    series: dict[str, list[str]] = field(default_factory=dict)

    def sort(self, record: Mapping[str, Any], prefix: str = "") -> None:
        """Take the members of an object whose own name is the prefix."""
        for key, value in record.items():
            name = prefix + key
            if not isinstance(value, (dict, list)):
                self.cells[name] = _text(value)
            elif name.count(".") > _DEEPEST or not _has_power(value, key):
                continue
            elif isinstance(value, dict):
                if value and all(isinstance(one, dict) and _OF_GPU.fullmatch(k) for k, one in value.items()):
                    self.groups.append([{PLACE: k, **one} for k, one in value.items()])
                else:
                    self.sort(value, f"{name}.")
            elif all(isinstance(one, dict) for one in value):
                self.groups.append(value)
            elif not any(isinstance(one, (dict, list)) for one in value):
                self.series[name] = [_text(one) for one in value]


def _expanded(record: Mapping[str, Any], around: Mapping[str, str], place: int = 0) -> Iterator[dict[str, str]]:
    """Yield the rows of an object; ``place`` is its own in the list that it is in, from 1, or 0."""
    found = _Members(dict(around))
    found.sort(record)
    for members in found.groups:
        for number, member in enumerate(members, 1):
            yield from _expanded(member, found.cells, number)
    for number in range(max(map(len, found.series.values()), default=0)):
        cells = {name: cells[number] for name, cells in found.series.items() if number < len(cells)}
        yield {**found.cells, PLACE: str(number), **cells}
    if not found.groups and not found.series:
        unnamed = place and not any(_NAMING.fullmatch(key) for key in record)
        yield {**found.cells, PLACE: str(place - 1)} if unnamed else found.cells


def _has_power(value: Any, key: str) -> bool:
    """Return whether power or energy is somewhere in it."""
    if isinstance(value, dict):
        return bool(_OF_POWER.search(key)) or any(_has_power(v, k) for k, v in value.items())
    if isinstance(value, list):
        return bool(_OF_POWER.search(key)) or any(_has_power(one, "") for one in value[:64])
    return bool(_OF_POWER.search(key))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
