"""`wattshed.replay` says what the command says, to the last integer, and as tables that nobody copies."""

import csv
import itertools
import json
import re
from decimal import Decimal

import pytest

import wattshed
from wattshed.agent.__main__ import main

MINUTE = "examples/recordings/h200-minute"
POWER = """timestamp, index, uuid, name, power.draw [W]
2026/03/01 12:00:00.000, 0, GPU-a, NVIDIA H100, 70.00 W
2026/03/01 12:00:02.000, 0, GPU-a, NVIDIA H100, 570.00 W
2026/03/01 12:00:04.000, 0, GPU-a, NVIDIA H100, 570.00 W
2026/03/01 12:00:06.000, 0, GPU-a, NVIDIA H100, [N/A]
2026/03/01 12:00:08.000, 0, GPU-a, NVIDIA H100, 70.00 W
"""
JOBS = """job,gpu,start,end,user,coverage
train,0,2026-03-01T12:00:02,2026-03-01T12:00:05,ada,of users
<b>"x"&\x1b[31m,0,2026-03-01T12:00:03,2026-03-01T12:00:06,grace,
"""


@pytest.fixture
def log(tmp_path):
    power, jobs = tmp_path / "power.csv", tmp_path / "jobs.csv"
    power.write_text(POWER)
    jobs.write_text(JOBS)
    return power, jobs


@pytest.fixture(scope="module")
def minute():
    return wattshed.replay(MINUTE)


def printed(capsys, *words):
    assert main(["replay", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_its_json_is_the_commands(log, minute, capsys):
    power, jobs = log
    report = wattshed.replay(power, jobs, idle_watts=70, max_gap=3)
    flags = (power, "--jobs", jobs, "--idle-watts", "70", "--max-gap", "3")
    assert report.json() + "\n" == printed(capsys, *flags, "--format", "json")
    assert str(report) == printed(capsys, *flags)
    assert minute.json() + "\n" == printed(capsys, MINUTE, "--format", "json")


def test_columns_and_conditions_are_said_as_mappings_too(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("ts,what,id,board\n0,power,0,100000\n0,fan,0,7\n1000,power,0,300000\n")
    flags = ("--columns", "time=ts:ms,gpu=id,power=board:mW", "--where", "what=power")
    expected = printed(capsys, table, *flags, "--format", "json")
    columns = {"time": "ts:ms", "gpu": "id", "power": "board:mW"}
    for where in ({"what": "power"}, {"what": ["power"]}, "what=power", ["what=power"]):
        report = wattshed.replay([table], columns=columns, where=where)
        assert report.json() + "\n" == expected
    assert report.total_j == 200.0


def exact(table, *names):
    return sum(int(value) for name in names for value in table[name].to_pylist())


@pytest.mark.parametrize("of", ["minute", "log"])
def test_gpus_sum_to_jobs_and_what_is_nobodys_in_integers(of, request):
    given = request.getfixturevalue(of)
    report = given if of == "minute" else wattshed.replay(*given, idle_watts=70)
    parts = exact(report.jobs, "static_hnj", "dynamic_hnj")
    assert exact(report.gpus, "energy_hnj") == report.total_hnj
    assert parts == exact(report.jobs, "energy_hnj")
    assert parts + report.idle_hnj + report.unattributed_hnj == report.total_hnj
    assert report.total_hnj > 0


def test_tables_hold_the_numbers_of_the_document(minute):
    document = json.loads(minute.json(), parse_float=Decimal)
    (gpu,), (row,) = document["gpus"], minute.gpus.to_pylist()
    names = {"host", "gpu", "uuid", "model", "samples", "method", "flags", "gaps", "counter_resets"}
    assert {name: row[name] for name in names} == {name: gpu[name] for name in names}
    for name in ("energy_j", "counter_j", "power_j", "span_s", "covered_s", "sigma_j"):
        assert row[name] == pytest.approx(float(gpu[name]), abs=1e-9)
    assert abs(row["energy_hnj"] / 2 / 10**9 - gpu["energy_j"]) <= Decimal("5.1e-7")
    assert (row["coverage"], row["max_w"]) == (1.0, float(gpu["power_w"]["max"]))
    for job, row in zip(document["jobs"], minute.jobs.to_pylist(), strict=True):
        assert (row["job"], row["gpus"], row["user"]) == (job["job"], job["gpus"], job["user"])
        assert row["start"].timestamp() == pytest.approx(float(job["start_s"]), abs=1e-6)
        assert row["dynamic_j"] == float(job["dynamic_j"])
        assert 0 < row["coverage"] <= 1


def test_a_label_that_is_called_like_a_column_has_another_name(log):
    jobs = wattshed.replay(*log).jobs
    assert [row["coverage_"] for row in jobs.to_pylist()] == ["of users", None]
    assert jobs["user"].to_pylist() == ["ada", "grace"]


def addresses(array):
    return {buffer.address for buffer in array.buffers() if buffer is not None}


def test_a_frame_of_pandas_is_the_same_memory(minute):
    pd = pytest.importorskip("pandas")
    frame = minute.pandas("gpus")
    assert isinstance(frame, pd.DataFrame)
    for name in ("energy_hnj", "energy_j", "model"):
        (mine,) = minute.gpus[name].chunks
        (theirs,) = frame[name].array.__arrow_array__().chunks
        assert addresses(mine) == addresses(theirs)
    assert frame["energy_hnj"].sum() == minute.total_hnj


def test_a_frame_of_polars_is_the_same_memory(minute):
    pl = pytest.importorskip("polars")
    frame = minute.polars("jobs")
    assert isinstance(frame, pl.DataFrame)
    for name in ("energy_hnj", "energy_j", "start"):
        (mine,) = minute.jobs[name].chunks
        assert addresses(mine) >= addresses(frame[name].to_arrow(compat_level=pl.CompatLevel.newest()))
    assert frame["energy_hnj"].sum() == exact(minute.jobs, "energy_hnj")


def test_there_is_no_other_table(minute):
    for frame in (minute.pandas, minute.polars):
        with pytest.raises(wattshed.InputError, match="no table 'job', only gpus, jobs, work, amounts and power"):
            frame("job")


def test_power_over_time_is_of_the_same_joules(minute):
    power = minute.power
    starts = power["start"].to_pylist()
    assert starts == sorted(starts)
    assert set(power["job"].to_pylist()) >= {"user:0/kit-train", "user:0/kit-serve", "_idle"}
    step_s = min((b - a).total_seconds() for a, b in itertools.pairwise(starts) if b > a)
    assert sum(power["power_w"].to_pylist()) * step_s == pytest.approx(minute.total_j, rel=0.02)


def test_html_escapes_what_strangers_write_and_has_no_script(log):
    report = wattshed.replay(*log)
    html = report._repr_html_()
    assert "&lt;b&gt;&quot;x&quot;&amp;\\x1b[31m" in html
    assert "<b>" not in html
    assert not re.search(r"<script|\son\w+=|javascript:|https?:|url\(", html)
    assert html.count("<table>") == html.count("</table>") == 2
    assert "1 GPU, 2 jobs, 2026-03-01 12:00:00 to 12:00:08 UTC" in html
    assert "rows rejected" in html


def test_html_stays_short_and_says_what_it_left_out(tmp_path):
    power, jobs = tmp_path / "p.csv", tmp_path / "j.csv"
    power.write_text("time,gpu,power_w\n0,0,100\n1,0,100\n2,0,100\n")
    jobs.write_text("job,gpu,start,end\n" + "".join(f"j{n},0,0,2\n" for n in range(25)))
    html = wattshed.replay(power, jobs)._repr_html_()
    assert html.count('wattshed-bar"') == 20
    assert "and 5 more jobs: see .jobs" in html


def test_it_says_in_a_line_what_it_is(minute):
    assert repr(minute) == "<wattshed.Report: 2 jobs on 1 GPU, 6.26 ± 0.51 Wh>"


def test_a_plot_shows_itself_and_is_written(minute, tmp_path):
    picture = minute.plot()
    assert picture._repr_png_().startswith(b"\x89PNG")
    picture.save(tmp_path / "p.svg")
    assert "kit-train" in (tmp_path / "p.svg").read_text()
    with pytest.raises(wattshed.InputError, match=r"\.png or \.svg"):
        picture.save(tmp_path / "p.pdf")


def test_what_is_wrong_is_an_exception_with_its_place(log, tmp_path):
    power, jobs = log
    jobs.write_text(JOBS.replace("2026-03-01T12:00:05", "noon"))
    with pytest.raises(wattshed.InputError) as caught:
        wattshed.replay(power, jobs)
    assert (caught.value.path, caught.value.line, caught.value.column) == (str(jobs), 2, 4)
    for keywords, said in (
        ({"max_gap": -1}, "-1 is not a valid time in seconds"),
        ({"workers": 2, "history": tmp_path / "h.db"}, "--history is written by one process"),
        ({"timezone": "Mars/Base"}, "Mars/Base"),
    ):
        with pytest.raises(wattshed.InputError, match=said):
            wattshed.replay(power, **keywords)
    with pytest.raises(wattshed.InputError, match="no trace is named"):
        wattshed.replay([])


def test_copies_are_written_beside(log, tmp_path):
    report = wattshed.replay(*log, openmetrics=tmp_path / "m.om", history=tmp_path / "h.db")
    text = (tmp_path / "m.om").read_text()
    assert text.endswith("# EOF\n")
    last = [line for line in text.splitlines() if line.startswith("wattshed_gpu_energy")][-1]
    assert float(last.split()[1]) == pytest.approx(report.total_j)
    assert (tmp_path / "h.db").stat().st_size > 0


def test_an_emissions_csv_replays_to_the_same_joules_and_grows(minute, tmp_path, capsys):
    path = tmp_path / "emissions.csv"
    minute.emissions(path, carbon=400, pue=1.25)
    again = wattshed.replay(path)
    assert again.jobs["energy_j"].to_pylist() == pytest.approx(minute.jobs["energy_j"].to_pylist(), abs=1e-3)
    assert {str(name) for name in again.jobs["job"].to_pylist()} >= set(minute.jobs["job"].to_pylist())
    (first, *_) = csv.DictReader(path.open(encoding="utf-8"))
    kwh = float(first["gpu_energy"])
    assert float(first["emissions"]) == pytest.approx(kwh * 1.25 * 0.4)
    assert (first["cpu_energy"], first["gpu_model"], first["gpu_count"]) == ("", "NVIDIA H200", "1")
    minute.emissions(path)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert len(rows) == 2 * len(minute.jobs)
    assert rows[-1]["emissions"] == ""
    assert main(["replay", MINUTE, "--emissions", str(path), "--carbon", "400"]) == 0
    assert len(path.read_text().splitlines()) == 1 + 3 * len(minute.jobs)
    assert main(["replay", MINUTE, "--emissions", str(path), "--carbon", "co2.csv"]) == 2
    assert "which --emissions needs of --carbon" in capsys.readouterr().err
    path.write_text("timestamp,emissions\n")
    with pytest.raises(wattshed.InputError, match=r"emissions\.csv:1: its columns are not those of CodeCarbon"):
        minute.emissions(path)


def test_amounts_are_those_of_the_command(log, tmp_path, capsys):
    power, jobs = log
    prices = tmp_path / "prices.csv"
    prices.write_text("start,end,price\n2026-03-01T00:00,2026-03-02T00:00,0.3\n")
    flags = ("--by", "user", "--price", prices, "--currency", "EUR", "--carbon", "350", "--pue", "1.25")
    asked = {"by": "user", "price": str(prices), "currency": "EUR", "carbon": 350, "pue": 1.25}
    report = wattshed.replay(power, jobs, html=tmp_path / "a.html", **asked)
    assert report.json() + "\n" == printed(capsys, power, "--jobs", jobs, *flags, "--format", "json")
    assert str(report) == printed(capsys, power, "--jobs", jobs, *flags)
    rows = {row["name"]: row for row in report.amounts.to_pylist()}
    assert set(rows) >= {"ada", "grace", "_unattributed"}
    kwh = report.total_j / 3.6e6 * 1.25
    assert sum(row["cost"] for row in rows.values()) == pytest.approx(kwh * 0.3, abs=1e-6)
    assert sum(row["co2e_g"] for row in rows.values()) == pytest.approx(kwh * 350, abs=1e-3)
    assert report.polars("amounts")["jobs"].sum() == 2
    assert "<html" in (tmp_path / "a.html").read_text()
    for keywords, said in (({"by": "colour"}, "there is no 'colour', only job, user"), ({"price": "x.csv"}, "x.csv")):
        with pytest.raises(wattshed.InputError, match=said):
            wattshed.replay(power, **keywords)
    with pytest.raises(wattshed.InputError, match="no amounts were asked for"):
        wattshed.replay(power).amounts  # noqa: B018
