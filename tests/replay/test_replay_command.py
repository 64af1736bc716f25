"""``wattshed replay`` and ``convert`` as a user meets them: the schema, exact sums, bad input in one line."""

import json
import os
import signal
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.traces.windows_made_up import plain_window
from wattshed.agent.replay.report import rounded_parts
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.native.segment import SCHEMA_MESSAGE
from wattshed.kernels import devices


@pytest.fixture
def log(tmp_path):
    """Two GPUs, 100 s at 1 Hz: 100 W and 200 W, with counters in millijoules."""
    path = tmp_path / "log.csv"
    rows = ["ts,node,gpu,watt,mj"]
    for t in range(101):
        rows += [f"{1_700_000_000 + t},n1,{g},{100 * (g + 1)},{5_000 + 100_000 * (g + 1) * t}" for g in (0, 1)]
    path.write_text("\n".join(rows) + "\n")
    return path


COLUMNS = "time=ts,gpu=gpu,power=watt:W,energy=mj:mJ,host=node"


def replay_json(wattshed, *argv):
    code, out, err = wattshed("replay", *argv, "--format", "json")
    assert code == 0, err
    return json.loads(out, parse_float=Decimal)


def test_the_document(wattshed, log):
    answer = replay_json(wattshed, log, "--columns", COLUMNS)
    assert answer["schema"] == "wattshed.replay/1"
    assert list(answer) == [
        "schema", "sources", "start_s", "end_s", "gpus", "jobs", "idle_j", "unattributed_j", "total_j",
        "device", "device_reason", "device_rows",
    ]  # fmt: skip
    source = {"path": str(log), "format": "csv", "boundary": "GPU board", "rows": 202, "rows_rejected": 0}
    assert answer["sources"] == [source | {"rejected": {}}]
    assert (answer["start_s"], answer["end_s"]) == (1_700_000_000, 1_700_000_100)
    assert set(answer["gpus"][0]) == {
        "host", "gpu", "uuid", "model", "samples", "span_s", "covered_s", "gap_s", "gaps", "energy_j", "method",
        "counter_j", "power_j", "counter_resets", "disagreement", "power_w", "sigma_j", "flags",
    }  # fmt: skip
    first, second = answer["gpus"]
    assert (first["host"], first["gpu"], first["samples"], first["span_s"]) == ("n1", 0, 101, 100)
    assert (first["energy_j"], second["energy_j"]) == (10_000, 20_000)
    assert (first["counter_j"], first["power_j"], first["method"], first["disagreement"]) == (
        10_000,
        10_000,
        "counter",
        0,
    )
    assert first["power_w"] == {"mean": 100, "min": 100, "max": 100, "p50": 100, "p95": 100, "p99": 100}
    assert answer["jobs"] == []
    assert answer["total_j"] == answer["idle_j"] + answer["unattributed_j"] == 30_000


def test_a_device_that_cannot_be_used_is_refused_in_a_line(wattshed, log, monkeypatch):
    said = "CUDA kernels do not run here (numba 1): AttributeError: gone"
    monkeypatch.setattr(devices, "obstacle", lambda: said)
    code, out, err = wattshed("replay", log, "--columns", COLUMNS, "--device", "cuda")
    assert (code, out) == (2, "")
    assert err == f"wattshed: --device cuda: no usable CUDA device here ({said}); use --device cpu\n"
    assert replay_json(wattshed, log, "--columns", COLUMNS, "--device", "auto")["total_j"] == 30_000


def test_jobs_share_and_sum_exactly(wattshed, log, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(
        "job,host,gpu,start,end,share,user\n"
        "a,n1,0,1700000000,1700000050,,ann\n"
        "a,n1,0,1700000040,1700000060,,ann\n"  # overlaps itself: united
        "b,,*,2023-11-14T22:13:50Z,2023-11-14T22:14:00Z,,\n"
        "c,n1,1,1700000050,,0.25,\n"
        "d,other,0,,,,\n"
    )
    answer = replay_json(wattshed, log, "--columns", COLUMNS, "--jobs", jobs, "--idle-watts", "30")
    by_name = {job["job"]: job for job in answer["jobs"]}
    assert set(by_name) == {"a", "b", "c"}
    assert set(by_name["a"]) == {
        "job", "hosts", "gpus", "start_s", "end_s", "energy_j", "static_j", "dynamic_j", "gpu_s", "mean_w", "peak_w",
        "sigma_j", "method", "user", "work", "waiting_j", "watts", "watts_sigma", "node_energy_estimate",
    }  # fmt: skip
    assert by_name["a"]["user"] == "ann"
    assert answer["per_user"] == {"ann": by_name["a"]["energy_j"]}
    assert by_name["a"]["gpu_s"] == 60
    assert by_name["a"]["end_s"] == 1_700_000_060
    assert by_name["a"]["energy_j"] + by_name["b"]["energy_j"] + by_name["c"]["energy_j"] > 0
    for job in answer["jobs"]:
        assert job["energy_j"] == job["static_j"] + job["dynamic_j"]
    assert (
        sum(gpu["energy_j"] for gpu in answer["gpus"])
        == sum(job["energy_j"] for job in answer["jobs"]) + answer["idle_j"] + answer["unattributed_j"]
        == answer["total_j"]
    )
    assert answer["idle_j"] > 0


def test_a_job_alone_on_a_gpu_gets_what_it_used(wattshed, log, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("job,host,gpu,start,end\nx,n1,0,1700000010,1700000030\ny,n1,1,,\n")
    answer = replay_json(wattshed, log, "--columns", COLUMNS, "--jobs", jobs)
    by_name = {job["job"]: job["energy_j"] for job in answer["jobs"]}
    assert by_name == {"x": 2_000, "y": 20_000}
    assert answer["unattributed_j"] == 8_000


def test_slurm_accounting(wattshed, log, tmp_path):
    jobs = tmp_path / "sacct.txt"
    jobs.write_bytes(
        b"JobID|JobName|User|Start|End|NodeList|AllocTRES\n"
        b"77|tr\xe4in\nsecond line|ann|2023-11-14T22:13:20|2023-11-14T22:14:10|n[1-2]|gres/gpu=4,node=2\n"
        b"77.batch|batch||2023-11-14T22:13:20|2023-11-14T22:14:10|n1|gres/gpu=2\n"
        b"78|wait|bob|Unknown|Unknown|None assigned|gres/gpu=2\n"
        b"79|half|bob|2023-11-14T22:14:10|Unknown|n1|gres/gpu:h100=1,node=1\n"
    )
    answer = replay_json(wattshed, log, "--columns", COLUMNS, "--jobs", jobs)
    by_name = {job["job"]: job for job in answer["jobs"]}
    assert set(by_name) == {"slurm:77", "slurm:79"}
    assert by_name["slurm:77"]["energy_j"] == 15_000  # both GPUs for 50 s
    assert by_name["slurm:77"]["gpu_s"] == 100
    assert by_name["slurm:77"]["name"] == "tr\ufffdin\nsecond line"
    assert by_name["slurm:79"]["gpu_s"] == 50  # one of two GPUs, nobody says which
    assert by_name["slurm:79"]["energy_j"] == 7_500  # so half of both


def test_jobs_alone_give_gpu_time(wattshed, tmp_path):
    jobs = tmp_path / "pods.csv"
    jobs.write_text("name,n,milli,from,to\np1,1,500,0,10\np2,8,1000,5,7\np3,0,0,0,9\np4,1,1000,,9\n")
    spec = "job=name,gpus=n,share=milli:milli,start=from,end=to"
    code, out, _ = wattshed("replay", "--jobs", jobs, "--job-columns", spec)
    assert (code, out) == (0, "2 jobs, 21 GPU-share-seconds\n")


@pytest.mark.parametrize(
    "flag",
    [
        "--plot x.svg", "--openmetrics x", "--remote-write http://h/w", "--history h.db", "--idle-watts 7",
        "--by user", "--html x.html", "--price 0.3", "--workers 2", "--scheduler h:1", "--format csv", "--device cuda",
    ],
)  # fmt: skip
def test_what_jobs_alone_cannot_tell_is_refused_in_a_line(wattshed, tmp_path, flag):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("job,gpu,start,end\na,0,1,8\n")
    code, out, err = wattshed("replay", "--jobs", jobs, *flag.split())
    assert (code, out) == (2, "")
    assert (
        err
        == f"wattshed: {flag if ' c' in flag else flag.split()[0]} needs a trace; a jobs file alone tells GPU time\n"
    )
    assert sorted(tmp_path.iterdir()) == [jobs]


def test_counter_resets_are_counted(wattshed, tmp_path):
    path = tmp_path / "x.csv"
    rows = ["time,gpu,power_w,energy_mj"]
    rows += [f"{t},0,100,{100_000 * (t if t < 50 else t - 50) + 7}" for t in range(100)]
    path.write_text("\n".join(rows) + "\n")
    (gpu,) = replay_json(wattshed, path)["gpus"]
    assert gpu["counter_resets"] == 1
    assert gpu["energy_j"] == 9_900


@pytest.mark.parametrize("apart_s", [3, 60])
def test_a_mean_is_of_time_that_was_covered(apart_s, wattshed, tmp_path):
    """Two readings that are too far apart say nothing about the time between: their mean is unknown, not zero."""
    path = tmp_path / "log.csv"
    other = "1700000000,1,50\n1700000001,1,50\n"
    path.write_text(f"ts,gpu,power_w\n1700000000,0,70\n{1_700_000_000 + apart_s},0,632\n{other}")
    gpu = replay_json(wattshed, path)["gpus"][0]
    covered = apart_s < 10
    assert (gpu["power_w"]["mean"], gpu["gap_s"]) == ((351, 0) if covered else (None, apart_s))
    # A counter saw the time between too.
    path.write_text(f"ts,gpu,energy_j\n1700000000,0,1000\n{1_700_000_000 + apart_s},0,{1000 + 100 * apart_s}\n")
    assert replay_json(wattshed, path)["gpus"][0]["power_w"]["mean"] == 100


def test_wide_tables_and_units(wattshed, tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("t;p0_mw;p1_mw\n" + "".join(f"{t};100000;250000\n" for t in range(0, 10_001, 1000)))
    answer = replay_json(wattshed, path, "--columns", "time=t:ms,power=p*_mw")
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [1_000, 2_500]
    assert [gpu["gpu"] for gpu in answer["gpus"]] == [0, 1]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_are_exact_in_csv_and_parquet(unit, wattshed, tmp_path):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamps = [(1_700_000_000 + t) * scale for t in range(11)]
    pq.write_table(pa.table({"t": stamps, "dev": ["GPU-a"] * 11, "mw": [150_000] * 11}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("t,dev,mw\n" + "".join(f"{t},GPU-a,150000\n" for t in stamps))
    for name in ("x.parquet", "x.csv"):
        answer = replay_json(wattshed, tmp_path / name, "--columns", f"time=t:{unit},gpu=dev,power=mw:mW")
        assert answer["total_j"] == 1_500
        assert answer["start_s"] == 1_700_000_000
        assert answer["gpus"][0]["uuid"] == "GPU-a"


def test_parquet_with_timestamps_and_dictionaries(wattshed, tmp_path):
    times = pa.array([1_700_000_000_000_000_000 + t * 10**9 for t in range(11)], pa.timestamp("ns", "UTC"))
    table = pa.table(
        {
            "when": times,
            "node": pa.array(["n"] * 11).dictionary_encode(),
            "gpu": [3] * 11,
            "energy_kwh": [1 + t / 3600 for t in range(11)],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet")
    answer = replay_json(wattshed, tmp_path / "x.parquet", "--columns", "time=when,energy=energy_kwh")
    assert answer["gpus"][0]["host"] == "n"
    assert answer["gpus"][0]["gpu"] == 3
    assert float(answer["total_j"]) == pytest.approx(10_000, abs=0.01)


def test_hosts_from_folders_and_from_the_name(wattshed, tmp_path):
    for host in ("h1", "h2"):
        folder = tmp_path / f"fleet/host={host}/date=2024-01-01"
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text("time,gpu,power_w\n0,0,100\n1,0,100\n")
    answer = replay_json(wattshed, tmp_path / "fleet")
    assert [gpu["host"] for gpu in answer["gpus"]] == ["h1", "h2"]
    file = tmp_path / "fleet/host=h1/date=2024-01-01/log.csv"
    assert replay_json(wattshed, f"{file}@elsewhere")["gpus"][0]["host"] == "elsewhere"


@pytest.mark.parametrize("content", [b"", b"Fans were loud.\n"])
def test_what_is_merely_called_a_segment(wattshed, tmp_path, content):
    """One that was killed before its first byte does not stand in the way of the others of its folder."""
    recorder = Recorder(tmp_path, "node")
    for i in range(3):
        recorder.append(plain_window(i))
    recorder.close()
    whole = replay_json(wattshed, tmp_path)["total_j"]
    false = tmp_path / "host=node/date=2023-11-14/x.open"
    false.write_bytes(content)
    code, out, err = wattshed("replay", tmp_path, "--format", "json")
    assert (code, json.loads(out)["total_j"]) == (0, whole)
    assert "skipped" in err
    code, _, err = wattshed("replay", false)
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (SCHEMA_MESSAGE[:700], "nothing in it is intact"),
        (SCHEMA_MESSAGE + bytes(20_000), "nothing in it is intact"),
        (SCHEMA_MESSAGE, "it contains no window"),
    ],
)
def test_a_recording_of_nothing_is_no_answer(wattshed, tmp_path, content, why):
    (tmp_path / "x.open").write_bytes(content)
    code, out, err = wattshed("replay", tmp_path, "--format", "json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert why in err


def test_what_is_no_trace_in_a_folder_is_passed_over(wattshed, tmp_path):
    (tmp_path / "log.csv").write_text("time,gpu,power_w\n0,0,100\n1,0,100\n")
    (tmp_path / "notes.txt").write_text("Fans were loud.\n")
    code, out, err = wattshed("replay", tmp_path, "--format", "json")
    assert (code, json.loads(out)["total_j"]) == (0, 100)
    assert "skipped" in err
    assert "notes.txt" in err
    (tmp_path / "log.csv").unlink()
    code, _, err = wattshed("replay", tmp_path)
    assert (code, err.count("\n")) == (2, 1)


def test_one_uuid_in_two_files_is_one_gpu(wattshed, tmp_path):
    (tmp_path / "p.csv").write_text("time,uuid,power_w\n" + "".join(f"{t},GPU-a,100\n" for t in range(11)))
    (tmp_path / "e.csv").write_text("time,uuid,energy_mj\n" + "".join(f"{t},GPU-a,{99_000 * t}\n" for t in range(11)))
    (gpu,) = replay_json(wattshed, tmp_path / "p.csv", tmp_path / "e.csv")["gpus"]
    assert (gpu["energy_j"], gpu["power_j"]) == (990, 1000)


def test_one_index_in_two_files_at_the_same_time_is_two_hosts(wattshed, tmp_path):
    for name in ("run_alpha.csv", "run_beta.csv"):
        (tmp_path / name).write_text("time,gpu,power_w\n" + "".join(f"{t},0,100\n" for t in range(11)))
    answer = replay_json(wattshed, tmp_path / "run_alpha.csv", tmp_path / "run_beta.csv")
    assert [(gpu["host"], gpu["energy_j"]) for gpu in answer["gpus"]] == [("alpha", 1000), ("beta", 1000)]


def test_rotated_logs_of_one_host_are_one_gpu(wattshed, tmp_path):
    (tmp_path / "b.csv").write_text("time,gpu,power_w\n" + "".join(f"{t},0,100\n" for t in range(11)))
    (tmp_path / "a.csv").write_text("time,gpu,power_w\n" + "".join(f"{t},0,100\n" for t in range(11, 21)))
    answer = replay_json(wattshed, tmp_path / "a.csv", tmp_path / "b.csv")
    assert [(gpu["host"], gpu["energy_j"]) for gpu in answer["gpus"]] == [("", 2_000)]


def test_process_rows_split_by_utilisation(wattshed, tmp_path):
    rows = ["time,gpu,power_w,pid,sm"]
    for t in range(61):
        rows += [f"{t},0,200,11,30", f"{t},0,200,22,10"]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows) + "\n")
    spec = "time=time,gpu=gpu,power=power_w,pid=pid,util=sm:%"
    answer = replay_json(wattshed, path, "--columns", spec)
    by_name = {job["job"]: float(job["dynamic_j"]) for job in answer["jobs"]}
    assert answer["total_j"] == 12_000
    assert by_name["pid:11"] == pytest.approx(3 * by_name["pid:22"], rel=1e-3)


def test_convert_and_replay_give_the_same_integers(wattshed, log, tmp_path):
    plain = replay_json(wattshed, log, "--columns", COLUMNS)
    for out in (tmp_path / "native", tmp_path / "one.parquet"):
        code, _, err = wattshed("convert", log, out, "--columns", COLUMNS)
        assert code == 0
        assert " written to " in err
        again = replay_json(wattshed, out)
        for key in ("gpus", "jobs", "total_j", "start_s", "end_s"):
            assert again[key] == plain[key]
    code, _, err = wattshed("convert", log, tmp_path / "one.parquet", "--columns", COLUMNS)
    assert (code, "already exists" in err) == (2, True)


def test_table_and_csv(wattshed, log):
    code, out, _ = wattshed("replay", log, "--columns", COLUMNS)
    assert code == 0
    assert "30,000.0 J" in out
    code, out, _ = wattshed("replay", log, "--columns", COLUMNS, "--format", "csv")
    assert out.splitlines()[-1].startswith("total,,,,30000.000000")


BAD = {
    "missing.csv": (None, "there is no such file"),
    "empty.csv": (b"", "it is empty"),
    "binary.csv": (bytes(range(256)) * 64, "binary"),
    "header.csv": (b"time,gpu,power_w\n", "no rows"),
    "text.csv": (b"time,gpu,power_w\n1,0,much\n2,0,more\n", ":2:3: power_w holds no number: 'much'"),
    "notime.csv": (b"time,gpu,power_w\nsoon,0,1\nlater,0,2\n", ":2:1: time holds no time: 'soon'"),
    "cut.csv.gz": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\xcc", "gzip data ends early"),
    "unclear.csv": (b"a,b,c\n1,2,3\n2,3,4\n", "--columns"),
    "cut.json": (b'{"status":"success","data":{"result":[{"metric":{', "cut off"),
    "error.json": (b'{"status":"error","error":"no"}', "answered with an error"),
    "other.xml": (b"<?xml version='1.0'?><a/>", "nvidia-smi -q -x"),
    "bad.parquet": (b"PAR1 and then nothing of the kind", "damaged Parquet"),
    "prose.txt": (b"It was a dark night.\nNobody measured anything.\n", "unrecognised trace format"),
    "nul.csv": (b"\0" * 5000, "nothing but blanks and NUL bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(name, wattshed, tmp_path):
    content, text = BAD[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = wattshed("replay", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"wattshed: {path}")
    assert text in err
    assert err.count("\n") == 1


def test_folder_without_traces(wattshed, tmp_path):
    code, _, err = wattshed("replay", tmp_path)
    assert code == 2
    assert "this folder contains no trace" in err


def test_unknown_columns_name_the_near_ones(wattshed, log):
    code, _, err = wattshed("replay", log, "--columns", "time=ts,gpu=gpu,power=wat")
    assert code == 2
    assert err == f"wattshed: {log}:1: there is no column 'wat' for power; near: watt, ts\n"
    code, _, err = wattshed("replay", log, "--columns", "tme=ts")
    assert (code, "did you mean time" in err) == (2, True)
    code, _, err = wattshed("replay", log, "--columns", "time=ts:years,power=watt")
    assert (code, "has no unit 'years'" in err) == (2, True)
    code, _, err = wattshed("replay", log, "--columns", "time=ts,power=w*x")
    assert (code, "no column fits" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job,host,gpu,start,end\nx,,0,200,100\n", ":2:5: the job 'x' ends (100) before it starts (200)"),
        ("job,host,gpu,start,end\nx,,0,soon,100\n", ":2:4: start is not a valid time: 'soon'"),
        ("name,host,gpu\nx,,0\n", ":1:1: the header needs a column job"),
        ("job,host,gpu,start,end,share\nx,,0,1,2,1.5\n", ":2:6: the share is not between 0 and 1"),
        ("job,host,gpu,start,end\n,,0,1,2\n", ":2:1: the job has no name"),
        (
            "host,job,gpu,start,end\n,_idle,0,1,2\n",
            ":2:2: _idle is the name of energy that belongs to no job, not a job",
        ),
        (
            "host,job,gpu,start,end\n,_other,0,1,2\n",
            ":2:2: _other is the name of energy that belongs to no job, not a job",
        ),
        ("", "it is empty"),
    ],
)
def test_bad_jobs_files_are_one_line(text, said, wattshed, log, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(text)
    code, _, err = wattshed("replay", log, "--columns", COLUMNS, "--jobs", jobs)
    assert code == 2
    assert err.startswith(f"wattshed: {jobs}")
    assert said in err
    assert err.count("\n") == 1


def test_bad_time_zone(wattshed, log):
    code, _, err = wattshed("replay", log, "--timezone", "Europe/Atlantis")
    assert (code, "no time zone is named" in err) == (2, True)


def test_a_hundred_ways_to_round():
    import random

    rng = random.Random(3)
    for _ in range(100):
        parts = {("job", str(i)): rng.randrange(10**9) for i in range(rng.randrange(1, 9))}
        total, rounded = rounded_parts(sum(parts.values()), parts)
        assert total == sum(rounded.values())
        assert abs(total * 2000 - sum(parts.values())) <= 1000
        assert all(abs(rounded[key] * 2000 - parts[key]) < 2000 for key in parts)


def test_interrupt_prints_what_is_known_so_far(wattshed, tmp_path, monkeypatch):
    from wattshed.agent.traces import sources as foreign

    path = tmp_path / "long.csv"
    path.write_text("time,gpu,power_w\n" + "".join(f"{t},0,100.5\n" for t in range(1_000_000)))
    real = foreign.rows_of

    def rows_of(*args):
        for number, rows in enumerate(real(*args)):
            if number == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield rows

    monkeypatch.setattr(foreign, "rows_of", rows_of)
    code, out, _ = wattshed("replay", path, "--format", "json")
    answer = json.loads(out)
    assert code == 130
    assert answer["partial"] is True
    assert 0 < answer["total_j"] < 999_999 * 100.5
