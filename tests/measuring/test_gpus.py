"""Which GPUs count: what CUDA would use, by number, UUID or instance; and who waits for them."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.measuring.windows import measured, scene
from wattshed.agent.clock import VirtualClock
from wattshed.agent.measuring.opening import open_session
from wattshed.agent.measuring.own_meter import OwnMeter
from wattshed.agent.measuring.synchronising import leaves_work, synchroniser
from wattshed.agent.measuring.visible import ListedGpu, WrongGpusError, named, visible
from wattshed.agent.meters.errors import NoMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.simulation.scenario import Gpu, NodeScenario

COMPILER = shutil.which("gcc") or shutil.which("cc")
ALIKE = [ListedGpu(f"GPU-{n}0000000-aaaa", "H100") for n in range(4)]
MIXED = [*ALIKE[:3], ListedGpu("GPU-30000000-bbbb", "A100")]
MIG = {"MIG-5f0000": 2}


@pytest.mark.parametrize(
    ("told", "places"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("2,0", [0, 2]),
        ("0,-1,1", [0]),
        ("1,9,0", [1]),
        (" 3 , 1", [1, 3]),
        ("GPU-20000000-aaaa", [2]),
        ("GPU-1,GPU-3", [1, 3]),
        ("GPU-", []),
        ("MIG-5f", [2]),
        ("NoDevFiles", []),
    ],
)
def test_what_cuda_would_see(told, places):
    environ = {} if told is None else {"CUDA_VISIBLE_DEVICES": told}
    assert visible(environ, ALIKE, MIG) == places


def test_numbers_of_unlike_gpus_are_refused_unless_their_order_is_known():
    by_number = {"CUDA_VISIBLE_DEVICES": "3"}
    with pytest.raises(WrongGpusError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible(by_number, MIXED, {})
    assert visible(by_number | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, MIXED, {}) == [3]
    assert visible({"CUDA_VISIBLE_DEVICES": "GPU-3"}, MIXED, {}) == [3]


def test_gpus_that_are_named():
    assert named([2, "GPU-0"], ALIKE, MIG) == [0, 2]
    assert named(["MIG-5f0000"], ALIKE, MIG) == [2]
    for wrong in ([4], [-1], ["GPU-9"], [True and 7]):
        with pytest.raises(WrongGpusError, match="no GPU"):
            named(wrong, ALIKE, MIG)


def test_a_meter_reads_those_alone(tmp_path):
    clock = VirtualClock()
    node = SimulatedNode(clock, tmp_path, NodeScenario((Gpu("hopper"),) * 3, ()))
    uuids = [card.uuid for card in node.cards]

    def now_ns():
        return clock.now_us() * 1000

    def read(wanted, environ):
        meter = OwnMeter(Nvml(clock, node.library), now_ns, wanted, environ)
        for _ in range(40):
            meter.read()
            clock.sleep_until(clock.now_us() + 20_000)
        return sorted(meter.value(0).points)

    assert read(None, {}) == uuids
    assert read(None, {"CUDA_VISIBLE_DEVICES": "1"}) == uuids[1:2]
    assert read([2, uuids[0]], {"CUDA_VISIBLE_DEVICES": "1"}) == [uuids[0], uuids[2]]
    with pytest.raises(NoMeter, match="leaves no GPU"):
        read(None, {"CUDA_VISIBLE_DEVICES": ""})


def test_an_instance_is_measured_by_its_whole_gpu():
    kind = {"mig": ((1, 0, 60), (2, 0, 60))}
    (found,) = measured(scene([(2, 6)], **kind), [(2, 6)])
    assert "shared-gpu" in found.told.flags
    assert abs(found.error) < 0.01


def test_why_nothing_can_be_measured_is_said_in_one_line():
    session = open_session([0], "job", {"WATTSHED_SOCKET": ""})
    assert (session.source, session.why) == ("", "an agent knows GPUs by UUID, not by number")
    session = open_session(None, "job", {"WATTSHED_SOCKET": "/no/such/agent.sock"})
    assert session.why == "/no/such/agent.sock: No such file or directory"


@pytest.mark.skipif(not COMPILER, reason="makes a library")
def test_work_is_left_to_gpus_only_by_who_has_started_the_driver(tmp_path):
    """Whatever is imported; asking does not even load it."""
    source, driver = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
    source.write_text("int answer = 3; int cuDeviceGetCount(int *count) { *count = 1; return answer; }")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", driver, source], check=True)
    assert not leaves_work(str(driver))
    assert str(driver) not in Path("/proc/self/maps").read_text()
    loaded = ctypes.CDLL(str(driver))
    assert not leaves_work(str(driver)), "it is imported, and not started"
    ctypes.c_int.in_dll(loaded, "answer").value = 0
    assert leaves_work(str(driver))


def test_torch_is_waited_for_where_it_was_started_and_never_started(monkeypatch):
    waited = []
    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=lambda: waited.append(1))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    synchroniser("auto")()
    assert waited == [1]
    assert synchroniser(False) is None
    cuda.is_initialized = lambda: False
    assert synchroniser("auto") is None
    monkeypatch.delitem(sys.modules, "torch")
    assert synchroniser("auto") is None
