"""Layouts of tables whose columns are given by ``--columns``, or clear from their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import find, guess, unit_in_name, unit_of_time
from wattshed.agent.inputs.wide import WILD, WideColumn, fitting, plain_columns
from wattshed.agent.traces.foreign.series import MEANINGS
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Wide = dict[tuple[str, str], tuple["Quantity | None", "Quantity | None"]]
NO_TIMES = ", or --period SECONDS if it has none"
ONE_GPU = "-"
"""Says in place of the column for the GPU that all rows are of one."""


def layout_of_spec(
    spec: Mapping[str, tuple[str, str]],
    names: Sequence[str],
    path: str,
    *,
    utilisation: bool = False,
    timed: bool = True,
) -> tuple[TableLayout, str]:
    """Find the columns of a spec in a file; what the spec leaves out is taken from plain names.

    Parameters
    ----------
    spec : mapping
    names : sequence of str
        The columns of the file.
    path : str
    utilisation : bool
        Also take utilisation from a plain name: nothing is billed by it, unless it is given.
    timed : bool
        There must be a column of time.

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
    if not time and timed:
        raise InputError(f"it is not clear which column is the time; say --columns time=...{NO_TIMES}", path, 1)
    named = {time, *(column for column, _ in spec.values())}
    wide: Wide = {}
    single: dict[str, Quantity] = {}
    for key in ("power", "instant", "energy", "util", "limit"):
        if key not in spec:
            continue
        pattern, given = spec[key]
        if key in {"power", "energy"} and WILD & set(pattern) and pattern not in names:
            _widen(wide, key, (pattern, given), [name for name in names if name not in named], path)
        else:
            name = find(key, pattern, names, path)
            single[key] = _quantity(key, name, given)
    if not wide and not single.keys() & {"power", "instant", "energy"}:
        plain = {key: guessed[key] for key in ("power", "energy") if key in guessed}
        if "power" not in plain or f"{plain['power']}.2" in names or len(plain_columns(names, time)[0]) > 1:
            wide = _plain_wide(names, time, plain.get("power", ""))
        if not wide:
            single |= {key: _quantity(key, name, "") for key, name in plain.items()}
        if not wide and not single:
            raise InputError("it is not clear which column is power; say --columns power=...", path, 1)
    if not wide and "limit" not in single and "limit" in guessed and guessed["limit"] not in named:
        single["limit"] = Quantity(guessed["limit"], unit_in_name("limit", guessed["limit"]))
    if utilisation and not wide and "util" not in single and guessed.get("util", time) not in named:
        single["util"] = Quantity(guessed["util"], unit_in_name("util", guessed["util"]))
    if wide and single.keys() & {"power", "energy"}:
        raise InputError("--columns: power and energy must both be patterns (wide table) or both columns", path)
    alone = not wide and spec.get("gpu", ("", ""))[0] == ONE_GPU and ONE_GPU not in names
    gpus = [spec.get("gpu", (guessed.get("gpu", ""), ""))[0], guessed.get("uuid", "")] if not wide and not alone else []
    texts = {key: find(key, spec[key][0], names, path) for key in ("host", "model", "pid") if key in spec}
    for key in ("host", "model"):
        if key not in texts and key in guessed:
            texts[key] = guessed[key]
    return TableLayout(
        time=find("time", time, names, path) if time else "",
        date=_date_of(spec, guessed, time, names, path),
        gpu=tuple(dict.fromkeys(find("gpu", name, names, path) for name in gpus if name)),
        power=(single["power"],) if "power" in single else (),
        instant=single.get("instant"),
        energy=single.get("energy"),
        util=single.get("util"),
        limit=single.get("limit"),
        host=texts.get("host", "") if not wide else "",
        model=texts.get("model", "") if not wide else "",
        pid=texts.get("pid", ""),
        wide=wide,
        alone=alone,
    ), unit or unit_of_time(time)


def _date_of(
    spec: Mapping[str, tuple[str, str]], guessed: Mapping[str, str], time: str, names: Sequence[str], path: str
) -> str:
    """Return the column of dates that a time of day needs; empty if there is none."""
    if "date" in spec:
        return find("date", spec["date"][0], names, path)
    return guessed.get("date", "") if guessed.get("time") == time else ""


def _plain_wide(names: Sequence[str], time: str, power: str) -> Wide:
    """Find a column a GPU by plain names; two columns of one name are of two GPUs."""
    found, _ = plain_columns(names, time)
    if power and f"{power}.2" in names:
        again = (f"{power}.{i}" for i in range(2, len(names) + 1))
        found = [WideColumn(name, "", str(i)) for i, name in enumerate([power, *(n for n in again if n in names)])]
    return {
        (column.host, column.gpu): (
            Quantity(column.name, unit_in_name("power", re.sub(r"\.\d+$", "", column.name))),
            None,
        )
        for column in found
    }


def _widen(wide: Wide, key: str, wanted: tuple[str, str], names: Sequence[str], path: str) -> None:
    """Add one column a GPU; what the pattern's stars stand for is the GPU's label, and its host."""
    pattern, unit = wanted
    found = fitting(pattern, names)
    if not found:
        raise InputError(f"no column fits {pattern!r} for {key}; it has: {', '.join(names[:12])}", path, 1)
    for name, host, gpu in found:
        quantity = _quantity(key, name, unit)
        power, energy = wide.get((host, gpu), (None, None))
        wide[host, gpu] = (quantity, energy) if key == "power" else (power, quantity)


def _quantity(key: str, name: str, given: str) -> Quantity:
    """Take the unit that is said, else the one of the column's name; and of which kind energies are said to be."""
    unit, _, kind = given.partition("/")
    known = MEANINGS.get(name.strip())
    return Quantity(name, unit or (known.unit if known else "") or unit_in_name(key, name), kind)
