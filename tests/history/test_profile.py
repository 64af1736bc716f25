"""Power over time of a job: each bin against a naive oracle, all of them against the account, the unknown unknown."""

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.history.profile import FIRST_US, MOST, KnownEnergy, PowerProfile, PowerProfiles
from wattshed.agent.wire.parts import MOST_POWER
from wattshed.exporters.units import HNJ_PER_JOULE as J

S = 1_000_000
W = FIRST_US  # windows as long as the first bins, so that each is seen
T0 = 1_772_323_200 * S


@dataclass
class Line:
    static_hnj: int = 0
    dynamic_hnj: int = 0


@dataclass
class Job:
    """A job whose account may be watched."""

    key: str = "slurm:1"
    start_us: int = T0
    end_us: int = T0
    accounts: dict = field(default_factory=lambda: {"GPU-0": Line()})
    looked: int = 0

    @property
    def lines(self):
        self.looked += 1
        return self.accounts


class Node:
    """GPUs and jobs that draw what is asked for, followed window by window."""

    def __init__(self, gpus=("GPU-0",), at_us=T0):
        self.gpus, self.jobs, self.now_us = {gpu: KnownEnergy(0, -1) for gpu in gpus}, [], at_us
        self.texts = {}
        self.profiles = PowerProfiles(self.texts)

    def run(self, windows, watts=300, *, measured=None):
        """Let all jobs draw so many watts on each GPU for a while, window by window; some may not be measured."""
        for _ in range(windows):
            self.now_us += W
            self.book(W, watts, self.gpus if measured is None else measured)
            for job in self.jobs:
                job.end_us = self.now_us
            self.profiles.follow(self.jobs, self.gpus, self.now_us)

    def book(self, us, watts, measured):
        self.gpus = {**self.gpus, **{gpu: KnownEnergy(self.gpus[gpu].booked_us + us, self.now_us) for gpu in measured}}
        for job in self.jobs:
            for gpu in job.accounts.keys() & set(measured):
                job.accounts[gpu].dynamic_hnj += watts * J * us // S

    def killed(self):
        """Start again from what was saved."""
        self.profiles = PowerProfiles(self.texts)
        self.profiles.go_on(self.jobs, self.gpus, self.now_us)

    def power(self, key="slurm:1"):
        return PowerProfile.of_text(self.texts[key]).segments()

    def energy_j(self, key="slurm:1"):
        return sum((to - begin) * watts for begin, to, watts in self.power(key) if watts is not None)


def near(watts, rel=1e-4):
    """What is written has a 65,000th of the largest bin as its smallest step."""
    return pytest.approx(watts, rel=rel, abs=0.05)


def spread(stretches, start_us, bin_us, count):
    """The oracle: each energy is spread over the bins by length alone, in fractions."""
    bins = [None] * count
    for hnj, begin, end in stretches:
        for place in range(count):
            low, high = start_us + place * bin_us, start_us + (place + 1) * bin_us
            shared = min(end, high) - max(begin, low)
            if shared > 0:
                bins[place] = (bins[place] or 0) + hnj * shared / (end - begin)
    return bins


@st.composite
def stretches(draw):
    """Energies that follow each other, some after a time that nobody measured."""
    at, found = T0, []
    for _ in range(draw(st.integers(1, 40))):
        begin = at + draw(st.sampled_from([0, 0, 0, 5 * S, 1000 * S]))
        at = begin + draw(st.sampled_from([1, S // 3, S, 7 * S, 600 * S, 40_000 * S]))
        found.append((draw(st.integers(0, 2**60)), begin, at))
    return found


def profile_of(found):
    profile, used, booked = PowerProfile(T0, booked_us=[0]), 0, 0
    for hnj, begin, end in found:
        used, booked = used + hnj, booked + end - begin
        profile.look(used, [KnownEnergy(booked, end)], end)
    return profile


@settings(max_examples=examples(200))
@given(stretches())
def test_every_bin_is_the_oracles_and_all_are_the_account(found):
    profile = profile_of(found)
    assert len(profile.bins) <= MOST
    assert sum(hnj for hnj in profile.bins if hnj is not None) == sum(hnj for hnj, *_ in found)
    expected = spread(found, T0, profile.bin_us, len(profile.bins))
    for mine, theirs in zip(profile.bins, expected, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine == pytest.approx(theirs, rel=1e-9, abs=len(found) + 1)


@settings(max_examples=examples(100))
@given(stretches())
def test_what_is_written_is_short_and_has_the_very_sum(found):
    profile = profile_of(found)
    text = profile.text()
    again = PowerProfile.of_text(text)
    assert len(text) < MOST_POWER // 2
    assert sum(hnj for hnj in again.bins if hnj is not None) == profile.energy_hnj == again.energy_hnj
    largest = max(hnj or 0 for hnj in profile.bins)
    for mine, theirs in zip(again.bins, profile.bins, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or abs(mine - theirs) <= largest * 0.003 + 1
    known = [(to - begin, watts) for begin, to, watts in again.segments() if watts is not None]
    blurred_j = sum(watts * 1e-6 for _, watts in known)  # by times in seconds, which are floats
    assert sum(s * watts for s, watts in known) == pytest.approx(profile.energy_hnj / J, rel=1e-9, abs=blurred_j)


def test_bins_double_and_a_year_has_no_more_than_a_minute():
    profile, used = PowerProfile(T0, booked_us=[0]), 0
    for day in range(1, 366):
        used += 100 * 86_400 * J
        profile.look(used, [KnownEnergy(day * 86_400 * S, T0 + day * 86_400 * S)], T0 + day * 86_400 * S)
        assert MOST // 2 < len(profile.bins) <= MOST
    assert {round(watts, 6) for _, _, watts in profile.segments()} == {100.0}
    begin, end = profile.segments()[0][0], profile.segments()[-1][1]
    assert (begin, end - begin) == (T0 / S, 365 * 86_400)


def test_a_job_is_looked_at_once_a_bin_and_not_once_a_window():
    node = Node()
    node.jobs.append(Job())
    node.run(20_000)
    (job,) = node.jobs
    # 120 looks until the first doubling, then 60 for each
    assert job.looked / 2 < 120 + 60 * 8
    assert node.energy_j() == pytest.approx(20_000 * 5 * 300, rel=0.02)


def test_power_that_changes_is_seen_when_it_does():
    node = Node()
    node.jobs.append(Job())
    for watts in (100, 400, 0):
        node.run(40, watts)
    node.run(1, 0)
    assert [watts for _, _, watts in node.power()[:59]] == near([100.0] * 20 + [400.0] * 20 + [0.0] * 19)


def test_time_that_nobody_measures_is_unknown_and_not_zero():
    node = Node()
    node.jobs.append(Job())
    node.run(20, 300)
    node.run(30, measured=())
    node.run(20, 300)
    powers = [watts for _, _, watts in node.power()]
    assert powers[:20] == powers[50:] == near([300.0] * 20)
    assert powers[20:50] == [None] * 30
    assert node.energy_j() == pytest.approx(40 * 5 * 300)


def test_what_a_counter_counted_meanwhile_is_spread_over_that_time():
    node = Node()
    node.jobs.append(Job())
    node.run(20, 300)
    node.run(30, measured=())
    node.book(30 * W, 200, node.gpus)
    node.run(20, 300)
    powers = [watts for _, _, watts in node.power()]
    assert None not in powers
    assert sum(powers[20:51]) == near(30 * 200 + 300)
    assert max(powers[21:50]) < 210


def test_a_meter_slower_than_the_windows_leaves_no_hole():
    node = Node()
    node.jobs.append(Job())
    for _ in range(12):
        node.run(4, measured=())
        node.now_us += W
        node.book(5 * W, 250, node.gpus)
        node.now_us -= W
        node.run(1, measured=())
    assert [watts for _, _, watts in node.power()] == near([250.0] * 60)


def test_before_the_agent_saw_it_nothing_is_known_of_a_job():
    node = Node()
    node.run(10)
    node.jobs.append(Job(start_us=T0 - 50 * W))  # its process is older than the agent
    node.run(10)
    powers = [watts for _, _, watts in node.power()]
    assert powers == [None] * 60 + [near(300.0)] * 10


@pytest.mark.parametrize("bridged", [True, False])
def test_it_goes_on_over_a_restart_and_the_hole_is_unknown(bridged):
    node = Node()
    node.jobs.append(Job())
    node.run(30, 300)
    node.now_us += 20 * W  # nobody is there, but the counter may be
    saved_us, node.now_us = node.now_us, node.now_us - 20 * W
    node.killed()
    node.now_us = saved_us
    if bridged:
        node.book(20 * W, 150, node.gpus)
    node.run(30, 300)
    powers = [watts for _, _, watts in node.power()]
    assert powers[:29] == near([300.0] * 29, 0.01)
    assert powers[51:] == near([300.0] * 29, 0.01)
    if bridged:
        assert powers[32:48] == near([150.0 + 150 / 21] * 16, 0.01)
    else:
        assert powers[31:49] == [None] * 18
    assert node.energy_j() == pytest.approx(60 * 5 * 300 + bridged * 20 * 5 * 150, rel=1e-6)


def test_a_job_whose_profile_was_not_saved_has_one_from_then_on():
    node = Node()
    node.jobs.append(Job())
    node.run(30, 300)
    node.texts.clear()
    node.killed()
    node.run(10, 200)
    assert [watts for _, _, watts in node.power()] == near([200.0] * 10)


def test_a_gpu_that_is_silent_does_not_silence_the_others():
    node = Node(("GPU-0", "GPU-1"))
    node.jobs.append(Job(accounts={"GPU-0": Line(), "GPU-1": Line()}))
    node.run(10)
    node.run(10, 100, measured=("GPU-0",))
    assert [watts for _, _, watts in node.power()] == near([600.0] * 10 + [100.0] * 10)


def test_what_is_known_after_a_jobs_end_is_its_lasts_and_closing_is_exact():
    node = Node()
    node.jobs.append(Job())
    node.run(10)
    (job,) = node.jobs
    ended_us = job.end_us
    job.accounts["GPU-0"].dynamic_hnj += 7 * J
    node.now_us += 3 * W
    node.gpus["GPU-0"] = KnownEnergy(13 * W, node.now_us)
    node.profiles.follow(node.jobs, node.gpus, node.now_us)
    job.accounts["GPU-0"].static_hnj += 5
    node.profiles.close(node.jobs, node.gpus)
    profile = PowerProfile.of_text(node.texts[job.key])
    assert profile.energy_hnj == (10 * 5 * 300 + 7) * J + 5
    assert profile.segments()[-1][1] == ended_us / S
    assert profile.segments()[-1][2] == near(300 + 7 / 5)
    assert profile.segments(ended_us + 40 * S)[-1] == (ended_us / S, ended_us / S + 40, None)


def test_a_job_without_a_length_has_no_power():
    node = Node()
    node.jobs.append(Job())
    node.gpus["GPU-0"] = KnownEnergy(W, T0)
    node.jobs[0].accounts["GPU-0"].dynamic_hnj = 5
    node.profiles.follow(node.jobs, node.gpus, T0)
    assert node.power() == []
    assert PowerProfile.of_text(node.texts["slurm:1"]).energy_hnj == 5


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "1 2 3", "1 2 3 4 5 6", "a 1000000 1 0 ", "5 1000000 4 0 ", "0 0 1 1 AAA=", "0 1 1 -1 AAA=",
        "0 1 1 1 A", "0 1 1 1 AA==", f"0 1 1 {2**90} AAA=", f"0 1 {2**70} 1 AAA=", f"0 1 1 1 {'AAAA' * 200}",
    ],
)  # fmt: skip
def test_what_is_not_a_profile_is_refused(text):
    with pytest.raises(ValueError, match=re.escape("is not a job's power over time")):
        PowerProfile.of_text(text)


@given(
    st.sampled_from([0, 1, T0, 2**60]), st.sampled_from([1, FIRST_US, 2**60]), st.sampled_from([0, 1, 2**60]),
    st.sampled_from([0, 1, 2**79]), st.lists(st.none() | st.integers(1, 9), max_size=MOST),
)  # fmt: skip
def test_any_time_and_energy_that_may_be_is_read_as_it_was_written(start_us, bin_us, length_us, scale, weights):
    bins = [None if weight is None else weight * scale // 1000 for weight in weights]
    energy_hnj = sum(hnj for hnj in bins if hnj is not None)
    again = PowerProfile.of_text(PowerProfile(start_us, bin_us, start_us + length_us, energy_hnj, bins=bins).text())
    assert (again.start_us, again.bin_us, again.until_us) == (start_us, bin_us, start_us + length_us)
    assert again.energy_hnj == energy_hnj
    assert [hnj is None for hnj in again.bins] == [hnj is None for hnj in bins]


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.integers(0, 10_000), stretches()), min_size=1, max_size=4))
def test_the_hosts_of_a_job_add_up(hosts):
    profiles = []
    for later_s, found in hosts:
        moved = [(hnj, begin + later_s * S, end + later_s * S) for hnj, begin, end in found]
        profile, used, booked = PowerProfile(T0 + later_s * S, booked_us=[0]), 0, 0
        for hnj, begin, end in moved:
            used, booked = used + hnj, booked + end - begin
            profile.look(used, [KnownEnergy(booked, end)], end)
        profiles.append(profile)
    whole = PowerProfile.together(profiles)
    assert (
        whole.energy_hnj == sum(hnj for hnj in whole.bins if hnj is not None) == sum(one.energy_hnj for one in profiles)
    )
    assert whole.start_us == min(one.start_us for one in profiles)
    assert whole.until_us == max(one.until_us for one in profiles)
    assert len(whole.bins) <= MOST


def test_a_job_on_two_hosts_draws_what_both_draw():
    first, second = Node(), Node(at_us=T0 + 10 * W)
    first.jobs.append(Job())
    second.jobs.append(Job(start_us=T0 + 10 * W))
    first.run(20, 300)
    second.run(20, 100)
    profiles = [PowerProfile.of_text(node.texts["slurm:1"]) for node in (first, second)]
    watts = [watts for _, _, watts in PowerProfile.together(profiles).segments()]
    assert watts == near([300.0] * 10 + [400.0] * 10 + [100.0] * 10)
