"""Process lists cost a call: they are read every five seconds, and at once when something tells that somebody came."""

import itertools

import pytest

from wattshed.agent.meters.lists import MOST_IN_VAIN
from wattshed.agent.meters.schedule import Rates

S = 1_000_000
CALL = "nvmlDeviceGetComputeRunningProcesses_v3"
JOB = """
gpus = 1
cycle_s = 600
[[job]]
name = "7"
start_s = {start}
end_s = {end}
load = [[1.0, 150.0, {busy}]]
"""


@pytest.fixture
def lived(rig):
    def live(text, seconds, **rates):
        """Run, and count the reads of the list in each second."""
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
