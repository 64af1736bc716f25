"""What a table's columns are taken for, and that nothing is left out in silence."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wattshed.agent.inputs.columns import parse_spec
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.traces.foreign import headless, smi_csv
from wattshed.agent.traces.foreign.columns import layout_of_spec
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find


def replay_json(wattshed, *argv):
    code, out, err = wattshed("replay", *argv, "--format", "json")
    assert code == 0, err
    return json.loads(out), err


def test_a_star_leaves_out_columns_that_are_something_else(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("t,GPU0,GPU1\n" + "".join(f"{1700000000 + i},100,200\n" for i in range(11)))
    answer, err = replay_json(wattshed, log, "--columns", "time=t,power=*")
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [1000.0, 2000.0]
    assert not err


def test_plain_names_give_the_limit_and_the_uuid(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    rows = "".join(f"{1700000000 + i},0,GPU-a,{power},200\n" for i, power in enumerate((100, 601, 100)))
    log.write_text("timestamp,gpu,uuid,power_w,power_limit_w\n" + rows)
    (gpu,) = replay_json(wattshed, log)[0]["gpus"]
    assert (gpu["gpu"], gpu["uuid"], gpu["energy_j"], gpu["samples"]) == (0, "GPU-a", 200.0, 2)


def test_a_key_given_twice_is_refused(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("t,p\n1,2\n")
    code, _, err = wattshed("replay", log, "--columns", "time=t,power=p,power=t")
    assert (code, err) == (2, "wattshed: --columns: power is given twice\n")


def test_a_table_of_which_no_row_fits_its_header_is_refused(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("timestamp,gpu,power_w\n1,2\n3,4\n")
    code, out, err = wattshed("replay", log)
    assert (code, out) == (2, "")
    assert err == f"wattshed: {log}:2: no row has as many columns as the header\n"


def test_jobs_that_held_nothing_are_named(wattshed, tmp_path):
    log, jobs = tmp_path / "log.csv", tmp_path / "jobs.csv"
    log.write_text("timestamp,gpu,power_w\n" + "".join(f"{1700000000 + i},0,100\n" for i in range(11)))
    jobs.write_text("job,host,gpu,start,end\nhere,,0,,\nelsewhere,,7,,\nlater,,0,1800000000,\n")
    _, err = replay_json(wattshed, log, "--jobs", jobs)
    assert err == "wattshed: 2 jobs of the jobs file held no GPU of the traces in their time: elsewhere, later\n"
    jobs.write_text("job,host,gpu,start,end\nhere,n1,0,,\nthere,n2,0,,\n")
    _, err = replay_json(wattshed, log, "--jobs", jobs)
    assert err.splitlines()[0] == (
        "wattshed: the jobs file names hosts that are not in the traces: n1, n2; "
        "for a trace that names no host, write FILE@HOST"
    )
    _, err = replay_json(wattshed, f"{log}@n1", "--jobs", jobs)
    assert err == (
        "wattshed: the jobs file names hosts that are not in the traces: n2\n"
        "wattshed: 1 job of the jobs file held no GPU of the traces in their time: there\n"
    )


@pytest.mark.parametrize("cell", ["[N/A]", "", "0", "[Unknown Error]"])
def test_a_gpu_without_any_reading_is_in_the_answer(cell, wattshed, tmp_path):
    log = tmp_path / "log.csv"
    cells = (("3", cell), ("4", "70.00 W"))
    rows = "".join(f"2024/05/01 10:00:{s:02d}.000, {gpu}, {power}\n" for s in range(5) for gpu, power in cells)
    log.write_text("timestamp, index, power.draw [W]\n" + rows)
    gpu, other = replay_json(wattshed, log)[0]["gpus"]
    assert (gpu["flags"], other["flags"]) == (["no_reading"], [])
    assert (gpu["gpu"], gpu["samples"], gpu["energy_j"], gpu["power_j"], gpu["gap_s"]) == (3, 0, 0.0, None, 0.0)


@pytest.mark.parametrize("flag", [["--format", "xml"], ["--max-gap", "soon"], ["--nonsense"]])
def test_bad_usage_is_one_line(flag):
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", "replay", "x.csv", *flag], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_full_disk_below_the_answer_is_one_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("timestamp,gpu,power_w\n1700000000,0,100\n1700000001,0,100\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wattshed", "replay", log, "--format", "csv"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


LIMITS = "power.default_limit, power.limit, power.max_limit"
W, MW, MJ = (lambda name, unit=unit: Quantity(name, unit) for unit in ("W", "mW", "mJ"))
FULL = ["time", "gpu", "uuid", "power_w", "energy_mj", "util", "power_limit_w", "host", "model"]


@pytest.mark.parametrize(
    ("spec", "names", "wanted", "unit"),
    [
        ("", FULL,
         TableLayout("time", ("gpu", "uuid"), (W("power_w"),), energy=MJ("energy_mj"), limit=W("power_limit_w"),
                     host="host", model="model"), ""),
        ("util=util", FULL,
         TableLayout("time", ("gpu", "uuid"), (W("power_w"),), energy=MJ("energy_mj"), util=Quantity("util", "%"),
                     limit=W("power_limit_w"), host="host", model="model"), ""),
        ("power=power_w:mW,time=time:ms,gpu=uuid,host=model", FULL,
         TableLayout("time", ("uuid",), (MW("power_w"),), limit=W("power_limit_w"), host="model", model="model"), "ms"),
        ("power=p", ["time_ms", "p", "pid"], TableLayout("time_ms", (), (W("p"),)), "ms"),
        ("power=p,pid=pid,instant=i:mW,limit=l", ["time", "p", "pid", "i", "l"],
         TableLayout("time", (), (W("p"),), instant=MW("i"), limit=W("l"), pid="pid"), ""),
        ("power=p*,energy=e*:mJ", ["time", "gpu", "p0", "e0", "p1"],
         TableLayout("time", wide={("", "0"): (W("p0"), MJ("e0")), ("", "1"): (W("p1"), None)}), ""),
        ("time=p0,power=p?", ["p0", "p1", "p10"], TableLayout("p0", wide={("", "p1"): (W("p1"), None)}), ""),
    ],
)  # fmt: skip
def test_what_each_column_of_a_table_is_taken_for(spec, names, wanted, unit):
    assert layout_of_spec(parse_spec(spec) if spec else {}, names, "x") == (wanted, unit)


def test_utilisation_is_read_where_it_is_asked_for():
    assert layout_of_spec({}, FULL, "x", utilisation=True)[0].util == Quantity("util", "%")
    assert layout_of_spec(parse_spec("power=util"), ["time", "util"], "x", utilisation=True)[0].util is None


@pytest.mark.parametrize(
    ("names", "header"),
    [
        (["timestamp", "index"], False),
        (["timestamp", "power.limit [W]"], True),
        (["timestamp", "clocks.sm [MHz]"], True),
        (["index", "power.draw [W]"], False),
        (["pstate", "temperature.gpu"], True),
        (["clocks.sm", "clocks.mem"], True),
        (["2024/03/05 10:00:00.000", "5.00 W"], False),
    ],
)
def test_the_header_of_a_query(names, header):
    assert smi_csv.is_header(names) is header


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("index, power.draw [W]", None),
        ("timestamp, index, power.limit [W]", None),
        ("timestamp, power.draw", TableLayout("timestamp", (), (W("power.draw"),))),
        ("timestamp, power.draw [mW]", TableLayout("timestamp", (), (MW("power.draw [mW]"),))),
        ("timestamp, power.draw [5]", TableLayout("timestamp", (), (W("power.draw [5]"),))),
        ("timestamp, power.draw.instant [W]", TableLayout("timestamp", (), (W("power.draw.instant [W]"),))),
        ("timestamp, power.draw.instant, power.draw, power.draw",
         TableLayout("timestamp", (), (W("power.draw"), W("power.draw.instant")), instant=W("power.draw.instant"))),
        ("timestamp, total_energy_consumption [J]",
         TableLayout("timestamp", energy=Quantity("total_energy_consumption [J]", "J", "driver"))),
        (f"Timestamp, index, pci.bus_id, uuid, name, hostname, {LIMITS}, energy.total, utilization.gpu",
         TableLayout("Timestamp", ("uuid", "pci.bus_id", "index"), energy=Quantity("energy.total", "mJ", "driver"),
                     util=Quantity("utilization.gpu", "%"), limit=W("power.max_limit"), host="hostname", model="name")),
    ],
)  # fmt: skip
def test_what_each_field_of_a_query_is_taken_for(names, wanted):
    assert smi_csv.layout_of_header(names.split(", ")) == wanted


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("2024/03/05 10:00:00.000, 0, 5.00 W", "1"),
        ("2024/03/05 10:00:00, 5,00 W", "1"),
        ("0, 5.00, 2024/03/05 10:00:00.000", "3"),
        ("2024-03-05T10:00:00Z, 0, 5.00 W", "1"),
        ("1709632800,0, 5.00, 73543", "1"),
        ("2024-03-05,10:00:00,5.00", "2"),
        ("2024/03/05 10:00:00.000, 0, 5.0", None),
        ("2024/03/05 10:00:00.000, 0, 123456.00", None),
    ],
)
def test_a_row_without_a_header(line, time):
    dialect = sniff(f"{line}\n{line}\n")
    layout = headless.layout_of_rows(dialect.cells(f"{line}\n{line}\n"))
    assert (layout and layout.time) == time


def rows_of(*columns):
    """Two GPUs, three rounds: a column is one cell, or one a row."""
    cells = [column if isinstance(column, list) else [column] * 6 for column in columns]
    stamps = [f"2024/03/05 10:00:0{i // 2}.000" for i in range(6)]
    return list(zip(*[stamps if column == ["stamp"] else column for column in cells], strict=True))


POWERS = [f"{i}.00 W" for i in range(50, 56)]
TURNS = ["0", "1"] * 3


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ((["stamp"], TURNS, POWERS), TableLayout("1", ("2",), (W("3"),))),
        ((POWERS, "70 %", TURNS, ["stamp"]), TableLayout("4", ("3",), (W("1"),))),
        ((["stamp"], "7", POWERS, "400.00 W"), TableLayout("1", (), (W("3"),), limit=W("4"))),
        ((["stamp"], "400.00 W", POWERS), TableLayout("1", (), (W("3"),), limit=W("2"))),
        ((["stamp"], "400.00 W", "60.00 W"), TableLayout("1", (), (W("3"),), limit=W("2"))),
        ((["stamp"], ["400.00 W", "250.00 W"] * 3, POWERS), TableLayout("1", (), (W("3"),))),
        ((["stamp"], "100.00 W", "100.01 W"), TableLayout("1", (), (W("3"),), limit=W("2"))),
        ((["stamp"], "60.00 W", "400.00 W"), TableLayout("1", (), (W("2"),), limit=W("3"))),
        ((["stamp"], TURNS, "00000000:07:00.0", "Tesla T4", POWERS), TableLayout("1", ("3",), (W("5"),), model="4")),
        ((["stamp"], "GPU-11111111-0", "00000000:07:00.0", POWERS), TableLayout("1", ("2",), (W("4"),))),
        ((["stamp"], ["0", "2"] * 3, [p[:-2] for p in POWERS]), TableLayout("1", (), (W("3"),))),
        ((["stamp"], TURNS, "5"), None),
        ((TURNS, POWERS), TableLayout("", ("1",), (W("2"),))),
    ],
)
def test_what_each_column_without_a_header_is_taken_for(columns, wanted):
    assert headless.layout_of_rows(rows_of(*columns)) == wanted


def test_a_bad_cell_of_parquet_is_told_by_its_row(tmp_path):
    path = tmp_path / "x.parquet"
    powers = ["5", "6", "7", "8", "much", "9"]
    table = pa.table({"time": list(range(1_700_000_000, 1_700_000_006)), "gpu": [0] * 6, "power_w": powers})
    pq.write_table(table, path, row_group_size=2)
    (chain,) = find([str(path)], Options())
    list(chain.windows(Options()))
    (report,) = chain.reports
    assert [(bad.line, bad.column, bad.text) for bad in report.bad] == [(5, 3, "much")]
    assert report.rows == 6
