"""Numbers that are easily taken for what they are not: refused, with what to say, before they become joules.

The number of a training epoch or a duration is no time; milliseconds without a unit look like seconds, kilowatts like
watts. Only what the user did not name, and the column's own name leaves open, is doubted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.columns import split_unit
from wattshed.agent.inputs.quantities import Scaled, scaled_column
from wattshed.agent.inputs.timestamps import NO_TIME, Stamps
from wattshed.agent.inputs.unit_tables import POWER_MW

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.traces.foreign.table_layout import TableLayout

_RELATIVE_US = 10_000_000 * 1_000_000  # stamps of an epoch are later by far
_LONG_STEP_US = 50 * 1_000_000
_MINUTE_US = 60 * 1_000_000
_LONGEST_STEP_US = 2 * 60 * _MINUTE_US
_NEARLY = 0.05  # of a minute
_LONGEST_DURATION_US = 1000 * 1_000_000
_FALLS = 0.3  # of the steps, or more, go back where numbers are no times
_LEAST_MW = 1000
_IN_SECONDS = re.compile(r"sec|(^|[^a-z])s[\])]?$", re.IGNORECASE)


def refuse_doubtful(
    layout: TableLayout,
    columns: Mapping[str, Any],
    time_us: NDArray[np.int64],
    *,
    told: Collection[str],
    unit: str,
    path: str,
) -> None:
    """Look at the first rows of a table.

    Parameters
    ----------
    layout : TableLayout
    columns : mapping of name -> pyarrow.Array
    time_us : int64[n], us
        As its times were understood; `NO_TIME` where they were not.
    told : collection of str
        Keys of the columns that the user named.
    unit : str
        Of its times, if the user or the column's name says it.
    path : str
        For messages.

    Raises
    ------
    InputError
        If a column is doubtful.
    """
    if why := _doubtful_times(layout, columns, time_us, told=told, unit=unit) or _doubtful_power(layout, columns, told):
        raise InputError(why, path, 1)


def _doubtful_times(
    layout: TableLayout,
    columns: Mapping[str, Any],
    time_us: NDArray[np.int64],
    *,
    told: Collection[str],
    unit: str,
) -> str:
    name, time_us = layout.time, time_us[time_us != NO_TIME]
    if not name or layout.date or time_us.size < 3 or not _are_numbers(columns[name]):
        return ""
    if int(np.abs(time_us).max()) >= _RELATIVE_US:
        return ""
    if re.search("epoch", name, re.IGNORECASE) and "time" not in told:
        return f"{name} counts epochs and is no time; say --columns time=COLUMN (time={name}:s if it is one)"
    steps = np.diff(time_us)
    spread = int(np.ptp(time_us))
    if "time" not in told and (steps < 0).mean() >= _FALLS and spread < 3 * np.median(time_us) < _LONGEST_DURATION_US:
        return f"{name} goes up and down like a duration, and is no time; say --columns time=COLUMN"
    if unit or _IN_SECONDS.search(name):
        return ""
    steps = np.diff(np.unique(time_us))
    step = float(np.median(steps)) if steps.size else 0.0
    minutes = step / _MINUTE_US
    whole = abs(minutes - round(minutes)) <= _NEARLY and step <= _LONGEST_STEP_US
    if step < _LONG_STEP_US or whole:
        return ""
    return f"its times are {step / 1e6:g} apart: seconds, or milliseconds? Say --columns time={name}:s (or ms, us, ns)"


def _are_numbers(column: Any) -> bool:
    if isinstance(column, Stamps):
        return False
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return True
    return pa.types.is_string(column.type) and not pc.any(pc.match_substring(column, ":")).as_py()


def _doubtful_power(layout: TableLayout, columns: Mapping[str, Any], told: Collection[str]) -> str:
    if "power" in told:
        return ""
    powers = [*layout.power, *(power for power, _ in layout.wide.values() if power)]
    for quantity in powers:
        column = columns[quantity.name]
        if split_unit("power", quantity.name)[1] or quantity.unit != "W" or not _is_bare(column):
            return ""
        power = scaled_column(column, POWER_MW["W"], POWER_MW).value
        if int(power.max(initial=0)) >= _LEAST_MW or not (power > 0).any():
            return ""
    if not powers:
        return ""
    name = layout.power[0].name if layout.power else "COLUMN"
    return f"power is below 1 W throughout: is it in kW? Say --columns power={name}:kW (:W if it is not)"


def _is_bare(column: Any) -> bool:
    """Return whether cells are numbers without a unit."""
    if isinstance(column, Scaled):
        return not column.united
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    if not pa.types.is_string(column.type):
        return True
    return not pc.any(pc.match_substring_regex(column, r"\d\s*[A-Za-z]")).as_py()
