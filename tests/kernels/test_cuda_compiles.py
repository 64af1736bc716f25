"""Every CUDA kernel is compiled for a card, on a machine without one, and a device is believed only after a trial."""

import ast
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.depth import deep
from tests.kernels.processes import output_of
from wattshed.kernels import cuda_target, devices, energy

ROOT = Path(__file__).parents[2]


def kernels():
    """Names of all functions that are launched, from their sources."""
    names = set()
    for file in (ROOT / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and "cuda.jit" in map(ast.unparse, node.decorator_list):
                names.add(node.name)
    return names


@pytest.fixture(scope="module")
def compiled():
    """What became of each kernel, where numpy is without `row_stack`."""
    launches = output_of("launches", "record", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1")
    return json.loads(output_of("launches", "compile", text=launches, WITHOUT_ROW_STACK="1"))


@deep
def test_every_kernel_becomes_code_for_a_device(compiled):
    assert not compiled["row_stack"]
    assert compiled["kernels"].keys() == kernels()
    assert all("nvptx64" in target for target, _ in compiled["kernels"].values())


@deep
def test_every_kernel_becomes_ptx(compiled):
    if not compiled["nvvm"]:
        pytest.skip("NVVM is not found (pip install 'wattshed[cuda]')")
    assert all(target == "sm_90" for _, target in compiled["kernels"].values())


@pytest.fixture
def a_driver(monkeypatch):
    """A machine with a card, as far as the driver says."""
    monkeypatch.setattr(cuda_target.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "MARKS", ("/",))
    devices.obstacle.cache_clear()
    yield
    devices.obstacle.cache_clear()


def broken():
    raise AttributeError("module 'numpy' has\n    no attribute 'row_stack'")


def test_kernels_that_do_not_compile_are_an_obstacle(a_driver, monkeypatch, caplog):
    monkeypatch.setattr(cuda_target, "trial", broken)
    why = devices.obstacle()
    assert why.startswith("CUDA kernels do not run here (numba-cuda ")
    assert why.endswith("): AttributeError: module 'numpy' has no attribute 'row_stack'")
    columns = (np.arange(2, dtype=np.int64), np.ones(2, np.int32), np.array([0, 2]))
    with pytest.raises(ValueError, match=r"no attribute 'row_stack'; use device=\"cpu\"$"):
        energy.integrate(*columns, 5, device="cuda")
    caplog.set_level(logging.INFO)
    long = np.zeros(100_000, np.int64)
    assert devices.choose("auto", time_us=long) == ("cpu", why)
    assert why in caplog.text


def test_a_trial_without_a_driver_is_told_and_not_raised(a_driver):
    if not devices.obstacle():
        pytest.skip("there is a card")
    assert "CudaSupportError" in devices.obstacle()
    assert "\n" not in devices.obstacle()


def test_a_wrong_answer_is_an_obstacle(a_driver, monkeypatch):
    class Wrong:
        def __getitem__(self, _grid):
            return lambda _words: None

    class There:
        def copy_to_host(self):
            return np.zeros(2, np.int64)

    monkeypatch.setattr(cuda_target, "_multiply", Wrong())
    monkeypatch.setattr(cuda_target.cuda, "to_device", lambda _array: There())
    assert "a product came back wrong: 0 and 0" in devices.obstacle()


def test_a_toolkit_that_is_missing_is_not_a_missing_card(monkeypatch):
    class Cuda:
        gpus = ("one",)

        @staticmethod
        def is_available():
            return False

    assert devices._no_driver(Cuda).startswith("NVVM of the CUDA toolkit is not found")
    monkeypatch.setattr(Cuda, "gpus", property(broken))
    assert devices._no_driver(Cuda()) == "no CUDA driver or no device"
