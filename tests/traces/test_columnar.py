"""Parquet and Arrow files of other tools: read as the same table in text, whatever its row groups and types."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from tests.depth import examples
from wattshed.agent.__main__ import main
from wattshed.agent.inputs import columnar
from wattshed.agent.inputs.columnar import Stretch, blocks_of, head_of_columns, open_columns, side_by_side
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.assembler import Assembler
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import Window

STEPS, GPUS = 40, 3
START = np.datetime64("2026-03-13T12:00:00")
TIME = np.repeat(START + np.arange(STEPS) * np.timedelta64(1, "s"), GPUS)
GPU = np.tile(np.arange(GPUS), STEPS)
WATTS = np.round(200 + 50 * GPU + np.sin(np.arange(STEPS * GPUS)) * 99, 3)
NAMES = np.array([f"GPU-{gpu:08x}-5f5c-4b1e-9d3a-0123456789ab" for gpu in range(GPUS)])
TEXT = "timestamp,gpu,power_w\n" + "".join(f"{t},{g},{w}\n" for t, g, w in zip(TIME, GPU, WATTS.tolist(), strict=True))
PLAIN = {"timestamp": pa.array(TIME), "gpu": pa.array(GPU), "power_w": pa.array(WATTS)}
AS_TEXT = {"timestamp": pa.array(TIME.astype(str)), "gpu": pa.array(GPU.astype(str)), "power_w": pa.array(WATTS)}
MILLIWATTS = {
    "timestamp": pa.array(TIME.astype("datetime64[ns]").astype(np.int64)),
    "gpu": pa.array(GPU.astype(np.int8)),
    "power_mw": pa.array(np.rint(WATTS * 1000).astype(np.int32)),
}
LATER = [*range(3, 120), *range(3)]  # rows that are not in the order of time


def energies(capsys, path, *flags):
    assert main(["replay", str(path), "--format", "json", *flags]) == 0
    answer = json.loads(capsys.readouterr().out)
    return [{**gpu, "uuid": ""} for gpu in answer["gpus"]], answer["sources"][0]["rejected"]


@pytest.fixture
def wanted(tmp_path, capsys):
    (tmp_path / "log.csv").write_text(TEXT)
    return energies(capsys, tmp_path / "log.csv")


WRITTEN = {
    "plain": lambda path: pq.write_table(pa.table(PLAIN), path),
    "text": lambda path: pq.write_table(pa.table(AS_TEXT), path),
    "integers": lambda path: pq.write_table(pa.table(MILLIWATTS), path),
    "names": lambda path: pq.write_table(pa.table({**PLAIN, "gpu": pa.array(NAMES[GPU])}), path),
    "a dictionary": lambda path: pq.write_table(
        pa.table({**PLAIN, "gpu": pa.array(NAMES[GPU]).dictionary_encode()}), path
    ),
    "small row groups": lambda path: pq.write_table(pa.table(PLAIN), path, row_group_size=7),
    "out of order": lambda path: pq.write_table(pa.table(PLAIN).take(LATER), path),
    "by GPU": lambda path: pq.write_table(pa.table(PLAIN).sort_by("gpu"), path),
    "Arrow": lambda path: feather.write_feather(pa.table(PLAIN), path, compression="uncompressed"),
    "Feather": lambda path: feather.write_feather(pa.table({**PLAIN, "more": pa.array(WATTS)}), path, chunksize=50),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_read_as_text_is(tmp_path, capsys, wanted, name):
    WRITTEN[name](tmp_path / "log")
    assert energies(capsys, tmp_path / "log") == wanted


@pytest.mark.parametrize("write", [pq.write_table, feather.write_feather])
def test_nulls_are_no_readings(tmp_path, capsys, write):
    """Neither of power, which is counted, nor of a name, which is a GPU of its own in text, too."""
    power = pa.array([None if row % 11 == 5 else watts for row, watts in enumerate(WATTS.tolist())])
    write(pa.table({**PLAIN, "power_w": power}), tmp_path / "log")
    gpus, rejected = energies(capsys, tmp_path / "log")
    assert rejected == {"not_available": power.null_count}
    assert sum(gpu["samples"] for gpu in gpus) == STEPS * GPUS - power.null_count


def test_a_gpu_that_no_row_is_of_is_none(tmp_path, capsys):
    """Neither between the numbers of others, nor one of which all rows are left out."""
    names = pa.array(["a", "b", "c"]).take(pa.array(GPU))
    pq.write_table(pa.table({**PLAIN, "gpu": pa.array(GPU * 3 + 1), "name": names}), tmp_path / "log")
    for flags in ((), ("--columns", "gpu=name,time=timestamp,power=power_w")):
        found, _ = energies(capsys, tmp_path / "log", *flags, "--where", "name=a,name=c")
        assert [gpu["samples"] for gpu in found] == [STEPS, STEPS]


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_batches_hold_all_rows_once(tmp_path, form, size):
    path = tmp_path / "log"
    if form == "arrow":
        feather.write_feather(pa.table(PLAIN), path, chunksize=13)
    else:
        pq.write_table(pa.table(PLAIN), path, row_group_size=13)
    with open_columns(path) as table:
        batches = list(table.batches(["power_w", "gpu"], size))
        assert max(batch.num_rows for batch in batches) <= max(size, 13)
        for name in ("gpu", "power_w"):
            assert pa.chunked_array([batch.column(name) for batch in batches]).equals(pa.chunked_array([PLAIN[name]]))
        assert [len(column) for column in head_of_columns(table, ["gpu"], 5).values()] == [min(5, 13)]
        lines = np.concatenate([block.lines() for block in blocks_of(table, ["gpu"])])
    assert lines.tolist() == list(range(1, STEPS * GPUS + 1))


@pytest.mark.parametrize("group", [8, 13, 40, 1000])
def test_what_goes_back_in_time_is_read_side_by_side(tmp_path, monkeypatch, group):
    """Each row comes once, with its line, and late by no more than a block."""
    monkeypatch.setattr(columnar, "LATE_ROWS", 30)
    monkeypatch.setattr(columnar, "BLOCK_ROWS", 6)
    by_gpu = pa.table({**PLAIN, "row": pa.array(range(STEPS * GPUS))}).sort_by([("gpu", "ascending")])
    pq.write_table(by_gpu, tmp_path / "log", row_group_size=group)
    with open_columns(tmp_path / "log") as table:
        blocks = list(blocks_of(table, ["timestamp", "row"], "timestamp"))
    times = np.concatenate([block.columns["timestamp"].to_numpy().astype("M8[s]").astype(int) for block in blocks])
    assert int((np.maximum.accumulate(times) - times).max()) <= 6
    found = {
        line: row for block in blocks for line, row in zip(block.lines(), block.columns["row"].to_pylist(), strict=True)
    }
    assert [found[line + 1] for line in range(STEPS * GPUS)] == by_gpu["row"].to_pylist()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=12))
def test_time_never_goes_back_within_a_run(found):
    stretches = [Stretch(row, row + 1, first, first + length) for row, (first, length) in enumerate(found)]
    runs = side_by_side(stretches)
    assert sorted(one for run in runs for one in run) == stretches
    assert all(one.last <= other.first for run in runs for one, other in itertools.pairwise(run))


SAMPLES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(-1, 3)), min_size=1, max_size=60)


@settings(max_examples=examples(60), deadline=None)
@given(SAMPLES, st.integers(1, 8), st.integers(5, 30), st.booleans(), st.integers(1, 20))
def test_windows_that_come_together_are_the_same(samples, window_rows, held_rows, tidy, cut):
    """Law: windows of mere power are those that would come one by one."""
    if tidy:
        samples = sorted({sample[:2]: sample for sample in samples}.values(), key=lambda sample: sample[1])
    columns = np.array(samples, np.int64).T

    def assembled(*, together):
        gpus = Gpus("", 20_000_000, 10**9)
        for index in range(3):
            gpus.number(index=index)
        usual = None if together else np.full(len(samples), -1)  # a column without any reading changes nothing
        rows = Rows.of(columns[0], columns[1], power_mw=np.abs(columns[2]) if tidy else columns[2], pid=usual)
        blocks = [rows.take(slice(at, at + cut)) for at in range(0, len(rows), cut)]
        report = SourceReport("x")
        items = list(Assembler(gpus, report, window_rows=window_rows, held_rows=held_rows).batches(blocks))
        if not together:
            assert all(isinstance(item, Window) for item in items)
        windows = [window for item in items for window in ([item] if isinstance(item, Window) else item.windows())]
        return report.rejected, [
            (
                w.seq,
                w.start_us,
                w.end_us,
                *(getattr(w.readings, name).tolist() for name in ("offsets", "time_us", "power_mw", "counter_mj")),
            )
            for w in windows
        ]

    assert assembled(together=True) == assembled(together=False)
