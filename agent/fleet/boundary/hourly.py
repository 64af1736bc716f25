"""Energy, cost, carbon and the hourly carbon-free share of a load, from a table with a row an hour."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_bytes, read_table
from wattshed.agent.inputs.tariffs.tables import OWN, tariff_value
from wattshed.agent.inputs.text import decoded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.tables import Row

LEAST = {
    "price": -np.inf, "carbon_g_per_kwh": 0.0, "clean_w": 0.0, "clean_share": 0.0, "pue": 1.0, "wue": 0.0,
    "outdoor_c": -273.15, "load_w": 0.0,
}  # fmt: skip
"""What each hourly quantity is at least."""
COLUMNS = ("price", "carbon_g_per_kwh", "clean_w", "pue", "outdoor_c")


@dataclass(frozen=True, slots=True)
class Hours:
    """One row an hour (a day, a week, a year): columns of float64[h]; what the file lacks is None.

    ``price`` is per kWh, ``carbon_g_per_kwh`` in grams of CO2 equivalent, ``clean_w`` the carbon-free power at hand.
    """

    price: NDArray[np.float64] | None = None
    carbon_g_per_kwh: NDArray[np.float64] | None = None
    clean_w: NDArray[np.float64] | None = None
    pue: NDArray[np.float64] | None = None
    outdoor_c: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """What a load costs over the hours of the table, and per year; None where the table does not say."""

    energy_kwh: float
    cost: float | None
    carbon_kg: float | None
    carbon_free_share: float | None


def read_hours(path: str | Path) -> Hours:
    """Read ``hour[,price][,carbon_g_per_kwh][,clean_w][,pue][,outdoor_c]``, with hours 0, 1, 2, ... in order.

    Parameters
    ----------
    path : path or str
        A file, or the http(s) URL of an interface that answers with such a table.

    Raises
    ------
    InputError
        If an hour is missing or out of order, or a cell is not a number, or one that it cannot be.
    """
    if plain := _plain_columns(path):
        return Hours(**plain)
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    expected = 0
    for row in read_table(path, ("hour",), used=("hour", *COLUMNS)):
        if row.count("hour") != expected:
            raise row.error("hour", f"expected hour {expected}; give one row for each hour, from 0")
        expected += 1
        for name, values in columns.items():
            if name in row.columns:
                values.append(_value(row, name))
    if not expected:
        raise InputError("holds no hour; add a row for each hour", str(path), 2)
    return Hours(**{name: np.array(values) for name, values in columns.items() if values})


def _plain_columns(path: str | Path) -> dict[str, NDArray[np.float64]] | None:
    """Columns of a file of plain numbers between commas, all of them as they should be, at once; else None.

    A hundred sites have 876,000 hours. What is not plain, or wrong, is read cell by cell, and complained of.
    """
    if "://" in str(path):
        return None
    header, _, body = decoded(read_bytes(path), str(path)).partition("\n")
    names = [name.strip().lower() for name in header.split(",")]
    if len(set(names)) != len(names) or "hour" not in names or not set(names) <= {"hour", *COLUMNS} or not body.strip():
        return None
    try:
        cells = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2, comments=None)
    except ValueError:
        return None
    if cells.shape[1] != len(names) or not np.isfinite(cells).all():
        return None
    found = dict(zip(names, np.ascontiguousarray(cells.T), strict=True))
    hours = found.pop("hour")
    if any((column < LEAST[name]).any() for name, column in found.items()):
        return None
    return found if np.array_equal(hours, np.arange(hours.size)) else None


def _value(row: Row, name: str) -> float:
    if name not in OWN:
        return row.number(name, least=LEAST[name])
    value = tariff_value(row, name, name=name)
    if value is None:
        raise row.error(name, "is empty; give a number for each hour")
    return float(value)


def bill(load_w: NDArray[np.float64] | float, hours: Hours, count: int = 24) -> Bill:
    """Energy of a load over the hours, its cost and carbon, and the share that carbon-free power covers hour by hour.

    The carbon-free share is sum min(load, clean) / sum load: an hour's surplus does not help another hour.

    Parameters
    ----------
    load_w : float64[h] or float, W
        Mean load of each hour, or a flat load.
    hours : Hours
    count : int
        Hours, where no column says how many.
    """
    lengths = {c.size for c in (hours.price, hours.carbon_g_per_kwh, hours.clean_w) if c is not None}
    size = lengths.pop() if lengths else np.size(load_w) if np.ndim(load_w) else count
    load = np.broadcast_to(np.asarray(load_w, np.float64), (size,))
    kwh = load / 1000.0
    total = float(kwh.sum())
    return Bill(
        total,
        None if hours.price is None else float(kwh @ hours.price),
        None if hours.carbon_g_per_kwh is None else float(kwh @ hours.carbon_g_per_kwh) / 1000.0,
        None if hours.clean_w is None or total == 0.0 else float(np.minimum(load, hours.clean_w).sum() / load.sum()),
    )
