"""When rows of process utilisation are asked for: for each sample, or as often as they may cost; what they become."""

from types import SimpleNamespace

import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.gauges import Gauges
from wattshed.agent.meters.pace import ROWS_DUTY
from wattshed.agent.meters.schedule import GpuSchedule, Rates
from wattshed.agent.meters.sharing import OFTEN_US, PART, TURN_US, Sharing

S = 1_000_000


class Watch:
    """One GPU's processes, with what `Shares` says of them."""

    def __init__(self, *, spotty=False, sparse=False, each_sample=True, sample_us=10 * S, said=None, listed=()):
        self.shared, self.listed = True, set(listed)
        self.polled, self.inquired, self.did = [], 0, "not asked"
        self.shares = SimpleNamespace(
            each_sample=each_sample, sample_us=sample_us, spotty=spotty, sparse=sparse, asked_us=0, rests=0,
            rest=lambda: setattr(self.shares, "rests", self.shares.rests + 1), take=self.take,
        )  # fmt: skip
        self.said = said

    def take(self, did):
        self.did = did
        return self.said

    def poll(self, now_us, _, *, running):
        self.polled.append((now_us, running))

    def inquire(self):
        self.inquired += 1


def sharing_of(watches, costs_us=0.0, *, may_read=True):
    clock = VirtualClock(1_000 * TURN_US)
    lines = [GpuSchedule(Gauges(lambda: 1_000_000)) for _ in watches]
    for line in lines:
        line.rows_cost_us = costs_us
    meter = SimpleNamespace(watches=list(watches), costs=SimpleNamespace(busy_ns=0))
    recovery = SimpleNamespace(may_read=lambda gpu: may_read, guard=lambda gpu, what: what())
    due = []
    found = Sharing(meter, clock, Rates(), lines, recovery, lambda gpu, us: due.append((gpu, us)))
    return found, clock, lines, due


def intervals(watch, costs_us, count=2_000, crowd=1):
    """The times between readings of GPU 0 where ``crowd`` GPUs are read."""
    found, clock, lines, _ = sharing_of([watch] * crowd, costs_us)
    for line in lines:
        line.rows_due = True
    due, steps = clock.now_us(), []
    for _ in range(count):
        clock.sleep_until(due)
        steps.append(found.next_us(0, watch, due) - due)
        due += steps[-1]
    return steps


def test_each_sample_is_asked_for_where_that_costs_nothing():
    each = round(S / 6 * PART)
    assert OFTEN_US >= 0
    found = intervals(Watch(sample_us=S / 6), 1.0, 10)
    assert set(found) <= {int(min(S / 6, OFTEN_US) * PART), each}
    assert set(intervals(Watch(sample_us=10**9), 1.0, 10)) == {int(OFTEN_US * PART)}


@pytest.mark.parametrize("spotty", [False, True])
@pytest.mark.parametrize("costs_us", [3_000.0, 5_000.0])
def test_dear_rows_have_their_part_of_the_time_on_average_and_are_never_in_step(spotty, costs_us):
    steps = intervals(Watch(spotty=spotty), costs_us)
    mean = costs_us / ROWS_DUTY
    assert 0.99 * mean <= sum(steps) / len(steps) <= 1.08 * mean, "a step that would be too short costs a little"
    spread = (1.0 if spotty else 0.25) * mean
    each = min(10 * S, OFTEN_US) * PART
    assert min(steps) >= each - 1
    assert max(steps) <= mean + spread
    assert max(steps) > mean + 0.9 * spread
    assert len(set(steps)) > len(steps) / 4


def test_a_window_has_rows_once_at_least_whatever_they_cost():
    steps = intervals(Watch(), 500_000.0)
    assert sum(steps) / len(steps) == pytest.approx(Rates().window_us, rel=0.01)


def test_a_call_that_takes_longer_than_the_step_puts_the_next_one_off():
    found, clock, _, _ = sharing_of([Watch(sample_us=S / 6)])
    due = clock.now_us()
    clock.sleep_until(due + 3 * S)
    assert found.next_us(0, Watch(sample_us=S / 6), due) == due + 3 * S


def test_nothing_between_windows_where_not_each_sample_is_needed():
    assert sharing_of([Watch()])[0].next_us(0, Watch(each_sample=False), 0) is None


def test_in_its_own_minute_one_gpu_counts_alone():
    """Three share the budget; one of them, by turns, has it whole."""
    watch = Watch()
    found, _, lines, _ = sharing_of([watch] * 3, 3_000.0)
    for line in lines:
        line.rows_due = True
    mean = 3_000 / ROWS_DUTY
    for turn in range(3):
        for gpu in range(3):
            steps = []
            for _ in range(200):
                due = (3_000 + turn) * TURN_US
                steps.append(found.next_us(gpu, watch, due) - due)
            crowd = 1 if turn == gpu else 3
            assert sum(steps) / len(steps) == pytest.approx(mean * crowd, rel=0.05), (turn, gpu)


def test_reading_begins_with_company_and_ends_without():
    watch = Watch()
    found, clock, (line,), due = sharing_of([watch])
    now = clock.now_us()
    found.follow(0, line, watch, now)
    assert (due, line.rows_due, watch.shares.rests) == ([(0, now)], True, 1)
    found.follow(0, line, watch, now)
    assert due == [(0, now)], "it is on the schedule already"
    watch.shares.asked_us = now - 2 * S
    line.rows_due = False
    found.follow(0, line, watch, now)
    assert (due, watch.shares.rests) == ([(0, now)], 2), "two windows ago is not long ago"
    watch.shared = False
    found.follow(0, line, watch, now)
    assert watch.shares.rests == 3
    line.rows_due = True
    found.tick(0, now)
    assert (due, line.rows_due, watch.polled) == ([(0, now)], False, [])


def test_a_tick_reads_and_puts_the_next_one():
    watch = Watch(sample_us=S / 6)
    found, clock, (line,), due = sharing_of([watch])
    now = clock.now_us()
    line.utils = [0.0, 5.0]
    found.tick(0, now)
    assert watch.polled == [(now, True)]
    assert due == [(0, now + int(min(S / 6, OFTEN_US) * PART))]
    assert line.rows_due
    line.utils = [5.0, 0.0]
    found.poll(line, watch)
    assert watch.polled[-1] == (now, False)
    sick, _, _, later = sharing_of([watch], may_read=False)
    sick.tick(0, now)
    assert len(watch.polled) == 2
    assert later, "it is tried again"


def test_what_rows_cost_is_followed_and_counted_apart():
    watch = Watch()
    found, clock, (line,), _ = sharing_of([watch])

    def slow(*_, running):
        clock.sleep_until(clock.now_us() + 8_000)
        found._meter.costs.busy_ns += 7_000_000

    watch.poll = slow
    found.poll(line, watch)
    assert line.rows_cost_us == 1_000
    found.poll(line, watch)
    assert line.rows_cost_us == 1_875
    assert found.busy_ns == 14_000_000
    found._meter.costs.busy_ns += 5
    found.activity(line, watch)
    assert found.busy_ns == 21_000_000, "and what others spent is not"


@pytest.mark.parametrize(
    ("utils", "said", "sparse", "expected"),
    [
        ([50.0, 70.0], {1: 0.4, 2: 0.2}, False, {1: 0.4, 2: 0.2}),
        ([0.0, 0.0], {}, False, {}),
        ([0.0, 1.0], {}, False, None),
        ([], {}, False, None),
        ([], {1: 0.5}, True, {1: 0.5}),
        ([50.0, 70.0], {1: 0.2, 2: 0.1, 3: 0.9}, True, {1: 0.4, 2: 0.2}),
        ([100.0], {1: 0.0, 2: 0.0}, True, {1: 0.0, 2: 0.0}),
        ([60.0], {3: 0.9}, True, {}),
    ],
)
def test_activities_of_a_window(utils, said, sparse, expected):
    """Of rough ones only the proportions are kept, and only of those who are listed: 1 and 2."""
    watch = Watch(said=said, sparse=sparse, listed=(1, 2))
    found, _, (line,), _ = sharing_of([watch])
    line.utils = utils
    assert found.activity(line, watch) == (expected if expected is None else pytest.approx(expected))
    assert watch.inquired == 1
    assert len(watch.polled) == (not sparse)
    assert watch.did == (pytest.approx(sum(utils) / len(utils) / 100) if utils else None)
