"""Power over time: a series for each GPU of a trace, or for each job, host or site of a table of loads.

It is read by the readers of ``wattshed replay``, in the windows that its accounts get.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.counters import CounterReadings
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.window import MeteredLoad
from wattshed.kernels.columns import dealt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.window import Device, Window


_Value = TypeVar("_Value", bound=np.generic)
_TOGETHER = 1 << 21  # readings that wait, to be brought into longer pieces
_LONG_PIECE = 1 << 11  # readings of each series of a window, with which it need not wait


class PowerTrace(Protocol):
    """Files of a trace, opened together.

    Attributes
    ----------
    reports : sequence of SourceReport
        One a file, complete when all windows are read.
    size, position : int, bytes
        Of all files, and how much of them is read.
    """

    @property
    def reports(self) -> Sequence[SourceReport]:
        """What was read of each file."""

    @property
    def size(self) -> int:
        """Of all files."""

    @property
    def position(self) -> int:
        """Read so far."""

    def windows(self) -> Iterator[Window]:
        """Read them, host after host, each in the order of time."""


class OpenTrace(Protocol):
    """Opens files and folders; how they are to be understood is settled."""

    def __call__(self, paths: Sequence[str]) -> PowerTrace:
        """Find what is to be read, or raise InputError."""


@dataclass(frozen=True, slots=True)
class LoadRecording:
    """What was read: a series per job, or per GPU or host, or one; and how many rows had no usable number, by reason.

    Attributes
    ----------
    series : KeptSeries
    kind : {"job", "gpu", "total"}
        What one series is of; of a job there may be several, one for each of its GPUs.
    rows : int
    rejected : mapping of reason to rows
    notes : tuple of str
        What the readers had to assume.
    counters : KeptSeries
        Energy of the series that have a counter, J; only readings at which it had moved.
    counted : frozenset of SeriesName
        Whose counter is believed.
    """

    series: KeptSeries
    kind: str
    rows: int
    rejected: Mapping[str, int]
    notes: tuple[str, ...] = ()
    counters: KeptSeries = field(default_factory=KeptSeries)
    counted: frozenset[SeriesName] = frozenset()


def read_series(
    trace: PowerTrace,
    kept: KeptSeries | None = None,
    tell: Callable[[int], object] | None = None,
    *,
    counters: KeptSeries | None = None,
) -> LoadRecording:
    """Read power over time.

    What the accounts take for no reading is left out: 0 W (but of a job, which may draw nothing), and what is above the
    ceiling of a GPU.

    Parameters
    ----------
    trace : PowerTrace
    kept : KeptSeries, optional
        Where the series are kept.
    tell : callable, optional
        Told how many bytes are read.
    counters : KeptSeries, optional
        Where energy counters are kept; without it they are not.

    Raises
    ------
    InputError
        If a file cannot be used, or none has a reading of power.
    """
    reading = _Reading(KeptSeries() if kept is None else kept, counters)
    for window in trace.windows():
        reading.add(window)
        if tell is not None:
            tell(trace.position)
    return reading.recording(trace.reports)


class _Reading:
    """Collects the readings of windows, which are brought into longer pieces where there are many series."""

    def __init__(self, series: KeptSeries, counters: KeptSeries | None) -> None:
        self._kept_counters = counters
        self._counters = None if counters is None else CounterReadings(counters)
        self._series, self._rejected, self._rows = series, Counter[str](), 0
        self._names: list[SeriesName] = []
        self._numbers: dict[SeriesName, int] = {}
        self._known: dict[int, tuple[Device, int]] = {}
        self._of_modules: set[SeriesName] = set()
        self._ceilings: dict[SeriesName, int] = {}
        self._waiting: list[
            tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.integer[Any]], NDArray[np.int64]]
        ] = []
        self._waits = 0
        self._gpus = False

    def add(self, window: Window) -> None:
        """Take the usable readings of each GPU or load; the others are counted."""
        readings, devices = window.readings, window.devices
        if not readings.time_us.size:
            return
        sizes, time_us, power_mw = np.diff(readings.offsets), readings.time_us, readings.power_mw
        number = np.repeat(np.array([self._number(device, window.host) for device in devices], np.int32), sizes)
        self._rows += power_mw.size
        counter_mj = readings.counter_mj
        if self._counters is None or counter_mj.max() < 0:
            counter_mj = counter_mj[:0]  # none was read
        if power_mw.min() < 1 or power_mw.max() > min(device.ceiling_mw for device in devices):
            usable = self._usable(power_mw, devices, sizes)
            number, time_us, power_mw = number[usable], time_us[usable], power_mw[usable]
            counter_mj = counter_mj[usable] if counter_mj.size else counter_mj
        self._waiting.append((number, time_us, power_mw, counter_mj))
        self._waits += power_mw.size
        if self._waits >= _TOGETHER or len(devices) * _LONG_PIECE <= power_mw.size:
            self._hand_over()

    def _usable(
        self, power_mw: NDArray[np.integer[Any]], devices: Sequence[Device], sizes: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which powers are readings: bool[n]; the others are counted by the reason."""
        absent = power_mw < 0
        above = power_mw > np.repeat([device.ceiling_mw for device in devices], sizes)
        zero = (power_mw == 0) & np.repeat([_draws(device) for device in devices], sizes)
        for reason, rows in (("not_available", absent), ("above_ceiling", above), ("zero", zero)):
            self._rejected[reason] += int(rows.sum())
        usable: NDArray[np.bool_] = ~(absent | above | zero)
        return usable

    def _number(self, device: Device, host: str) -> int:
        """Give the number of a series; a device mostly is the very same in all windows of its host."""
        known = self._known.get(id(device))
        if known is not None and known[0] is device:
            return known[1]
        name = _name_of(device, host)
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        self._known[id(device)] = device, number
        self._ceilings[name] = device.ceiling_mw
        if device.capabilities.get("gpu_scope"):  # a superchip's counter is its whole module's
            self._of_modules.add(name)
        self._gpus |= not isinstance(device, MeteredLoad)
        return number

    def _hand_over(self) -> None:
        """Put what waits into the series, GPU by GPU."""
        if not self._waits:
            return
        numbers, times, powers, counters = (list(column) for column in zip(*self._waiting, strict=True))
        self._waiting, self._waits = [], 0
        read = any(counter.size for counter in counters)
        counters = (
            [_filled(counter, power.size) for counter, power in zip(counters, powers, strict=True)] if read else []
        )
        number, order = _joined(numbers), None
        if (number[1:] < number[:-1]).any():
            order, offsets = dealt(number, len(self._names))
        else:
            offsets = np.searchsorted(number, np.arange(len(self._names) + 1))
        # One column after the other, each let go of once it is joined.
        time_us, power_mw = _joined(times, order), _joined(powers, order)
        counter_mj = _joined(counters, order) if read else None
        for place in np.flatnonzero(np.diff(offsets)).tolist():
            mine, name = slice(int(offsets[place]), int(offsets[place + 1])), self._names[place]
            self._series.add(name, time_us[mine], power_mw[mine])
            if self._counters is not None and counter_mj is not None and name not in self._of_modules:
                self._counters.add(
                    name, time_us[mine], power_mw[mine], counter_mj[mine], ceiling_mw=self._ceilings[name]
                )

    def recording(self, reports: Sequence[SourceReport]) -> LoadRecording:
        """Put the series together.

        Raises
        ------
        InputError
            If there is none, or if there are some of jobs and some of GPUs.
        """
        self._hand_over()
        series, rejected, rows = self._series, self._rejected, self._rows
        for report in reports:
            rejected += report.rejected
            rows += report.rows_rejected
        if not series:
            bad = next((bad for report in reports for bad in report.bad if bad.line), None)
            path = reports[0].path if reports else ""
            if bad is None:
                raise InputError("it contains no reading of power", path)
            raise InputError("it contains no usable power; check the power column", path, bad.line, bad.column)
        rejected["same_time"] += series.settle()
        kind = "job" if any(name.job for name in series) else "gpu"
        if kind == "job" and self._gpus:
            raise InputError(
                "a table of jobs holds the power of GPUs that another file shows as well: give one of them"
            )
        if len(series) == 1 and not self._gpus and not any(next(iter(series))[:2]):
            kind = "total"
        notes = tuple(f"{report.path}: {note}" for report in reports for note in report.notes)
        if self._counters is None or self._kept_counters is None:
            return LoadRecording(series, kind, rows, dict(+rejected), notes)
        counted, doubted = self._counters.believed()
        if doubted:
            notes = (*notes, f"the energy counter of {doubted} series tells another power than its readings: not used")
        return LoadRecording(series, kind, rows, dict(+rejected), notes, self._kept_counters, counted)


def _joined(columns: list[NDArray[_Value]], order: NDArray[np.int64] | None = None) -> NDArray[_Value]:
    """Join columns, which the list then no longer holds, and bring them into an order."""
    column = columns[0] if len(columns) == 1 else np.concatenate(columns)
    columns.clear()
    return column if order is None else column[order]


def _filled(counter_mj: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return counters of a window; negative ones if none was read in it."""
    return counter_mj if counter_mj.size else np.full(size, -1, np.int64)


def _draws(device: Device) -> bool:
    """Return whether 0 W is no reading: a powered board draws more, a job may draw nothing."""
    return not (isinstance(device, MeteredLoad) and device.job)


def _name_of(device: Device, host: str) -> SeriesName:
    """Name a series as the accounts name a GPU; a load that is alone has no name."""
    gpu = device.uuid or str(device.index)
    if isinstance(device, MeteredLoad):
        return SeriesName(device.job, device.host or host, gpu if device.named else "")
    return SeriesName("", device.host or host, gpu)
