"""When GPUs are asked again: sick ones against a plain model of the rule, the others by the clock and by hints."""

import contextlib
import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.errors import MeterError, TooSlow
from wattshed.agent.meters.reprobing import Reprobing
from wattshed.agent.window import MISSING

S = 1_000_000
COUNT = 3


class Question:
    def __init__(self, index, clock):
        self.index, self.clock, self.begun_us, self.ended_us = index, clock, clock.now_us(), MISSING
        self.gpu_handle = self.error = None

    @property
    def age_us(self):
        return self.clock.now_us() - self.begun_us


class Ward:
    """GPUs whose questions end when the test says so."""

    def __init__(self, clock):
        self.gpu_handles = [SimpleNamespace(sick="", session_index=i) for i in range(COUNT)]
        self.clock, self.present = clock, [True] * COUNT
        self.asked, self.over, self.log = [], [], []

    def place(self, index):
        return index

    def ask_again(self, index):
        self.asked.append(Question(index, self.clock))
        self.log.append(index)

    def end(self, index, *, well=False, error=None):
        for one in [one for one in self.asked if one.index == index]:
            one.ended_us, one.error = self.clock.now_us(), error or (None if well else TooSlow("a call took long"))
            one.gpu_handle = SimpleNamespace(sick="") if well else None
            self.asked.remove(one)
            self.over.append(one)

    def answered(self):
        ended, self.over = self.over, []
        return ended


def begun():
    clock = VirtualClock()
    ward, cured, failed = Ward(clock), [], []
    schedules = [SimpleNamespace(sick=False) for _ in range(COUNT)]
    again = Reprobing(ward, clock, schedules, None, lambda gpu, error: failed.append((gpu, error)), cured.append)
    again.start_over()
    return clock, ward, again, cured, failed


STEPS = st.one_of(
    st.tuples(st.just("fell"), st.integers(0, COUNT - 1)),
    st.tuples(st.sampled_from(["sick", "well"]), st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from([1, 29, 30, 60, 60, 120, 600])),
    st.tuples(st.just("hurry"), st.just(0)),
)


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_sick_gpus_are_asked_when_they_are_due_one_at_a_time_and_ever_more_seldom(steps):
    """The rule: after 60 s, then twice as long each time, 600 s at most; 600 s without a fall begin anew."""
    clock, ward, again, cured, _ = begun()
    due, wait, healthy = {}, {}, {}
    under_way, wells = None, 0  # whose question, and how many were cured

    def fall(gpu, now):
        lasting = gpu in wait and (gpu not in healthy or now - healthy[gpu] < 600)
        wait[gpu] = min(600, 2 * wait[gpu]) if lasting else 60
        healthy.pop(gpu, None)
        due[gpu] = now + wait[gpu]

    for what, number in steps:
        now = clock.now_us() // S
        if what == "fell" and (number in healthy or number not in due):
            again.fell(number)
            fall(number, now)
        elif what in {"sick", "well"} and under_way is not None:
            ward.end(under_way, well=what == "well")
            if what == "well":
                healthy[under_way] = now
                wells += 1
            else:
                fall(under_way, now)
            under_way = None
        elif what == "hurry":
            again.hurry()
            due = dict.fromkeys(due, now)
        elif what == "pass":
            # While a question is under way for a minute nobody else waits: that is told apart below.
            clock.sleep_until(clock.now_us() + (number if under_way is None else min(number, 30)) * S)
            if under_way is not None and ward.asked[0].age_us >= 60 * S:
                ward.end(under_way)
                fall(under_way, clock.now_us() // S)
                under_way = None
        before = len(ward.log)
        again.turn(lambda _: False)
        now = clock.now_us() // S
        ready = sorted((due[gpu], gpu) for gpu in due if gpu not in healthy and due[gpu] <= now)
        expected = [ready[0][1]] if under_way is None and ready else []
        assert ward.log[before:] == expected
        under_way = expected[0] if expected else under_way
        assert len(ward.asked) == (under_way is not None)
    assert len(cured) == wells


def test_a_question_that_is_under_way_for_a_minute_keeps_nobody_else_waiting():
    clock, ward, again, _, _ = begun()
    again.fell(0)
    again.fell(1)
    for second in range(1, 125):
        clock.sleep_until(clock.now_us() + S)
        again.turn(lambda _: False)
        assert ward.log == ([] if second < 60 else [0] if second < 120 else [0, 1])


def test_a_question_that_held_up_another_gpu_is_asked_seldom_from_then_on():
    clock, ward, again, _, _ = begun()
    ward.ask_again(2)
    again.held_up()
    ward.end(2)
    again.turn(lambda _: False)
    for _ in range(599):
        clock.sleep_until(clock.now_us() + S)
        again.turn(lambda _: False)
    assert ward.log == [2]
    clock.sleep_until(clock.now_us() + S)
    again.turn(lambda _: False)
    assert ward.log == [2, 2]


@pytest.mark.parametrize(("code", "gone"), [(15, True), (9, True), (18, True), (10, False), (3, False)])
def test_one_that_turns_out_to_be_gone_is_no_patient_any_more(code, gone):
    clock, ward, again, cured, failed = begun()
    again.fell(1)
    clock.sleep_until(clock.now_us() + 60 * S)
    again.turn(lambda _: False)
    ward.end(1, error=MeterError("nvmlCall", code))
    again.turn(lambda _: False)
    assert [gpu for gpu, _ in failed] == ([1] if gone else [])
    assert cured == []
    clock.sleep_until(clock.now_us() + 600 * S)
    again.turn(lambda _: False)
    assert ward.log == ([1] if gone else [1, 1])


class Asked:
    """A GPU that is well: when it was asked for its modes, and what it can."""

    def __init__(self, clock, index):
        self.clock, self.sick, self.session_index = clock, "", index
        self.device = SimpleNamespace(capabilities={"mig": "switched off"})
        self.modes, self.asked, self.switched, self.fails = [], [], False, 0

    def modes_changed(self):
        self.modes.append(self.clock.now_us() // S)
        switched, self.switched = self.switched, False
        return switched

    def ask_again(self, *, refused_only):
        self.asked.append((self.clock.now_us() // S, refused_only))
        if self.fails:
            self.fails -= 1
            raise MeterError("nvmlCall", 10)
        return not refused_only


class Well:
    def __init__(self, count=4):
        self.clock = VirtualClock(0)
        self.gpus = [Asked(self.clock, i) for i in range(count)]
        self.followed = []
        watch = lambda gpu: SimpleNamespace(follow=lambda handle: self.followed.append((gpu, handle)))
        self.schedules = [
            SimpleNamespace(sick=False, utils=[1.0], busy={1: 0.5}, list_due_us=7, gauges_due_us=7, usage_due_us=7)
            for _ in self.gpus
        ]
        meter = SimpleNamespace(
            gpu_handles=self.gpus, present=[True] * count, asked=[], answered=list, watches=[*map(watch, range(count))]
        )
        self.readable = set(range(count))
        self.again = Reprobing(meter, self.clock, self.schedules, self.guard, None, None)
        self.again.start_over()

    def guard(self, _gpu, work):
        with contextlib.suppress(MeterError):
            work()

    def live(self, seconds, each=lambda: None):
        for _ in range(seconds):
            self.clock.sleep_until(self.clock.now_us() + S)
            each()
            self.again.turn(self.readable.__contains__)


def test_modes_are_asked_every_half_minute_and_refusals_every_five_spread_over_the_gpus():
    well = Well()
    well.live(900)
    for gpu in well.gpus:
        assert {b - a for a, b in itertools.pairwise(gpu.modes)} == {30}
        assert {refused_only for _, refused_only in gpu.asked} == {True}
        assert {b - a for (a, _), (b, _) in itertools.pairwise(gpu.asked)} == {300}
        assert len(gpu.asked) == 3
    assert [gpu.modes[0] for gpu in well.gpus] == [8, 15, 23, 30]
    assert [gpu.asked[0][0] for gpu in well.gpus] == [75, 150, 225, 300]
    assert well.followed == []


def test_a_hint_brings_the_question_forward_but_not_to_every_five_seconds_more_than_once():
    well = Well(1)
    well.live(31)
    assert well.gpus[0].modes == [30]
    well.again.hint(0)
    well.live(3)
    assert well.gpus[0].modes == [30]
    well.live(1)
    assert well.gpus[0].modes == [30, 35]
    well.live(20, lambda: well.again.hint(0))
    assert well.gpus[0].modes == [30, 35, 40, 45, 50, 55]
    well.live(35)
    assert well.gpus[0].modes[6:] == [85]


def test_a_hint_of_a_session_that_is_over_is_none():
    well = Well(1)
    well.live(10)
    well.again.hint(0)
    well.again.start_over()
    well.live(31)
    assert well.gpus[0].modes == [40]


@pytest.mark.parametrize("gpu", [MISSING, 2])
def test_who_is_doubted_is_asked_everything_until_it_answers(gpu):
    well = Well()
    well.live(1)
    doubted = [*range(4)] if gpu == MISSING else [gpu]
    well.gpus[2].fails = 2
    well.again.doubt(gpu)
    well.live(5)
    for i, one in enumerate(well.gpus):
        times = [2, 3, 4] if i == 2 else [2] if i in doubted else []
        assert one.asked == [(t, False) for t in times]
        told = well.schedules[i]
        fresh = ([], {}, 0, 0, 0) if i in doubted else ([1.0], {1: 0.5}, 7, 7, 7)
        assert (told.utils, told.busy, told.list_due_us, told.gauges_due_us, told.usage_due_us) == fresh
    assert sorted(i for i, _ in well.followed) == doubted
    assert all(handle is well.gpus[i] for i, handle in well.followed)


def test_a_mode_that_was_switched_is_followed_by_all_questions_at_once():
    well = Well()
    well.gpus[1].switched = True
    well.live(20)
    assert [one.asked for one in well.gpus] == [[], [(15, False)], [], []]


def test_one_that_cannot_be_read_is_asked_when_it_can():
    well = Well(2)
    well.readable = {1}
    well.again.doubt(0)
    well.live(310)
    assert (well.gpus[0].modes, well.gpus[0].asked) == ([], [])
    assert len(well.gpus[1].asked) == 1
    well.readable = {0, 1}
    well.live(1)
    assert (well.gpus[0].modes, well.gpus[0].asked) == ([311], [(311, False)])


def test_a_session_begins_anew_with_those_that_are_sick():
    clock, ward, again, _, _ = begun()
    ward.gpu_handles[0].sick = ward.gpu_handles[2].sick = "sick: a call took 3 s"
    ward.present[2] = False
    schedules = again._schedules
    again.start_over()
    assert [schedule.sick for schedule in schedules] == [True, False, True]
    clock.sleep_until(clock.now_us() + 60 * S)
    again.turn(lambda _: False)
    assert ward.log == [0], "one that is away cannot be asked"
    ward.end(0)
    again.turn(lambda _: False)
    clock.sleep_until(clock.now_us() + 60 * S)
    again.start_over()
    again.turn(lambda _: False)
    assert ward.log == [0], "what was learned of it in the session before holds"
    clock.sleep_until(clock.now_us() + 60 * S)
    again.turn(lambda _: False)
    assert ward.log == [0, 0]
