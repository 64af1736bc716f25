"""measure() without an agent, on the simulated driver: its joules and its interval against the truth."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.measuring.windows import fault, measured, scene
from wattshed.agent.measuring.curve import CounterLine
from wattshed.agent.simulation.scenario import Gpu, NodeScenario
from wattshed.agent.simulation.workload import Job, Step


@pytest.mark.parametrize("period_s", [0.02, 0.1])
@pytest.mark.parametrize(("length_s", "bound"), [(60, 0.001), (8, 0.01)])
def test_a_window_around_a_load_is_right(period_s, length_s, bound):
    stretch = (2.345, 2.345 + length_s)
    (found,) = measured(
        scene([stretch], period_s=period_s), [stretch], phase_us=random.Random(length_s).randrange(99_999)
    )
    assert abs(found.error) < bound
    assert found.sigmas < 2
    assert found.told.flags == {"shared-gpu"}, "the job of the simulated node has a process of its own"


@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_the_truth_is_within_two_sigma_whatever_the_load_does(period_s):
    """Windows of a second, over loads that begin and end anywhere: the edges' doubt alone, for a meter without gain."""
    draw, found = random.Random(7), []
    for trial in range(8):
        at_s, stretches, windows = 0.5, [], []
        for _ in range(10):
            begin = at_s + draw.random()
            stretches.append((begin, begin + 0.05 + draw.random()))
            windows.append((at_s + draw.random() * 0.3, at_s + 1.3 + draw.random() * 0.3))
            at_s = max(stretches[-1][1], windows[-1][1]) + 0.05 + 0.2 * draw.random()
        found += measured(scene(stretches, period_s=period_s), windows, phase_us=draw.randrange(10**6) + trial)
    within = sum(one.sigmas < 2 for one in found) / len(found)
    assert within >= 0.95, sorted(one.sigmas for one in found)[-8:]
    mean_square = sum(one.sigmas**2 for one in found) / len(found)
    assert mean_square > 0.01, "an interval that holds everything says nothing"


def test_a_window_too_short_for_its_sensor_says_so():
    stretches = [(2.0 + 0.35 * k, 2.0 + 0.35 * k + 0.01) for k in range(12)]
    found = measured(scene(stretches), stretches)
    assert all("short" in one.told.flags for one in found)
    assert sum(one.sigmas < 2 for one in found) >= 11
    (long,) = measured(scene([(2.0, 5.0)]), [(2.0, 5.0)])
    assert "short" not in long.told.flags


@pytest.mark.parametrize(
    ("faults", "kind", "flag", "bound"),
    [
        ([], {"counter": False}, "no-counter", 0.05),
        ([fault("driver-reload", 6, 8)], {}, "counter-reset", 0.15),
        ([fault("counter-reset", 6, 7)], {}, "counter-reset", 0.02),
        ([fault("gpu-lost", 6, 9)], {}, None, 0.01),
        ([fault("not-ready", 4, 6)], {}, None, 0.01),
    ],
)
def test_what_goes_wrong_with_a_driver_is_bridged_or_told(faults, kind, flag, bound):
    (found,) = measured(scene([(3, 23)], faults=faults, **kind), [(3, 23)])
    assert abs(found.error) < bound
    assert found.sigmas < 2
    assert flag is None or flag in found.told.flags


def test_a_gpu_that_is_lost_for_good_is_unknown_and_not_0():
    with pytest.raises(AssertionError, match="not known yet"):
        measured(scene([(1, 9)], faults=[fault("gpu-lost", 4, 10_000)]), [(1, 9)], wait_s=5)
    (found,) = measured(scene([(1, 9)], faults=[fault("gpu-lost", 4, 10_000)]), [(1, 9)], wait_s=62)
    assert "GPU is lost" in found.told.reason


def test_windows_that_follow_each_other_add_up_and_inner_ones_hold_no_more():
    cuts = [1.0, 1.01, 1.5, 2.25, 2.2501, 4.0]
    windows = [*itertools.pairwise(cuts), (cuts[0], cuts[-1]), (1.6, 2.2)]
    *parts, whole, inner = measured(scene([(1.2, 3.0)]), windows)
    # Two edges at one moment are one value: what one window ends with the next begins with.
    assert sum(one.told.energy_hnj for one in parts) == whole.told.energy_hnj
    assert 0 <= inner.told.energy_hnj <= whole.told.energy_hnj
    assert all(one.told.energy_hnj >= 0 for one in parts)


def test_all_gpus_count_and_the_gain_is_common_to_them():
    jobs = tuple(Job(str(100 + g), "slurm", (g,), 0, 60_000_000, (Step(1_000_000, 300_000, 90),)) for g in range(4))
    node = NodeScenario((Gpu("hopper", gain=0.04),) * 4, jobs, cycle_us=60_000_000)
    (found,) = measured(node, [(3, 23)], gain=0.04)
    assert len(found.told.gpus) == 4
    assert found.error == pytest.approx(0.04, abs=0.002)
    assert found.told.sigma_j == pytest.approx(0.04 * found.joules, rel=0.05)
    assert found.sigmas < 1.1


@settings(max_examples=examples(60), deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 200_000_000), st.integers(0, 90_000)), min_size=4, max_size=40),
    moments=st.lists(st.floats(0, 1), min_size=2, max_size=8),
)
def test_the_line_never_falls_and_ends_where_the_counter_does(steps, moments):
    counter, time_ns, value = CounterLine(0.04), 1_000, 5
    told = []
    for apart_ns, more_mj in steps:
        time_ns, value = time_ns + apart_ns, value + more_mj
        counter.read(time_ns, value)
        for moment in sorted(moments):
            at_ns = 1_000 + int(moment * sum(apart for apart, _ in steps))
            if at_ns > (told[-1][0] if told else 0) and counter.line.reaches(at_ns):
                told.append((at_ns, counter.line.at(at_ns)))
    energies = [point.energy_hnj for _, point in told]
    assert energies == sorted(energies)
    assert all(0 <= hnj <= (value - 5) * 2_000_000 for hnj in energies)
    assert all(math.isfinite(point.edge_j) and point.edge_j >= 0 for _, point in told)
