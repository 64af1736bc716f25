"""Columns on a CUDA device: every kernel takes them, with the host's integers, or says in a line what it needs."""

import json
from pathlib import Path

import pytest

from tests.depth import deep
from tests.kernels.battery import battery
from tests.kernels.processes import output_of
from tests.kernels.test_modes import elsewhere

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def on_the_card():
    return json.loads(output_of("on_the_card", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1"))


@deep
def test_any_library_s_arrays_give_the_host_s_integers(on_the_card):
    assert on_the_card["differing"] == []
    assert on_the_card["equal"] == {"integrate": 24, "windows": 24, "quantiles": 24, "job_energy": 24}


@deep
def test_numbers_at_their_edges_come_out_the_same():
    there = elsewhere("resident", 60, WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1")
    del there["modules"]
    here = battery(rows=60)
    assert there == {name: here[name] for name in there}
    assert len(there) == 6


KERNELS = ("integrate", "windows", "quantiles", "job_energy")


@deep
@pytest.mark.parametrize("name", KERNELS)
def test_what_cannot_be_done_is_said_in_a_line(name, on_the_card):
    said = on_the_card["refused"]
    falls = "time_us must ascend within a GPU: row 3 of GPU 1 is before the row above; sort it"
    assert said[f"{name} falls"] == falls
    there = 'power_mw lies on a CUDA device; use device="cuda", or copy it to host memory'
    assert said[f"{name} on the cpu"] == there
    assert said[f"{name} offsets"] == "offsets must lie in host memory, not on a CUDA device; copy it there"
    assert said[f"{name} type"] == "power_mw must be a one-dimensional int32 array; convert it with astype"


@deep
def test_what_is_read_on_the_host_alone_is_named(on_the_card):
    names = {
        "idle_mw": "idle_mw",
        "live": "live",
        "bootstrap": "totals_mw",
    }
    for call, name in names.items():
        assert on_the_card["refused"][call].startswith(f"{name} must lie in host memory"), call
