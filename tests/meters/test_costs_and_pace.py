"""What calls cost, when patience ends, and how often is read: each number from a clock that is set by hand."""

import math
from types import SimpleNamespace

import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.costs import BOUNDS_S, CallCosts, Percentile
from wattshed.agent.meters.errors import MeterError, TooSlow
from wattshed.agent.meters.gauges import Gauges
from wattshed.agent.meters.pace import Pace
from wattshed.agent.meters.schedule import GpuSchedule, Rates

S = 1_000_000


def made(costs, clock, *calls):
    """Make calls (name, us) one after the other."""
    for name, took_us in calls:
        begun = costs.begin(name)
        assert costs.in_flight == (name, clock.elapsed_ns())
        clock.sleep_until(clock.now_us() + took_us)
        costs.end(name, begun)
        assert (costs.in_flight, costs.last_ns) == (None, took_us * 1000)


def test_each_call_falls_into_the_bucket_that_bounds_it():
    clock = VirtualClock()
    costs = CallCosts(clock)
    made(costs, clock, ("a", 50), ("a", 51), ("a", 100), ("a", 5 * S), ("a", 5 * S + 1), ("b", 1))
    found = costs.histograms()
    assert found["a"].bounds == BOUNDS_S
    assert BOUNDS_S[-1] == math.inf
    counts = [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]
    assert list(found["a"].counts) == counts
    assert found["a"].total == pytest.approx((201 + 10 * S + 1) / 1e6, abs=1e-12)
    assert list(found["b"].counts) == [1] * len(BOUNDS_S)
    assert costs.busy_ns == 202_000, "a call that hung says nothing of what polling costs"


def test_a_call_of_a_second_hung_and_one_just_below_did_not():
    clock = VirtualClock()
    costs = CallCosts(clock)
    made(costs, clock, ("a", S - 1), ("a", S))
    assert costs.busy_ns == (S - 1) * 1000


def test_what_another_thread_cost_is_added():
    clock = VirtualClock()
    mine, theirs = CallCosts(clock), CallCosts(clock)
    made(mine, clock, ("a", 60))
    made(theirs, clock, ("a", 200), ("b", 3_000))
    mine.add(theirs)
    found = mine.histograms()
    assert (found["a"].counts[-1], found["b"].counts[-1]) == (2, 1)
    assert found["a"].total == pytest.approx(260e-6)
    assert found["b"].total == pytest.approx(3e-3)
    assert mine.busy_ns == 3_260_000
    assert theirs.histograms()["a"].counts[-1] == 1


@pytest.mark.parametrize(
    ("calls", "ends"),
    [
        ([("a", S - 1)], ""),
        ([("a", S)], r"a call took 1 s \(a\)"),
        ([("a", 400_000), ("b", 600_000)], ""),
        ([("a", 400_000), ("b", 600_001)], "over a second in total"),
        ([("a", 900_000), ("b", 3 * S)], r"a call took 3 s \(b\)"),
    ],
)
def test_patience_ends_with_one_long_call_or_many_short_ones(calls, ends):
    clock = VirtualClock()
    costs, after = CallCosts(clock), []

    def patiently():
        with costs.patience(S, S):
            made(costs, clock, *calls)
            after.append("the rest")
            made(costs, clock, ("next", 0))
            after.append("and more")

    if not ends:
        patiently()
        assert after == ["the rest", "and more"]
    else:
        with pytest.raises(TooSlow, match=ends):
            patiently()
        assert after == ["the rest"], "no further call begins"
    made(costs, clock, ("later", 9 * S), ("later", 9 * S))  # outside nobody is impatient


@pytest.mark.parametrize(
    ("code", "raised"), [(3, TooSlow), (999, TooSlow), (15, MeterError), (1, MeterError), (18, MeterError)]
)
def test_a_refusal_that_took_too_long_is_no_answer_unless_the_gpu_is_gone(code, raised):
    clock = VirtualClock()
    costs = CallCosts(clock)

    def refused(took_us):
        with costs.patience(10 * S, S):
            made(costs, clock, ("a", took_us))
            raise MeterError("a", code)

    with pytest.raises(raised):
        refused(2 * S)
    with pytest.raises(MeterError):
        refused(S // 2)


def test_patience_within_patience_has_its_own_end():
    clock = VirtualClock()
    costs = CallCosts(clock)
    with costs.patience(10 * S, 5 * S):
        made(costs, clock, ("a", S))
        with pytest.raises(TooSlow), costs.patience(S, S):
            made(costs, clock, ("b", 2 * S), ("b", 0))
        made(costs, clock, ("a", S))
    after = []

    def twice():
        with costs.patience(2 * S, 5 * S):
            with costs.patience(math.inf, 100 * S):
                made(costs, clock, ("c", 9 * S))
            made(costs, clock, ("a", S + S // 2))
            after.append("what was called within took nothing of it")
            made(costs, clock, ("a", S), ("a", 0))

    with pytest.raises(TooSlow):
        twice()
    assert after


def test_the_95th_percentile_is_of_the_last_ones():
    found = Percentile(20)
    assert (found.p95_us(), len(found)) == (-1, 0)
    found.add(7)
    assert found.p95_us() == 7
    for took in range(1, 41):
        found.add(took)
    assert (len(found), found.p95_us()) == (20, 39), "of 21 to 40"
    found.clear()
    assert found.p95_us() == -1
    assert Percentile()._last.maxlen == 64


def pace_of(lines, clock, *, spent=None, rates=None, behind=lambda: False, published=None):
    board = SimpleNamespace(device=SimpleNamespace(publication_us=published or {}))
    spent = spent or SimpleNamespace(busy_ns=0)
    meter = SimpleNamespace(costs=spent, gpu_handles=[board] * len(lines))
    return Pace(meter, clock, rates or Rates(), lines, lambda: 0, behind)


def line_of(limit_w=400.0):
    line = GpuSchedule(Gauges(lambda: 1_000_000))
    line.gauges.renew("limits", {"limit_enforced_w": limit_w} if limit_w else {}, 0, math.inf)
    return line


def test_the_time_to_the_next_reading():
    clock = VirtualClock()
    one, two = line_of(), line_of()
    rates = Rates(sample_us=S, instant_us=S // 2, burst_us=S // 10)
    pace = pace_of([one, two], clock, rates=rates, published={"instant": 300_000})
    now = clock.now_us()
    assert pace.period_us(0, one, now) == S // 2
    pace.burst(now + S, gpu=0)
    assert (one.burst_until_us, two.burst_until_us) == (now + S, 0)
    assert pace.period_us(0, one, now) == 150_000, "twice as often as the sensor publishes"
    assert pace.period_us(0, one, now + S) == S // 2
    one.factor = one.quick_factor = 4
    assert pace.period_us(0, one, now) == 2 * S, "who is read seldom is read no closer"
    pace.burst(now + 2 * S)
    assert (one.burst_until_us, two.burst_until_us) == (now + 2 * S,) * 2
    pace.burst(now)
    assert one.burst_until_us == now + 2 * S, "never shorter"
    swift = pace_of([one], clock, rates=rates, published={"instant": 20_000})
    one.factor = one.quick_factor = 1
    assert swift.period_us(0, one, now) == S // 10
    calm = pace_of([one], clock, rates=Rates(sample_us=S // 4, instant_us=S // 2, burst_us=0))
    assert calm.period_us(0, one, now) == S // 4


@pytest.mark.parametrize(
    ("before", "after", "closer"),
    [
        (100_000, 200_001, True),
        (200_001, 100_000, True),
        (100_000, 200_000, False),
        (-1, 300_000, False),
        (300_000, -1, False),
    ],
)
def test_a_step_of_more_than_a_quarter_of_the_limit_is_looked_at(before, after, closer):
    line, now = line_of(400.0), 1_000 * S
    pace = pace_of([line], VirtualClock())
    pace.follow(line, now, before)
    pace.follow(line, now + 1, after)
    assert line.last_mw == after
    assert line.burst_until_us == (now + 1 + 3 * S if closer else 0)


def test_steps_are_looked_at_every_half_minute_at_most():
    line, now = line_of(400.0), 1_000 * S
    pace = pace_of([line], VirtualClock())
    begun = []
    for second in range(70):
        pace.follow(line, now + second * S, 100_000 + 200_000 * (second % 2))
        if line.burst_until_us == now + (second + 3) * S:
            begun.append(second)
    assert begun == [1, 31, 61]
    unknown, off = line_of(None), line_of()
    for one, rates in ((unknown, Rates()), (off, Rates(burst_us=0))):
        for second in range(4):
            pace_of([one], VirtualClock(), rates=rates).follow(one, now, 100_000 + 200_000 * (second % 2))
        assert one.burst_until_us == 0


def judged(line, duties, *, call_us=100, calls=20, behind=lambda: False):
    """The factor after each ten seconds with this duty."""
    clock, spent, factors = VirtualClock(), SimpleNamespace(busy_ns=0), []
    pace = pace_of([line], clock, spent=spent, behind=behind)
    for duty in duties:
        clock.sleep_until(clock.now_us() + 10 * S)
        spent.busy_ns += round(duty * 10e9)
        for _ in range(calls):
            line.calls.add(call_us)
        pace.judge()
        factors.append(line.factor)
    return factors


def test_what_costs_too_much_is_done_half_as_often_and_again_more_often_when_it_does_not():
    assert judged(line_of(), [0.0101, 0.0101, 0.05, 0.004, 0.006, 0.004]) == [2, 4, 4, 2, 2, 1]
    assert judged(line_of(), [0.0099] * 3) == [1, 1, 1]
    assert judged(line_of(), [0.05] * 3, behind=lambda: True) == [1, 1, 1]


@pytest.mark.parametrize(("call_us", "calls", "factor"), [(20_001, 40, 2), (20_000, 40, 1), (20_001, 39, 1)])
def test_slow_calls_count_once_there_are_enough_of_them(call_us, calls, factor):
    assert judged(line_of(), [0.0], call_us=call_us, calls=calls) == [factor]


@pytest.mark.parametrize(("call_us", "calls", "factor"), [(9_999, 8, 1), (10_000, 8, 2), (9_999, 7, 2)])
def test_it_is_read_more_often_again_only_if_calls_are_known_to_be_quick(call_us, calls, factor):
    line = line_of()
    line.factor = 2
    assert judged(line, [0.0], call_us=call_us, calls=calls) == [factor]


@pytest.mark.parametrize(("quick_us", "full_us", "quick_factor"), [(5, 3_000, 1), (700, 3_000, 1), (800, 3_000, 2)])
def test_a_counter_that_is_dear_is_no_reason_to_read_power_less_often(quick_us, full_us, quick_factor):
    line = line_of()
    for _ in range(40):
        Pace.note(line, quick_us, full=False)
        Pace.note(line, full_us, full=True)
    assert judged(line, [0.0101], calls=0) == [2]
    assert line.quick_factor == quick_factor
    assert judged(line, [0.0049], calls=8) == [1]
    assert line.quick_factor == 1


def test_nothing_is_judged_before_ten_seconds():
    clock, spent, line = VirtualClock(), SimpleNamespace(busy_ns=0), line_of()
    pace = pace_of([line], clock, spent=spent)
    spent.busy_ns = 10**10
    clock.sleep_until(clock.now_us() + 10 * S - 1)
    pace.judge()
    assert (line.factor, pace.duty) == (1, 0.0)
    clock.sleep_until(clock.now_us() + 1)
    pace.judge()
    assert (line.factor, pace.duty) == (2, 1.0)
