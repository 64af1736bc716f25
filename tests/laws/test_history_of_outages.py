"""Parts over holes, clocks that are set, and kills: they add up, and each is of a time in which it was used."""

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.accounts.test_cuts import not_cut, summed
from tests.depth import examples, few
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event
from wattshed.agent.wire.parts_json import of_plain, plain
from wattshed.exporters.units import HNJ_PER_JOULE

HOUR = 3600 * S
T0 = 1_772_323_200 * S
MW = 600_000


class Machine:
    """A counter that goes on whatever becomes of the agent, and a wall clock that is set now and then."""

    def __init__(self, folder):
        self.folder, self.real_us, self.offset_us = folder, 0, 0
        self.kept = []
        self.start()

    def start(self):
        self.accounts, self.cuts = Accounts(live=True), Cuts(HOUR, "one")
        self.state = StateFile(self.folder, "h", "boot")
        self.found = self.state.restore(self.accounts, Calibrator())
        if self.found.cuts is not None:
            self.cuts = self.found.cuts
        assert not self.found.problems, self.found.problems
        self.first = True

    def live(self, seconds, *, read=True, jobs=("a",), step_s=1):
        """Windows of a second or more, of which the GPU is read or not."""
        for _ in range(seconds // step_s):
            start, end = T0 + self.real_us + self.offset_us, T0 + self.real_us + self.offset_us + step_s * S
            at = self.real_us + step_s * S // 2
            rows = [[(T0 + at + self.offset_us, MW, 5_000 + at * MW // S)] if read else []]
            usage = [(0, job, start, end, -1, -1, 1) for job in jobs]
            events = (Event(start, "restart", detail="same-boot"),) if self.first and self.found.found else ()
            self.accounts.add(window(start, end, rows, usage, (device(),), events=events))
            for job in self.accounts.ledger.jobs.values():
                job.shown_hnj = job.energy_hnj
            self.cuts.close(self.accounts.retire(end, 5 * S), self.accounts.gpus)
            since_us = self.accounts.since_us
            known_us = self.accounts.known_us(end)
            self.cuts.follow(self.accounts.ledger.jobs, self.accounts.gpus, since_us, end, known_us)
            self.first = False
            self.real_us += step_s * S

    def killed(self, *, down_s=0, clock_s=0):
        """Be killed, be away, and start with a clock that was set meanwhile."""
        now_us = T0 + self.real_us + self.offset_us
        self.state.save(self.accounts, Calibrator(), now_us, cuts=self.cuts)
        self.real_us += down_s * S
        self.offset_us += clock_s * S
        self.start()

    def parts(self):
        """All parts, which a collector believes."""
        found = list(self.cuts.outbox)
        for part in found:
            assert of_plain(json.loads(json.dumps(plain(part)))) == part
        return found

    def laws(self):
        made, left = self.parts(), not_cut(self.accounts, self.cuts)
        sums = summed(made)
        for key, account in self.accounts.gpus.items():
            assert sums[key.gpu] + left[key.gpu] == account.energy_hnj
        return made


@pytest.mark.parametrize("end", few(["goes on", "kill"]))
def test_an_outage_over_many_slots_is_in_one_part_over_its_time(tmp_path, end):
    machine = Machine(tmp_path)
    machine.live(600)
    if end == "kill":
        machine.killed(down_s=30 * 3600)
    else:
        machine.live(30 * 3600, read=False, step_s=300)
    machine.live(60)
    machine.live(2 * 3600, step_s=10)
    made = [part for part in machine.laws() if part.energy_hnj]
    for part in made:
        length_s = (part.to_us - part.from_us) / S
        assert part.energy_hnj / HNJ_PER_JOULE == pytest.approx(600 * length_s, abs=600 * 15), part
    assert max(part.to_us - part.from_us for part in made) > 30 * HOUR


@pytest.mark.parametrize("clock_s", few([-3600, -7, 86_400]))
@pytest.mark.parametrize("at_s", few([3590, 5400]))
def test_a_clock_that_is_set_while_the_agent_is_down(tmp_path, clock_s, at_s):
    machine = Machine(tmp_path)
    machine.live(at_s // 10 * 10, step_s=10, jobs=("a", "b"))
    machine.killed(down_s=3, clock_s=clock_s)
    machine.live(3 * 3600, step_s=10, jobs=("a", "c"))
    machine.killed(down_s=3)
    machine.live(60)
    made = machine.laws()
    assert sum(part.energy_hnj for part in made) > 600 * 3 * 3500 * HNJ_PER_JOULE
    for part in made:
        assert 0 <= part.from_us <= part.to_us
        if part.energy_hnj:
            length_s = (part.to_us - part.from_us) / S
            assert part.energy_hnj / HNJ_PER_JOULE <= 600 * length_s + 600 * 30 + max(clock_s, 0) * 600, part
    for before, after in pairwise(made):
        assert after.seq == before.seq + 1


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("live"), st.integers(1, 70), st.booleans()),
            st.tuples(
                st.just("kill"), st.sampled_from([0, 1, 30, 7200, 90_000]), st.sampled_from([0, 0, -3600, 86_400])
            ),
        ),
        min_size=2,
        max_size=7,
    )
)
@example([("live", 1, True), ("kill", 90_000, -3600)])
@example([("kill", 0, 86_400), ("live", 7, False), ("kill", 0, -3600)])  # seven minutes come in one second
def test_parts_and_what_is_not_cut_are_what_the_counter_counted(tmp_path_factory, story):
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.live(20)
    for what, *values in story:
        if what == "live":
            minutes, read = values
            machine.live(minutes * 60, read=read, step_s=60, jobs=("a", "b") if minutes % 2 else ("a",))
        else:
            down_s, clock_s = values
            machine.killed(down_s=down_s, clock_s=clock_s)
        machine.laws()
    machine.live(60)
    machine.laws()
