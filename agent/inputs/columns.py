"""Which column of a table holds what: given by ``--columns``, or clear from its name; and the unit of its numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.partial_times import EXCEL_DAYS
from wattshed.agent.inputs.timestamps import UNITS
from wattshed.agent.inputs.unit_tables import ENERGY_MJ, POWER_MW, SHARE_PPM
from wattshed.agent.inputs.written_times import DATE_ORDERS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

KEYS = ("time", "date", "gpu", "power", "instant", "energy", "util", "limit", "host", "model", "pid")
RUN_KEYS = ("start", "end", "duration", "job")
"""Keys of tables that have a row for each run."""
_UNITS: Mapping[str, Sequence[str]] = {
    "time": [*UNITS, "iso", *DATE_ORDERS, *EXCEL_DAYS],
    "power": list(POWER_MW),
    "instant": list(POWER_MW),
    "limit": list(POWER_MW),
    "energy": list(ENERGY_MJ),
    "util": list(SHARE_PPM),
    "start": [*UNITS, "iso"],
    "end": [*UNITS, "iso"],
    "duration": list(UNITS),
}
ENERGY_KINDS = ("total", "interval")
"""What energies of a column are said to be, behind their unit: a counter, or each of the interval before its row."""
_DEFAULT_UNIT = {"power": "W", "instant": "W", "limit": "W", "energy": "J", "util": "%"}
_SUFFIX = re.compile(r"(?:[\s_./-]+|\s*[\[(])([A-Za-z%]{1,7})[\])]?$")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_WORDS = {"watts": "W", "watt": "W", "milliwatts": "mW", "joules": "J", "joule": "J", "millijoules": "mJ"}
_WORDS |= {"percent": "%", "pct": "%", "ratio": "ratio", "kilowatts": "kW"}

POWER_WORDS = "power|pwr|leistung|puissance|potenza|potencia|功率|功耗|消費電力|전력"
_TOTAL = re.compile(r"total", re.IGNORECASE)
_PARTS = re.compile(rf"{POWER_WORDS}|watt", re.IGNORECASE)
_OF_GPUS = re.compile(r"gpu|graphics card|DCGM", re.IGNORECASE)
_PLAIN: Mapping[str, str] = {
    "time": r"(([\w-]+/)?[_@]?time_?stamp|_?time|ts|date_?time|date|epoch|unix_?time(_?stamp)?|seconds|t"
    r"|elapsed(_?time)?|zeit(stempel|punkt)?|uhrzeit|(local|wall|relative)[_ ]?time|date ?/ ?time|date[_ ]time"
    r"|horodatage|temps|heure|fecha|hora|时间戳?|時間|日期)"
    r"([_ ]?[\[(]?(s|sec|ms|us|ns|min|h|utc|iso|unix)[\])]?)?",
    "date": r"(date|datum|day)([_ ]?[\[(]?(utc|local|iso)[\])]?)?",
    "gpu": r"(gpu|gpu_?(id|idx|index|uuid|num|number)|device|device_?(id|index)|uuid|index|idx"
    r"|(gpu_?)?serial(_?number)?|minor_?number|(gpu_?)?(pci[_.]?)?bus([_.]?id)?)",
    "power": rf"((gpu|total|board|device|graphics card)?[_ .]?({POWER_WORDS})"
    r"([_ .]?(draw|usage|consumption|avg|average))?"
    r"([_ .]?[\[(](w|mw|kw|gw|watts?)[\])]|[_ .](w|mw|kw|gw|watts?))?|(gpu[_ .]?)?watts?|milliwatts"
    r"|DCGM_FI_DEV_POWER_USAGE)",
    "energy": r"((gpu|total|cumulative)?[_ .]?energy([_ .]?(total|counter|consumption))?"
    r"([_ .]?[\[(](mj|j|joules|wh|kwh)[\])]|[_ .](mj|j|joules|wh|kwh))|DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION)",
    "uuid": r"(gpu[_ .]?)?uuid",
    "limit": r"(gpu[_ .]?)?(enforced[_ .]?)?power[_ .]?limit([_ .]\[?(w|mw|kw|watts?)\]?)?",
    "host": r"(host|hostname|host_?name|node|node_?name|nodename)",
    "util": r"((gpu|sm)?[_ .]?util(ization|isation)?([_ .]?(gpu|sm))?([_ .]\[?(pct|percent|%)\]?)?)",
    "model": r"(gpu_?(model|name|type)|model|model_?name)",
}


_OF_DAY = r"(local|utc|gps)?[_ ]?(time|uhrzeit|zeit|clock|time[_ ]of[_ ]day)([_ ]?[\[(]?(utc|local)[\])]?)?"


def parse_spec(
    text: str | Mapping[str, str], known: Collection[str] = (*KEYS, *RUN_KEYS)
) -> dict[str, tuple[str, str]]:
    """Parse ``time=ts:ms,gpu=id,power=p_*:mW``, or the same as a mapping: key -> (column or pattern, unit or "").

    Raises
    ------
    InputError
        On an unknown key or a part that is not ``key=column``.
    """
    spec: dict[str, tuple[str, str]] = {}
    for part in parts_of(text) if isinstance(text, str) else [f"{key}={value}" for key, value in text.items()]:
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not value:
            raise InputError(f"--columns: {part!r} is not key=column (for example time=ts,gpu=gpu,power=power_w)")
        if key not in known:
            near = _near(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"--columns: there is no key {key!r}, only {', '.join(known)}{hint}")
        if key in spec:
            raise InputError(f"--columns: {key} is given twice")
        name, colon, unit = value.rpartition(":")
        bare, slash, kind = unit.partition("/")
        units = _UNITS.get(key, ())
        if colon and name and bare in units and (not slash or (key == "energy" and kind in ENERGY_KINDS)):
            spec[key] = (bare_name(name), unit)
        elif colon and name and units and re.fullmatch(r"[A-Za-z%]{1,7}(/[a-z]*)?", unit):
            kinds = f", and behind it /{' or /'.join(ENERGY_KINDS)}" if key == "energy" else ""
            raise InputError(f"--columns: {key} has no unit {unit!r}, only {', '.join(units)}{kinds}")
        else:
            spec[key] = (bare_name(value), "")
    return spec


def parts_of(text: str) -> list[str]:
    """Split at commas, but for those within quotes: ``time=t,power="Power, board"``."""
    parts, quoted = [""], False
    for char in text:
        if char == '"' and (quoted or parts[-1].lstrip()[-1:] in {"", "=", '"'}):
            quoted = not quoted
        if char == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def bare_name(text: str) -> str:
    """Take a name out of its quotes, if it stands in some; two of them within stand for one."""
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted[1].replace('""', '"') if quoted else text.strip()


def unit_in_name(key: str, name: str) -> str:
    """Read the unit off a column's name (``power_w``, ``energy [mJ]``); the usual one where it has none."""
    return split_unit(key, name)[1] or _DEFAULT_UNIT.get(key, "")


def split_unit(key: str, name: str) -> tuple[str, str]:
    """Split ``power_kw``, ``power (kW)`` and ``power [kW]`` into name and unit; the unit is empty where none is."""
    match = _SUFFIX.search(name)
    if match is None:
        return name.strip(), ""
    units = _UNITS.get(key, ())
    lowered = {unit.lower(): unit for unit in reversed(units)}  # mw is milliwatts, never megawatts
    word = _WORDS.get(match[1].lower(), "")
    found = match[1] if match[1] in units else word if word in units else lowered.get(match[1].lower(), "")
    return (name[: match.start()].strip(), found) if found else (name.strip(), "")


def find(key: str, wanted: str, names: Sequence[str], path: str) -> str:
    """Find the column that is called so, whatever its case.

    Raises
    ------
    InputError
        If there is none; the message names the near ones.
    """
    if wanted in names:
        return wanted
    folded = [name for name in names if name.strip().lower() == wanted.lower()]
    if len(folded) == 1:
        return folded[0]
    near = _near(wanted, names, 3, 0.4)
    shown = ", ".join(near or names[:12])
    raise InputError(f"there is no column {wanted!r} for {key}; {'near' if near else 'it has'}: {shown}", path, 1)


def _near(wanted: str, known: Collection[str], most: int, cutoff: float = 0.6) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - of a name that is wrong

    return get_close_matches(wanted, known, most, cutoff)


def unit_of_time(name: str) -> str:
    """Read the unit of stamps off the column's name; empty where it has none."""
    match = re.search(r"[_\s\[(](ms|us|ns|min|h)[\])]?$", name)
    return match[1] if match else ""


def guess(names: Sequence[str]) -> dict[str, str]:
    """Name the columns that can only mean one thing; a key with two candidates is left out."""
    found: dict[str, str] = {}
    for key, pattern in _PLAIN.items():
        fits = [name for name in names if re.fullmatch(pattern, name.strip(), re.IGNORECASE)]
        if key == "power":
            fits = _of_gpus(fits, names)
        if len(fits) == 1 or (fits and key in {"time", "gpu"}):
            found[key] = fits[0]
        if key == "time":
            stamps = [name for name in fits if re.search("stamp|date_?time|epoch|unix", name, re.IGNORECASE)]
            found |= {"time": stamps[0]} if stamps else {}
    if found.get("date") == found.get("time"):  # the time of day stands beside it, if anywhere
        date = found.pop("date", "")
        time = next((name for name in names if re.fullmatch(_OF_DAY, name.strip(), re.IGNORECASE)), "")
        found |= {"date": date, "time": time} if date and time else {}
    return found


def _of_gpus(fits: list[str], names: Sequence[str]) -> list[str]:
    """Of columns of power take those that say they are of GPUs; a total beside its parts is of more than one GPU."""
    if len(fits) > 1 and (own := [name for name in fits if _OF_GPUS.match(name.strip())]):
        return own
    parts = [name for name in names if _PARTS.search(name) and "limit" not in name.lower() and name not in fits]
    return [name for name in fits if not (parts and _TOTAL.match(name.strip()))]
