"""Tables of loads: power of what need not be a GPU (jobs, hosts, sites), of any size, by the columns that they name.

They are read for a demand only (`agent.traces.options.Options.loads`): what replay takes for a GPU has a ceiling.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import find, guess, split_unit
from wattshed.agent.inputs.run_layouts import TOLD
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign import naming
from wattshed.agent.traces.foreign.columns import layout_of_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.traces.foreign.table_layout import TableLayout

_OF_LOADS = {"time", "date", "power", "job", "host", "gpu"}  # what else is said is of GPUs
_LOADS = ("load", "value", "p")
_JOB = re.compile(r"job(_?id)?", re.IGNORECASE)
_HOST = re.compile(r"instance", re.IGNORECASE)  # as Prometheus calls it
_LARGE = ("kW", "MW", "GW")  # no GPU is metered in these


def is_table(names: Sequence[str]) -> bool:
    """Return whether the columns of a table are those of loads, without a word of the user's."""
    try:
        return layout_of({}, names, "") is not None
    except InputError:
        return False


def layout_of(
    spec: Mapping[str, tuple[str, str]], names: Sequence[str], path: str, *, timed: bool = True
) -> tuple[TableLayout, str] | None:
    """Find the columns of a table of loads, and the unit of its time; None if it may be one of GPUs.

    Parameters
    ----------
    spec : mapping
        What the user said, see `agent.inputs.columns.parse_spec`.
    names : sequence of str
        All columns.
    path : str
    timed : bool
        There must be a column of time.

    Raises
    ------
    InputError
        If a column that the user named is missing.
    """
    if TOLD & spec.keys() or (set(spec) - _OF_LOADS and "job" not in spec) or any(map(parse_text, names)):
        return None  # a table of runs; or of GPUs; or without a header
    told = dict(spec)
    job = find("job", told.pop("job")[0], names, path) if "job" in told else _first(_JOB, names)
    if "host" not in told and "host" not in guess(names) and (host := _first(_HOST, names)):
        told["host"] = host, ""
    if "power" not in told and "power" not in guess(names) and (power := _power_of(names)):
        told["power"] = power, ""
    if not job and "power" not in told and "power" not in guess(names):
        return None
    layout, unit = layout_of_spec(told, names, path, timed=timed)
    if job in layout.gpu:
        layout = replace(layout, gpu=tuple(name for name in layout.gpu if name != job))
    powers = [*layout.power, *(power for power, _ in layout.wide.values() if power is not None)]
    large = any(power.unit in _LARGE for power in powers)
    others = set(replace(layout, gpu=()).names())
    nameless = not layout.wide and not layout.gpu and not set(naming.candidates(names)) - others
    if not (job or large or (nameless and not any("power." in power.name for power in powers))):
        return None  # nvidia-smi writes dots into the names of its columns
    return replace(layout, job=job, load=True, limit=None), unit


def _first(pattern: re.Pattern[str], names: Sequence[str]) -> str:
    return next((name for name in names if pattern.fullmatch(name.strip())), "")


def _power_of(names: Sequence[str]) -> str:
    """Return the one column that says load, or power with a unit: ``sys_power_w``, ``total power [kW]``."""
    split = {name: split_unit("power", name) for name in names}
    found = [name for name, (bare, _) in split.items() if bare.lower() in _LOADS]
    found = found or [name for name, (bare, unit) in split.items() if unit and "power" in bare.lower()]
    return found[0] if len(found) == 1 else ""
