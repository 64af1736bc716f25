"""What cannot be read as a trace, or as a jobs file, is told by its file, and by line and column if any."""

import itertools
import json
from datetime import UTC

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import parse_spec
from wattshed.agent.traces.jobs.jobs_file import parse_job_columns, read_jobs
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find


def matrix(*series):
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(series)}})


TABLE = "when,what,power\n1700000000,0,5\n"
CLOCKS = b"timestamp, index, pstate\n2024/05/01 10:00:00.000, 0, P0\n"
SESSION = b"nvidia_gpu_exporter GPU capture\n$ nvidia-smi\n| a table |\n$ nvidia-smi --query-gpu=index\nindex\n0\n"
MARKDOWN = b"| time | gpu | power |\n|---|---|---|\n" + b"| 1700000000 | 0 | 5 |\n" * 3
TRACES = {
    "Feather": (b"ARROW1\0\0", None, "damaged Arrow", 0),
    "empty": (b"", None, "it is empty", 0),
    "prose": (b"Two sentences. Of no use.\n", None, "unrecognised trace format", 0),
    "other XML": (b'<?xml version="1.0"?>\n<html/>\n', None, "it is XML; only that of `nvidia-smi -q -x` is read", 0),
    "other JSON": (b'\n{"a": 1}\n', None, "it is JSON; no key is clearly power or energy", 0),
    "a log in words": (
        b"[2026-03-01 12:00:00] INFO: GPU 0 power: 100 W, util 50%\n" * 3,
        None,
        "it is a log in words; .*gpu=0",
        0,
    ),
    "a log in words with commas": (
        b"2024-05-01 12:00:00,123 - INFO - GPU 0 power draw = 98.5W\n" * 3,
        None,
        "it is a log in words",
        0,
    ),
    "columns between blanks": (
        b"time gpu power temp\n1700000000 0 100.5 44\n",
        None,
        "separated by blanks; separate them by commas",
        0,
    ),
    "Markdown": (
        b"| time | gpu | power |\n|---|---|---|\n" + b"| 1700000000 | 0 | 5 |\n" * 3,
        None,
        "it is a table in Markdown",
        0,
    ),
    "a table of unclear columns": (b"a,b\n1,2\n3,4\n", None, r"columns are not clear.*\(it has: a, b\)", 1),
    "a table without a time": (b"power,gpu\n5,0\n", "power=power", "not clear which column is the time", 1),
    "a table without a power": (b"time,gpu\n5,0\n", "time=time", "not clear which column is power", 1),
    "no such column": (TABLE.encode(), "time=when,power=watts", "there is no column 'watts'", 1),
    "no column of the pattern": (TABLE.encode(), "time=when,power=watts_*", "no column fits 'watts_\\*' for power", 1),
    "a pattern and a column": (b"t,p0,p1,e\n1,2,3,4\n", "time=t,power=p*,energy=e", "must both be patterns", 0),
    "a query without power": (CLOCKS, None, "it has no column of power or energy; log with power.draw", 1),
    "a session without power": (SESSION, None, "no part of the session is a query with power", 0),
    "dmon of clocks": (b"# gpu  sm  mclk\n# Idx  %  MHz\n  0  5  900\n", None, "no column of power or energy", 1),
    "pictures of other things": (b"up 1\ngo_threads 5\n", None, "no series of GPU power or energy", 0),
    "an error of Prometheus": (b'{"status":"error","error":"bad"}', None, "answered with an error: .*bad", 0),
    "an answer without a result": (b'{"status":"success","data":{}}', None, "not an answer of Prometheus", 0),
    "a torn answer": (matrix({"metric": {}})[:-5].encode(), None, "cut off or damaged", 1),
    "a series that is none": (matrix(5).encode(), None, "a member of the result is not a series", 1),
    "series of other things": (matrix({"metric": {"__name__": "up"}}).encode(), None, "no series of GPU power", 0),
    "torn Parquet": (b"PAR1 and no more", None, "damaged Parquet", 0),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_that_cannot_be_read(tmp_path, name):
    data, columns, message, line = TRACES[name]
    path = tmp_path / "trace"
    path.write_bytes(data)
    options = Options(parse_spec(columns) if columns else None)
    with pytest.raises(InputError, match=message) as error:
        list(itertools.chain.from_iterable(chain.windows(options) for chain in find([str(path)], options)))
    assert (error.value.path, error.value.line, error.value.column) == (str(path), line, 0)
    assert str(path) not in error.value.message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.arrows", b"", "it is empty"),
        ("x.open", b"", "it is empty"),
        ("x.arrows", b"nothing of the kind", "named like a segment of a recording, but contains no message"),
    ],
)
def test_a_file_that_is_only_named_like_a_segment(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        find([str(path)], Options())
    assert error.value.path == str(path)


JOBS = {
    "no column job": ("jobs,start\na,1\n", None, r"needs a column job \(near: jobs\)", 1, 1),
    "sacct's table for people": ("JobID JobName\n1 a\n", None, "write it with sacct -P", 1, 1),
    "no such column": ("job,begin\na,1\n", "job=job,start=start", "no column 'start' for start", 1, 0),
    "a quote without end": ('job,name\na,"b\n\nb"\n\n"c,d\n' + "x" * 200_000, None, "cannot be read as CSV", 6, 0),
    "a header without end": ('job,"name\n' + "x" * 200_000, None, "cannot be read as CSV", 1, 0),
    "a bad row of several lines": ('job,start,name\na,1,"b\n\nb"\n\nc,soon,"d\nd"\n', None, "not a valid time", 6, 2),
    "a dump without an end": ("JobID|Start|AllocTRES\n1|1|gres/gpu=1\n", None, "no column End, NodeList: sacct", 1, 0),
    "a dump without GPUs": ("JobID|Start|End|NodeList\n1|1|2|n\n", None, "no column AllocTRES", 1, 0),
    "a dump of broken rows": (
        "JobID|Start|End|NodeList|AllocTRES\n\n2|9|2|n1|gres/gpu=1\n3|1|soon|n1|gres/gpu=1\n",
        None, r"no row can be used: job 2: it ends \(2\) before it starts \(9\)", 3, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_a_jobs_file_that_cannot_be_read(tmp_path, name):
    text, columns, message, line, column = JOBS[name]
    path = tmp_path / "jobs"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_jobs(path, UTC, parse_job_columns(columns) if columns else None)
    assert (error.value.path, error.value.line, error.value.column) == (str(path), line, column)


def query(stamp, watts):
    return f"""==============NVSMI LOG==============
{stamp}
GPU 00000000:07:00.0
    GPU UUID                              : GPU-aa
    GPU Power Readings
        Average Power Draw                : {watts}
"""


WATTS = 'DCGM_FI_DEV_POWER_USAGE{gpu="0"}'
XML = "<nvidia_smi_log><timestamp>Tue Mar  5 10:00:0{} 2024</timestamp>\n<gpu id='0'><{}>\n"
XML += "<gpu_power_readings><power_draw>5 W</power_draw></gpu_power_readings>\n</gpu></nvidia_smi_log>\n"
LEFT_OUT = {
    "a table": (
        "time,gpu,power_w\n1700000000,0,5\nsoon,0,5\n1700000001,0,much\n1700000002,0,-4\n1700000003,0,\n1700000004,0\n",
        6,
        [(3, 1, "soon", "no_time"), (4, 3, "much", "not_a_number"), (5, 3, "-4", "negative"), (6, 3, "", "empty"),
         (7, 0, "1700000004,0", "wrong_number_of_columns")],
    ),
    "dmon": (
        "#Time gpu pwr\n10:00:00 0 5\n10:00:01 0\n25:00:00 0 5\n10:00:02 N/A 5\n10:00:03 0 -\n",
        5,
        [(3, 0, "10:00:01 0", "wrong_number_of_columns"), (4, 0, "25:00:00 0 5", "no_time"),
         (5, 0, "10:00:02 N/A 5", "unknown_gpu"), (6, 0, "-", "not_available")],
    ),
    "pictures of an exporter": (
        f"#\n{WATTS} 5 1700000000000\nup 1\nto be or not\n{WATTS} 5 soon\n{WATTS} much 1700000001000\na 1\nb 1\n",
        4,
        [(4, 0, "to be or not", "not_a_sample"), (5, 0, "soon", "no_time"), (6, 0, "much", "not_a_number")],
    ),
    "an answer of Prometheus": (
        matrix({"metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE"},
                "values": [[1700000000, "5"], ["soon", "5"], [1700000001], 7, [1700000002, "much"]]}),
        5,
        [(1, 0, "soon 5", "no_time"), (1, 0, "None ['1700000001']", "no_time"), (1, 0, "None 7", "no_time"),
         (1, 0, "much", "not_a_number")],
    ),
    "nvidia-smi -q": (
        query("", "5.00 W") + query("Timestamp : Tue Mar  5 10:00:00 2024", "5.00 W")
        + query("Timestamp : Tue Mar  5 10:00:01 2024", "N/A") + query("Timestamp : soon", "5.00 W"),
        4,
        [(3, 0, "", "no_time"), (15, 0, "N/A", "not_available"), (21, 0, "", "no_time")],
    ),
    "nvidia-smi -q -x": (
        XML.format(0, "a></a") + XML.format(1, "a></b") + XML.format(2, "a></a"),
        2,
        [(6, 0, "mismatched tag: line 2, column 17", "damaged")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_of_a_trace(tmp_path, name):
    text, rows, wanted = LEFT_OUT[name]
    path = tmp_path / "trace"
    path.write_text(text)
    (chain,) = find([str(path)], Options())
    windows = list(chain.windows(Options()))
    assert sum(int((window.readings.power_mw == 5000).sum()) for window in windows) == rows - sum(
        reason != "damaged"
        for *_, reason in wanted  # a document, of which nobody knows the rows
    )
    (report,) = chain.reports
    assert sorted((bad.line, bad.column, bad.text, bad.reason) for bad in report.bad) == sorted(wanted)
    assert report.rows == rows
    assert report.rows_rejected == len(wanted)


def test_a_line_is_found_behind_empty_ones_and_behind_rows_that_are_left_out(tmp_path):
    good = "1700000000,0,5"
    lines = [
        "time,gpu,power_w",
        good,
        "",
        "1,2",
        good,
        "\r",
        "1,2,3,4",
        "soon,0,5",
        "  ",
        good,
        "",
        "1700000001,0,much",
    ]
    path = tmp_path / "trace"
    path.write_bytes("\n".join(lines).encode())
    (chain,) = find([str(path)], Options())
    list(chain.windows(Options()))
    (report,) = chain.reports
    assert sorted((bad.line, bad.text) for bad in report.bad) == [
        (4, "1,2"),
        (7, "1,2,3,4"),
        (8, "soon,0,5"[:4]),
        (12, "much"),
    ]
    assert report.rows == 7
