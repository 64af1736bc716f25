"""Without a driver nothing is metered and nothing is made up: the agent serves, says so once, and meters when it comes.

The driver is a library that somebody else wrote (stub/first_abi.c), loaded by the real loader: it is put there, and
taken away, while the agent runs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.daemon.test_process import ROOT, Running, series
from tests.depth import deep

SOURCE = Path(__file__).parents[1] / "meters/stub/first_abi.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler here to build the library with")


def status(one, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{one.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(true, one, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert one.process.poll() is None, one.log.read_text()
        assert time.monotonic() < end, one.log.read_text()
        time.sleep(0.1)


def up(one):
    (value,) = [line for line in status(one, "/metrics")[1].splitlines() if line.startswith("wattshed_up ")]
    return value == "wattshed_up 1"


def start(tmp_path, *flags, meter="nvml", **environ):
    (tmp_path / "lib").mkdir(exist_ok=True)
    environ = {"LD_LIBRARY_PATH": str(tmp_path / "lib"), "WATTSHED_JIT": "off", **environ}
    return Running(tmp_path, *flags, meter=meter, **environ)


def test_the_default_waits_serves_and_invents_nothing(tmp_path):
    one = start(tmp_path, meter="")
    one.wait("/metrics")
    until(lambda: "no NVML library" in status(one, "/-/ready")[1], one)
    assert status(one, "/-/ready")[0] == 503
    assert status(one, "/-/healthy")[0] == 200
    for path in ("/metrics", "/metrics/dcgm"):
        page = status(one, path)[1]
        assert not [line for line in page.splitlines() if "_joules" in line or "_watts" in line or "DCGM" in line]
        assert "simulated=" not in page
    assert not up(one)
    document = json.loads(status(one, "/api/v1/snapshot")[1])
    assert (document["ready"], document["simulated"], document["gpus"], document["meter"]) == (False, False, [], "nvml")
    assert "no NVML library" in document["unmetered"]
    one.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in one.log.read_text(), one)
    code, log = one.stop()
    assert code == 0
    assert log.count("not metering") == 1, "it is said once, however often it looks"
    assert "Traceback" not in log
    assert not (tmp_path / "state/wattshed").exists(), "there is nothing to keep"


def test_with_an_end_it_ends_with_1_for_nothing_was_metered(tmp_path):
    one = start(tmp_path, "--for", "2")
    assert one.process.wait(timeout=60) == 1
    assert time.monotonic() - one.started >= 2
    last = one.log.read_text().strip().splitlines()[-1]
    assert "nothing was metered: no NVML library" in last
    assert "wattshed check" in last


def test_a_recording_needs_a_driver_at_once(tmp_path):
    (tmp_path / "lib").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", "record", str(tmp_path / "recording")],
        cwd=ROOT,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "lib"), "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no NVML library" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "recording").exists()


def test_a_host_where_nothing_can_be_metered_says_so_and_ends_with_1(tmp_path):
    script = tmp_path / "gb10.toml"
    keys = 'architecture = "gb10"\ncounter = false\naverage = false\ninstant = false\n'
    job = '[[job]]\nname = "7"\ngpus = [0]\nload = [[1.0, 40.0, 80]]\n'
    script.write_text(f"gpus = 1\n[[gpu]]\nindex = 0\n{keys}{job}")
    one = start(tmp_path, "--for", "6", meter=f"simulated:{script}")
    one.wait("/metrics")
    until(lambda: "no GPU reports energy or power" in status(one, "/-/ready")[1], one)
    assert status(one, "/-/ready")[0] == 503
    page = status(one, "/metrics")[1]
    assert not [line for line in page.splitlines() if "_joules" in line and not line.startswith("# ")]
    assert not up(one)
    (info,) = series(page)["wattshed_gpu_info"]
    assert info[0]["energy_source"] == "none"
    assert one.process.wait(timeout=60) == 1
    log = one.log.read_text()
    assert log.count("not metering: no GPU reports") == 1
    assert log.strip().splitlines()[-1].endswith("`wattshed check` says why and what to do")


@deep
@needs_compiler
@pytest.mark.timeout(240)
def test_a_driver_that_comes_goes_and_comes_again_is_metered_in_the_same_process(tmp_path):
    driver = tmp_path / "driver"
    one = start(tmp_path, STUB_DRIVER=str(driver))
    one.wait("/metrics")
    until(lambda: "no NVML library" in status(one, "/-/ready")[1], one)
    # The library is installed; the kernel's part is not loaded yet. SIGHUP: no need to wait ten seconds.
    built = tmp_path / "built.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-DWITH_ENERGY", "-o", built, SOURCE], check=True)
    built.rename(tmp_path / "lib/libnvidia-ml.so.1")
    one.process.send_signal(signal.SIGHUP)
    until(lambda: "driver not loaded (9)" in status(one, "/-/ready")[1], one)
    assert not up(one)
    driver.touch()
    until(lambda: up(one), one)  # nobody told it: it looked by itself
    assert status(one, "/-/ready") == (200, "ready\n")
    time.sleep(2.5)

    def joules():
        found = series(status(one, "/metrics")[1])["wattshed_gpu_energy_joules_total"]
        return {labels["gpu_uuid"]: value for labels, value in found}

    before = joules()
    assert len(before) == 2
    assert min(before.values()) > 50
    # The driver goes: nothing takes its place, and no total is lost.
    driver.unlink()
    until(lambda: not up(one), one)
    assert status(one, "/-/ready")[0] == 503
    gone = joules()
    assert all(gone[uuid] >= before[uuid] for uuid in before)
    time.sleep(2)
    assert joules() == gone
    driver.touch()
    one.process.send_signal(signal.SIGHUP)
    until(lambda: up(one), one)
    time.sleep(1.5)
    assert all(value >= gone[uuid] for uuid, value in joules().items())
    code, log = one.stop()
    assert code == 0
    assert "SIMULATED" not in log
    assert "Traceback" not in log


@needs_compiler
def test_one_that_was_shut_out_from_a_driver_that_came_asks_for_a_new_process(tmp_path):
    """A unit or a container sees the devices and libraries that there were when it was made, and no later ones."""
    proc = tmp_path / "proc"
    (proc / "driver/nvidia").mkdir(parents=True)
    one = start(tmp_path, WATTSHED_PROC_ROOT=str(proc))
    one.wait("/metrics")
    until(lambda: "no NVML library" in status(one, "/-/ready")[1], one)
    (proc / "driver/nvidia/version").write_text("NVRM version: 999\n")
    for _ in range(4):
        if one.process.poll() is not None:
            break
        one.process.send_signal(signal.SIGHUP)
        time.sleep(0.7)
    assert one.process.wait(timeout=30) == 75
    assert "although the driver was loaded meanwhile" in one.log.read_text()
