"""One source, three ways to run it: the same integers compiled, as plain Python, and as CUDA in the simulator."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.depth import examples
from tests.kernels.battery import battery, shrink
from tests.kernels.processes import output_of
from wattshed.kernels import devices
from wattshed.kernels.threads import use_threads

ROOT = Path(__file__).parents[2]
ROWS = max(examples(150), 60)


def elsewhere(device, rows, **environment):
    """The battery's answer in a process of its own."""
    return json.loads(output_of("battery", device, rows, **environment))


def test_plain_python_gives_the_same_integers_without_numba(monkeypatch):
    plain = elsewhere("cpu", ROWS, WATTSHED_JIT="off")
    assert plain.pop("modules") == []
    shrink(monkeypatch.setattr)
    for threads in (1, 99):
        with use_threads(threads):
            assert battery(rows=ROWS) == plain


def test_cuda_in_the_simulator_gives_the_same_integers():
    simulated = elsewhere("cuda", 60, WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1")
    del simulated["modules"]
    here = battery(rows=60)
    assert simulated == {name: here[name] for name in simulated}
    assert len(simulated) == 15


def test_a_device_that_is_full_gets_the_work_in_pieces():
    program = """
import numpy as np
from wattshed.kernels import cuda, energy
from tests.kernels.recordings import node
energy.CUDA_BLOCK = 16
recording, real, sizes = node(1, 60), cuda.cuda.device_array, []
def small(shape, dtype):
    sizes.append(shape[0])
    if shape[0] > 3:
        raise MemoryError
    return real(shape, dtype)
cuda.cuda.device_array = small
found = energy.integrate(*recording, 5_000_000, device="cuda")
assert max(sizes) > 3 and sizes.count(3) > 1, sizes
print([part.tolist() for part in found] == [part.tolist() for part in energy.integrate(*recording, 5_000_000)])
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "deploy/python"),
            "WATTSHED_JIT": "off",
            "NUMBA_ENABLE_CUDASIM": "1",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout.strip() == "True", run.stderr


@pytest.mark.skipif(bool(devices.obstacle()), reason=f"no CUDA device: {devices.obstacle()}")
def test_a_real_device_gives_the_same_integers(monkeypatch):
    shrink(monkeypatch.setattr)
    here = battery()
    assert battery(device="cuda") == {name: here[name] for name in battery(device="cuda")}


def test_a_device_is_chosen_by_size_and_speed():
    def never():
        pytest.fail("the answer does not depend on it")

    usable = lambda: ""
    fast_bus = lambda: devices.Speeds(host=10e9, bus=50e9)
    slow_bus = lambda: devices.Speeds(host=100e9, bus=12e9)
    decide = devices.decide
    assert decide(10**9, obstacle=lambda: "no driver", speeds=never) == ("cpu", "no driver")
    assert decide(1_000, obstacle=never, speeds=never).device == "cpu"
    assert decide(10**9, obstacle=usable, speeds=slow_bus).device == "cpu"
    chosen = decide(10**9, obstacle=usable, speeds=fast_bus)
    assert chosen == ("cuda", "1000 MB in host memory: 100.0 ms here, 20.1 ms over the bus")


def test_asking_for_a_device_that_is_not_there_says_why(monkeypatch):
    monkeypatch.setattr(devices, "obstacle", lambda: "no CUDA driver or no device")
    with pytest.raises(ValueError, match='no CUDA driver or no device; use device="cpu"'):
        devices.choose("cuda")
    assert devices.choose("auto").device == "cpu"
