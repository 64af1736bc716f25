"""The native format: nothing is lost, nothing is changed, later versions are told from damage."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from tests.depth import examples
from tests.traces.windows_made_up import plain_window, same, windows
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.native.batch import SCHEMA, Damaged, Decoder, batch_of_window, rows_of_batch
from wattshed.agent.traces.native.definitions import identity, text_of_devices, text_of_owners
from wattshed.agent.traces.native.parquet import parquet_windows, write_parquet
from wattshed.agent.traces.native.reader import segment_windows
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.native.segment import SCHEMA_MESSAGE, layout_of, message_of_batch, read_message, spans


def encode(window):
    devices, owners = text_of_devices(window.devices), text_of_owners(window.owners)
    return message_of_batch(batch_of_window(window, devices, owners, (identity(devices), identity(owners))), window.seq)


def decode(data):
    view, decoder, out = memoryview(data), Decoder(), []
    layout = layout_of(view)
    for span in spans(view, layout):
        assert span.intact
        for row, lists, names in rows_of_batch(read_message(view[span.start : span.end], layout.schema)):
            decoder.learn(row)
            out.append(decoder.window(row, lists, names))
    return out


@given(windows())
@settings(max_examples=examples(100), deadline=None)
def test_a_window_comes_back_bit_for_bit(window):
    (back,) = decode(SCHEMA_MESSAGE + encode(window))
    same(window, back)


@given(windows())
@settings(max_examples=examples(40), deadline=None)
def test_parquet_keeps_every_bit_too(window):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        assert write_parquet([window, window], path) == 2
        first, second = parquet_windows(path, SourceReport("x"))
        same(window, first)
        same(window, second)


def test_any_arrow_library_reads_a_segment(tmp_path):
    recorder = Recorder(tmp_path, "node")
    for i in range(5):
        assert recorder.append(plain_window(i))
    recorder.close()
    (path,) = tmp_path.rglob("*.arrows")
    table = pa.ipc.open_stream(path).read_all()
    assert table.num_rows == 5
    assert table.column("power_mw")[0].as_py() == [300_000] * 8


def test_power_alone_takes_eight_bytes_a_sample():
    window = plain_window(0, gpus=1, samples=100_000, step_us=1000)
    bare = window.readings.counter_mj * 0 - 1
    from dataclasses import replace

    window = replace(window, readings=replace(window.readings, counter_mj=bare))
    assert len(encode(window)) < 8 * 100_000 + 8192


def test_definitions_are_written_twice_and_then_left_out(tmp_path):
    recorder = Recorder(tmp_path, "node")
    for i in range(6):
        recorder.append(plain_window(i))
    recorder.close()
    (path,) = tmp_path.rglob("*.arrows")
    assert [text is not None for text in pa.ipc.open_stream(path).read_all().column("devices").to_pylist()] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert len(list(segment_windows(path, SourceReport("x")))) == 6


def _other_schema(version):
    fields = [*SCHEMA, pa.field("something_new", pa.int64())]
    return pa.schema(fields, metadata={"wattshed.format": "trace", "wattshed.version": str(version)})


def _segment_of(schema, window):
    """Write a segment as a later wattshed would: one more column, checksummed over its own schema."""
    import zlib

    devices = text_of_devices(window.devices)
    batch = batch_of_window(window, devices, "[]", (identity(devices), identity("[]")))
    batch = pa.record_batch([*batch.columns, pa.array([7], pa.int64())], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(batch, custom_metadata={"seq": "0", "check": "crc32=00000000"})
    data = bytearray(sink.getvalue())
    empty = pa.BufferOutputStream()
    with pa.ipc.new_stream(empty, schema):
        pass
    head = len(empty.getvalue()) - 8
    at = data.index(b"crc32=", head) + 6
    crc = zlib.crc32(data[head:-8], zlib.crc32(data[:head]))
    data[at : at + 8] = b"%08x" % crc
    return bytes(data)


def test_a_new_column_of_the_same_version_is_passed_over():
    window = plain_window(3)
    (back,) = decode(_segment_of(_other_schema(1), window))
    same(window, back)


def test_a_later_version_is_refused_by_name(tmp_path):
    path = tmp_path / "x.arrows"
    path.write_bytes(_segment_of(_other_schema(2), plain_window(0)))
    with pytest.raises(InputError, match=r"written in version 2 .* reads version 1") as error:
        list(segment_windows(path, SourceReport("x")))
    assert error.value.path == str(path)


def test_parquet_of_a_later_version_or_torn_is_refused_by_name(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet([plain_window(0)], path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"wattshed.version": b"2"}), path)
    with pytest.raises(InputError, match=r"version 2, .* reads version 1") as error:
        list(parquet_windows(path, SourceReport("x")))
    assert error.value.path == str(path)
    pq.write_table(table.drop(["offsets"]), path)
    with pytest.raises(InputError, match="columns do not fit together") as error:
        list(parquet_windows(path, SourceReport("x")))
    assert error.value.path == str(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged Parquet") as error:
        list(parquet_windows(path, SourceReport("x")))
    assert error.value.path == str(path)


def test_columns_that_do_not_fit_together_are_damage():
    window = plain_window(0)
    batch = batch_of_window(window, text_of_devices(window.devices), "[]", (1, identity("[]")))
    ((row, lists, names),) = rows_of_batch(batch)
    decoder = Decoder()
    decoder.learn(row)
    lists["power_mw"] = np.array([1, 2], np.int32)
    with pytest.raises(Damaged):
        decoder.window(row, lists, names)


def test_duckdb_and_polars_read_the_parquet(tmp_path):
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "x.parquet"
    write_parquet([plain_window(i) for i in range(3)], path)
    samples = f"(select unnest(gpu) gpu, unnest(power_mw) power from '{path}')"
    assert duckdb.sql(f"select gpu, sum(power) from {samples} group by 1 order by 1").fetchall() == [
        (0, 3 * 4 * 300_000),
        (1, 3 * 4 * 300_000),
    ]
    frame = polars.read_parquet(path, columns=["gpu", "time_us", "power_mw"]).explode(["gpu", "time_us", "power_mw"])
    assert frame.height == 3 * 2 * 4
