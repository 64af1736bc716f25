"""Process lists cost a call: they are read every five seconds, and at once when something tells that somebody came.

Where that call is cheap, the list of compute processes alone is glanced at with every reading.
"""

import itertools

import pytest

from wattshed.agent.meters.lists import MOST_IN_VAIN
from wattshed.agent.meters.schedule import Rates

S = 1_000_000
CALL = "nvmlDeviceGetComputeRunningProcesses_v3"
OTHER = "nvmlDeviceGetGraphicsRunningProcesses_v3"
PRICE = """
[[fault]]
kind = "latency"
call = "{call}"
value = {us}
"""
IDLE = "gpus = {gpus}\ncycle_s = 600\n"
JOB = """
gpus = 1
cycle_s = 600
[[job]]
name = "7"
start_s = {start}
end_s = {end}
load = [[1.0, 150.0, {busy}]]
"""

CROWD = 60


@pytest.fixture
def lived(rig):
    def live(text, seconds, us=300, **rates):
        """Run with lists at a price, and count the reads of the list in each second."""
        text += PRICE.format(call=CALL, us=us)
        node = rig(text, plain=False, rates=Rates(learn_us=0, burst_us=0, **rates))
        reads, before = [], node.sampler.calls()[CALL].counts[-1]
        for _ in range(seconds):
            node.run(1)
            reads.append(node.sampler.calls()[CALL].counts[-1] - before)
            before += reads[-1]
        return node, reads

    return live


@pytest.mark.parametrize("every_s", [2, 5, 9])
def test_of_an_idle_gpu_the_list_is_read_as_often_as_the_rates_say(lived, every_s):
    _, reads = lived("gpus = 1\ncycle_s = 600\n", 60, processes_us=every_s * S)
    read_at = [n for n, count in enumerate(reads) if count]
    assert set(reads) == {0, 1}
    assert read_at[0] == 0
    assert {b - a for a, b in itertools.pairwise(read_at)} == {every_s}


@pytest.mark.parametrize(("start", "end"), [(11.3, 38.2), (12.3, 40.7), (13.1, 44.4)])
def test_who_comes_and_goes_is_seen_in_that_second_by_its_memory(lived, start, end):
    """It does no work, so that utilisation tells nothing, and the list was just read or will not be for a while."""
    node, reads = lived(JOB.format(start=start, end=end, busy=0), 60, processes_us=20 * S)
    present = [n for n, seen in enumerate(node.observations) if seen]
    assert present[0] in {int(start), int(start) + 1}
    assert present == list(range(present[0], present[-1] + 1))
    assert present[-1] in {int(end), int(end) + 1}
    read_at = {n for n, count in enumerate(reads) if count}
    near = {int(start), int(start) + 1, int(end), int(end) + 1}
    assert read_at & near
    assert len(read_at - near) <= 60 // 20 + 1, "else it is read as seldom as ever"


def test_utilisation_that_nobody_explains_is_asked_about_a_few_times(lived, monkeypatch):
    from wattshed.agent.simulation.card import Card

    monkeypatch.setattr(Card, "processes", lambda *_: [])
    node, reads = lived(JOB.format(start=10.5, end=50, busy=80).replace("150.0", "300.0"), 60, processes_us=25 * S)
    assert not any(node.observations)
    asked = sum(reads[11:40])
    assert MOST_IN_VAIN <= asked <= MOST_IN_VAIN + 3
    assert sum(reads[24:40]) <= 1, "it may hang: that is enough"


def test_who_asks_for_the_lists_has_them_with_the_next_reading(lived, rig):
    node, _ = lived("gpus = 1\ncycle_s = 600\n", 3, processes_us=60 * S)
    before = node.sampler.calls()[CALL].counts[-1]
    node.run(2)
    assert node.sampler.calls()[CALL].counts[-1] == before
    node.sampler.refresh_processes()
    node.run(1)
    assert node.sampler.calls()[CALL].counts[-1] == before + 1


def glances(node):
    """How often the list of compute processes was read without the others, but for the question whether it is there."""
    calls = node.sampler.calls()
    return calls[CALL].counts[-1] - calls[OTHER].counts[-1] - len(node.meter.gpu_handles)


@pytest.mark.parametrize(("us", "often"), [(40, True), (200, True), (201, False), (5_000, False)])
def test_a_cheap_list_is_glanced_at_with_every_reading_and_a_dear_one_never(lived, us, often):
    node, _ = lived(IDLE.format(gpus=1), 60, us=us)
    assert (2 * 60 - 12 <= glances(node) <= 3 * 60) if often else glances(node) == 0


@pytest.mark.parametrize("gpus", [1, 8, 16])
def test_glances_at_all_gpus_have_a_tenth_of_the_budget(lived, gpus):
    node, _ = lived(IDLE.format(gpus=gpus), 60, us=150)
    assert 150e-6 * glances(node) <= 0.002 * 60 * 1.02
    assert glances(node) >= 60 * 2 * min(gpus, 6) * 0.6


def test_a_price_that_was_high_for_a_while_is_found_to_be_low_again(lived, rig):
    text = IDLE.format(gpus=1) + PRICE.format(call=CALL, us=900) + "at_s = 20\nfor_s = 60\n"
    node = rig(text, plain=False, rates=Rates(learn_us=0, burst_us=0))
    counts = []
    for _ in range(50):
        before = glances(node) if OTHER in node.sampler.calls() else 0
        node.run(10)
        counts.append(glances(node) - before)
    assert min(counts[0], counts[-1]) >= 20
    assert counts[4] == counts[6] == 0


@pytest.mark.parametrize(("start", "end"), [(11.3, 11.9), (12.7, 13.25), (13.05, 13.9), (14.45, 15.6)])
def test_whom_a_glance_shows_is_read_about_at_once_and_met_once(lived, rig, monkeypatch, start, end):
    from wattshed.agent.simulation.card import Card

    monkeypatch.setattr(Card, "memory", lambda _: (600 << 20, 80_000 << 20))  # the same whoever is there
    node = rig(JOB.format(start=start, end=end, busy=0), plain=False, rates=Rates(learn_us=0, burst_us=0))
    met = []
    node.sampler._poller._lists._met = lambda pid: met.append((pid, node.clock.now_us() - node.node.begun_us))
    node.run(30)
    ((_, at_us),) = met
    assert start <= at_us / S <= start + 0.51
    seen = [one for window in node.observations for one in window]
    assert {one.pid for one in seen} == {met[0][0]}
    assert [one.exited for one in seen].count(True) == 1
    assert end <= (max(one.to_us for one in seen) - node.node.begun_us) / S <= end + 0.51


def test_a_crowd_costs_nothing_as_long_as_it_is_the_same(rig):
    """Whether each of them lives is asked once a second, as without glances, and who they are once."""
    jobs = "".join(f'[[job]]\nname = "{n}"\nload = [[1, 0, 0]]\nmemory_mib = 10\n' for n in range(CROWD))
    node = rig(IDLE.format(gpus=1) + jobs, plain=False, rates=Rates(learn_us=0, burst_us=0))
    met, asked, lists = [], [], node.sampler._poller._lists
    alive, lists._met = lists._alive, met.append
    lists._alive = lambda pid: bool(asked.append(pid)) or alive(pid)
    node.run(3)
    assert len(met) == len(set(met)) == CROWD
    before = len(asked)
    node.run(20)
    assert len(met) == CROWD
    assert len(asked) - before <= CROWD * (20 + 20 // 5)
    assert glances(node) >= 40


def test_a_list_that_cannot_be_trusted_is_not_glanced_at(lived):
    fault = '[[fault]]\nkind = "scrambled-pids"\nat_s = 20\nfor_s = 20\n'
    _, reads = lived(JOB.format(start=5, end=60, busy=50) + fault, 60, us=40)
    assert set(reads[22:39]) == {1}, "the lists themselves, each second"
    assert min(reads[5:18]) >= 2


def test_lists_of_other_kinds_are_glanced_at_while_they_name_anybody(lived):
    from wattshed.agent.meters.errors import MeterError

    node, _ = lived(IDLE.format(gpus=1), 3)
    (watch,) = node.meter.watches
    named = {"Compute": [], "Graphics": [], "MPSCompute": []}
    asked = []

    def processes(handle, kind):
        asked.append(kind)
        if named[kind] is None:
            raise MeterError(kind, 999)
        return [(pid, 0, 0, 0) for pid in named[kind]]

    node.meter.watches[0].nvml = type("Driver", (), {"processes": staticmethod(processes), "costs": watch.nvml.costs})
    watch.relist(lambda _: True)
    assert not watch.glance()
    assert asked[3:] == ["Compute"]
    named["MPSCompute"] = [7]
    assert not watch.glance(), "its memory tells of the first"
    watch.relist(lambda _: True)
    asked.clear()
    assert not watch.glance()
    assert asked == ["Compute", "MPSCompute"]
    named["MPSCompute"] = [7, 8]
    assert watch.glance()
    assert not watch.glance()
    named["Compute"] = None
    assert not watch.glance(), "no answer is no news"
