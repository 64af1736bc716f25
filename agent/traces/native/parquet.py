"""The Parquet form of a native trace: the columns of a segment, and one with every sample's GPU, for SQL."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pc
from wattshed.agent.traces.chunk import windows_of
from wattshed.agent.traces.native.batch import (
    FAR_US,
    LISTS,
    SCHEMA,
    VERSION,
    Damaged,
    Decoder,
    batch_of_window,
    in_our_types,
    rows_of_batch,
)
from wattshed.agent.traces.native.definitions import identity, text_of_devices, text_of_owners
from wattshed.agent.traces.native.host_rows import text_of_meters
from wattshed.agent.window import MISSING, WindowBatch
from wattshed.kernels.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.chunk import Chunk
    from wattshed.agent.window import Window

_GROUP_SAMPLES = 1 << 22
_GROUP_ROWS = 1 << 12
_MUST_BE_EMPTY = ("dt_us", "counter_mj", *(name for name in LISTS if name.startswith("usage_")))


def is_native_parquet(schema: Any) -> bool:
    """Return whether a Parquet file's Arrow schema is that of a compacted native trace."""
    return (schema.metadata or {}).get(b"wattshed.format") == b"trace"


def parquet_chunks(path: Path, report: SourceReport) -> Iterator[Chunk]:
    """Read a compacted native trace, a stretch a row group.

    Yields
    ------
    callable
        As `agent.traces.native.reader.segment_chunks` does.

    Raises
    ------
    InputError
        If the file is damaged or of a later version; also when a stretch is taken apart.
    """
    decoder = Decoder()
    with _damage_named(path):
        for batch in _batches(path):
            yield partial(_items, batch, decoder, path, report)


def parquet_windows(path: Path, report: SourceReport) -> Iterator[Window]:
    """Read all windows of a compacted native trace; see `parquet_chunks`."""
    return windows_of(parquet_chunks(path, report))


def _items(
    batch: Any, decoder: Decoder, path: Path, report: SourceReport, *, batched: bool
) -> Iterator[Window | WindowBatch]:
    with _damage_named(path):
        power_only = _power_only(batch) if batched else np.zeros(batch.num_rows, bool)
        edges = np.flatnonzero(np.diff(power_only, prepend=~power_only[:1], append=~power_only[-1:]))
        for begin, end in itertools.pairwise(edges.tolist()):
            some = batch.slice(begin, end - begin)
            found = _batch(some, decoder) if power_only[begin] else None
            if found is None:
                yield from _windows(some, decoder, report)
            else:
                report.rows += int(found.columns.offsets[:, -1].sum())
                yield found


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise InputError(str(error), str(path)) from error
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"damaged Parquet ({str(error).splitlines()[0]})", str(path)) from error


def _batches(path: Path) -> Iterator[Any]:
    """Decode row group by row group."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of the start of a replay that needs none

    with pq.ParquetFile(path) as file:
        version = int(file.schema_arrow.metadata.get(b"wattshed.version", b"0"))
        if version != VERSION:
            raise InputError(f"it is of version {version}, and this wattshed reads version {VERSION}", str(path))
        names = [name for name in file.schema_arrow.names if name != "gpu"]
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, names, use_threads=True).combine_chunks().to_batches():
                yield in_our_types(batch)


def _windows(batch: Any, decoder: Decoder, report: SourceReport) -> Iterator[Window]:
    for row, lists, texts in rows_of_batch(batch):
        decoder.learn(row)
        window = decoder.window(row, lists, texts)
        report.rows += window.readings.time_us.size
        yield window


def _power_only(batch: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows hold power readings and nothing else that counts."""

    def count(name: str) -> Any:
        if name not in batch.schema.names:
            return np.zeros(batch.num_rows, np.int64)
        return pc.fill_null(pc.list_value_length(batch.column(name)), 0).to_numpy()

    rows = count("time_us")
    power_only = (count("power_mw") == rows) & (rows > 0) & (count("busy_us") == count("offsets") - 1)
    power_only &= (count("instant_mw") == rows) | (count("instant_mw") == 0)
    for name in _MUST_BE_EMPTY:
        power_only &= count(name) == 0
    names = batch.column("owners")  # one without use may still have a label that came late
    nobody = pc.fill_null(pc.equal(names, text_of_owners(())), True).to_numpy(zero_copy_only=False)
    for name in {"events", "work", "beside", "cpu"} & set(batch.schema.names):
        power_only &= batch.column(name).is_null().to_numpy(zero_copy_only=False)
    return np.asarray(power_only & nobody, bool)


def _batch(batch: Any, decoder: Decoder) -> WindowBatch | None:
    """Put power-only rows of one host and the same devices together; None if they are not that."""
    names = batch.column("devices_id").to_numpy()
    text = batch.column("devices")[0].as_py()
    hosts = batch.column("host")
    numbers = [batch.column(name) for name in ("seq", "start_us", "end_us")]
    if (names != names[0]).any() or text is None or pc.count_distinct(hosts).as_py() != 1 or hosts.null_count:
        return None
    decoder.learn({"devices": text, "devices_id": int(names[0]), "owners": None})
    devices = decoder.devices(int(names[0]))
    offsets, times, power = (batch.column(name) for name in ("offsets", "time_us", "power_mw"))
    flat = offsets.flatten()
    if devices is None or any(n.null_count for n in numbers) or len(flat) != batch.num_rows * (len(devices) + 1):
        return None
    table = flat.to_numpy().reshape(batch.num_rows, -1)
    rows = pc.list_value_length(times).to_numpy()
    if (table[:, 0] != 0).any() or (table[:, -1] != rows).any() or (np.diff(table, axis=1) < 0).any():
        return None
    seq, start_us, end_us = (number.to_numpy() for number in numbers)
    if (start_us > end_us).any() or int(start_us.min()) <= -FAR_US or int(end_us.max()) >= FAR_US:
        return None
    columns = Columns(
        table,
        times.values.to_numpy(), times.offsets.to_numpy()[:-1].astype(np.int64), np.zeros(len(seq), np.int64),
        power.values.to_numpy(), power.offsets.to_numpy()[:-1].astype(np.int64),
    )  # fmt: skip
    instants = batch.column("instant_mw")
    lengths, places = pc.fill_null(pc.list_value_length(instants), 0).to_numpy(), instants.offsets.to_numpy()[:-1]
    at = np.where(lengths > 0, places, MISSING).astype(np.int64)
    return WindowBatch(
        hosts[0].as_py(), devices, seq, start_us, end_us, columns, instants.values.to_numpy(zero_copy_only=False), at
    )


def write_parquet(windows: Iterable[Window], path: Path) -> int:
    """Write windows as Parquet with the columns of the native trace; whole or not at all.

    Beside the columns of a segment each row has ``gpu``, the index of every sample's GPU, so that SQL can unnest the
    samples without knowing ``offsets``; ``time_us`` is always written out.

    Returns
    -------
    int
        Windows written.
    """
    unfinished = path.with_name(path.name + ".partial")
    try:
        count = _write(windows, unfinished)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.replace(path)
    return count


def _write(windows: Iterable[Window], path: Path) -> int:
    schema = SCHEMA.append(pa.field("gpu", pa.list_(pa.field("item", pa.int32()))))
    count = samples = 0
    # Readings hardly repeat, but times and counters grow by nearly the same: as differences they take a byte or two.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    growing = {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in ("time_us", "counter_mj", "gpu")}
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts, column_encoding=growing) as writer:
        group: list[Any] = []
        for window in windows:
            devices, owners = text_of_devices(window.devices), text_of_owners(window.owners)
            meters = text_of_meters(window.beside.meters)
            ids = (identity(devices), identity(owners), identity(meters))
            told = meters if window.beside.meters else None
            batch = batch_of_window(window, devices, owners, ids, meters=told, packed=False)
            gpu = np.repeat(np.arange(len(window.devices), dtype=np.int32), np.diff(window.readings.offsets))
            lists = pa.ListArray.from_arrays(pa.array([0, gpu.size], pa.int32()), pa.array(gpu))
            group.append(pa.record_batch([*batch.columns, lists], schema=schema))
            count += 1
            samples += gpu.size
            if samples >= _GROUP_SAMPLES or len(group) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group))
                group, samples = [], 0
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return count
