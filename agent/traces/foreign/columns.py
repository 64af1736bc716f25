"""Which column of a table holds what: told with ``--columns``, or plain from the names."""

from __future__ import annotations

import difflib
import fnmatch
import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.quantities import ENERGY_MJ, POWER_MW, SHARE_PPM
from wattshed.agent.inputs.timestamps import UNITS
from wattshed.agent.traces.foreign.table import Layout, Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = ("time", "gpu", "power", "instant", "energy", "util", "limit", "host", "model", "pid")
_UNITS: Mapping[str, Sequence[str]] = {
    "time": [*UNITS, "iso"],
    "power": list(POWER_MW),
    "instant": list(POWER_MW),
    "limit": list(POWER_MW),
    "energy": list(ENERGY_MJ),
    "util": list(SHARE_PPM),
}
_DEFAULT_UNIT = {"power": "W", "instant": "W", "limit": "W", "energy": "J", "util": "%"}
_SUFFIX = re.compile(r"(?:[\s_./-]+|\s*[\[(])([A-Za-z%]{1,7})[\])]?$")
_WORDS = {"watts": "W", "watt": "W", "milliwatts": "mW", "joules": "J", "joule": "J", "millijoules": "mJ"}
_WORDS |= {"percent": "%", "pct": "%", "ratio": "ratio", "kilowatts": "kW"}

_PLAIN: Mapping[str, str] = {
    "time": r"(time_?stamp|time|ts|date_?time|date|epoch|unix_?time|t)([_ ]?(s|sec|ms|us|ns|utc|iso|unix))?",
    "gpu": r"(gpu|gpu_?(id|idx|index|uuid|num|number)|device|device_?(id|index)|uuid|index|idx)",
    "power": r"((gpu|total|board|device)?[_ .]?power([_ .]?(draw|usage|avg|average))?([_ .]\[?(w|mw|kw|watts?)\]?)?"
    r"|watts?|milliwatts)",
    "energy": r"((gpu|total|cumulative)?[_ .]?energy([_ .]?(total|counter|consumption))?"
    r"[_ .]\[?(mj|j|joules|wh|kwh)\]?)",
    "uuid": r"(gpu[_ .]?)?uuid",
    "limit": r"(gpu[_ .]?)?(enforced[_ .]?)?power[_ .]?limit([_ .]\[?(w|mw|kw|watts?)\]?)?",
    "host": r"(host|hostname|host_?name|node|node_?name|nodename)",
    "util": r"((gpu|sm)?[_ .]?util(ization|isation)?([_ .]?(gpu|sm))?([_ .]\[?(pct|percent|%)\]?)?)",
    "model": r"(gpu_?(model|name|type)|model|model_?name)",
}


def parse_spec(text: str) -> dict[str, tuple[str, str]]:
    """Parse ``time=ts:ms,gpu=id,power=p_*:mW``: key -> (column or pattern, unit or "").

    Raises
    ------
    InputError
        On an unknown key or a part that is not ``key=column``.
    """
    spec: dict[str, tuple[str, str]] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not value:
            raise InputError(f"--columns: {part!r} is not key=column (for example time=ts,gpu=gpu,power=power_w)")
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"--columns: there is no key {key!r}, only {', '.join(KEYS)}{hint}")
        if key in spec:
            raise InputError(f"--columns: {key} is given twice")
        name, colon, unit = value.rpartition(":")
        if colon and name and unit in _UNITS.get(key, ()):
            spec[key] = (name, unit)
        elif colon and name and key in _UNITS and re.fullmatch(r"[A-Za-z%]{1,7}", unit):
            raise InputError(f"--columns: {key} has no unit {unit!r}, only {', '.join(_UNITS[key])}")
        else:
            spec[key] = (value, "")
    return spec


def unit_in_name(key: str, name: str) -> str:
    """Read the unit off a column's name (``power_w``, ``energy [mJ]``); the usual one where it has none."""
    match = _SUFFIX.search(name)
    found = match[1] if match else ""
    units = _UNITS.get(key, ())
    if found in units:
        return found
    word = _WORDS.get(found.lower(), "")
    if word in units:
        return word
    lowered = {unit.lower(): unit for unit in reversed(units)}  # mw is milliwatts, never megawatts
    return lowered.get(found.lower(), _DEFAULT_UNIT.get(key, ""))


def _find(key: str, wanted: str, names: Sequence[str], path: str) -> str:
    if wanted in names:
        return wanted
    folded = [name for name in names if name.strip().lower() == wanted.lower()]
    if len(folded) == 1:
        return folded[0]
    near = difflib.get_close_matches(wanted, names, 3, 0.4)
    shown = ", ".join(near or names[:12])
    raise InputError(f"there is no column {wanted!r} for {key}; {'near' if near else 'it has'}: {shown}", path, 1)


def layout_of_spec(
    spec: Mapping[str, tuple[str, str]], names: Sequence[str], path: str, *, utilisation: bool = False
) -> tuple[Layout, str]:
    """Find the columns of a spec in a file; what the spec leaves out is taken from plain names.

    Parameters
    ----------
    spec : mapping
    names : sequence of str
        The columns of the file.
    path : str
    utilisation : bool
        Also take utilisation from a plain name: nothing is billed by it, unless it is told.

    Returns
    -------
    (Layout, str)
        And the unit of time, empty to tell by its size.

    Raises
    ------
    InputError
        If a column is missing; the message names the near ones.
    """
    guessed = guess(names)
    time, unit = spec.get("time", (guessed.get("time", ""), ""))
    if not time:
        raise InputError("it is not clear which column is the time; say --columns time=...", path, 1)
    named = {time, *(column for column, _ in spec.values())}
    wide: dict[str, tuple[Quantity | None, Quantity | None]] = {}
    single: dict[str, Quantity] = {}
    for key in ("power", "instant", "energy", "util", "limit"):
        if key not in spec:
            continue
        pattern, given = spec[key]
        if key in {"power", "energy"} and any(sign in pattern for sign in "*?[") and pattern not in names:
            _widen(wide, key, (pattern, given), [name for name in names if name not in named], path)
        else:
            name = _find(key, pattern, names, path)
            single[key] = Quantity(name, given or unit_in_name(key, name))
    if not wide and not single.keys() & {"power", "instant", "energy"}:
        for key in ("power", "energy"):
            if key in guessed:
                single[key] = Quantity(guessed[key], unit_in_name(key, guessed[key]))
        if not single:
            raise InputError("it is not clear which column is power; say --columns power=...", path, 1)
    if not wide and "limit" not in single and "limit" in guessed and guessed["limit"] not in named:
        single["limit"] = Quantity(guessed["limit"], unit_in_name("limit", guessed["limit"]))
    if utilisation and not wide and "util" not in single and guessed.get("util", time) not in named:
        single["util"] = Quantity(guessed["util"], unit_in_name("util", guessed["util"]))
    if wide and single.keys() & {"power", "energy"}:
        raise InputError("--columns: power and energy must both be patterns (wide table) or both columns", path)
    gpus = [spec.get("gpu", (guessed.get("gpu", ""), ""))[0], guessed.get("uuid", "")] if not wide else []
    texts = {key: _find(key, spec[key][0], names, path) for key in ("host", "model", "pid") if key in spec}
    for key in ("host", "model"):
        if key not in texts and key in guessed:
            texts[key] = guessed[key]
    return Layout(
        time=_find("time", time, names, path),
        gpu=tuple(dict.fromkeys(_find("gpu", name, names, path) for name in gpus if name)),
        power=(single["power"],) if "power" in single else (),
        instant=single.get("instant"),
        energy=single.get("energy"),
        util=single.get("util"),
        limit=single.get("limit"),
        host=texts.get("host", "") if not wide else "",
        model=texts.get("model", "") if not wide else "",
        pid=texts.get("pid", ""),
        wide=wide,
    ), unit or unit_of_time(time)


def unit_of_time(name: str) -> str:
    """Read the unit of stamps off the column's name; empty where it has none."""
    match = re.search(r"[_\s\[(](ms|us|ns)[\])]?$", name)
    return match[1] if match else ""


def _widen(
    wide: dict[str, tuple[Quantity | None, Quantity | None]],
    key: str,
    wanted: tuple[str, str],
    names: Sequence[str],
    path: str,
) -> None:
    """Add one column a GPU; what the pattern's star stands for is the GPU's label."""
    pattern, unit = wanted
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise InputError(f"no column fits {pattern!r} for {key}; it has: {', '.join(names[:12])}", path, 1)
    star = re.compile(fnmatch.translate(pattern).replace(".*", "(.*)"))
    for name in found:
        match = star.match(name)
        label = match[1] if match and match.groups() and match[1] else name
        quantity = Quantity(name, unit or unit_in_name(key, name))
        power, energy = wide.get(label, (None, None))
        wide[label] = (quantity, energy) if key == "power" else (power, quantity)


def guess(names: Sequence[str]) -> dict[str, str]:
    """Name the columns that can only mean one thing; a key with two candidates is left out."""
    found: dict[str, str] = {}
    for key, pattern in _PLAIN.items():
        fits = [name for name in names if re.fullmatch(pattern, name.strip(), re.IGNORECASE)]
        if len(fits) == 1 or (fits and key in {"time", "gpu"}):
            found[key] = fits[0]
    return found
