"""Which column of a table holds what, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.inputs.typed_cells import NameCells, QuantityCells, StampCells
from wattshed.agent.inputs.unit_tables import COUNT, ENERGY_UJ, POWER_MW, SHARE_PPM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.inputs.typed_cells import Kind

DRIVER = "driver"
"""Kind of an energy that the driver counts itself."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column and the unit of its numbers.

    Attributes
    ----------
    name, unit : str
    kind : str
        Of energies: ``total`` or ``interval`` if the user said so, ``driver`` for the driver's own counter by the name
        of its field, which is not judged; else empty.
    """

    name: str
    unit: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Which column holds what; empty or None where there is none.

    Attributes
    ----------
    time : str
        Empty where the log has no times.
    date : str
        Of times of day, see `TimestampParser.read`.
    gpu : tuple of str
        Columns that name the GPU, each by index, UUID or PCI address, or its model where that is all there is.
    power : tuple of Quantity
        The first that has a number in a row counts.
    instant, energy, util, limit : Quantity or None
    host, model, pid : str
    wide : mapping of (host, label) -> (power, energy)
        One column a GPU: how it is called, and its columns (each may be None).
    alone : bool
        The user said that all rows are of one GPU.
    job : str
    load : bool
        It is a table of loads: see `agent.traces.foreign.loads`.
    """

    time: str
    gpu: tuple[str, ...] = ()
    power: tuple[Quantity, ...] = ()
    instant: Quantity | None = None
    energy: Quantity | None = None
    util: Quantity | None = None
    limit: Quantity | None = None
    host: str = ""
    model: str = ""
    pid: str = ""
    date: str = ""
    wide: Mapping[tuple[str, str], tuple[Quantity | None, Quantity | None]] = field(default_factory=dict)
    alone: bool = False
    job: str = ""
    load: bool = False

    def names(self) -> list[str]:
        """All columns that are needed."""
        quantities = [*self.power, self.instant, self.energy, self.util, self.limit]
        quantities += [q for pair in self.wide.values() for q in pair]
        names = [
            self.time,
            self.date,
            *self.gpu,
            self.host,
            self.model,
            self.pid,
            self.job,
            *(q.name for q in quantities if q is not None),
        ]
        return list(dict.fromkeys(name for name in names if name))

    def kinds(self, unit: str = "") -> dict[str, Kind]:
        """Say what stands in each of the columns, for `inputs.typed_cells`; ``unit`` is that of numeric stamps."""
        kinds: dict[str, Kind] = {name: NameCells() for name in (*self.gpu, self.host, self.model, self.job) if name}
        amounts = [(q, POWER_MW) for q in (*self.power, self.instant, self.limit, *(p for p, _ in self.wide.values()))]
        amounts += [(q, ENERGY_UJ) for q in (self.energy, *(e for _, e in self.wide.values()))]
        amounts += [(self.util, SHARE_PPM), (Quantity(self.pid, "") if self.pid else None, COUNT)]
        kinds |= {q.name: QuantityCells(q.unit, units) for q, units in amounts if q is not None}
        return kinds | {self.time: StampCells(unit)}
