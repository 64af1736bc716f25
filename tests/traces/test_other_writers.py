"""Segments of other writers: an agreeing checksum says that they are whole, not that they are well made.

Whatever they hold, it is read, or counted as damaged; windows and runs of windows give the same books.
"""

import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest

from tests.traces.windows_made_up import plain_window
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.native.batch import SCHEMA, batch_of_window
from wattshed.agent.traces.native.definitions import identity, text_of_devices
from wattshed.agent.traces.native.reader import segment_chunks
from wattshed.agent.traces.native.segment import SCHEMA_MESSAGE
from wattshed.agent.window import MISSING, Readings, Window, WindowBatch

COUNT = 4


def plain(i):
    """A window of power alone: 8 samples of 300 W."""
    window = plain_window(i)
    readings = window.readings
    bare = Readings(readings.offsets, readings.time_us, readings.power_mw, np.full(8, MISSING))
    return Window(window.host, i, window.start_us, window.end_us, window.devices, bare, window.busy_us)


def batches(change):
    """Rows of `COUNT` windows, each with its columns (by name) changed."""
    for i in range(COUNT):
        window = plain(i)
        devices = text_of_devices(window.devices)
        batch = batch_of_window(window, devices, "[]", (identity(devices), identity("[]")))
        columns = {name: batch.column(name) for name in batch.schema.names}
        changed = change(columns, i)
        yield pa.record_batch(list(changed.values()), names=list(changed))


def segment(rows):
    """Write batches as messages with checksums, below their own schema."""
    schema = rows[0].schema.with_metadata(SCHEMA.metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema):
        pass
    head = bytes(sink.getvalue())[:-8]
    data = bytearray(head)
    for i, row in enumerate(rows):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_batch(
                pa.record_batch(row.columns, schema=schema), custom_metadata={"seq": str(i), "check": "crc32=00000000"}
            )
        message = bytearray(memoryview(sink.getvalue())[len(head) : -8])
        at = message.index(b"crc32=") + 6
        message[at : at + 8] = b"%08x" % zlib.crc32(message, zlib.crc32(head))
        data += message
    return bytes(data)


def books(path, *, batched):
    """Book a segment; (energy in hnj of each GPU, rows, what was rejected, runs)."""
    accounts, report, found = Accounts(), SourceReport(str(path)), 0
    for chunk in segment_chunks(path, report):
        for item in chunk(batched=batched):
            if isinstance(item, WindowBatch):
                found += 1
                accounts.add_batch(item)
            else:
                accounts.add(item)
    accounts.finish()
    return [account.energy_hnj for account in accounts.gpus.values()], report.rows, dict(report.rejected), found


def both(tmp_path, data):
    path = tmp_path / "x.arrows"
    path.write_bytes(data)
    by_run, by_window = books(path, batched=True), books(path, batched=False)
    assert by_run[:3] == by_window[:3]
    return by_run


def with_column(**new):
    return lambda columns, _: columns | new


WELL_MADE = {
    "as ours": lambda columns, _: columns,
    "another order": lambda columns, _: dict(reversed(columns.items())),
    "one more column": with_column(more=pa.array([1])),
    "one more column of a rare type": with_column(more=pa.array([{"a": 1}])),
    "one more column without buffers": with_column(more=pa.nulls(1)),
    "large text": lambda columns, _: columns | {"host": columns["host"].cast(pa.large_utf8())},
    "large lists": lambda columns, _: columns | {"power_mw": columns["power_mw"].cast(pa.large_list(pa.int32()))},
    "wider numbers": lambda columns, _: columns | {"power_mw": columns["power_mw"].cast(pa.list_(pa.int64()))},
    "no column for what nobody asks": lambda columns, _: {
        name: column for name, column in columns.items() if not name.startswith(("usage", "gauge", "counter", "events"))
    },
    "owners that are lost, and that no usage names": lambda columns, _: (
        columns | {"owners": pa.nulls(1, pa.utf8()), "owners_id": pa.array([7], pa.uint32())}
    ),
    "no host": lambda columns, _: columns | {"host": pa.nulls(1, pa.utf8())},
}


@pytest.mark.parametrize("name", WELL_MADE)
def test_other_forms_of_the_same(tmp_path, name):
    energy, rows, rejected, _ = both(tmp_path, segment(list(batches(WELL_MADE[name]))))
    assert energy == [300_000 * 2 * 1_500_000] * 2
    assert (rows, rejected) == (8 * COUNT, {})


def test_many_rows_in_one_batch(tmp_path):
    table = pa.Table.from_batches(list(batches(WELL_MADE["as ours"]))).combine_chunks()
    energy, rows, rejected, _ = both(tmp_path, segment(table.to_batches()))
    assert (energy, rows, rejected) == ([300_000 * 2 * 1_500_000] * 2, 8 * COUNT, {})


def texts(name, value):
    return lambda columns, _: columns | {name: pa.array([value], pa.utf8())}


def lists(**new):
    return lambda columns, _: columns | {name: pa.array([value], columns[name].type) for name, value in new.items()}


USAGE = {
    "usage_gpu": [0], "usage_owner": [0], "usage_start_us": [0], "usage_end_us": [1], "usage_activity_us": [-1],
    "usage_share_ppm": [-1], "usage_live": [1],
}  # fmt: skip

ILL_MADE = {
    "no number": lambda columns, _: {name: column for name, column in columns.items() if name != "seq"},
    "a hole": lists(power_mw=[300_000] * 7 + [None]),
    "offsets that lead outside and back": lists(offsets=[0, 1 << 40, 8]),
    "offsets before the beginning": lists(offsets=[0, -(1 << 40), 8]),
    "offsets that lead outside, with a counter": lists(offsets=[0, 1 << 40, 8], counter_mj=list(range(8))),
    "usage of no GPU": lists(**USAGE | {"usage_gpu": [2]}),
    "usage of nobody": lists(**USAGE),
    "power of another type": lambda columns, _: columns | {"power_mw": pa.array([["a"] * 8])},
    "devices that are not JSON": texts("devices", "{"),
    "devices that are none": texts("devices", "[1, 2]"),
    "a ceiling that is not a number": texts("devices", '[{"host": "", "index": 0, "uuid": "", "ceiling_mw": "1"}]'),
    "a ceiling that no word holds": texts(
        "devices", f'[{{"host": "", "index": 0, "uuid": "", "ceiling_mw": {2**70}}}]'
    ),
    "events that are none": texts("events", "[1]"),
    "work that is none": texts("work", "[1]"),
    "CPU times that are none": texts("cpu", "[1]"),
    "no CPUs": texts("cpu", "[0,0,[]]"),
    "a counter of nobody": texts("cpu", "[4,0,[[7,1,2]]]"),
    "a counter that is negative": texts("cpu", '[4,0,[["a",1,-2]]]'),
    "work of nobody": texts("work", '[[0,0,1,0,0,[["steps",1]]]]'),
    "it ends before it begins": with_column(end_us=pa.array([-(2**63)])),
}


@pytest.mark.parametrize("name", ILL_MADE)
def test_what_does_not_fit_together_is_damage(tmp_path, name):
    _, rows, rejected, _ = both(tmp_path, segment(list(batches(ILL_MADE[name]))))
    assert (rows, rejected) == (0, {"damaged": COUNT})


def test_a_checksum_that_lies_partly_behind_its_metadata_does_not_hold_up_the_reader(tmp_path):
    """Two ways of finding messages look at it; one takes it for intact, the other does not."""
    metadata = struct.pack("<I6Hi4xq", 16, 12, 16, 0, 0, 0, 8, 12, 8).ljust(42, b"\0") + b"crc32="
    message = bytearray(struct.pack("<iI", -1, len(metadata)) + metadata + b"00000000")
    message[-8:] = b"%08x" % zlib.crc32(message, zlib.crc32(SCHEMA_MESSAGE))
    whole = segment(list(batches(WELL_MADE["as ours"])))
    assert whole.startswith(SCHEMA_MESSAGE)
    energy, rows, rejected, _ = both(tmp_path, SCHEMA_MESSAGE + bytes(message) + whole[len(SCHEMA_MESSAGE) :])
    assert (rows, rejected) == (8 * COUNT, {"damaged": 1})
    assert energy == [300_000 * 2 * 1_500_000] * 2
