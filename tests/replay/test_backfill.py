"""The OpenMetrics backfill: lawful text, and the same joules in a real Prometheus and a real VictoriaMetrics."""

import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.ports import free_port
from tests.traces.windows_made_up import plain_window
from wattshed.agent.__main__ import main
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.cutting import cut
from wattshed.agent.replay import points as backfill
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.window import Device, Event, JobKey, Owner, Readings, Usage, Window


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
        assert stamps == pytest.approx([t for t in wanted if t >= stamps[0] - 1e-5], abs=1e-5)
        if 'job="second"' in name:  # which began at 200 s
            assert stamps[0] == pytest.approx(1_700_000_000 + 190, abs=5.1)
        elif "wattshed_job_energy" not in name:
            assert stamps[0] == pytest.approx(start, abs=1e-5)


def assert_laws(series):
    """Per point: jobs and ended jobs sum to the GPU. From one to the next: no job rises more than its GPU."""
    gpus, parts, rises = defaultdict(dict), defaultdict(lambda: defaultdict(float)), []
    for name, points in series.items():
        gpu = re.search(r'gpu_uuid="([^"]*)"', name)[1], re.search(r'host="([^"]*)"', name)[1]
        if name.startswith("wattshed_gpu_energy_joules_total"):
            gpus[gpu] = dict(points)
            continue
        for stamp, value in points:
            parts[gpu][stamp] += value
        if name.startswith("wattshed_job_energy_joules_total"):
            assert points[0][1] == 0
            rises += [(gpu, a, b, y - x) for (a, x), (b, y) in itertools.pairwise(points)]
    assert gpus.keys() == parts.keys()
    for gpu, points in gpus.items():
        for stamp, value in points.items():
            assert parts[gpu][stamp] == pytest.approx(value, rel=1e-6, abs=1e-5)
    assert rises
    for gpu, a, b, rise in rises:
        assert rise <= gpus[gpu][b] - gpus[gpu][a] + 1e-5


def test_the_laws_of_the_counters_hold_in_a_backfill(replayed):
    assert_laws(series_of(replayed[1]))


@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(1, 300), st.sampled_from("01*"), st.sampled_from("abcd")), max_size=8
    ),
    st.integers(0, 14),
    st.sampled_from([1, 4, 40]),
)
@settings(max_examples=examples(25), deadline=None)
def test_the_laws_hold_whenever_jobs_come_and_go(jobs, offset, every_s):
    """In the file, and in what remote write sends, which are the same points."""
    begin = 1_700_000_000 + offset
    with tempfile.TemporaryDirectory() as folder:
        log, table, path = (Path(folder) / name for name in ("log.csv", "jobs.csv", "out.om"))
        stamps = [*range(0, 400, every_s), *range(600, 1000, every_s)]  # with a hole
        rows = [f"{begin + t},{gpu},{100 + 90 * gpu + t % 7}" for t in stamps for gpu in (0, 1)]
        log.write_text("\n".join(["time,gpu,power_w", *rows]) + "\n")
        own = [f"{key},,{gpu},{begin + a},{begin + a + d}" for a, d, gpu, key in jobs]
        table.write_text("\n".join(["job,host,gpu,start,end", *own]) + "\n")
        assert main(["replay", str(log), "--jobs", str(table), "--openmetrics", str(path)]) == 0
        series = series_of(path)
    gpus = {name for name in series if name.startswith("wattshed_gpu_energy")}
    assert len(gpus) == len({name for name in series if name.startswith("wattshed_ended_jobs_energy")}) == 2
    if any(name.startswith("wattshed_job_energy") for name in series):
        assert_laws(series)


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
@settings(max_examples=examples(60), deadline=None)
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
    books, step = [], (end - start) // slices + 1
    for pieces in ([window], list(cut(window, range(start + step, end, step)))):
        accounts = Accounts()
        for piece in pieces:
            accounts.add(piece)
        accounts.finish()
        (account,) = accounts.gpus.values()
        job = accounts.ledger.jobs.get(JobKey("j"))
        books.append((account.energy_hnj, job.energy_hnj if job else 0, account.totals))
    assert books[0] == books[1]


@given(st.integers(1, 5_000_000), st.integers(1, 5_000_000), st.lists(st.integers(1, 1_999_999), unique=True))
def test_who_was_noticed_late_is_not_cut_off(before, after, edges):
    """A row may begin before its window, or lie before it: for energy that is not booked yet."""
    start, end = 10_000_000, 12_000_000
    usage = Usage(
        np.zeros(2, np.int32), np.array([0, 1], np.int32), np.array([start - before - after, start - after]),
        np.array([start - after, end]), np.array([-1, after + end - start]), np.full(2, -1, np.int32),
        np.ones(2, np.int8),
    )  # fmt: skip
    window = Window(
        "h", 0, start, end, (Device("h", 0, "G"),), Readings.empty(1), np.array([-1]),
        (Owner(JobKey("j")), Owner(JobKey("k"))), usage, (Event(start - 1, "lost", 0), Event(end, "back", 0)),
    )  # fmt: skip
    pieces = list(cut(window, sorted(start + edge for edge in edges)))
    assert [piece.start_us for piece in pieces[1:]] == [piece.end_us for piece in pieces[:-1]]
    for owner in (0, 1):
        rows = [
            (int(piece.usage.start_us[i]), int(piece.usage.end_us[i]), int(piece.usage.activity_us[i]))
            for piece in pieces
            for i in np.flatnonzero(piece.usage.owner == owner)
        ]
        assert rows[0][0] == usage.start_us[owner]
        assert rows[-1][1] == usage.end_us[owner]
        assert all(a[1] == b[0] for a, b in itertools.pairwise(rows))
        assert all(activity in {b - a, -1} and (activity == -1) == (owner == 0) for a, b, activity in rows)
    assert [event for piece in pieces for event in piece.events] == list(window.events)


def peer(name):
    """Return a real program's path; where it is missing, fail in CI and skip elsewhere."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI_REAL") == "1":
            pytest.fail(f"{name} is not installed here, and CI_REAL=1 demands it")
        pytest.skip(f"{name} is not installed here")
    return path


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
