"""Jobs and work as tables of pandas, polars and pyarrow: what a file of the same cells gives."""

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import wattshed
from wattshed.agent.inputs.frames import FrameRows

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
POWER = "time,gpu,power\n" + "".join(f"{1_767_225_600 + i},0,300\n" for i in range(61))
JOBS = {
    "job": ["train", "eval"],
    "gpu": [0, None],
    "start": [BEGIN, BEGIN + timedelta(seconds=40)],
    "end": [BEGIN + timedelta(seconds=40), None],
    "user": ["ada", None],
}
WORK = {
    "job": ["train"] * 2, "time": [BEGIN + timedelta(seconds=s) for s in (10, 20)], "unit": ["steps"] * 2,
    "count": [100, 100],
}  # fmt: skip
KINDS = [pa.table, pd.DataFrame, pl.DataFrame]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    (folder / "power.csv").write_text(POWER)
    (folder / "jobs.csv").write_text(
        "job,gpu,start,end,user\ntrain,0,2026-01-01 00:00:00,2026-01-01 00:00:40,ada\neval,,2026-01-01 00:00:40,,\n"
    )
    (folder / "work.csv").write_text("job,time,unit,count\ntrain,1767225610,steps,100\ntrain,1767225620,steps,100\n")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_what_its_file_is(files, kind):
    found = wattshed.replay(files / "power.csv", kind(JOBS), work=kind(WORK))
    told = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work.csv")
    assert found.jobs == told.jobs
    assert found.work == told.work
    assert found.work.num_rows == 1
    assert found.notes == told.notes


@pytest.mark.parametrize("kind", KINDS)
def test_columns_may_be_called_otherwise(files, kind):
    named = {"Who": ["train"], "t0": [1_767_225_600.0], "t1": [1_767_225_640]}
    work = {"ts": [1_767_225_610], "Job": ["train"], "what": ["steps"], "n": [5.0]}
    report = wattshed.replay(
        files / "power.csv", kind(named), job_columns={"job": "Who", "start": "t0", "end": "t1"}, work=kind(work),
        work_columns={"time": "ts", "job": "Job", "unit": "what", "count": "n"},
    )  # fmt: skip
    assert [(one["count"], one["joules_per_unit"]) for one in report.work.to_pylist()] == [(5, 600.0)]


def test_a_cell_that_is_none_is_named_by_its_row(files):
    with pytest.raises(wattshed.InputError) as refused:
        wattshed.replay(files / "power.csv", pd.DataFrame(JOBS | {"start": ["now", "then"]}))
    assert (refused.value.path, refused.value.line, refused.value.column) == ("jobs", 2, 3)
    with pytest.raises(wattshed.InputError) as refused:
        wattshed.replay(files / "power.csv", work=pl.DataFrame(WORK | {"count": [1, -1]}))
    assert (refused.value.path, refused.value.line, refused.value.column) == ("work", 3, 4)


def test_what_is_no_table_is_refused(files):
    with pytest.raises(wattshed.InputError, match="is no table that can be read"):
        wattshed.replay(files / "power.csv", 5)


def test_cells_are_written_as_a_file_has_them():
    zone = timezone(timedelta(hours=2))
    table = pa.table(
        {
            "time": pa.array([datetime(2026, 1, 1, 2, tzinfo=zone), None], pa.timestamp("us", "+02:00")),
            "gpus": [[0, 1], []],
            "share": [0.5, float("nan")],
            "on": [2.0, 3.0],
            "of": [{"a": 1}, None],
        }
    )
    rows = FrameRows(table, "x")
    assert list(rows)[1:] == [["2026-01-01T00:00:00+00:00", "0,1", "0.5", "2", '{"a": 1}'], ["", "", "", "3", ""]]
    assert rows.line_num == 3


def test_an_index_without_a_name_is_no_column():
    frame = pd.DataFrame({"job": ["a", "b"]}).iloc[::-1]
    assert list(FrameRows(frame, "x")) == [["job"], ["b"], ["a"]]
