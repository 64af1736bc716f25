"""The agent on an NVML library that somebody else wrote: a dozen old symbols in C, loaded by the real loader."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.depth import deep

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "stub/first_abi.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler here to build the library with")


@pytest.fixture(scope="module", params=["power only", "with energy"])
def library(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lib")
    define = ["-DWITH_ENERGY"] if request.param == "with energy" else []
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([COMPILER, "-shared", "-fPIC", *define, "-o", target, SOURCE], check=True)
    return target, bool(define)


def run(library, code, *arguments):
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "PYTHONPATH": str(ROOT / "deploy/python")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_check_says_what_it_can_do(library):
    path, energy = library
    code = "import json; from wattshed.agent.daemon.capabilities import report; print(json.dumps(report('nvml')))"
    done = run(path, code)
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert tree["can_measure"]
    assert tree["library"] == str(path)
    assert [g["energy_source"] for g in tree["gpus"]] == ["counter" if energy else "power"] * 2
    assert len({g["uuid"] for g in tree["gpus"]}) == 2
    able = tree["gpus"][0]["capabilities"]
    assert able["fields"]["reason"] == "function not found (13)"
    assert able["processes"]["works"]
    assert able["instant"]["works"]


READ = """
import json
from functools import partial
from pathlib import Path
from wattshed.agent.clock import RealClock
from wattshed.agent.jobs.procfs import exists
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
clock = RealClock()
meter = NvmlMeter(Nvml(clock), clock, "h")
meter.open()
rates = Rates(window_us=500_000, sample_us=100_000, instant_us=100_000, learn_us=0)
sampler = Sampler(meter, clock, "h", rates, alive=partial(exists, Path("/proc")))
powers, counters, pids = [], [], set()
for _ in range(3):
    window, seen = sampler.next()
    low, high = window.readings.offsets[1:3]
    powers += window.readings.power_mw[low:high].tolist()
    counters += window.readings.counter_mj[low:high].tolist()
    pids |= {one.pid for one in seen}
sampler.close()
print(json.dumps([powers, counters, sorted(pids), dict(sampler.faults), meter.library]))
"""


def test_it_is_read_like_any_other(library):
    path, energy = library
    done = run(path, READ)
    assert done.returncode == 0, done.stderr
    powers, counters, pids, faults, loaded = json.loads(done.stdout)
    assert set(powers) == {150_000}
    assert len(powers) >= 10
    assert counters == (sorted(counters) if energy else [-1] * len(counters))
    assert pids == [1]
    assert faults == {}
    assert loaded == str(path)


@deep
def test_the_daemon_meters_through_it(library, tmp_path):
    path, energy = library
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(path.parent),
        "PYTHONPATH": str(ROOT / "deploy/python"),
        "WATTSHED_JIT": "off",
        "XDG_STATE_HOME": str(tmp_path),
    }
    daemon = subprocess.Popen(
        [sys.executable, "-m", "wattshed", "run", "--meter", "auto", "--listen", address, "--for", "60"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        page, deadline = "", time.monotonic() + 50
        while page.count("wattshed_gpu_energy_joules_total{") < 2 or energies(page)[1] < 200:
            assert time.monotonic() < deadline, page
            assert daemon.poll() is None
            time.sleep(0.3)
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                page = answer.read().decode()
    finally:
        daemon.terminate()
        _, log = daemon.communicate(timeout=20)
    first, second = energies(page)
    assert second / first == pytest.approx(1.5, rel=0.2)
    assert 'simulated="1"' not in page
    assert f'energy_source="{"counter" if energy else "power"}"' in page
    assert str(path) in log
    assert "Traceback" not in log


def energies(page):
    lines = [line for line in page.splitlines() if line.startswith("wattshed_gpu_energy_joules_total{")]
    return [float(line.rsplit(" ", 1)[1]) for line in sorted(lines)]
