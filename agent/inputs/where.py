"""Which rows of a table count: those whose cells are what ``--where metric=power,gpu=0`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.columns import bare_name, find, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.inputs.delimited import Block

    Conditions = Mapping[str, Sequence[str]]


def parse_where(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse ``metric=power,host=n1,host=n2``: column -> values, any of which will do.

    Raises
    ------
    InputError
        If a part is not ``column=value``.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in (part for text in texts for part in parts_of(text)):
        column, equals, value = (bare_name(piece) for piece in part.partition("="))
        if not equals or not column:
            raise InputError(f"--where: {part!r} is not column=value (for example metric=DCGM_FI_DEV_POWER_USAGE)")
        found[column] = (*found.get(column, ()), value)
    return found


class Where:
    """Leaves out rows of a table.

    Parameters
    ----------
    conditions : mapping of column -> values
    names : sequence of str
        All columns of the table.
    path : str
        For messages.

    Raises
    ------
    InputError
        If there is no such column.
    """

    def __init__(self, conditions: Conditions, names: Sequence[str], path: str) -> None:
        self._wanted = {find("--where", column, names, path): values for column, values in conditions.items()}
        self._path = path
        self._seen: dict[str, set[str]] = {name: set() for name in self._wanted}
        self._kept = 0

    def columns(self) -> list[str]:
        """Columns that it asks for."""
        return list(self._wanted)

    def kept(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Give the rows that count.

        Raises
        ------
        InputError
            At the end, if there was none; the message names what the cells hold.
        """
        for block in blocks:
            mask = np.ones(len(block.lines()), bool)
            for name, values in self._wanted.items():
                cells = pc.utf8_trim_whitespace(pc.fill_null(pc.cast(block.columns[name], pa.string()), ""))
                mask &= np.asarray(pc.is_in(cells, value_set=pa.array(values, pa.string())), bool)
                if not self._kept and len(self._seen[name]) < _SHOWN:
                    self._seen[name].update(pc.unique(cells)[:_SHOWN].to_pylist())
            self._kept += int(mask.sum())
            if mask.any():
                yield block.filter(mask)
        if not self._kept:
            held = "; ".join(f"{name} holds {', '.join(sorted(seen)[:_SHOWN])}" for name, seen in self._seen.items())
            raise InputError(f"no row fits --where; {held}", self._path)


_SHOWN = 8
