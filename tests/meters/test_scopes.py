"""Powers beside a GPU's own: one domain a module, read through one GPU; memory only where it can be memory."""

import pytest

from wattshed.agent.meters.scopes import Scopes
from wattshed.agent.window import Device
from wattshed.agent.window.host_meters import NO_HOST_METERS

S = 1_000_000


def gpu(index):
    return Device("h", index, f"GPU-{index}")


def read(powers, seconds, cpus=lambda _: "0-71"):
    """Read GPUs once a second; ``powers(gpu, second)`` is the power of the module, and of memory."""
    scopes, found = Scopes(S, cpus), {}
    for second in range(seconds):
        for index in (0, 1):
            module_w, memory_w = powers(index, second)
            shown = {"power_module_w": module_w, "power_memory_w": memory_w}
            scopes.add(gpu(index), second * S + index, shown, 300.0, 300.0)
        said = scopes.take((second + 1) * S)
        for place, _, value in said.rows:
            found.setdefault(said.meters[place].domain, []).append(value)
    return said.meters, found


def test_one_module_is_read_through_one_gpu():
    meters, found = read(lambda i, _: (900.0 + i, 30.0), 200)
    assert found == {"module-0": [900_000] * 200, "memory-0": [30_000] * 200, "memory-1": [30_000] * 200}
    assert [(one.name, one.boundary, one.part_of) for one in meters] == [
        ("nvml/module-0", "module", ""), ("nvml/memory-0", "memory", "module-0"),
        ("nvml/memory-1", "memory", "module-0"),
    ]  # fmt: skip


@pytest.mark.parametrize(("apart", "domains"), [(1.015, {"module-0"}), (1.025, {"module-0", "module-1"})])
def test_modules_that_differ_for_a_minute_are_two_and_it_is_said(apart, domains, caplog):
    caplog.set_level("INFO")
    _, found = read(lambda i, _: (900.0 * apart**i, 0.0), 100)
    assert set(found) == domains
    assert ("modules of their own" in caplog.text) == (len(domains) > 1)


def test_a_moment_apart_makes_them_no_two():
    _, found = read(lambda i, second: (900.0 + 500 * (second % 60 == 7) * i, 0.0), 200)
    assert set(found) == {"module-0"}


def test_gpus_of_other_cpus_sit_on_other_modules():
    for cpus in (lambda device: f"{device.index}", lambda _: ""):
        assert set(read(lambda *_: (900.0, 0.0), 5, cpus)[1]) == {"module-0", "module-1"}


@pytest.mark.parametrize("memory_w", [0.0, -1.0, 300.0, 450.0])
def test_what_draws_as_much_as_the_gpu_or_nothing_is_no_memory(memory_w):
    assert read(lambda *_: (0.0, memory_w), 3)[1] == {}


def test_boards_without_either_say_nothing():
    scopes = Scopes(S, lambda _: "")
    scopes.add(gpu(0), 5, {"power_average_w": 300.0}, 300.0, 300.0)
    scopes.add(gpu(-1), 5, {"power_module_w": 300.0}, 300.0, 300.0)
    assert scopes.take(10) is NO_HOST_METERS


def test_what_is_read_after_the_end_of_a_window_is_the_next_ones():
    scopes = Scopes(S, lambda _: "")
    scopes.add(gpu(0), S, {"power_module_w": 300.0}, 200.0, 0.0)
    assert not len(scopes.take(S).time_us)
    assert scopes.take(2 * S).rows == [(0, S, 300_000)]


def test_a_module_that_shows_a_moment_gives_the_mean_with_its_gpu():
    scopes = Scopes(S, lambda _: "")
    scopes.add(gpu(0), S, {"power_module_w": 1270.0}, 600.0, 1000.0)
    assert scopes.take(2 * S).rows == [(0, S, 870_000)]
