"""Reads native traces: Arrow segments, mapped and checked message by message, and their Parquet form."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.traces.batch import (
    SCHEMA,
    VERSION,
    Damaged,
    Decoder,
    batch_of_window,
    identity,
    rows_of_batch,
    text_of_devices,
    text_of_owners,
)
from agent.traces.segment import Span, layout_of, read_message, spans
from agent.window import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.traces.report import SourceReport
    from agent.window import Window

_RELEASE = 32 << 20  # mapped bytes that may stay resident behind the reader
_LOOK_AHEAD = 4  # messages searched for a definition whose first copy was damaged


def segment_windows(path: Path, report: SourceReport) -> Iterator[Window]:
    """Read one ``.arrows`` or ``.open`` segment; damaged stretches are counted and passed over.

    Memory stays bounded: the file is mapped, and pages that were read are given back.

    Raises
    ------
    InputError
        If the file is empty, or of a version that cannot be read.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise InputError("it is empty", str(path))
        # A segment that is being written may be cut back under us; touching a page beyond its end would be fatal.
        growing = path.suffix == ".open"
        file.seek(0)
        mapped = None if growing else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(file.read() if mapped is None else mapped)
    try:
        yield from _windows_of_view(view, mapped, path, report)
    except Damaged as error:
        raise InputError(str(error), str(path)) from error


def _windows_of_view(view: memoryview, mapped: mmap.mmap | None, path: Path, report: SourceReport) -> Iterator[Window]:
    layout = layout_of(view)
    decoder = Decoder()
    released = 0
    last_seq: int | None = None
    messages = spans(view, layout)
    for span in messages:
        if not span.intact:
            report.reject("damaged", text=f"{span.end - span.start} bytes at {span.start}")
            continue
        for row, lists, names in rows_of_batch(read_message(view[span.start : span.end], layout.schema)):
            decoder.learn(row)
            if not decoder.knows(row):
                _look_ahead(view, span, layout.schema, decoder)
            try:
                window = decoder.window(row, lists, names)
            except Damaged as error:
                report.reject("damaged", text=f"window {row['seq']}: {error}")
                continue
            report.rows += window.readings.time_us.size
            if last_seq is not None and window.seq > last_seq + 1:
                report.note(f"{path.name}: {window.seq - last_seq - 1} windows missing before window {window.seq}")
            last_seq, report.position = window.seq, span.end
            yield window
        if mapped is not None and span.end - released > 2 * _RELEASE:
            upto = (span.end - _RELEASE) // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, released, upto - released)
            released = upto


def _look_ahead(view: memoryview, span: Span, schema: Any, decoder: Decoder) -> None:
    layout = layout_of(view)
    rest = spans(view, type(layout)(layout.schema, layout.seed, span.end))
    for _, following in zip(range(_LOOK_AHEAD), rest, strict=False):
        if following.intact:
            for row, _lists, _names in rows_of_batch(read_message(view[following.start : following.end], schema)):
                decoder.learn(row)


def is_native_parquet(schema: Any) -> bool:
    """Tell whether a Parquet file's Arrow schema is that of a compacted native trace."""
    return (schema.metadata or {}).get(b"wattshed.format") == b"trace"


def parquet_windows(path: Path, report: SourceReport) -> Iterator[Window]:
    """Read a compacted native trace, row group by row group.

    Raises
    ------
    InputError
        If the file is damaged or of a later version.
    """
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            version = int(file.schema_arrow.metadata.get(b"wattshed.version", b"0"))
            if version != VERSION:
                raise InputError(f"it is of version {version}, and this wattshed reads version {VERSION}", str(path))
            decoder = Decoder()
            for batch in file.iter_batches(batch_size=64):
                for row, lists, names in rows_of_batch(batch):
                    decoder.learn(row)
                    window = decoder.window(row, lists, names)
                    report.rows += window.readings.time_us.size
                    yield window
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"damaged Parquet ({str(error).splitlines()[0]})", str(path)) from error
    except Damaged as error:
        raise InputError(str(error), str(path)) from error


def write_parquet(windows: Iterable[Window], path: Path, rows_in_group: int = 64) -> int:
    """Write windows as Parquet with the columns of the native trace; whole or not at all.

    Beside the columns of a segment each row has ``gpu``, the index of every sample's GPU, so that SQL can unnest the
    samples without knowing ``offsets``; ``time_us`` is always written out.

    Returns
    -------
    int
        Windows written.
    """
    partial = path.with_name(path.name + ".partial")
    schema = SCHEMA.append(pa.field("gpu", pa.list_(pa.field("item", pa.int32()))))
    count = 0
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        group: list[Any] = []
        for window in windows:
            devices, owners = text_of_devices(window.devices), text_of_owners(window.owners)
            ids = (identity(devices), identity(owners))
            batch = batch_of_window(window, devices, owners, ids, packed=False)
            gpu = np.repeat(np.arange(len(window.devices), dtype=np.int32), np.diff(window.readings.offsets))
            lists = pa.ListArray.from_arrays(pa.array([0, gpu.size], pa.int32()), pa.array(gpu))
            group.append(pa.record_batch([*batch.columns, lists], schema=schema))
            count += 1
            if len(group) == rows_in_group:
                writer.write_table(pa.Table.from_batches(group))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group))
    partial.replace(path)
    return count
