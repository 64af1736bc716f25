"""A table of work beside a recording: joules of a unit, and rows that are nobody's."""

import csv
import io
import json
from contextlib import redirect_stdout

import pytest

import wattshed
from wattshed.agent.__main__ import main

POWER = "time,gpu,power\n" + "".join(f"{1_767_225_600 + i},0,300\n" for i in range(61))
JOBS = "job,host,gpu,start,end\ntrain,,0,2026-01-01 00:00:00,2026-01-01 00:00:40\n"
WORK = """job,time,unit,count
train,2026-01-01 00:00:10,steps,100
train,1767225620,steps,100
train,2026-01-01 00:00:50,steps,7
nobody,2026-01-01 00:00:20,steps,100
"""


@pytest.fixture
def files(tmp_path):
    for name, text in (("power.csv", POWER), ("jobs.csv", JOBS), ("work.csv", WORK)):
        (tmp_path / name).write_text(text)
    return tmp_path


def replayed(files, form):
    out = io.StringIO()
    with redirect_stdout(out):
        told = [str(files / "power.csv"), "--jobs", str(files / "jobs.csv"), "--work", str(files / "work.csv")]
        assert main(["replay", *told, "--format", form]) == 0
    return out.getvalue()


def test_joules_of_a_unit_in_every_form(files, capsys):
    answer = json.loads(replayed(files, "json"))
    (job,) = answer["jobs"]
    (work,) = job["work"]
    assert (work["unit"], work["source"], work["count"], work["joules_per_unit"]) == ("steps", "told", 200, 30.0)
    assert work["sigma_j"] == pytest.approx(30 * job["sigma_j"] / job["energy_j"])
    assert job["waiting_j"] is None
    assert answer["notes"][-1].startswith("2 rows of work lie")
    rows = list(csv.DictReader(io.StringIO(replayed(files, "csv"))))
    assert [(row["unit"], row["count"], row["joules_per_unit"]) for row in rows if row["kind"] == "work"] == [
        ("steps", "200", "30.0")
    ]
    lines = replayed(files, "table").splitlines()
    assert "Work" in lines
    assert lines[lines.index("Work") + 2].split()[:4] == ["train", "steps", "200", "30.0"]
    capsys.readouterr()


def test_the_library_has_it_too(files):
    report = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work.csv")
    assert report.work.to_pylist()[0]["joules_per_unit"] == 30.0
    assert wattshed.replay(files / "power.csv", files / "jobs.csv").work.num_rows == 0


@pytest.mark.parametrize(
    ("line", "column", "row"),
    [
        (2, 2, "train,yesterday,steps,1"),
        (2, 3, "train,1767225620,Steps,1"),
        (2, 4, "train,1767225620,steps,0"),
        (2, 4, "train,1767225620,steps,1.5"),
        (2, 1, ",1767225620,steps,1"),
    ],
)
def test_a_row_that_is_none_is_named(files, line, column, row):
    (files / "work.csv").write_text(f"job,time,unit,count\n{row}\n")
    with pytest.raises(wattshed.InputError) as refused:
        wattshed.replay(files / "power.csv", work=files / "work.csv")
    assert (refused.value.line, refused.value.column) == (line, column)
