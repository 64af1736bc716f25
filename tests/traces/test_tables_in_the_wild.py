"""Tables as loggers leave them: lines before the header, dates and times apart, appended runs, rows to choose."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces.one_reader import holds, replayed
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

ROWS = "".join(f"2026-03-01 12:00:{s:02d},0,{100 + s % 3}\n" for s in range(12))
PLAIN = "timestamp,gpu,power_w\n" + ROWS
ISO, WATTS = "2026-03-01 12:00:{:02d}", ["100.00", "102.00", "104.00", "100.00"]
HWINFO_HEADER = 'Date,Time,"Core Temp [\xb0C]","GPU Power [W]","GPU Power Limit [%]",\n'
HWINFO = (
    HWINFO_HEADER
    + "".join(f"1.3.2026,12:00:0{s}.000,55,{w},30,\n" for s, w in enumerate(WATTS))
    + HWINFO_HEADER
    + ',,"CPU [#0]: x","GPU [#0]: y","GPU [#0]: y",\n'
).encode("latin-1")
GPU_Z = (
    "        Date        , GPU Clock [MHz] , Board Power Draw [W] , GPU Chip Power Draw [W] ,\n"
    + "".join(f"2026-03-01 12:00:0{s} ,   1395.0 ,   {w} ,   50.0 ,\n" for s, w in enumerate(WATTS))
).encode("latin-1") + b"\0" * 700


def joules(path, spec=None):
    return [gpu["energy_j"] for gpu in replayed(path, spec)]


def of_text(tmp_path, text, spec=None):
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return joules(path, spec)


def stamped(pattern, watts=WATTS):
    return "".join(pattern.format(s, w) for s, w in enumerate(watts))


READ = {
    "HWiNFO": HWINFO,
    "GPU-Z": GPU_Z,
    "date and time": "Date,Time,power_w\n" + stamped("2026-03-01,12:00:0{},{}\n"),
    "German date and time": "Datum;Uhrzeit;power (W)\n" + stamped("01.03.2026;12:00:0{};{}\n").replace("00;1", "00;1"),
    "a date beside a whole stamp": "date,timestamp,power\n" + stamped("2026-03-01,1700000{:03d},{}\n"),
    "times of day": "time,power_w\n" + stamped("12:00:0{},{}\n"),
    "past midnight": "time,power\n" + "".join(f"{t},{w}\n" for t, w in zip(
        ["23:59:58", "23:59:59", "00:00:00", "00:00:01"], WATTS, strict=True)),
    "days of a spreadsheet": "Date,power_w\n" + "".join(
        f"{46082.5 + s / 86400:.9f},{w}\n" for s, w in enumerate(WATTS)),
    "days with decimal commas": "time;power_w\n" + "".join(
        f"{46082.5 + s / 86400:.9f};{w}\n".replace(".", ",") for s, w in enumerate(WATTS)),
    "month first by its days": "time,power\n" + "".join(
        f"03/01/2026 12:00:0{s},{w}\n" for s, w in enumerate(WATTS)),
    "epochs before rows": stamped("170000000{},0, {}, 73543, 81920\n"),
    "epochs and blanks before rows": stamped("170000000{} 0, {}, 73543\n"),
    "dates before rows": stamped("Sun Mar  1 12:00:0{} UTC 2026 {} W, 50 %\n"),
    "dates above rows": stamped("Sun Mar  1 12:00:0{} UTC 2026\npower.draw [W], utilization.gpu [%]\n{} W, 50 %\n"),
    "sep and a series of Grafana's": 'sep=;\n"Time";"GPU 0"\n' + stamped('"2026-03-01 12:00:0{}";"{} W"\n'),
    "nohup": "nohup: ignoring input\n\n$ ./log.sh\ntimestamp,power_w\n" + stamped("2026-03-01 12:00:0{},{}\n"),
    "a header in a comment": "# made by a logger\n# time, power_w\n" + stamped("170000000{}, {}\n"),
    "units below the header": "time,power\ns,mW\n" + "".join(
        f"170000000{s},{round(float(w) * 1000)}\n" for s, w in enumerate(WATTS)),
    "other columns on": "timestamp, power.draw [W], power.limit [W]\n"
        "2026/03/01 12:00:00.000, 100.00 W, 400.00 W\n2026/03/01 12:00:01.000, 102.00 W, 400.00 W\n"
        "timestamp, index, power.limit [W], power.draw [W]\n"
        "2026/03/01 12:00:02.000, 0, 400.00 W, 104.00 W\n2026/03/01 12:00:03.000, 0, 400.00 W, 100.00 W\n",
    "InfluxDB": "#group,false,false\n#datatype,string,long\n#default,_result,\n,result,table,_time,_value,_field,host\n"
        + stamped(",,0,2026-03-01T12:00:0{}Z,{},power_draw,n1\n") + ",,1,2026-03-01T12:00:00Z,7,fan_speed,n1\n",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in READ if name != "other columns on"])
def test_what_loggers_leave(name, tmp_path):
    assert of_text(tmp_path, READ[name]) == [306.0]


def test_headers_with_other_columns_are_read_below_them(tmp_path):
    assert sum(of_text(tmp_path, READ["other columns on"])) == pytest.approx(203, abs=1)


BEFORE = [
    "",
    "nohup: ignoring input\n",
    "\n\n",
    "# a comment\n",
    "sep=,\n",
    "Sun Mar  1 12:00:00 2026\n",
    "$ log.sh -x\n",
]
WRITINGS = [str.encode, lambda t: t.replace("\n", "\r\n").encode(), lambda t: ("\ufeff" + t).encode("utf-16-le"),
            lambda t: ("\ufeff" + t).encode(), lambda t: gzip.compress(t.encode()),
            lambda t: t.replace("\n", "\n\n").encode()]  # fmt: skip


@given(
    st.sampled_from(BEFORE), st.sampled_from(WRITINGS), st.integers(1, 11), st.sampled_from(["", "x", "3.5", "[N/A]"])
)
@settings(max_examples=examples(40), deadline=None)
def test_what_does_not_matter_changes_nothing(tmp_path_factory, before, writing, cut, cell):
    """Lines before the header, encodings, a header again, a column more: the energy is the same."""
    folder = tmp_path_factory.mktemp("log")
    want = of_text(folder, PLAIN)
    lines = ROWS.splitlines()
    if cell:
        lines = [f"{line},{cell}" for line in lines]
    header = "timestamp,gpu,power_w" + (",other" if cell else "")
    text = "\n".join([header, *lines[:cut], header, *lines[cut:]]) + "\n"
    assert of_text(folder, writing(before + text)) == want


def test_stars_for_host_and_gpu(tmp_path):
    text = "t,node1_gpu0_power,node1_gpu1_power,node2_gpu0_power\n0,1,2,3\n1,1,2,3\n"
    path = tmp_path / "log"
    path.write_text(text)
    for spec in ("time=t,power=node*_gpu*_power", None):
        gpus = replayed(path, spec)
        assert [(g["host"][-1], g["gpu"], g["energy_j"]) for g in gpus] == [("1", 0, 1.0), ("1", 1, 2.0), ("2", 0, 3.0)]


@pytest.mark.parametrize(
    "names",
    [["gpu0_power", "gpu1_power"], ["power_gpu0", "power_gpu1"], ["GPU 0 [W]", "GPU 1 [W]"], ["GPU 0", "GPU 1"],
     ["gpu_0_power_w", "gpu_1_power_w"], ["GPU Power [W]", "GPU Power [W]"],
     ['"{Hostname=""n"", gpu=""0""}"', '"{Hostname=""n"", gpu=""1""}"']],
)  # fmt: skip
def test_a_column_for_each_gpu_by_plain_names(names, tmp_path):
    text = f"time,{','.join(names)}\n" + "".join(f"170000000{s},100,200\n" for s in range(4))
    assert of_text(tmp_path, text) == [300.0, 600.0]


def test_columns_by_position(tmp_path):
    text = "".join(f"a,170000000{s},7,{w}\n" for s, w in enumerate((100, 200, 300)))
    assert of_text(tmp_path, text, "time=2,gpu=3,power=4") == [400.0]
    with pytest.raises(InputError, match=r"without a header; say by position --columns time=1,power=N \(1: a, 2: 17"):
        of_text(tmp_path, text)


def test_rows_are_chosen(wattshed, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "time,metric,gpu,value\n"
        + "".join(f"170000000{s},{m},0,{v}\n" for s in range(3) for m, v in (("board", 100), ("chip", 60)))
    )
    code, out, err = wattshed("replay", path, "--where", "metric=chip", "--format", "json")
    assert (code, json.loads(out)["total_j"]) == (0, 120.0), err
    code, _, err = wattshed("replay", path, "--where", "metric=fan")
    assert (code, err) == (2, f"wattshed: {path}: no row fits --where; metric holds board, chip\n")
    code, _, err = wattshed("replay", path, "--where", "metrics=chip")
    assert code == 2
    assert "there is no column 'metrics' for --where; near: metric" in err


def test_logs_without_times_need_a_period(wattshed, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("index, power.draw [W]\n" + "0, 100.00 W\n1, 200.00 W\n" * 4)
    code, out, err = wattshed("replay", path, "--period", "2", "--format", "json")
    assert (code, json.loads(out)["total_j"]) == (0, 1800.0), err
    code, _, err = wattshed("replay", path)
    assert code == 2
    assert "--period SECONDS" in err


def test_a_monitor_without_times_has_the_period_that_is_said(wattshed, tmp_path):
    path = tmp_path / "dmon.log"
    path.write_text("# gpu    pwr\n# Idx      W\n" + "    0    100\n    1    200\n" * 4)
    for flags, want in (((), 900.0), (("--period", "2"), 1800.0)):
        code, out, _ = wattshed("replay", path, *flags, "--format", "json")
        assert (code, json.loads(out)["total_j"]) == (0, want)


def test_the_long_form_of_dcgm(tmp_path):
    lines = ["timestamp,metric_name,gpu_id,uuid,Hostname,value"]
    for s in range(4):
        for metric, value in (("DCGM_FI_DEV_GPU_UTIL", 97), ("DCGM_FI_DEV_POWER_USAGE", 400)):
            lines.append(f"2026-03-01T12:00:0{s}Z,{metric},0,GPU-0a,n1,{value}")
    assert of_text(tmp_path, "\n".join(lines) + "\n") == [1200.0]
    holds(tmp_path / "log")


@pytest.mark.parametrize(
    ("text", "names", "begin", "delimiter"),
    [
        ("a,b\n1,2\n", ("a", "b"), 1, ","),
        ("x\n\na;b\n1,5;2\n1,5;3\n", ("a", "b"), 3, ";"),
        ("1700000000,5\n1700000001,6\n", ("1", "2"), 0, ","),
        ("t, p\n1, 73,20 W\n2, 74,20 W\n", ("t", "p"), 1, "\x1f"),
        ("time,0,1\n1,2,3\n", ("time", "0", "1"), 1, ","),
        ("t,p\ns,W\n1,2\n1,2\n", ("t [s]", "p [W]"), 2, ","),
        ("t,p,q\n1,2\n3,4\n", ("t", "p", "q"), 1, ","),
    ],
)
def test_where_a_table_begins(text, names, begin, delimiter):
    found = sniff(text)
    assert (found.names, found.header_lines, found.delimiter) == (names, begin, delimiter)


def test_line_numbers_are_right_below_other_lines(tmp_path):
    path = tmp_path / "log"
    path.write_text("nohup: ignoring input\n\ntime,power\n1,5\n2,much\n3,5\ntime,gpu,power\n\n4,0,what\n5,0,5\n")
    options = Options()
    (chain,) = find([str(path)], options)
    list(chain.windows(options))
    assert [(bad.line, bad.column) for bad in chain.reports[0].bad] == [(5, 2), (9, 3)]
