"""What goes wrong on a simulated node: several things at once, on one GPU alone, and while nobody looks."""

import pynvml
import pytest

from tests.virtual import simulated
from wattshed.agent.clock import RealClock
from wattshed.agent.meters.errors import MeterError
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.node import SimulatedNode

SECOND = 1_000_000
STEADY = """
gpus = 2
cycle_s = 600
[[job]]
name = "7"
gpus = [0, 1]
start_s = 10
end_s = 20
load = [[1.0, 400.0, 80]]
"""


@pytest.fixture
def opened(tmp_path):
    """Build a node from TOML text and open its driver: (node, clock, driver)."""

    def build(text, head=STEADY):
        script = tmp_path / "s.toml"
        script.write_text(head + text)
        node, clock = simulated(tmp_path, str(script))
        driver = Nvml(clock, node.library)
        driver.open()
        return node, clock, driver

    return build


def handle(index):
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def took_us(clock, ask, *args):
    begun_us = clock.now_us()
    ask(*args)
    return clock.now_us() - begun_us


def code_of(name, *args):
    with pytest.raises(pynvml.NVMLError) as caught:
        getattr(pynvml, name)(*args)
    return caught.value.value


def counter(gpu=0):
    return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle(gpu))


def test_one_gpu_alone_is_slow_and_what_the_library_keeps_is_not(opened):
    _, clock, _ = opened('[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 7e6\n')
    for name in ("Name", "UUID", "PciInfo", "MinorNumber", "Architecture"):
        assert took_us(clock, getattr(pynvml, f"nvmlDeviceGet{name}"), handle(1)) == 0
    assert took_us(clock, pynvml.nvmlDeviceGetCount) == 0
    assert took_us(clock, pynvml.nvmlDeviceGetPowerUsage, handle(0)) == 0
    assert took_us(clock, pynvml.nvmlDeviceGetPowerUsage, handle(1)) == 7 * SECOND


def test_a_slow_gpu_answers_its_code_in_the_end(opened):
    _, clock, _ = opened('[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 7e6\ncode = 10\nfor_s = 7\n')
    gpu, begun_us = handle(1), clock.now_us()
    assert code_of("nvmlDeviceGetPowerUsage", gpu) == 10
    assert clock.now_us() - begun_us == 7 * SECOND
    assert pynvml.nvmlDeviceGetPowerUsage(gpu) > 0, "the fault is over"


def test_a_slow_gpu_is_slow_in_its_instances_too(opened):
    _, clock, _ = opened(
        '[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 2e6\n', "gpus = 2\n[[gpu]]\nmig = [[1, 0, 60]]\n"
    )
    one, other = (pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle(gpu), 0) for gpu in (0, 1))
    assert took_us(clock, pynvml.nvmlDeviceGetGpuInstanceId, one) == 0
    assert took_us(clock, pynvml.nvmlDeviceGetGpuInstanceId, other) == 2 * SECOND


def test_delays_add_up_and_one_with_a_gpu_is_that_gpus_alone(opened):
    _, clock, _ = opened(
        '[[fault]]\nkind = "latency"\nvalue = 1000\n[[fault]]\nkind = "latency"\ngpu = 1\nvalue = 200\n'
        '[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 30\n'
    )
    assert took_us(clock, pynvml.nvmlDeviceGetCount) == 1000
    first, second = handle(0), handle(1)
    assert took_us(clock, pynvml.nvmlDeviceGetPowerUsage, first) == 1000
    assert took_us(clock, pynvml.nvmlDeviceGetPowerUsage, second) == 1230


def test_errors_on_different_calls_are_all_there_and_come_late_when_calls_do(opened):
    _, clock, _ = opened(
        '[[fault]]\nkind = "error"\ncall = "nvmlDeviceGetPowerUsage"\nvalue = 10\n'
        '[[fault]]\nkind = "error"\ncall = "nvmlDeviceGetMemoryInfo"\nvalue = 999\n'
        '[[fault]]\nkind = "latency"\nvalue = 500\n'
    )
    gpu, begun_us = handle(0), clock.now_us()
    assert code_of("nvmlDeviceGetPowerUsage", gpu) == 10
    assert code_of("nvmlDeviceGetMemoryInfo", gpu) == 999
    assert clock.now_us() - begun_us == 1000
    assert counter() > 0


def test_dips_add_up_and_a_reset_forgets_the_jumps_before_it(opened):
    _, clock, _ = opened(
        '[[fault]]\nkind = "counter-dip"\nvalue = 100\nat_s = 1\nfor_s = 3\n'
        '[[fault]]\nkind = "counter-dip"\nvalue = 30\nat_s = 2\nfor_s = 1\n'
        '[[fault]]\nkind = "counter-jump"\nvalue = 5000\nat_s = 5\n'
        '[[fault]]\nkind = "counter-reset"\ngpu = 0\nat_s = 7\n'
    )
    begun_us, idle = clock.now_us(), counter()

    def drift(at_s):
        clock.sleep_until(begun_us + round(at_s * SECOND))
        return (counter() - idle) / 1000 - 70 * at_s

    assert drift(1.5) == pytest.approx(-100, abs=10)
    assert drift(2.5) == pytest.approx(-130, abs=10)
    assert drift(3.5) == pytest.approx(-100, abs=10)
    assert drift(4.5) == pytest.approx(0, abs=10)
    assert drift(5.5) == pytest.approx(5000, abs=10)
    clock.sleep_until(begun_us + 9 * SECOND)
    assert counter() / 1000 == pytest.approx(70 * 2, abs=10)


def test_a_driver_that_reloads_forgets_a_reset_that_nobody_saw(opened):
    _, clock, driver = opened(
        '[[fault]]\nkind = "driver-reload"\nat_s = 1\nfor_s = 4\n[[fault]]\nkind = "counter-reset"\nat_s = 2\n'
    )
    clock.sleep_until(clock.now_us() + 6 * SECOND)
    driver.close()
    driver.open()
    assert counter() / 1000 == pytest.approx(70 * 1, abs=10), "since the driver is back"


def test_utilisation_that_is_latched(opened):
    opened('[[fault]]\nkind = "latched-utilisation"\ngpu = 0\n')
    assert pynvml.nvmlDeviceGetUtilizationRates(handle(0)).gpu == 100
    assert pynvml.nvmlDeviceGetUtilizationRates(handle(1)).gpu == 0


def test_the_node_moves_on_while_a_call_hangs_and_while_none_is_made(opened):
    node, clock, _ = opened('[[fault]]\nkind = "wedged"\ngpu = 0\nat_s = 5\nfor_s = 10\n')
    seen = []
    node.tree.followed = lambda: seen.append(
        ((clock.now_us() - node.begun_us) / SECOND, sorted(f.name for f in node.mapping_dir.iterdir() if f.is_file()))
    )
    gpu = handle(0)
    clock.sleep_until(node.begun_us + 6 * SECOND)
    pynvml.nvmlDeviceGetPowerUsage(gpu)
    assert clock.now_us() == node.begun_us + 15 * SECOND
    assert seen == [(10.0, ["0", "1"])]
    assert (node.mapping_dir / "0").stat().st_mtime_ns == (node.begun_us + 10 * SECOND) * 1000
    processes = {f.name for f in node.proc_root.iterdir() if f.name.isdecimal()}
    assert len(processes) == 2
    clock.sleep_until(node.begun_us + 300 * SECOND)
    assert seen[1:] == [(20.0, [])]
    assert node.mapping_dir.stat().st_mtime_ns == (node.begun_us + 20 * SECOND) * 1000
    assert not processes & {f.name for f in node.proc_root.iterdir()}


def test_the_node_moves_on_in_real_time(tmp_path):
    script = tmp_path / "s.toml"
    script.write_text('[[job]]\nname = "7"\nstart_s = 0.3\nend_s = 600\nload = [[1.0, 400.0, 80]]\n')
    clock, root = RealClock(), tmp_path / "node"
    node = SimulatedNode(clock, root, str(script))
    assert not (node.mapping_dir / "0").exists()
    node.keep_time()
    clock.sleep_until(node.begun_us + 290_000)
    deadline_us = clock.now_us() + 20 * SECOND
    while not (node.mapping_dir / "0").exists() and clock.now_us() < deadline_us:
        clock.sleep_until(clock.now_us() + 20_000)
    assert (node.mapping_dir / "0").read_text() == "7\n"
    node.close()
    assert not node._thread.is_alive()


def test_a_gpu_that_comes_is_the_next_sessions_and_the_truth_begins_with_it(opened):
    node, clock, driver = opened("[[gpu]]\nindex = 0\nlate_s = 12\n")
    begun_us = node.begun_us
    assert driver.ask("nvmlDeviceGetCount") == 1
    assert driver.ask("nvmlDeviceGetUUID", handle(0)).endswith("1")
    clock.sleep_until(begun_us + 11 * SECOND)
    assert (node.mapping_dir / "0").read_text() == "7\n", "NVML's number of the one that is there"
    assert not (node.mapping_dir / "1").exists()
    clock.sleep_until(begun_us + 15 * SECOND)
    listed = node.proc_root / "driver/nvidia/gpus"
    assert len(list(listed.iterdir())) == 2
    assert driver.ask("nvmlDeviceGetCount") == 1
    assert (node.mapping_dir / "1").read_text() == "7\n"
    driver.close()
    driver.open()
    assert [driver.ask("nvmlDeviceGetUUID", handle(i))[-1] for i in (0, 1)] == ["0", "1"]
    assert node.truth.gpu_nj(0, begun_us, begun_us + 11 * SECOND) == 0
    assert node.truth.gpu_nj(0, begun_us, begun_us + 13 * SECOND) == 470_000 * SECOND
    jobs = node.truth.jobs_nj(begun_us, begun_us + 30 * SECOND)
    for gpu in (0, 1):
        parts = sum(static + dynamic for (_, g), (static, dynamic) in jobs.items() if g == gpu)
        assert parts == node.truth.gpu_nj(gpu, begun_us, begun_us + 30 * SECOND)


def test_modes_change_under_an_open_session_and_mig_is_told_to_who_asked(opened):
    _, clock, driver = opened(
        "[[gpu]]\nindex = 0\nmig = [[1, 0, 60]]\nmig_at_s = 5\nmig_off_at_s = 9\naccounting_at_s = 3\n"
        "persistence = false\n"
        '[[fault]]\nkind = "xid"\ngpu = 1\nvalue = 94\nat_s = 6\n'
    )
    first, second, begun_us = handle(0), handle(1), clock.now_us()
    assert pynvml.nvmlDeviceGetPersistenceMode(first) == 0
    assert pynvml.nvmlDeviceGetPersistenceMode(second) == 1
    events = pynvml.nvmlEventSetCreate()
    assert pynvml.nvmlDeviceGetSupportedEventTypes(first) == 0x8108
    pynvml.nvmlDeviceRegisterEvents(first, 0x108, events)
    assert (pynvml.nvmlDeviceGetAccountingMode(first), pynvml.nvmlDeviceGetMigMode(first)) == (0, [0, 0])
    assert driver.wait_event(events, 0) is None
    clock.sleep_until(begun_us + 7 * SECOND)
    assert (pynvml.nvmlDeviceGetAccountingMode(first), pynvml.nvmlDeviceGetMigMode(first)) == (1, [1, 1])
    assert code_of("nvmlDeviceGetUtilizationRates", first) == pynvml.NVML_ERROR_NOT_SUPPORTED
    told = driver.wait_event(events, 0)
    assert (told.device, told.event_type) == (driver.address(first), 0x100)
    assert driver.wait_event(events, 0) is None, "nobody registered for the other GPU's XID"
    clock.sleep_until(begun_us + 10 * SECOND)
    assert pynvml.nvmlDeviceGetMigMode(first) == [0, 0]
    with pytest.raises(MeterError):
        driver.ask("nvmlDeviceGetMigDeviceHandleByIndex", first, 0)
    assert driver.wait_event(events, 0).event_type == 0x100
