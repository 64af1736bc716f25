"""One budget of driver time: rows of process utilisation have a part of it, and cannot starve the counter."""

from types import SimpleNamespace

import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.gauges import Gauges
from wattshed.agent.meters.pace import MOST_DUTY, ROWS_DUTY, Pace
from wattshed.agent.meters.schedule import GpuSchedule, Rates


def judged(readings, rows, seconds=60, call_us=300):
    """How many times less often a GPU is read whose driver spends these parts of the time on readings and on rows."""
    clock, spent = VirtualClock(), SimpleNamespace(busy_ns=0)
    rows_ns = [0]
    line = GpuSchedule(Gauges(lambda: 1_000_000))
    pace = Pace(SimpleNamespace(costs=spent), clock, Rates(), [line], lambda: rows_ns[0], lambda: False)
    for _ in range(seconds):
        clock.sleep_until(clock.now_us() + 1_000_000)
        spent.busy_ns += round((readings / line.factor + rows) * 1e9)
        rows_ns[0] += round(rows * 1e9)
        for _ in range(2):
            line.calls.add(call_us)
        pace.judge()
    assert pace.duty == pytest.approx(readings / line.factor + rows, rel=0.6), "all of it is what is published"
    return line.factor


def test_rows_do_not_make_the_counter_be_read_less_often():
    assert judged(0.008, 0.0) == 1
    assert judged(0.008, ROWS_DUTY) == 1
    assert judged(0.008, 5 * ROWS_DUTY) == 1


def test_readings_that_cost_more_than_their_part_are_made_less_often():
    assert judged(1.5 * (MOST_DUTY - ROWS_DUTY), 0.0) > 1
    assert judged(5 * MOST_DUTY, 0.0) == 4
    assert judged(0.001, 0.0, call_us=25_000) == 4


def test_calls_are_judged_by_the_share_of_the_time_that_they_take():
    """A counter whose calls take some milliseconds is read once a second if that is all that they take."""
    assert judged(0.007, 0.0, call_us=7_646) == 1


SLOW = '[[fault]]\nkind = "slow-counter"\nvalue = 3000\n'


def counters(node):
    return [mj for mj in node.column("counter_mj") if mj > 0]


def test_one_gpu_with_a_slow_counter_is_read_at_the_full_rate(rig):
    node = rig(SLOW, rates=Rates(learn_us=0, burst_us=0))
    node.run(120)
    assert len(counters(node)) == 120
    assert len(node.column("instant_mw")) == 240


def test_readings_move_away_from_the_moment_at_which_the_counter_is_dear(rig):
    """Once: from then on none falls within 10 ms after a publication."""
    node = rig(SLOW, rates=Rates(learn_us=0, burst_us=0))
    published_us = node.node.cards[0].sensor.phase_us
    node.run(60)
    readings = zip(node.column("time_us"), node.column("counter_mj"), strict=True)
    phases = [(t - published_us) % 100_000 for t, mj in readings if mj > 0]
    assert len(phases) == 60
    assert sum(phase < 10_000 + 7_500 for phase in phases) <= 1  # the middle of a call of 15 ms
    assert len({round(phase, -3) for phase in phases[2:]}) == 1


def test_of_eight_gpus_with_slow_counters_these_alone_are_read_less_often(rig):
    node = rig(SLOW.replace("3000", "4000"), gpus=8, rates=Rates(learn_us=0, burst_us=0))
    node.run(100)
    before = len(counters(node)), len(node.column("instant_mw"))
    node.run(40)
    found = len(counters(node)) - before[0], len(node.column("instant_mw")) - before[1]
    assert found == (10, 80), "4 ms of eight GPUs each second are 3.2 % of the time, and 0.8 % each four seconds"


def lines_of(costs, seconds, caplog, call_us=300):
    """What is logged of GPUs whose driver spends these parts of the time on readings, after so many seconds each."""
    clock, spent = VirtualClock(), SimpleNamespace(busy_ns=0)
    lines = [GpuSchedule(Gauges(lambda: 1_000_000)) for _ in range(3)]
    pace = Pace(SimpleNamespace(costs=spent), clock, Rates(), lines, lambda: 0, lambda: False)
    caplog.clear()
    with caplog.at_level("INFO"):
        for cost in costs:
            for _ in range(seconds):
                clock.sleep_until(clock.now_us() + 1_000_000)
                spent.busy_ns += round(cost * 1e9)
                for gpu, line in enumerate(lines):
                    for _ in range(5):
                        line.calls.add(call_us if gpu < 2 else 300)
                pace.judge()
    return [record.getMessage() for record in caplog.records]


def test_what_slows_all_gpus_is_one_line_that_says_why_and_by_what_limit(caplog):
    why = f"driver calls took 3.0% of the last 10 s, more than {MOST_DUTY - ROWS_DUTY:.1%}"
    assert lines_of([0.03, 0.001], 10, caplog) == [
        f"all 3 GPUs: {why}: sampling rate halved, to 1/2 of the configured one",
        "all 3 GPUs: driver calls are fast again: sampling rate back to the configured one",
    ]


def test_gpus_that_are_slow_by_themselves_are_named_in_one_line(caplog):
    (line,) = lines_of([0.001], 10, caplog, call_us=25_000)
    assert line == (
        "GPUs 0, 1: driver calls are slow (p95 25.0 ms, more than 20 ms): "
        "sampling rate halved, to 1/2 of the configured one"
    )
