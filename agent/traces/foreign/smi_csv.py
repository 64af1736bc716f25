"""``nvidia-smi --query-gpu=... --format=csv`` in all its dialects: with and without units, header and blanks.

The names of the fields are those of ``nvidia-smi --help-query-gpu``.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from wattshed.agent.inputs.delimited import split
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign import naming
from wattshed.agent.traces.foreign.table import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNIT = re.compile(r"\s*\[([^\]]*)\]\s*$")
_STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(\.\d+)?")
_UUID = re.compile(r"(GPU|MIG)-[0-9a-fA-F]{8}.*")
_PCI = re.compile(r"[0-9a-fA-F]{8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_WATTS = re.compile(r"\d+[.,]\d+ W")
_HUNDREDTHS = re.compile(r"\d{1,5}\.\d\d")
_NUMBER = re.compile(r"\d+[.,]\d+( W)?")
_SMALL = re.compile(r"\d{1,3}")
_MODEL = re.compile(r"NVIDIA|Tesla|GeForce|Quadro|RTX|[AHBLTV]\d{1,3}\b")
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
                found.append(
                    Quantity(place[field], match[1] if match and match[1] in {"W", "mW", "mJ", "J"} else default)
                )
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


def is_headless(line: str) -> bool:
    """Return whether a line is a row of a query without header: a stamp of nvidia-smi's, and something like power."""
    cells = split(line, "\x1f")
    stamped = any(_STAMP.fullmatch(cell) for cell in cells)
    return stamped and any(_WATTS.fullmatch(cell) or _HUNDREDTHS.fullmatch(cell) for cell in cells)


def layout_of_rows(rows: Sequence[Sequence[str]]) -> TableLayout | None:
    """Find the columns of a query without header by what stands in them; columns are named 1, 2, ...

    nvidia-smi prints watts with two decimals and nothing else so. Of several such columns the one that changes most is
    power (limits stand still), and where none changes, the lowest; numbers that count up and start again are the
    index.
    """
    columns = list(zip(*rows, strict=True))

    def where(fits: re.Pattern[str]) -> list[int]:
        return [i for i, column in enumerate(columns) if any(map(fits.fullmatch, column))]

    stamps = [i for i, column in enumerate(columns) if all(parse_text(cell) for cell in column) and "/" in column[0]]
    powers = where(_WATTS) or where(_HUNDREDTHS)
    if not stamps or not powers:
        return None
    power = max(powers, key=lambda i: (len(set(columns[i])), -_mean(columns[i])))
    still = [i for i in powers if i != power and _mean(columns[i]) > 0 and 4 * len(set(columns[i])) <= len(rows)]
    named = [str(i + 1) for i in (where(_UUID) or where(_PCI))][:1]
    if not named:
        named = [str(i + 1) for i in where(_SMALL) if _counts_gpus(columns[i])][:1]
    words = [i for i, column in enumerate(columns) if _MODEL.search(column[0])]
    words = [i for i in words if str(i + 1) not in named and i not in stamps]
    return TableLayout(
        time=str(stamps[0] + 1),
        gpu=tuple(named),
        power=(Quantity(str(power + 1), "W"),),
        limit=Quantity(str(still[0] + 1), "W") if still else None,
        model=str(words[0] + 1) if words else "",
    )


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
