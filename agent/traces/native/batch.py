"""One window as one row of an Arrow record batch, and back: the columns of the native trace (docs/trace-format.md).

A window's samples, usage and gauges are list columns, so that one row holds all of it and its buffers are the arrays
themselves. Devices and owners are JSON texts that are written when they change and referred to by their CRC-32 between.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wattshed.agent.traces.native.cpu_rows import cpu_from_text, text_of_cpu
from wattshed.agent.traces.native.definitions import (
    devices_from_text,
    events_from_text,
    identity,
    owners_from_text,
    text_of_events,
)
from wattshed.agent.traces.native.host_rows import (
    id_in_readings,
    meters_from_text,
    readings_from_text,
    text_of_readings,
)
from wattshed.agent.traces.native.work_rows import text_of_work, work_from_text
from wattshed.agent.window import (
    FEATURES_OF_USAGE,
    MISSING,
    USAGE,
    Device,
    Owner,
    Readings,
    Usage,
    Window,
)
from wattshed.agent.window.host_meters import NO_HOST_METERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.window import CpuTimes
    from wattshed.agent.window.host_meters import HostMeter, HostReadings

VERSION = 1
FAR_US = 1 << 62
"""No window begins or ends there: differences of times before it fit in a word."""

_LISTS: Mapping[str, Any] = {
    "offsets": pa.int64(),
    "dt_us": pa.uint32(),
    "time_us": pa.int64(),
    "power_mw": pa.int32(),
    "counter_mj": pa.int64(),
    "instant_mw": pa.int32(),
    "busy_us": pa.int64(),
    "usage_gpu": pa.int32(),
    "usage_owner": pa.int32(),
    "usage_start_us": pa.int64(),
    "usage_end_us": pa.int64(),
    "usage_activity_us": pa.int64(),
    "usage_share_ppm": pa.int32(),
    "usage_live": pa.int8(),
    "usage_tensor_us": pa.int64(),
    "usage_dram_us": pa.int64(),
    "gauge_names": pa.utf8(),
    "gauge_values": pa.float64(),
}
"""The list columns and their item types: one list a window (docs/trace-format.md)."""

TEXT_LISTS = tuple(name for name, item in _LISTS.items() if pa.types.is_string(item))
LISTS: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(item.to_pandas_dtype()) for name, item in _LISTS.items() if name not in TEXT_LISTS
}
"""The same for numpy; texts are not an array."""

SCHEMA = pa.schema(
    [
        pa.field("host", pa.utf8()),
        pa.field("seq", pa.int64()),
        pa.field("start_us", pa.int64()),
        pa.field("end_us", pa.int64()),
        pa.field("devices_id", pa.uint32()),
        pa.field("devices", pa.utf8()),
        pa.field("owners_id", pa.uint32()),
        pa.field("owners", pa.utf8()),
        pa.field("events", pa.utf8()),
        pa.field("work", pa.utf8()),
        pa.field("meters", pa.utf8()),
        pa.field("beside", pa.utf8()),
        pa.field("cpu", pa.utf8()),
        *(pa.field(name, pa.list_(pa.field("item", item))) for name, item in _LISTS.items()),
    ],
    metadata={"wattshed.format": "trace", "wattshed.version": str(VERSION)},
)


class Damaged(Exception):  # noqa: N818 - it names a state of the data, and never reaches the user
    """A batch cannot be read, or refers to a definition that is lost."""


def _column(name: str, values: Any) -> Any:
    items = pa.array(values, _LISTS[name])
    return pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items)


def _unless_missing(values: NDArray[Any]) -> NDArray[Any]:
    """Leave a column out that holds no reading at all; the reader fills it again."""
    return values if values.size and bool((values != MISSING).any()) else values[:0]


def batch_of_window(
    window: Window,
    devices: str | None,
    owners: str | None,
    ids: tuple[int, ...],
    *,
    meters: str | None = None,
    packed: bool = True,
) -> Any:
    """Lay a window out as one row.

    Parameters
    ----------
    window : Window
    devices, owners, meters : str or None
        Their definitions, or None to refer to an earlier batch; of the host's meters, see `host_rows`.
    ids : (int, int[, int])
        `identity` of these definitions.
    packed : bool
        Keep time as ``dt_us`` (uint32, from ``start_us``) where it fits; a sample of power alone then takes 8 bytes.

    Returns
    -------
    pyarrow.RecordBatch
        One row of `SCHEMA`.
    """
    readings, usage = window.readings, window.usage
    time_us = np.ascontiguousarray(readings.time_us, np.int64)
    since = time_us - window.start_us
    packed = packed and since.size > 0 and int(since.min()) >= 0 and int(since.max()) < 2**32
    gauges = {name: np.asarray(values, np.float64) for name, values in window.gauges.items()}
    lists: dict[str, Any] = {
        "offsets": readings.offsets,
        "dt_us": since.astype(np.uint32) if packed else np.empty(0, np.uint32),
        "time_us": time_us[:0] if packed else time_us,
        "power_mw": _unless_missing(readings.power_mw),
        "counter_mj": _unless_missing(readings.counter_mj),
        "instant_mw": readings.instant_mw,
        "busy_us": window.busy_us,
        "usage_gpu": usage.gpu,
        "usage_owner": usage.owner,
        "usage_start_us": usage.start_us,
        "usage_end_us": usage.end_us,
        "usage_activity_us": usage.activity_us,
        "usage_share_ppm": usage.share_ppm,
        "usage_live": usage.live,
        "usage_tensor_us": _unless_missing(usage.tensor_us),
        "usage_dram_us": _unless_missing(usage.dram_us),
        "gauge_names": list(gauges),
        "gauge_values": np.concatenate(list(gauges.values())) if gauges else np.empty(0),
    }
    return pa.record_batch(
        [
            pa.array([window.host], pa.utf8()),
            *(pa.array([n], pa.int64()) for n in (window.seq, window.start_us, window.end_us)),
            pa.array([ids[0]], pa.uint32()),
            pa.array([devices], pa.utf8()),
            pa.array([ids[1]], pa.uint32()),
            pa.array([owners], pa.utf8()),
            pa.array([text_of_events(window.events)], pa.utf8()),
            pa.array([text_of_work(window)], pa.utf8()),
            pa.array([meters], pa.utf8()),
            pa.array([text_of_readings(window, ids[-1])], pa.utf8()),
            pa.array([text_of_cpu(window)], pa.utf8()),
            *(_column(name, lists[name]) for name in _LISTS),
        ],
        schema=SCHEMA,
    )


@contextmanager
def _read(what: str) -> Iterator[None]:
    """Name what was being read when a text turns out to be another than it should be."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Damaged(f"its {what} cannot be read ({error})") from error


def _check_times(row: Mapping[str, Any]) -> None:
    if row["seq"] is None or row["start_us"] is None or row["end_us"] is None:
        raise Damaged("it has no number or no time")
    if not -FAR_US < row["start_us"] <= row["end_us"] < FAR_US:
        raise Damaged("it ends before it begins, or has no length")


class Decoder:
    """Turns batches back into windows; keeps the definitions that batches refer to."""

    def __init__(self) -> None:
        self._devices: dict[int, tuple[Device, ...]] = {}
        self._owners: dict[int, tuple[Owner, ...]] = {identity("[]"): ()}
        self._meters: dict[int, tuple[HostMeter, ...]] = {}
        self._nothing: dict[str, NDArray[Any]] = {}

    def learn(self, row: Mapping[str, Any]) -> None:
        """Keep the definitions of one row (``devices``, ``owners`` and their ids, ``meters``).

        Raises
        ------
        Damaged
            If they are not valid.
        """
        if row["devices"] is not None and row["devices_id"] not in self._devices:
            with _read("devices"):
                self._devices[row["devices_id"]] = devices_from_text(row["devices"])
        if row["owners"] is not None and row["owners_id"] not in self._owners:
            if len(self._owners) > 64:  # labels grow as metadata arrives; old tables are not needed again
                self._owners.clear()
            with _read("owners"):
                self._owners[row["owners_id"]] = owners_from_text(row["owners"])
        if row.get("meters") is not None and (name := identity(row["meters"])) not in self._meters:
            with _read("meters"):
                self._meters[name] = meters_from_text(row["meters"])

    def devices(self, name: int) -> tuple[Device, ...] | None:
        """Return the devices of this id, if they have been learned."""
        return self._devices.get(name)

    def knows(self, row: Mapping[str, Any]) -> bool:
        """Return whether all definitions that the row refers to have been learned."""
        with _read("readings beside"):
            beside = row.get("beside") is None or id_in_readings(row["beside"]) in self._meters
        return beside and row["devices_id"] in self._devices and row["owners_id"] in self._owners

    def window(
        self, row: Mapping[str, Any], lists: Mapping[str, NDArray[Any]], texts: Mapping[str, list[str]]
    ) -> Window:
        """Build the window of one row.

        Raises
        ------
        Damaged
            If the columns do not fit together, or a definition is unknown.
        """
        # An owner without references need not be known: a window without usage is read whatever became of its owners.
        if row["devices_id"] not in self._devices or (
            (lists["usage_owner"].size or row["work"] or row.get("beside")) and not self.knows(row)
        ):
            raise Damaged("it refers to devices, owners or meters that are not in the segment")
        _check_times(row)
        devices, owners = self._devices[row["devices_id"]], self._owners.get(row["owners_id"], ())
        start_us, offsets, gauge_names = row["start_us"], lists["offsets"], texts["gauge_names"]
        time_us = lists["time_us"] if lists["time_us"].size else np.add(lists["dt_us"], start_us, dtype=np.int64)
        n, g = time_us.size, len(devices)

        def filled(name: str, dtype: type[np.generic]) -> NDArray[Any]:
            values = lists[name]
            if values.size == n:
                return values
            nothing = self._nothing.get(name)
            if nothing is None or nothing.size < n:  # filled once and shared: nobody writes into a window
                nothing = self._nothing[name] = np.full(n, MISSING, dtype)
            return nothing[:n]

        sizes = {"power_mw": n, "counter_mj": n, "instant_mw": n, "gauge_values": g * len(gauge_names)}
        bad = [name for name, size in sizes.items() if lists[name].size not in (0, size)]
        usage = Usage(*(lists[f"usage_{name}"] for name in (*USAGE, *FEATURES_OF_USAGE)))
        may_lack = {name: {0, usage.gpu.size} for name in FEATURES_OF_USAGE} | {
            name: {usage.gpu.size} for name in USAGE
        }
        bad += [name for name, good in may_lack.items() if getattr(usage, name).size not in good]
        bad += [name for name, places in (("gpu", g), ("owner", len(owners))) if _outside(getattr(usage, name), places)]
        bad += ["busy_us"] if lists["busy_us"].size != g else []
        if offsets.size != g + 1 or offsets[0] != 0 or offsets[-1] != n or (offsets[1:] < offsets[:-1]).any():
            bad.append("offsets")
        if bad:
            raise Damaged(f"its columns do not fit together ({', '.join(bad)})")
        readings = Readings(
            offsets, time_us, filled("power_mw", np.int32), filled("counter_mj", np.int64), lists["instant_mw"]
        )
        gauges = {name: lists["gauge_values"][i * g : (i + 1) * g] for i, name in enumerate(gauge_names)}
        with _read("events"):
            events = events_from_text(row["events"])
        with _read("work"):
            work = work_from_text(row["work"], owners, start_us, row["end_us"])
        return Window(
            row["host"] or "",
            row["seq"],
            start_us,
            row["end_us"],
            devices,
            readings,
            lists["busy_us"],
            owners,
            usage,
            events,
            gauges,
            work,
            self._beside(row),
            _cpu(row),
        )

    def _beside(self, row: Mapping[str, Any]) -> HostReadings:
        text = row.get("beside")
        if text is None:
            return NO_HOST_METERS
        with _read("readings beside"):
            return readings_from_text(text, self._meters[id_in_readings(text)], row["start_us"])


def _cpu(row: Mapping[str, Any]) -> CpuTimes:
    with _read("CPU times"):
        return cpu_from_text(row.get("cpu"), row["start_us"])


def _outside(places: NDArray[Any], count: int) -> bool:
    """Return whether any place is not in a table of so many."""
    return bool(places.size) and not 0 <= int(places.min()) <= int(places.max()) < count


def in_our_types(batch: Any) -> Any:
    """Take the columns that we know, by name; other writers may have used wider types, or added columns."""
    fields = [field for field in SCHEMA if field.name in batch.schema.names]
    return pa.record_batch([batch.column(field.name).cast(field.type) for field in fields], schema=pa.schema(fields))


TEXTS = ("host", "devices", "owners", "events", "work", "meters", "beside", "cpu")
_SCALARS = (*TEXTS, "seq", "start_us", "end_us", "devices_id", "owners_id")


def rows_of_batch(
    batch: Any,
) -> Iterator[tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, list[str]]]]:
    """Split a batch (one row in a segment, many in Parquet) into scalars, list columns as numpy views, lists of texts.

    Columns that are not there are null.

    Raises
    ------
    Damaged
        If a list has a hole.
    """
    columns = {name: batch.column(name) for name in batch.schema.names}
    for i in range(batch.num_rows):
        row = {name: columns[name][i].as_py() if name in columns else None for name in _SCALARS}
        texts = {name: (columns[name][i].as_py() if name in columns else None) or [] for name in TEXT_LISTS}
        lists = {}
        for name, dtype in LISTS.items():
            values = columns[name][i].values if name in columns else None
            if values is not None and values.null_count:
                raise Damaged(f"{name} has a hole")
            lists[name] = np.empty(0, dtype) if values is None else values.to_numpy()
        yield row, lists, texts
