"""``nvidia-smi --query-gpu=... --format=csv`` in all its dialects: with and without units, header and blanks.

The names of the fields are those of ``nvidia-smi --help-query-gpu``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.traces.foreign import naming
from wattshed.agent.traces.foreign.table_layout import DRIVER, Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNIT = re.compile(r"\s*\[([^\]]*)\]\s*$")
_FIELDS = {
    "power": ("power.draw", "power.draw.average", "power.draw.instant", "average_power_draw"),
    "limit": ("power.max_limit", "enforced.power.limit", "power.limit", "power.default_limit"),
    "energy": ("total_energy_consumption", "energy.total", "power.energy"),
}
_OWN = {"timestamp", "power.draw", "utilization.gpu", "pci.bus_id", "gpu_bus_id", "pstate", "temperature.gpu"}
_OWN |= {"power.limit", "driver_version", "power.draw.instant", "power.draw.average", "memory.used", "gpu_uuid"}


def bare(name: str) -> str:
    """Write a header cell without its unit: ``power.draw [W]`` is ``power.draw``."""
    return _UNIT.sub("", name).strip().lower()


def is_header(cells: Sequence[str]) -> bool:
    """Return whether a line is the header of an nvidia-smi query."""
    names = {bare(cell) for cell in cells}
    dotted = {name for name in names if name.startswith(("power.", "utilization.", "clocks.", "temperature.", "pci."))}
    return len(names & _OWN) >= 2 or ("timestamp" in names and bool(dotted)) or len(dotted) >= 2


def layout_of_header(names: Sequence[str]) -> TableLayout | None:
    """Find the columns of a query by its header; None if it has no time, or neither power nor energy."""
    place: dict[str, str] = {}
    for name in names:
        place.setdefault(bare(name), name)

    def quantities(key: str, default: str) -> list[Quantity]:
        found = []
        for field in _FIELDS[key]:
            if field in place:
                match = _UNIT.search(place[field])
                unit = match[1] if match and match[1] in {"W", "mW", "mJ", "J"} else default
                found.append(Quantity(place[field], unit, DRIVER if key == "energy" else ""))
        return found

    power, limit, energy = quantities("power", "W"), quantities("limit", "W"), quantities("energy", "mJ")
    if "timestamp" not in place or not (power or energy):
        return None
    instant = [q for q in power if bare(q.name) == "power.draw.instant"]
    return TableLayout(
        time=place["timestamp"],
        gpu=tuple(naming.candidates(names)),
        power=tuple(power),
        instant=instant[0] if instant and len(power) > 1 else None,
        energy=energy[0] if energy else None,
        util=Quantity(place["utilization.gpu"], "%") if "utilization.gpu" in place else None,
        limit=limit[0] if limit else None,
        host=naming.host_of(names),
        model=naming.model_of(names),
    )
