"""One reader of tables: dialects that a demand once refused, and what it reads beyond a trace. See one_reader.py."""

import gzip
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.fleet.recorded import recorded
from tests.traces import one_reader
from wattshed.agent.errors import InputError

START = datetime(2026, 3, 13, 12, tzinfo=UTC)
SECONDS = 40


def power(second, gpu=0):
    return 300.0 + 40 * gpu + second % 10


def table(header, row, gpus=1, separator=","):
    lines = [header, *(row(START + timedelta(seconds=s), g, power(s, g)) for s in range(SECONDS) for g in range(gpus))]
    return "\n".join(line.replace("|", separator) for line in lines) + "\n"


def stamped(pattern):
    return lambda at, gpu, watts: f"{at.strftime(pattern)}|{gpu}|{watts}"


def comma(at, gpu, watts):
    return f"{at:%Y-%m-%d %H:%M:%S}|{gpu}|{watts:.1f}".replace(".", ",")


def unix(factor):
    return lambda at, gpu, watts: f"{int(at.timestamp()) * factor}|{gpu}|{watts}"


def missing(at, gpu, watts):
    absent = {5: "ERR!", 6: "Not Supported", 7: "", 8: "-3"}
    return f"{at:%Y-%m-%dT%H:%M:%S}|{gpu}|{absent.get(at.second, watts)}"


def smi(at, gpu, watts):
    return f"{at:%Y/%m/%d %H:%M:%S}.000|{gpu}|{watts:.2f} W"


HEADER = "timestamp|gpu|power_w"
DIALECTS = {
    "iso": table(HEADER, stamped("%Y-%m-%dT%H:%M:%SZ"), 2),
    "ctime": table(HEADER, stamped("%a %b %d %H:%M:%S %Y"), 2),
    "day first": table(HEADER, stamped("%d.%m.%Y %H:%M:%S"), 2),
    "american": table(HEADER, stamped("%m/%d/%Y %I:%M:%S %p"), 2),
    "decimal comma": table(HEADER, comma, 2, ";"),
    "tabs": table(HEADER, stamped("%Y-%m-%d %H:%M:%S"), 2, "\t"),
    "nanoseconds": table(HEADER, unix(10**9), 2),
    "milliwatts": table("time|gpu|power_mw", lambda at, gpu, w: unix(1)(at, gpu, round(w * 1000)), 2),
    "no reading": table(HEADER, missing, 2),
    "nvidia-smi": table("timestamp|index|power.draw [W]", smi, 2, ", "),
    "nvidia-smi without index": table(
        "timestamp|power.draw [W]", lambda *a: smi(*a).replace("|0|", "|").replace("|1|", "|"), 2, ", "
    ),
    "no gpu": table("time|power", lambda at, _, w: f"{int(at.timestamp())}|{w}"),
    "no gpu, equal stamps": table("time|power", lambda at, _, w: f"{int(at.timestamp())}|{w}", 2),
    "a host": table("time|host|watts", lambda at, g, w: f"{int(at.timestamp())}|n{g}|{w}", 2),
    "minutes": table("time_min|gpu|power", lambda at, g, w: f"{at.minute * 60 + at.second}|{g}|{w}", 2),
    "header again": table(HEADER, stamped("%Y-%m-%d %H:%M:%S")) * 2,
    "ragged": table(HEADER, stamped("%Y-%m-%d %H:%M:%S")) + "1|2\n",
    "zeros": table("time|power", lambda at, _, w: f"{int(at.timestamp())}|{w if at.second % 7 else 0}"),
    "not clear": "a,b\n1,2\n",
    "no time": table("when|watts", lambda at, _, w: f"{at}|{w}"),
    "a time that is none": "time,power\nx,2\n",
    "a power that is none": "time,power\n1,x\n",
    "only ragged": "time,gpu,power\n1,2\n",
    "no rows": "time,power\n",
    "long form": "timestamp,metric_name,gpu_id,value\n1700000000,power,0,5\n1700000001,power,0,5\n",
    "prose": "This is not a table.\nIt is two sentences.\n",
    "empty": "",
    "binary": "\0\1\2\3" * 100,
}  # fmt: skip
READ = set(DIALECTS) - {
    "not clear", "no time", "a time that is none", "a power that is none", "only ragged", "no rows", "long form",
    "prose", "empty", "binary",
}  # fmt: skip
WRITINGS = {
    "plain": str.encode,
    "utf-16": lambda text: text.encode("utf-16"),
    "windows": lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
}


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_replay_reads_a_demand_reads(dialect, writing, tmp_path):
    path = tmp_path / "load.dat"
    path.write_bytes(WRITINGS[writing](DIALECTS[dialect]))
    one_reader.holds(path)
    if dialect in READ:
        joules, found = one_reader.demanded(path, None)
        assert sum(joules) > 0.4 * 300 * SECONDS
        assert found.rows >= SECONDS


def test_no_sample_is_read_by_luck(tmp_path):
    """The law would hold of two readers that both read nothing: here is what the joules must be."""
    (tmp_path / "x.csv").write_text(DIALECTS["decimal comma"])
    watts = np.array([[power(s, g) for s in range(SECONDS)] for g in (0, 1)])
    assert sorted(one_reader.demanded(tmp_path / "x.csv", None)[0]) == pytest.approx(np.trapezoid(watts).tolist())


@pytest.mark.parametrize(
    ("spec", "series"),
    [
        ("time=when,power=w", 1),
        ("time=when:min,power=w:kW,gpu=card", 2),
        ("time=when,power=w,gpu=card,energy=e:mJ,util=u", 2),
        ("time=when,power=w,job=card", 2),
        ("time=when,power=[wv]", 2),
    ],
)
def test_named_columns(spec, series, tmp_path):
    rows = "".join(
        f"{i},{g},{100 + g},{100 + i},{i * 1000},50\n" for i in range(9) for g in range(1 if "[" in spec else series)
    )
    path = tmp_path / "x.csv"
    path.write_text("when,card,w,v,e,u\n" + rows)
    found = recorded(path, columns=spec)
    assert len(found.series) == series
    if "job" not in spec and "kW" not in spec:  # no GPU draws that much
        one_reader.holds(path, spec)


@pytest.mark.parametrize("spec", ["time=when,power=watts", "power=w,gpu=crad", "time=when,power=w,host=h", "job=j"])
def test_named_columns_that_are_not_there(spec, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("when,card,w\n1,0,5\n")
    with pytest.raises(InputError, match=r"x.csv:1: (there is no column|it is not clear)"):
        recorded(path, columns=spec)
    if "job" not in spec:
        one_reader.holds(path, spec)


@pytest.mark.parametrize(
    ("header", "cells", "kind", "watts"),
    [
        ("time_s,power_MW", ["0,6", "1,7"], "total", [6e6, 7e6]),
        ("time (h),load [kW]", ["0,5", "1,7"], "total", [5000, 7000]),
        ("time,sys_power_w,temp_c", ["0,5,1", "1,7,1"], "total", [5, 7]),
        ("timestamp;job;power_kw", ["01.03.2026 12:00:00;a;1,5", "01.03.2026 12:00:01;a;0"], "job", [1500, 0]),
        ("time,instance,power [GW]", ["0,a,1", "1,a,1.5"], "gpu", [1e9, 1.5e9]),
    ],
)
def test_loads_that_no_gpu_draws(header, cells, kind, watts, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\n".join([header, *cells]))
    found = recorded(path)
    assert found.kind == kind
    assert [w for _, power_w in found.series.values() for w in power_w] == watts


def test_readings_that_the_accounts_reject_are_no_load(tmp_path):
    path = tmp_path / "x.csv"
    cells = ["100.00"] * 3 + ["4294967.00", "0.00"] + ["100.00"] * 4
    rows = "".join(f"2026/03/01 12:00:{s:02d}.000, 0, {cell} W\n" for s, cell in enumerate(cells))
    path.write_text("timestamp, index, power.draw [W]\n" + rows)
    one_reader.holds(path)
    found = recorded(path)
    assert dict(found.rejected) == {"above_ceiling": 1, "zero": 1}


def test_all_real_recordings(traces):
    read = 0
    for path in sorted(traces.rglob("*")):
        if path.is_file() and path.stat().st_size < 3 << 20 and "_bmc" not in path.name and ".md" not in path.name:
            one_reader.holds(path)
            read += 1
    assert read > 20
