"""What failures lead to, by the clock: back-off, a driver that is away, one that cut us off; and what is told."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.costs import CallCosts
from wattshed.agent.meters.errors import MeterError, RestartNeeded
from wattshed.agent.meters.events import Xid
from wattshed.agent.meters.gauges import Gauges
from wattshed.agent.meters.recovery import CUT_OFF_CODES, LONGEST_BACKOFF_US, REINIT_US, Recovery
from wattshed.agent.meters.schedule import GpuSchedule, Rates
from wattshed.agent.window import MISSING

S = 1_000_000


class Driver:
    """Sessions that can be opened, or answer a code; GPUs that are there, or not."""

    def __init__(self, count):
        self.clock = VirtualClock(0)
        self.costs, self.opened, self.closed, self.code = CallCosts(self.clock), [], [], 0
        self.gpu_handles = [SimpleNamespace(sick="", session_index=i, device=None) for i in range(count)]
        self.watches = [SimpleNamespace(listed={1: 2}) for _ in range(count)]
        self.present, self.unseen, self.asked, self.busy = [True] * count, 0, [], False
        self.kept = []

    def open(self):
        self.opened.append(self.clock.now_us() // S)
        if self.code:
            raise MeterError("nvmlInitWithFlags", self.code)

    def reopen(self, alive):
        self.kept.append(list(alive))
        self.open()

    def close(self):
        self.closed.append(self.clock.now_us() // S)

    def arrived(self):
        return False

    unloaded = arrived

    def answered(self):
        return []


class Node:
    def __init__(self, count=2):
        self.driver = Driver(count)
        self.clock = self.driver.clock
        self.schedules = [GpuSchedule(Gauges(lambda: 1_000_000)) for _ in range(count)]
        nothing = lambda: None
        self.recovery = Recovery(self.driver, self.clock, Rates(), self.schedules, nothing, lambda: False)
        self.recovery._reprobing.turn = lambda may_read: None
        self.recovery._reprobing.anew = lambda: None

    def fail(self, gpu, code, call="nvmlCall"):
        def work():
            raise MeterError(call, code)

        self.recovery.guard(gpu, work)

    def live(self, seconds, each=lambda: None):
        for _ in range(seconds):
            self.clock.sleep_until(self.clock.now_us() + S)
            each()
            self.recovery.turn()

    def told(self):
        return [(e.time_us // S, e.kind, e.gpu) for e in self.recovery.take_events()]


def test_one_that_fails_is_left_alone_for_twice_as_long_each_time_and_a_minute_at_most():
    node, tried = Node(), []

    def each():
        if node.recovery.may_read(0):
            tried.append(node.clock.now_us() // S)
            node.fail(0, 10)
        assert node.recovery.may_read(1), "the other one is read on"

    node.live(400, each)
    waits = [b - a for a, b in itertools.pairwise(tried)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert LONGEST_BACKOFF_US == 60 * S
    assert node.told() == [], "it is not down: it may answer next time"
    node.recovery.worked(0)
    again = node.clock.now_us() // S
    tried.clear()
    node.schedules[0].quiet_until_us = 0
    node.live(4, each)
    assert [t - again for t in tried] == [1, 2, 4], "once it worked it begins anew"


@pytest.mark.parametrize("away_s", [1, 2, 3, 5, 9, 19, 35])
def test_a_driver_that_went_is_looked_for_soon_and_then_every_ten_seconds(away_s):
    node = Node(3)
    node.live(5)
    node.driver.code = 9
    node.fail(1, 9)
    assert node.driver.closed == [5]
    assert node.told() == [(5, "lost", 0), (5, "lost", 1), (5, "lost", 2)]
    assert not any(map(node.recovery.may_read, range(3)))
    assert [watch.listed for watch in node.driver.watches] == [{}] * 3
    node.fail(2, 9)
    assert node.told() == [], "it is told once"

    def each():
        node.driver.code = 9 if node.clock.now_us() < (5 + away_s) * S else 0

    node.live(60, each)
    looks = [5 + after for after in (1, 2, 4, 8, 18, 28, 38)]
    back = next(t for t in looks if t >= 5 + away_s)
    assert node.driver.opened == [t for t in looks if t <= back]
    expected = [(back, kind, gpu) for gpu in range(3) for kind in ("driver-reload", "back")]
    assert sorted(node.told()) == sorted(expected)
    assert all(map(node.recovery.may_read, range(3)))


def test_one_that_is_lost_is_looked_for_every_minute_and_those_alive_are_kept_over_it():
    node = Node(3)
    node.live(5)
    node.fail(1, 15)
    assert node.told() == [(5, "lost", 1)]
    node.driver.present[1] = False
    node.live(130)
    assert node.driver.opened == [65, 125]
    assert node.driver.kept == [[0, 2]] * 2
    assert node.told() == []
    node.driver.present[1] = True
    node.live(60)
    assert node.told() == [(185, "back", 1)]
    node.live(200)
    assert node.driver.opened == [65, 125, 185], "then there is nobody to look for"
    assert REINIT_US == 60 * S


def test_one_that_a_new_session_does_not_find_is_down():
    node = Node(2)
    node.driver.present[0] = False
    node.recovery.look()
    node.live(1)
    assert node.told() == [(1, "lost", 0)]
    assert node.recovery.may_read(1)


@pytest.mark.parametrize("code", [4, 10, 17, 999])
@pytest.mark.parametrize("others", ["fail alike", "work", "fail otherwise"])
def test_all_that_fail_as_if_cut_off_for_ten_seconds_ask_for_a_new_session(code, others):
    node = Node(2)

    def each():
        for schedule in node.schedules:
            schedule.quiet_until_us = 0
        node.fail(0, code)
        if others != "work":
            node.fail(1, code if others == "fail alike" else 10)

    node.live(9, each)
    assert node.driver.opened == []
    node.driver.code = code
    asks = code in CUT_OFF_CODES and others == "fail alike"
    if asks:
        with pytest.raises(RestartNeeded):
            node.live(3, each)
        assert node.driver.opened == [11]
    else:
        node.live(60, each)
        assert node.driver.opened == []


def test_only_a_new_process_can_use_a_driver_that_was_replaced():
    node = Node()
    with pytest.raises(RestartNeeded, match="replaced"):
        node.fail(0, 18)


@given(st.lists(st.tuples(st.sampled_from(["xid", "fail", "turn"]), st.integers(0, 2), st.integers(0, 5)), max_size=20))
def test_events_are_in_the_order_of_time_and_told_once(steps):
    node, count = Node(3), 0
    for what, gpu, seconds in steps:
        node.clock.sleep_until(node.clock.now_us() + seconds * S)
        if what == "xid":
            node.recovery.hear(Xid(gpu, 31))
            count += 1
            assert node.schedules[gpu].gauges.at(node.clock.now_us() + 10**12) == {"xid": 31.0}
        elif what == "fail" and node.schedules[gpu].up:
            node.fail(gpu, 15)
            count += 1
        else:
            events = node.recovery.take_events()
            assert [e.time_us for e in events] == sorted(e.time_us for e in events)
            count -= len(events)
    assert len(node.recovery.take_events()) == count
    assert node.recovery.take_events() == ()


@pytest.mark.parametrize("took_s", [0.9, 4.9, 5, 6, 59.9, 60])
def test_a_call_that_takes_long_is_told_and_one_of_a_minute_ends_the_process(took_s):
    node = Node(2)
    node.live(10)
    begun_us = node.clock.now_us()
    work = lambda: node.clock.sleep_until(begun_us + round(took_s * S))
    if took_s >= 60:
        with pytest.raises(RestartNeeded, match="60 s"):
            node.recovery.guard(0, work)
        return
    node.recovery.guard(0, work)
    told = node.recovery.take_events()
    stale = took_s >= 5
    assert [(e.kind, e.time_us - begun_us) for e in told] == (
        [("lost", 5 * S), ("back", round(took_s * S))] if stale else []
    )
    assert node.recovery.faults["stale_call"] == stale
    assert node.schedules[0].failing_since_us == MISSING
