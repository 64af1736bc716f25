"""Logs whose lines somebody else stamped: `ts`, journals, syslog, `docker logs -t`, loops around `date`."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.inputs.line_stamps import NO_DAY, NO_YEAR, date_of, prefix_of

START = datetime(2024, 5, 4, 4, 27, 30, tzinfo=UTC)
WRITERS = {
    "ts": lambda t: f"{t:%b %d %H:%M:%S} ",
    "ts with dates": lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f} ",
    "ts in seconds": lambda t: f"{t.timestamp():.6f} ",
    "ts since the start": lambda t: f"{datetime(2024, 1, 1, tzinfo=UTC) + (t - START):%H:%M:%S} ",
    "milliseconds": lambda t: f"{round(t.timestamp() * 1000)} ",
    "brackets": lambda t: f"[{t:%Y-%m-%d %H:%M:%S}] ",
    "a logger": lambda t: f"{t:%Y-%m-%d %H:%M:%S},{t.microsecond // 1000:03} - ",
    "syslog": lambda t: f"{t:%b %e %H:%M:%S} n1 nvidia-smi[123]: ",
    "journalctl -o short-iso": lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+0000 n1 nvidia-smi[123]: ",
    "journalctl -o short-full": lambda t: f"{t:%a %Y-%m-%d %H:%M:%S} UTC n1 gpu-power.sh[123]: ",
    "journalctl -o short-unix": lambda t: f"{t.timestamp():.6f} n1 nvidia-smi[123]: ",
    "rsyslog": lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}+00:00 n1 nvidia-smi[123]: ",
    "docker logs -t": lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}000Z ",
    "a container's log": lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}000Z stdout F ",
    "date": lambda t: f"{t:%a %b %e %H:%M:%S} UTC {t:%Y} ",
    "date of today": lambda t: f"{t:%a %d %b %Y %I:%M:%S %p} UTC ",
}
DMON = ("# gpu    pwr  gtemp\n# Idx      W      C\n", "    {gpu}    {watts}     41\n")
MONITORS = {
    "dmon": DMON,
    "dmon as CSV": ("#gpu, pwr, gtemp\n#Idx, W, C\n", "0{gpu}, {watts}, 41\n"),
    "dcgmi": ("#Entity   POWER   GPUTL\nID        W\n", "GPU {gpu}     {watts}.000     50\n"),
}


def written(head, row, writer, seconds=range(11)):
    lines = []
    for t in seconds:
        moment = START + timedelta(seconds=t)
        if t == seconds[0] or t == 6:
            lines += [writer(moment) + line for line in head.splitlines()]
        lines += [writer(moment) + row.format(gpu=g, watts=100 * (g + 1) + t).rstrip("\n") for g in (0, 1)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(text, *flags, year=2024):
        path = tmp_path / "log"
        path.write_text(text)
        last = datetime(year, 6, 1, tzinfo=UTC).timestamp()
        os.utime(path, (last, last))
        code, out, err = wattshed("replay", path, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_stamped_gives_the_joules_of_its_stamps(replayed, writer, monitor):
    answer, err = replayed(written(*MONITORS[monitor], WRITERS[writer]))
    wanted = [sum(100 * (g + 1) + t + 0.5 for t in range(10)) for g in (0, 1)]
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == wanted, err
    assert answer["end_s"] - answer["start_s"] == 10
    assert {gpu["host"] for gpu in answer["gpus"]} == ({"n1"} if "n1" in WRITERS[writer](START) else {""})
    assert answer["sources"][0]["rows_rejected"] == 0
    if writer == "ts since the start":
        assert NO_DAY in err
    else:
        assert answer["start_s"] == START.timestamp()
        assert (NO_YEAR in err) == (writer in {"ts", "syslog"})


def test_processes_that_were_stamped(replayed):
    head = "# gpu         pid  type    sm   mem   command\n# Idx           #   C/G     %     %   name\n"
    answer, _ = replayed(written(head, "    {gpu}       1234     C    50     -   python train.py\n", WRITERS["ts"]))
    assert [(job["job"], job["gpu_s"]) for job in answer["jobs"]] == [("pid:1234", 20)]


def test_times_of_the_monitor_itself_come_first(replayed):
    head = "#Date       Time        gpu    pwr\n#YYYYMMDD   HH:MM:SS    Idx      W\n"
    rows = "".join(f"Jan 01 00:00:{9 - t:02} 20240305   10:00:{2 * t:02}      0    100\n" for t in range(5))
    answer, _ = replayed("".join(f"Jan 01 00:00:00 {line}\n" for line in head.splitlines()) + rows)
    assert answer["total_j"] == 800
    assert answer["start_s"] == 1709632800


def test_a_log_of_several_hosts(replayed):
    head, row = DMON
    lines = []
    for host, moment in (("n1", START), ("n2", START + timedelta(milliseconds=300))):
        text = written(head, row, lambda t, m=moment, h=host: f"{t + (m - START):%Y-%m-%dT%H:%M:%S.%f}Z {h} dmon[1]: ")
        lines += text.splitlines()
    answer, _ = replayed("\n".join(sorted(lines, key=lambda line: line.split()[0])) + "\n")
    assert [(gpu["host"], gpu["gpu"]) for gpu in answer["gpus"]] == [("n1", 0), ("n1", 1), ("n2", 0), ("n2", 1)]
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [1050, 2050] * 2


def test_the_year_changes_on_new_years_eve(replayed):
    head, row = DMON
    start = datetime(2023, 12, 31, 23, 59, 55, tzinfo=UTC)
    text = written(head, row, lambda t: f"{start + (t - START):%b %d %H:%M:%S} ")
    answer, _ = replayed(text)
    assert answer["start_s"] == start.timestamp()
    assert answer["end_s"] == start.timestamp() + 10


def test_naive_stamps_are_local(replayed):
    head, row = DMON
    answer, _ = replayed(written(head, row, WRITERS["brackets"]), "--timezone", "Europe/Berlin")
    assert answer["start_s"] == START.timestamp() - 7200


REPORT = """==============NVSMI LOG==============

Timestamp                                 : Sat May  4 05:00:00 2024
GPU 00000000:07:00.0
    Product Name                          : NVIDIA L40S
    GPU Power Readings
        Average Power Draw                : {watts} W
    Module Power Readings
        Average Power Draw                : 900 W
"""


@pytest.mark.parametrize("writer", WRITERS)
def test_reports_that_were_stamped_line_by_line(replayed, writer):
    lines = [
        WRITERS[writer](START + timedelta(seconds=t)) + line
        for t in range(3)
        for line in REPORT.format(watts=100 + t).replace("05:00:00", f"05:00:{10 * t:02}").splitlines()
    ]
    answer, _ = replayed("\n".join(lines))
    has_date = writer not in {"ts", "syslog", "ts since the start"}  # else the report's own is better
    assert answer["total_j"] == (202 if has_date else 2020)
    assert answer["start_s"] == (START.timestamp() if has_date else datetime(2024, 5, 4, 5, tzinfo=UTC).timestamp())
    assert (answer["gpus"][0]["model"], answer["sources"][0]["rows_rejected"]) == ("NVIDIA L40S", 0)


def test_a_report_without_a_time_has_that_of_its_lines_or_none(replayed):
    bare = "".join(line + "\n" for line in REPORT.splitlines() if "Timestamp" not in line)
    lines = [
        f"{START + timedelta(seconds=t):%b %d %H:%M:%S} {line}"
        for t in range(3)
        for line in bare.format(watts=100).splitlines()
    ]
    answer, _ = replayed("\n".join(lines))
    assert answer["total_j"] == 200
    dated = [REPORT.format(watts=100).replace("05:00:00", f"05:00:0{t}") for t in range(3)]
    answer, _ = replayed("".join(dated) + bare.format(watts=900))
    assert answer["total_j"] == 200
    assert answer["sources"][0]["rejected"] == {"no_time": 1}


def test_times_since_the_line_before_are_no_stamps():
    assert prefix_of([f"00:00:0{t} 0 100" for t in (5, 0, 1, 0, 1, 0)]) is None


@given(st.lists(st.text(max_size=40), max_size=12))
def test_any_lines_have_a_prefix_or_none(lines):
    prefix = prefix_of(lines, START)
    for number, line in enumerate(lines, 1):
        if prefix is not None:
            split = prefix.split(number, line)
            assert line.endswith(split.text)
            assert split.text == prefix.bare(line)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - they are written in many ways
def test_dates_as_people_write_them(moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    us = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000
    assert date_of(f"{moment:%a %b %e %H:%M:%S %Y}") == (us, True)
    assert date_of(f"{moment:%a %d %b %Y %I:%M:%S %p} UTC") == (us, False)
    assert date_of(f"{moment:%a %b %d %I:%M:%S %p} UTC {moment:%Y}") == (us, False)
    assert date_of(f"{moment:%b %d %H:%M:%S}", moment.year) == (us, True)
    assert date_of(f"{moment:%b %d %H:%M:%S}") is None
