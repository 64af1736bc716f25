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
TRACES = {
    "Feather": (b"ARROW1\0\0", None, "it is an Arrow file", 0),
    "empty": (b"", None, "it is empty", 0),
    "prose": (b"Two sentences. Of no use.\n", None, "it is not a trace in a known format", 0),
    "other XML": (b'<?xml version="1.0"?>\n<html/>\n', None, "it is XML, but not of nvidia-smi", 0),
    "other JSON": (b'\n{"a": 1}\n', None, "it is JSON, but not a query_range answer", 1),
    "a table of unclear columns": (b"a,b\n1,2\n3,4\n", None, r"columns are not clear.*\(it has: a, b\)", 1),
    "a table without a time": (b"power,gpu\n5,0\n", "power=power", "not clear which column is the time", 1),
    "a table without a power": (b"time,gpu\n5,0\n", "time=time", "not clear which column is power", 1),
    "no such column": (TABLE.encode(), "time=when,power=watts", "there is no column 'watts'", 1),
    "no column of the pattern": (TABLE.encode(), "time=when,power=watts_*", "no column fits 'watts_\\*' for power", 1),
    "a pattern and a column": (b"t,p0,p1,e\n1,2,3,4\n", "time=t,power=p*,energy=e", "must both be patterns", 0),
    "a query without power": (CLOCKS, None, "it has no column of time, or none of power or energy", 1),
    "a session without power": (SESSION, None, "no part of the session is a query with power", 0),
    "dmon of clocks": (b"# gpu  sm  mclk\n# Idx  %  MHz\n  0  5  900\n", None, "no column of power or energy", 1),
    "pictures of other things": (b"up 1\ngo_threads 5\n", None, "no series of GPU power or energy", 0),
    "an error of Prometheus": (b'{"status":"error","error":"bad"}', None, "answered with an error: .*bad", 0),
    "an answer without a result": (b'{"status":"success","data":{}}', None, "not an answer of Prometheus", 0),
    "a torn answer": (matrix({"metric": {}})[:-5].encode(), None, "cut off or damaged", 0),
    "a series that is none": (matrix(5).encode(), None, "a member of the result is not a series", 0),
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
