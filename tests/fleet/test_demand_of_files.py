"""Laws of reading for a demand: how a recording is written, and in how many files, changes no figure."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fleet.recorded import recorded
from tests.traces import one_reader
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.window import Device, Readings, Window

SECONDS, GPUS, BEGIN_S = 90, 3, 1_700_000_000
POWER_W = np.random.default_rng(20).integers(60_000, 700_000, (SECONDS, GPUS)) / 1e3
HEADER = "time,host,gpu,power_w"
ROWS = [f"{BEGIN_S + s},n{g % 2},{g},{POWER_W[s, g]}" for s in range(SECONDS) for g in range(GPUS)]
COLUMNS = ("time", "host", "gpu", "power_w")


def text(rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def plain(folder):
    return [written(folder / "power.csv", text(ROWS))]


def split(folder):
    half = len(ROWS) // 2 + 1  # within a moment
    return [written(folder / "b.csv", text(ROWS[:half])), written(folder / "a.csv", text(ROWS[half:]))]


def parquet(folder):
    cells = [row.split(",") for row in ROWS]
    columns = dict(zip(COLUMNS, zip(*cells, strict=True), strict=True))
    columns |= {"time": [int(c) for c in columns["time"]], "power_w": [float(c) for c in columns["power_w"]]}
    pq.write_table(pa.table(columns), folder / "power.parquet")
    return [folder / "power.parquet"]


def shuffled(folder):
    order = np.random.default_rng(3).permutation(len(ROWS))
    return [written(folder / "power.csv", text([ROWS[i] for i in order]))]


def native(folder):
    """A recording of the agent, host by host."""
    for host in (0, 1):
        gpus = range(host, GPUS, 2)
        recorder = Recorder(folder / f"n{host}", f"n{host}")
        time_us = np.tile((BEGIN_S + np.arange(SECONDS)) * 1_000_000, len(gpus))
        power_mw = np.concatenate([np.rint(POWER_W[:, g] * 1e3) for g in gpus]).astype(np.int32)
        readings = Readings(
            np.arange(len(gpus) + 1, dtype=np.int64) * SECONDS, time_us, power_mw, np.full(time_us.size, -1, np.int64)
        )
        devices = tuple(Device(f"n{host}", g, "") for g in gpus)
        span = int(time_us[0]), int(time_us[-1]) + 1
        recorder.append(Window(f"n{host}", 0, *span, devices, readings, np.full(len(gpus), -1, np.int64)))
        recorder.close()
    return [folder / "n0", folder / "n1"]


WRITINGS = {
    "split": split,
    "gzip": lambda folder: [written(folder / "power.csv.gz", gzip.compress(text(ROWS).encode()))],
    "parquet": parquet,
    "shuffled": shuffled,
    "another column": lambda folder: [
        written(folder / "p.csv", text([f"{row},{i % 7}" for i, row in enumerate(ROWS)], f"{HEADER},temp_c"))
    ],
    "utf-16": lambda folder: [written(folder / "p.csv", text(ROWS).encode("utf-16"))],
    "a host a file": lambda folder: [
        written(folder / f"n{h}.csv", text([row for row in ROWS if f",n{h}," in row])) for h in (1, 0)
    ],
    "native": native,
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_how_it_is_written_changes_nothing(writing, fleet, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    (one,) = plain(tmp_path / "one")
    found = fleet("demand", one, "--json").json
    other = fleet("demand", *WRITINGS[writing](tmp_path / "other"), "--json").json
    assert found["max_w"] == pytest.approx(POWER_W.sum(axis=1).max())
    told = {"source", "warnings"}
    assert {k: v for k, v in other.items() if k not in told} == {k: v for k, v in found.items() if k not in told}


def test_a_demand_has_the_energy_of_its_replay(wattshed, fleet, tmp_path):
    (path,) = plain(tmp_path)
    one_reader.holds(path)
    gpus = json.loads(wattshed("replay", path, "--format", "json")[1])["gpus"]
    found = recorded(path)
    watts = [np.trapezoid(power_w, time_us / 1e6) for time_us, power_w in found.series.values()]
    assert sum(watts) == pytest.approx(sum(gpu["power_j"] for gpu in gpus), rel=1e-12)
    assert on_grid(found).power_w.sum() == pytest.approx(POWER_W.sum())


def test_what_does_not_fit_into_memory_changes_nothing(tmp_path):
    (path,) = plain(tmp_path)
    spilt = KeptSeries(1000)
    whole, parts = recorded(path), recorded(path, kept=spilt)
    np.testing.assert_array_equal(on_grid(parts).power_w, on_grid(whole).power_w)
    spilt.close()


def test_flags_of_replay_say_how_it_is_read(fleet, files):
    long = "time,metric,gpu,value\n" + "".join(
        f"{t},{metric},0,{value}\n" for t in range(5) for metric, value in (("power", 300 + t), ("temp", 40))
    )
    assert fleet("demand", files(l_csv=long), "--where", "metric=power", "--json").json["max_w"] == 304
    bare = "power.draw [W]\n" + "".join(f"{300 + i} W\n" for i in range(5))
    assert fleet("demand", files(b_csv=bare), "--period", 2, "--json").json["step_s"] == 2.0
    zoned = "time,power\n2026-03-01 12:00:00,5\n2026-03-01 12:00:01,6\n"
    assert fleet("demand", files(z_csv=zoned), "--timezone", "Europe/Berlin", "--json").json["max_w"] == 6
    holey = files(h_csv="time,power\n0,5\n1,5\n2,5\n60,5\n61,5\n62,5\n")
    covered = [fleet("demand", holey, *more, "--json").json["covered_s"] for more in ((), ("--max-gap", 60))]
    assert covered == [25, 63]
    capped = files(c_csv="time,gpu,power\n0,0,5\n1,0,900\n2,0,5\n")
    assert fleet("demand", capped, "--max-power", 100, "--json").json["max_w"] == 5
    loads = files(w_csv="time_s,power_MW\n0,5\n1,900\n2,5\n")  # a site may draw any power, unless said otherwise
    largest = [fleet("demand", loads, *more, "--json").json["max_w"] for more in ((), ("--max-power", 1e7))]
    assert largest == [9e8, 5e6]
    assert "there is no column" in fleet("demand", holey, "--where", "metric=power").err


def test_each_gpu_of_each_host_of_a_job_is_a_series(fleet, files):
    """Rows of one job at one moment are of several GPUs, not one GPU told several times."""
    jobs = {"train": (("n0", 0, 500), ("n0", 1, 400), ("n1", 0, 300)), "007": (("n1", 1, 200),), "7": (("n1", 2, 10),)}
    rows = "".join(f"{t},{j},{h},{g},{w}\n" for t in range(20) for j, of in jobs.items() for h, g, w in of)
    path = files(s_csv="time,job,host,gpu,power\n" + rows)
    found = fleet("demand", path, "--json").json
    assert (found["kind"], found["series"], found["max_w"], found["coincidence"]) == ("job", 5, 1410, 1.0)
    names = list(map(str, recorded(path).series))
    assert names == [
        "train/n0/0",
        "train/n0/1",
        "train/n1/0",
        "007/n1/1",
        "7/n1/2",
    ]
    by_job = on_grid(recorded(path), unit="job").units
    assert {job: power[0] for job, power in by_job.items()} == {"train": 1200, "007": 200, "7": 10}
    by_host = on_grid(recorded(path), unit="host").units
    assert {host: power[0] for host, power in by_host.items()} == {"n0": 900, "n1": 510}
    assert fleet("demand", path, "--limit", 1000, "--json").json["ensemble"]["units"] == 3
    assert fleet("demand", path, "--limit", 1000, "--resample", "host", "--json").json["ensemble"]["units"] == 2


def test_a_gpu_that_changes_its_job_is_of_both(fleet, files):
    rows = "".join(f"{t},{'a' if t < 10 else 'b'},0,{100 if t < 10 else 300}\n" for t in range(20))
    found = on_grid(recorded(files(s_csv="time,job,gpu,power\n" + rows)), unit="job")
    assert found.power_w.tolist() == [100] * 10 + [300] * 10
    assert {job: power.tolist() for job, power in found.units.items()} == {
        "a": [100] * 10 + [0] * 10, "b": [0] * 10 + [300] * 10,
    }  # fmt: skip


def test_jobs_and_gpus_are_not_added_up(fleet, files):
    jobs, gpus = files(j_csv="time,job,power\n0,a,5\n1,a,5\n", g_csv="time,gpu,power\n0,0,5\n1,0,5\n")
    assert "give one of them" in fleet("demand", jobs, gpus).err


def test_what_the_reader_assumed_is_said(fleet, files):
    rounds = "timestamp, power.draw [W]\n" + "".join(
        f"2026/03/01 12:00:{s:02d}.00{g}, {300 + 50 * g} W\n" for s in range(30) for g in range(2)
    )
    said = fleet("demand", files(r_csv=rounds), "--json").json["warnings"]
    assert any("come in rounds of 2 and are counted as GPUs 0 to 1" in warning for warning in said)


def test_a_file_that_is_none_is_one_line(fleet, files, tmp_path):
    good = files(g_csv="time,power\n0,5\n1,6\n")
    found = fleet("demand", good, tmp_path / "absent.csv")
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "absent.csv" in found.err


def test_series_have_the_names_that_the_accounts_have(files):
    named = recorded(files(s_csv="time,host,gpu,power\n0,a,GPU-1,5\n0,a,1,6\n")).series
    assert list(named) == [SeriesName(host="a", gpu="GPU-1"), SeriesName(host="a", gpu="1")]


def test_a_load_without_a_name_is_no_gpu_without_one(fleet, files):
    rows = "".join(f"{s},{9_500_000 if s % 60 < 50 else 2_500_000}\n" for s in range(600))
    said = fleet("demand", files(load_csv="time,power\n" + rows), "--json").json["warnings"]
    assert not [warning for warning in said if "which GPU" in warning]
