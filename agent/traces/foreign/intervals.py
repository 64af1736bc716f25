"""Energy that is not counted on: a column of energies is a counter, or what was used since the row before.

Which it is, is told by its shape and by power beside it, from the first rows of a file. A counter rises, but for resets
to nearly nothing, and its rise is what power says; energies of intervals rise and fall, and are themselves what power
says. What is neither is overruled by power. Where nothing tells, the user is asked: the two differ by any factor.

Energies of intervals are summed up, GPU by GPU, and are a counter from then on (`Sums`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.lanes import in_lanes
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.foreign.table import INTERVAL
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.traces.foreign.table import TableLayout

    ReadAs = Callable[[TableLayout, Gpus, SourceReport], Iterator[Rows]]

TOTAL = "total"
"""What may stand behind a unit of energy: ``energy=e:J/interval``."""
SURVEYED = 1 << 17  # rows
_LEAST_W, _MOST_W = 3.0, 20_000.0
"""A powered board draws more than three watts (idle mobile parts draw least), and no board draws twenty kilowatts."""
_ALIKE = 2.0
"""Energy is that of power beside it if it is within this factor: power that is read rarely is off by much."""
_DERIVED = 0.005
"""Logged energies that are power times time, row by row, to this part, are no measurement of their own."""
_FACTORS = {"mJ": 1e3, "uJ": 1e6, "kJ": 1e-3, "Wh": 1 / 3600, "mWh": 1 / 3.6, "kWh": 1 / 3.6e6}
"""What joules are too many of, by unit."""
_SOFT = 0.02
"""Part of the steps in which a counter may fall without a reset."""


class Shape(NamedTuple):
    """What the first rows of one GPU say of its energies; watts are over the same time.

    Attributes
    ----------
    steps, soft_falls : int
        Steps between rows, and those that fall, but not to less than a tenth.
    as_counter_w, as_interval_w : float, W
        Mean power if it is the one, or the other.
    power_w : float, W
        Mean of the power beside it; NaN where it has none, or one that never changes.
    derived : bool
        Each energy is the power of its row times its time.
    """

    steps: int
    soft_falls: int
    as_counter_w: float
    as_interval_w: float
    power_w: float
    derived: bool


def settled(layout: TableLayout, read: ReadAs, report: SourceReport) -> TableLayout:
    """Return the layout with its energy as what it is: a counter, of intervals, or left out.

    Parameters
    ----------
    layout : TableLayout
        Its energy says ``per`` only if the user did.
    read : callable
        Reads the file from its beginning, with a layout; what it finds is not kept.
    report : SourceReport
        Gets a note of what was decided.

    Raises
    ------
    InputError
        If the energies could be either.
    """
    pairs = [energy for _, energy in layout.wide.values() if energy is not None]
    found = next((energy for energy in (layout.energy, *pairs) if energy is not None), None)
    if found is None or found.per:
        return layout
    shapes = _shapes(layout, read, report.path)
    if not shapes:
        return layout
    shape = max(shapes, key=lambda one: one.steps)  # GPUs of one file are logged alike; with most rows it is surest
    name, decided = found.name, verdict(shape)
    if decided == "ask":
        raise InputError(
            f"{name} says {shape.as_counter_w:,.3g} W if it is a counter, {shape.as_interval_w:,.3g} W if it is energy "
            f"per row; say --columns energy={name}:{found.unit}/{TOTAL} or energy={name}:{found.unit}/{INTERVAL}",
            report.path,
        )
    if decided == INTERVAL:
        report.note(f"{name} is energy per row, not a counter: it is summed")
    if decided in {INTERVAL, TOTAL}:
        return _with_energy(layout, decided)
    if shape.derived:
        report.note(f"{name} is power times the time of its row, so power is integrated")
    else:
        times = shape.as_counter_w / shape.power_w
        report.note(f"{name} is left out, for as a counter it says {times:.3g} times what power says{_unit(times)}")
    return _with_energy(layout, "")


def verdict(shape: Shape) -> str:
    """Decide what energies of a shape are: ``total``, ``interval``, ``power`` (overruled by it), or ``ask``."""
    counter_w, interval_w, power_w = shape.as_counter_w, shape.as_interval_w, shape.power_w
    falls = shape.soft_falls > max(_SOFT * shape.steps, 1.0)
    if shape.derived:
        return "power"
    if power_w > 0.0:
        as_counter, as_interval = (1 / _ALIKE < watts / power_w < _ALIKE for watts in (counter_w, interval_w))
        if as_interval and (falls or not as_counter):
            return INTERVAL
        return TOTAL if as_counter and not falls else "power"
    believable = _LEAST_W <= interval_w <= _MOST_W
    if falls:
        return INTERVAL if believable else "ask"
    if shape.steps < 2 or counter_w >= _LEAST_W or not believable:
        return TOTAL
    return "ask"


def _unit(ratio: float) -> str:
    """Name the unit that a factor looks like."""
    for factor, said in (
        (1e3, "mJ"),
        (1e6, "uJ"),
        (1 / 3600, "Wh"),
        (1 / 3.6, "mWh"),
        (1 / 3.6e6, "kWh"),
        (1e-3, "kJ"),
    ):
        if 1 / 1.2 < ratio / factor < 1.2:
            return f" (is it in {said}?)"
    return ""


def _shapes(layout: TableLayout, read: ReadAs, path: str) -> list[Shape]:
    """Read the first rows of a file, and describe the energies of each GPU with at least two."""
    gpus, held, count = Gpus("", MISSING, MISSING), list[Rows](), 0
    with contextlib.suppress(InputError):  # the reading proper says so
        for rows in in_lanes(read(layout, gpus, SourceReport(path)), gpus):
            held.append(rows)
            count += len(rows)
            if count >= SURVEYED:
                break
    if not held:
        return []
    rows = Rows.join(held)
    energy, power = rows.filled("counter_mj"), rows.filled("power_mw")
    known = energy >= 0
    shapes = []
    for gpu in np.unique(rows.gpu[known]):
        mine = np.flatnonzero(known & (rows.gpu == gpu))
        time, first = np.unique(rows.time_us[mine], return_index=True)
        if time.size > 1:
            shapes.append(_shape(time, energy[mine[first]], power[mine[first]].astype(np.int64)))
    return shapes


def _shape(time_us: NDArray[np.int64], energy_mj: NDArray[np.int64], power_mw: NDArray[np.int64]) -> Shape:
    step_us, rise_mj = np.diff(time_us), np.diff(energy_mj)
    near = step_us <= max(10 * int(np.median(step_us)), 5_000_000)  # a hole has no interval's energy
    seconds = step_us[near].sum() / 1e6
    soft = (rise_mj < 0) & (energy_mj[1:] > energy_mj[:-1] // 10)
    pair = power_mw[1:] + power_mw[:-1]
    both = near & (power_mw[1:] > 0) & (power_mw[:-1] > 0)
    alive = power_mw.min() != power_mw.max() or power_mw.size < 4
    power_w = (pair * step_us)[both].sum() / 2e9 / (step_us[both].sum() / 1e6) if both.any() and alive else np.nan
    own_mj = power_mw[1:] * step_us / 1e6
    apart = np.abs(energy_mj[1:] - own_mj)[both]
    return Shape(
        int(near.sum()),
        int((soft & near).sum()),
        float(np.maximum(rise_mj[near], 0).sum() / 1e3 / seconds),
        float(energy_mj[1:][near].sum() / 1e3 / seconds),
        float(power_w),
        bool(both.any() and (apart <= _DERIVED * own_mj[both] + 1).all()),
    )


def _with_energy(layout: TableLayout, per: str) -> TableLayout:
    """Return a layout whose energies are of a kind; empty: it has none."""
    energy = replace(layout.energy, per=per) if layout.energy is not None and per else None
    wide = {
        label: (power, replace(one, per=per) if one is not None and per else None)
        for label, (power, one) in layout.wide.items()
    }
    return replace(layout, energy=energy, wide=wide)


@dataclass(slots=True)
class Sums:
    """Sums of the energies of intervals, host by host and GPU by GPU: a counter."""

    _sums_uj: dict[tuple[str, int], int]

    @classmethod
    def empty(cls) -> Sums:
        """Begin at zero."""
        return cls({})

    def count(self, rows: Rows, host: str) -> Rows:
        """Turn energies of intervals into a counter.

        Parameters
        ----------
        rows : Rows
            GPU by GPU, each in the order of time. Of rows with one stamp the first counts: it ends the interval.
        host : str
        """
        if not rows.interval_uj.size:
            return rows
        counter = rows.filled("counter_mj").copy()
        known = rows.has("interval_uj")
        bounds = np.concatenate(([0], np.flatnonzero(np.diff(rows.gpu)) + 1, [len(rows)]))
        for begin, end in pairwise(bounds.tolist()):
            mine = begin + np.flatnonzero(known[begin:end])
            if not mine.size:
                continue
            key = host, int(rows.gpu[begin])
            fresh = np.concatenate(([True], np.diff(rows.time_us[mine]) > 0))
            sums = self._sums_uj.get(key, 0) + np.cumsum(np.where(fresh, rows.interval_uj[mine], 0))
            self._sums_uj[key] = int(sums[-1])
            counter[mine] = sums // 1000
        return replace(rows, counter_mj=counter, interval_uj=rows.interval_uj[:0])
