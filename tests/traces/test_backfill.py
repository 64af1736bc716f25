"""The OpenMetrics backfill: lawful text, and the same joules in a real Prometheus and a real VictoriaMetrics."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from contextlib import closing, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import backfill
from agent.accounts.attribution import Accounts
from agent.backfill import cut
from agent.traces.native import Recorder
from agent.window import Device, JobKey, Owner, Readings, Usage, Window
from tests.traces.windows_made_up import plain_window


@pytest.fixture
def recorded(tmp_path):
    """Ten minutes of two GPUs and two jobs; returns (trace, jobs file)."""
    log, jobs = tmp_path / "log.csv", tmp_path / "jobs.csv"
    rows = ["time,gpu,power_w,energy_mj"]
    used = [0, 0]
    for t in range(601):
        for gpu in (0, 1):
            watts = 150 + 100 * gpu + 40 * (t // 60 % 2)
            rows.append(f"{1_700_000_000 + t},{gpu},{watts},{used[gpu]}")
            used[gpu] += watts * 1000
    log.write_text("\n".join(rows) + "\n")
    jobs.write_text("job,host,gpu,start,end\nfirst,,0,1700000000,1700000300\nsecond,,*,1700000200,1700000600\n")
    return log, jobs


@pytest.fixture
def replayed(wattshed, recorded, tmp_path):
    """Replay it into a backfill; returns (document, path of the backfill)."""
    (log, jobs), path = recorded, tmp_path / "out.om"
    code, out, err = wattshed("replay", log, "--jobs", jobs, "--openmetrics", path, "--format", "json")
    assert code == 0, err
    return json.loads(out), path


def series_of(path):
    series = defaultdict(list)
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            name, value, stamp = line.rsplit(" ", 2)
            series[name].append((float(stamp), float(value)))
    return series


def test_the_text_is_lawful_and_ends_at_the_answer(replayed):
    answer, path = replayed
    text = path.read_text()
    assert text.endswith("# EOF\n")
    series = series_of(path)
    for points in series.values():
        assert points[0][1] == 0
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(points))
    ends = {name: points[-1][1] for name, points in series.items()}
    total = sum(value for name, value in ends.items() if name.startswith("wattshed_gpu_energy_joules_total"))
    assert total == pytest.approx(answer["total_j"], abs=1e-5)
    for job in answer["jobs"]:
        mine = sum(value for name, value in ends.items() if f'job="{job["job"]}"' in name)
        assert mine == pytest.approx(job["energy_j"], abs=1e-5)
    parts = sum(value for name, value in ends.items() if name.startswith("wattshed_job_energy_joules_total"))
    assert parts == pytest.approx(total, abs=1e-5)


def test_a_point_every_15_seconds_and_at_both_ends(replayed):
    answer, path = replayed
    start, end = answer["start_s"], answer["end_s"]
    wanted = [start, *(t for t in range(int(start // 15) * 15 + 15, int(end), 15)), end]
    for name, points in series_of(path).items():
        stamps = [stamp for stamp, _ in points]
        later = [start, *(t for t in wanted if t >= stamps[1])]  # as a job's that began after the trace
        assert stamps == pytest.approx(wanted if "job" not in name else later, abs=1e-5)


def test_short_windows_bring_no_more_points(wattshed, tmp_path):
    recorder = Recorder(tmp_path / "recording", "node")
    for i in range(150):  # a minute
        recorder.append(plain_window(i))
    recorder.close()
    path = tmp_path / "out.om"
    code, _, err = wattshed("replay", tmp_path / "recording", "--openmetrics", path)
    assert code == 0, err
    for points in series_of(path).values():
        assert 2 <= len(points) <= 60 // 15 + 3


def test_points_come_in_the_order_of_time_however_many(monkeypatch):
    monkeypatch.setattr(backfill, "_RUN", 50)
    monkeypatch.setattr(backfill, "_AHEAD", 7)
    with closing(backfill.Points()) as points:
        for host in range(3):
            series = backfill.Series("wattshed_gpu_energy_joules", (("host", str(host)),))
            for i in range(1, 100):
                points.add(series, 1000 * i + host, i - 0.5, start_us=host)
                points.add(series, 1000 * i + host, float(i), start_us=host)
        assert len(points) == 300
        wanted = sorted((host, 1000 * i + host, float(i)) for i in range(100) for host in range(3))
        assert list(points.by_time()) == sorted(wanted, key=lambda point: point[1])
        assert [point for _, own in points.by_series() for point in own] == wanted


@given(st.lists(st.integers(1, 90_000), min_size=2, max_size=30), st.integers(1, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_cutting_a_window_changes_no_joule(steps, slices, counter):
    times = np.cumsum(np.array(steps, np.int64) * 1000)
    power = np.array([100_000 + 7 * s for s in steps], np.int32)
    counted = np.cumsum(np.array(steps, np.int64) * 100) if counter else np.full(len(steps), -1, np.int64)
    start, end = int(times[0]), int(times[-1]) + 1
    usage = Usage(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([start]), np.array([end]), np.array([-1]),
        np.array([-1], np.int32), np.ones(1, np.int8),
    )  # fmt: skip
    window = Window(
        "h", 0, start, end, (Device("h", 0, "G"),),
        Readings(np.array([0, len(steps)]), times, power, counted), np.array([-1]), (Owner(JobKey("j")),), usage,
    )  # fmt: skip
    books = []
    for pieces in ([window], list(cut(window, (end - start) // slices + 1))):
        accounts = Accounts()
        for piece in pieces:
            accounts.add(piece)
        accounts.finish()
        (account,) = accounts.gpus.values()
        job = accounts.ledger.jobs.get(JobKey("j"))
        books.append((account.energy_hnj, job.energy_hnj if job else 0, account.totals))
    assert books[0] == books[1]


def peer(name):
    """Return a real program's path; where it is missing, fail in CI and skip elsewhere."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI_REAL") == "1":
            pytest.fail(f"{name} is not installed here, and CI_REAL=1 demands it")
        pytest.skip(f"{name} is not installed here")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def query(port, at, text, seconds=20):
    """Ask until there is an answer."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": text, "time": at, "nocache": "1"})
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                result = json.load(reply)["data"]["result"]
            if result:
                return float(result[0]["value"][1])
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"no answer to {text}")


@contextmanager
def serving(port, *command):
    """Run a server until it answers on its port, and end it afterwards."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(20)


def prometheus(port, data, *flags):
    (data.parent / "empty.yml").write_text("global: {}\n")
    return serving(
        port, peer("prometheus"), f"--config.file={data.parent / 'empty.yml'}", f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}", *flags,
    )  # fmt: skip


def victoriametrics(port, data):
    return serving(
        port, peer("victoria-metrics"), f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
    )  # fmt: skip


def assert_increases_by_the_joules(port, answer):
    said = query(port, answer["end_s"], "sum(increase(wattshed_gpu_energy_joules_total[11m]))")
    assert said == pytest.approx(answer["total_j"], rel=1e-3)
    job = query(port, answer["end_s"], 'sum(increase(wattshed_job_energy_joules_total{job="second"}[11m]))')
    assert job == pytest.approx(next(j["energy_j"] for j in answer["jobs"] if j["job"] == "second"), rel=1e-3)
    last = query(port, answer["end_s"], "sum(wattshed_gpu_energy_joules_total)")
    assert last == pytest.approx(answer["total_j"], rel=1e-9)


def flush(port):
    urllib.request.urlopen(f"http://127.0.0.1:{port}/internal/force_flush", timeout=5).close()


@pytest.mark.real
def test_prometheus_increases_by_the_joules(replayed, tmp_path):
    answer, path = replayed
    data, port = tmp_path / "data", free_port()
    command = [peer("promtool"), "tsdb", "create-blocks-from", "openmetrics", path, data]
    subprocess.run(command, check=True, capture_output=True)
    with prometheus(port, data):
        assert_increases_by_the_joules(port, answer)


@pytest.mark.real
def test_victoriametrics_imports_it(replayed, tmp_path):
    answer, path = replayed
    port = free_port()
    with victoriametrics(port, tmp_path / "vm"):
        url = f"http://127.0.0.1:{port}/api/v1/import/prometheus"
        urllib.request.urlopen(url, path.read_bytes(), timeout=5).close()
        flush(port)
        assert_increases_by_the_joules(port, answer)


def remote_write(wattshed, recorded, port):
    log, jobs = recorded
    url = f"http://127.0.0.1:{port}/api/v1/write"
    code, out, err = wattshed("replay", log, "--jobs", jobs, "--remote-write", url, "--format", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.real
def test_prometheus_takes_remote_write(wattshed, recorded, tmp_path):
    port = free_port()
    with prometheus(port, tmp_path / "data", "--web.enable-remote-write-receiver"):
        answer = remote_write(wattshed, recorded, port)
        assert_increases_by_the_joules(port, answer)
        url = f"http://127.0.0.1:{port}/api/v1/write"
        code, _, err = wattshed("replay", recorded[0], "--remote-write", url)  # it has newer samples by now
        assert code == 2
        assert "answered 400 (out of order sample); its out_of_order_time_window must reach back" in err


@pytest.mark.real
def test_prometheus_says_that_it_takes_no_remote_write(wattshed, recorded, tmp_path):
    port = free_port()
    with prometheus(port, tmp_path / "data"):
        url = f"http://127.0.0.1:{port}/api/v1/write"
        code, out, err = wattshed("replay", recorded[0], "--remote-write", url)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"{url} answered 404 (remote write receiver needs to be enabled" in err


@pytest.mark.real
def test_victoriametrics_takes_remote_write(wattshed, recorded, tmp_path):
    port = free_port()
    with victoriametrics(port, tmp_path / "vm"):
        answer = remote_write(wattshed, recorded, port)
        flush(port)
        assert_increases_by_the_joules(port, answer)
