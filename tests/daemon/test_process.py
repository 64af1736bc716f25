"""The agent as its users start it: one process on the simulated node, scraped over HTTP, stopped and killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Running:
    """A `wattshed run` in a process of its own."""

    def __init__(self, tmp_path, *flags, meter="simulated", **environ):
        self.port = free_port()
        self.log = tmp_path / f"log-{self.port}"
        self.started = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "wattshed", "run", *(("--meter", meter) if meter else ())),
                    *("--listen", f"127.0.0.1:{self.port}", *flags),
                ],
                cwd=ROOT,
                stderr=log,
                stdout=log,
                env={
                    **os.environ,
                    "XDG_STATE_HOME": str(tmp_path / "state"),
                    "RUNTIME_DIRECTORY": str(tmp_path),
                    **environ,
                },
            )

    def get(self, path="/metrics", timeout=5):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
            return answer.read().decode()

    def wait(self, path, seconds=90):
        """Wait until the path answers 200; returns the text and the time since the start."""
        while True:
            try:
                return self.get(path), time.monotonic() - self.started
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() - self.started < seconds, self.log.read_text()
                time.sleep(0.05)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        return code, self.log.read_text()


def series(text):
    """name -> list of (labels, value) of an exposition."""
    found = defaultdict(list)
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        found[name].append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))
    return found


def lawful(text):
    """Check the law of conservation on one scrape; returns the joules by GPU."""
    found = series(text)
    whole = {labels["gpu_uuid"]: value for labels, value in found["wattshed_gpu_energy_joules_total"]}
    parts = defaultdict(float)
    ended = found["wattshed_ended_jobs_energy_joules_total"]
    for labels, value in [*found["wattshed_job_energy_joules_total"], *ended]:
        parts[labels["gpu_uuid"]] += value
    assert len(whole) == len(ended) == 8
    for uuid, joules in whole.items():
        assert parts[uuid] == pytest.approx(joules, rel=1e-6)
    return whole


def test_a_life_serves_at_once_obeys_the_law_records_and_ends_cleanly(tmp_path):
    one = Running(tmp_path, "--record", str(tmp_path / "recording"))
    text, after_s = one.wait("/metrics")
    # Two seconds are promised; a busy machine that runs other tests gets some more.
    assert after_s < 6
    assert "wattshed_build_info" in text
    one.wait("/-/ready")
    assert one.get("/-/healthy")
    time.sleep(3)
    text = one.get()
    lawful(text)
    found = series(text)
    for name in ("wattshed_gpu_info", "wattshed_gpu_energy_joules_total", "wattshed_job_energy_joules_total"):
        assert all(labels["simulated"] == "1" for labels, _ in found[name])
    assert {"slurm", "kubernetes"} <= {labels["manager"] for labels, _ in found["wattshed_job_info"]}
    code, log = one.stop()
    assert code == 0
    assert "SIMULATED" in log
    assert "Traceback" not in log
    # The recording replays to the very joules that the books on disk hold, to the last integer.
    replay = subprocess.run(
        [sys.executable, "-m", "wattshed", "replay", str(tmp_path / "recording"), "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(replay.stdout)
    books = json.loads((tmp_path / "state/wattshed/simulated.json").read_text().partition("\n")[2])
    for gpu in books["gpus"]:
        (same,) = [g for g in report["gpus"] if g["uuid"] == gpu["device"]["uuid"]]
        assert round(same["energy_j"] * 1e6) == round(gpu["energy_hnj"] / 2000)
    replayed = {job["job"]: job["energy_j"] for job in report["jobs"]}
    for job in books["jobs"]:
        energy = sum(line["static_hnj"] + line["dynamic_hnj"] for line in job["lines"]) / 2e9
        assert replayed[job["key"]] == pytest.approx(energy, abs=1e-5)
    shown = sum(g["energy_j"] for g in report["gpus"])
    assert report["total_j"] == pytest.approx(shown, abs=1e-5)


def test_two_agents_do_not_share_their_totals(tmp_path):
    """Nor their sockets; the second says so in one line."""
    sockets = ("api.sock", "agent.sock")
    first = Running(tmp_path)
    first.wait("/-/ready")
    second = Running(tmp_path)
    second.wait("/-/ready")
    code, log = second.stop()
    assert code == 0
    (line,) = [line for line in log.splitlines() if "another" in line]
    for word in (
        f"pid {first.process.pid}, http://127.0.0.1:{first.port}",
        f"keeps its totals in {tmp_path}/state/wattshed: this one's start at zero and are not kept",
        *(f"cannot listen on unix:{tmp_path}/{name}" for name in sockets),
    ):
        assert word in line
    assert all((tmp_path / name).is_socket() for name in sockets), "they were not the second one's to remove"
    assert first.stop()[0] == 0
    assert not any((tmp_path / name).exists() for name in sockets)


def test_auto_falls_back_to_the_simulated_node_and_says_so(tmp_path):
    one = Running(tmp_path, meter="auto", LD_LIBRARY_PATH=str(tmp_path))
    one.wait("/-/ready")
    one.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    code, log = one.stop()
    assert code == 0
    assert "no NVIDIA driver" in log
    assert log.count("still simulated; restart to use a driver that has appeared") == 1, "asked for by SIGHUP"
    assert "SIMULATED" in log


def test_make_run_tries_out_and_its_flags_go_first():
    def commands(arguments):
        asked = ["make", "--no-print-directory", "-n", "-o", ".venv/.run", "run", f"ARGS={arguments}"]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert commands("")[-3:] == ["run", "--meter", "auto"]
    assert commands("--meter nvml --for 20")[-6:] == ["--meter", "auto", "--meter", "nvml", "--for", "20"]


def test_killed_at_any_moment_no_counter_goes_backwards(tmp_path):
    shown = {}
    for seconds in (0.4, 1.1, 2.3):
        one = Running(tmp_path)
        one.wait("/-/ready")
        time.sleep(seconds)
        for uuid, joules in lawful(one.get()).items():
            assert joules >= shown.get(uuid, 0)
            shown[uuid] = joules
        one.stop(signal.SIGKILL)
    assert all(shown.values())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--listen", "nowhere"], "not a valid address"),
        (["--config", "/does/not/exist.toml"], "/does/not/exist.toml"),
        (["--meter", "simulted"], "simulated"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(tmp_path, flags, said):
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", "run", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_line_that_says_it_once(tmp_path):
    first = Running(tmp_path, meter="nvml")
    try:
        first.wait("/-/healthy")
        done = subprocess.run(
            [sys.executable, "-m", "wattshed", "run", "--listen", f"127.0.0.1:{first.port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        address = f"127.0.0.1:{first.port}"
        who = f"another wattshed (pid {first.process.pid})"
        assert line == f"wattshed: cannot listen on {address}: in use by {who}; choose another --listen"
    finally:
        first.stop()


def test_played_back_recordings_are_served_like_live_ones(tmp_path):
    first = Running(tmp_path, "--record", str(tmp_path / "recording"), "--for", "6")
    assert first.process.wait(timeout=120) == 0
    again = Running(tmp_path, meter=str(tmp_path / "recording"))
    again.wait("/-/ready")
    time.sleep(2)
    lawful(again.get())
    found = series(again.get())["wattshed_gpu_energy_joules_total"]
    assert {labels["simulated"] for labels, _ in found} == {"1"}, "a recording keeps what it was made of"
    code, log = again.stop()
    assert code == 0
    assert "Traceback" not in log


STOPPED_WHILE_LOADING = """
import os, signal, sys

class Stop:
    def find_spec(self, name, *_):
        if name == "wattshed.agent.daemon.assembly":
            for number in {numbers}:
                os.kill(os.getpid(), number)

sys.meta_path.insert(0, Stop())
from wattshed.agent.__main__ import main
sys.exit(main({argv}))
"""


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP, signal.SIGTERM]])
@pytest.mark.parametrize("argv", [["run", "--meter", "simulated"], ["record", "nowhere", "--meter", "simulated"]])
def test_told_to_stop_while_it_is_being_loaded_it_ends_cleanly(argv, numbers, tmp_path):
    code = STOPPED_WHILE_LOADING.format(numbers=[int(number) for number in numbers], argv=argv)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy/python")},
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_stop_that_is_swallowed_ends_the_process_all_the_same(number):
    """Python cannot raise through a callback of the compiler: it prints what was raised and goes on."""
    code = f"""
import os, signal, time
from wattshed.agent.daemon import signals

class Callback:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        time.sleep(0.01)

signals.UNWIND_S = 0.5
signals.end_at_once()
Callback()
time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0
    assert "Exception ignored" in done.stderr, "it was swallowed"
