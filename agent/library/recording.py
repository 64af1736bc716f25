"""Readings as they lie in a recording or in another tool's log, in Arrow batches."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.library.paths import texts_of
from wattshed.agent.library.tables import TIME
from wattshed.agent.replay.given import options_from
from wattshed.agent.replay.progress import kernels_for
from wattshed.agent.replay.running import notes_of
from wattshed.agent.traces.sources import find
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.library.paths import Paths
    from wattshed.agent.replay.given import Columns, Conditions
    from wattshed.agent.traces.options import Options
    from wattshed.agent.traces.sources import Chain
    from wattshed.agent.window import Device, Readings, Window

SAMPLES = pa.schema(
    [
        ("time", TIME),
        ("host", pa.string()),
        ("gpu", pa.int32()),
        ("uuid", pa.string()),
        ("power_mw", pa.int32()),
        ("instant_mw", pa.int32()),
        ("counter_mj", pa.int64()),
    ]
)
_GPUS = pa.schema(
    [
        ("host", pa.string()),
        ("gpu", pa.int32()),
        ("uuid", pa.string()),
        ("model", pa.string()),
        ("driver", pa.string()),
        ("limit_w", pa.float64()),
        ("idle_w", pa.float64()),
        ("samples", pa.int64()),
        ("start", TIME),
        ("end", TIME),
        ("simulated", pa.bool_()),
    ]
)
BATCH_ROWS = 1 << 16


class Recording:
    """What was recorded of GPUs: a recording of the agent, or a log of another tool.

    Files are looked at when it is made, and read when it is asked for GPUs or samples.

    Attributes
    ----------
    notes : list of str
        What was odd about the files, and which rows of them were left out, after they were read.

    Examples
    --------
    >>> import wattshed
    >>> recording = wattshed.read("examples/recordings/h200-minute")
    >>> recording
    <wattshed.Recording: 1 file>
    >>> sum(batch.num_rows for batch in recording.samples())
    119
    """

    def __init__(self, chains: list[Chain], options: Options) -> None:
        self._chains, self._options = chains, options
        self.notes: list[str] = []

    def __repr__(self) -> str:
        files = sum(len(chain.sources) for chain in self._chains)
        return f"<wattshed.Recording: {files} file{'s' if files != 1 else ''}>"

    @cached_property
    def gpus(self) -> pa.Table:
        """The GPUs: a row each, with how many samples there are of it, and from when to when.

        Returns
        -------
        pyarrow.Table
            ``host, uuid, model, driver`` string; ``gpu`` int32; ``limit_w, idle_w`` float64, W, null unknown;
            ``samples`` int64; ``start, end`` timestamp[us, UTC]; ``simulated`` bool.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        seen: dict[tuple[str, int], _Seen] = {}
        for window in self._windows():
            for gpu, device in enumerate(window.devices):
                mine = seen.setdefault((window.host, gpu), _Seen(device))
                mine.device = device
                mine.add(_rows_of(window.readings, gpu))
        return pa.Table.from_pylist([one.row() for one in seen.values()], _GPUS)

    def samples(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Read all samples, from the first file to the last; rows of one GPU ascend in time.

        Parameters
        ----------
        rows : int
            A batch has at least so many, but for the last.

        Yields
        ------
        pyarrow.RecordBatch
            ``time`` timestamp[us, UTC]; ``host, uuid`` string; ``gpu`` int32; ``power_mw`` int32, mW, mean or instant
            board power; ``instant_mw`` int32, mW, instant power beside it; ``counter_mj`` int64, mJ, the driver's
            cumulative counter. What was not read is null.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        held: list[Window] = []
        count = 0
        for window in self._windows():
            held.append(window)
            count += window.readings.time_us.size
            if count >= rows:
                yield _batch(held)
                held, count = [], 0
        if count:
            yield _batch(held)

    def _windows(self) -> Iterator[Window]:
        with kernels_for(self._chains):
            for chain in self._chains:
                yield from chain.windows(self._options)
        self.notes = list(notes_of(report for chain in self._chains for report in chain.reports))


class _Seen:
    """What was seen of one GPU."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._samples, self._first_us, self._last_us = 0, MISSING, MISSING

    def add(self, times_us: NDArray[np.int64]) -> None:
        if times_us.size:
            self._first_us = int(times_us[0]) if not self._samples else self._first_us
            self._last_us = int(times_us[-1])
            self._samples += times_us.size

    def row(self) -> dict[str, object]:
        device = self.device
        return {
            "host": device.host,
            "gpu": device.index,
            "uuid": device.uuid,
            "model": device.model,
            "driver": device.driver,
            "limit_w": _watts(device.limit_mw),
            "idle_w": _watts(device.idle_mw),
            "samples": self._samples,
            "start": self._first_us if self._samples else None,
            "end": self._last_us if self._samples else None,
            "simulated": device.simulated,
        }


def _watts(milliwatts: int) -> float | None:
    return None if milliwatts < 0 else milliwatts / 1e3


def _rows_of(readings: Readings, gpu: int) -> NDArray[np.int64]:
    """Return the times of one GPU's rows, us."""
    first, last = readings.offsets[gpu], readings.offsets[gpu + 1]
    return readings.time_us[first:last]


def _batch(windows: Sequence[Window]) -> pa.RecordBatch:
    """Lay the readings of windows out one below the other."""
    readings = [window.readings for window in windows]
    devices: dict[tuple[str, str, int], int] = {}
    places = []
    for window in windows:
        own = [devices.setdefault((window.host, one.uuid, one.index), len(devices)) for one in window.devices]
        places.append(np.repeat(np.array(own, np.int64), np.diff(window.readings.offsets)))
    place = np.concatenate(places)
    hosts, uuids, indices = zip(*devices, strict=True)
    instants = [
        one.instant_mw if one.instant_mw.size else np.full(one.time_us.size, MISSING, np.int32) for one in readings
    ]
    columns = [
        pa.array(np.concatenate([one.time_us for one in readings])).cast(TIME),
        pa.array(hosts, pa.string()).take(pa.array(place)),
        pa.array(np.array(indices, np.int32)[place]),
        pa.array(uuids, pa.string()).take(pa.array(place)),
        _known(np.concatenate([one.power_mw for one in readings])),
        _known(np.concatenate(instants)),
        _known(np.concatenate([one.counter_mj for one in readings])),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SAMPLES)


def _known(values: NDArray[np.integer]) -> pa.Array:
    """Return a column in which what was not read is null."""
    return pa.array(values, mask=values < 0)


def read(
    paths: Paths,
    *,
    columns: Columns | None = None,
    where: Conditions = (),
    period: float | None = None,
    timezone: str = "UTC",
    max_gap: float | None = None,
    max_power: float | None = None,
) -> Recording:
    """Open recordings of the agent, or logs of other tools, of any format that `replay` knows.

    Parameters
    ----------
    paths : path or sequence of paths
        Files or folders; ``FILE@HOST`` names the host of one.
    columns, where, period, timezone, max_gap, max_power
        How a log of another tool is to be understood, see `replay`.

    Raises
    ------
    InputError
        If there is no such file, or one that is not a trace, or holds no readings.
    """
    options = options_from(
        columns=columns, where=where, period=period, timezone=timezone, max_gap=max_gap, max_power=max_power
    )
    chains = find(texts_of(paths), options)
    for chain in chains:
        if chain.holds_runs:
            raise InputError("it is a table of runs, which has no samples; replay it", str(chain.sources[0].path))
    return Recording(chains, options)
