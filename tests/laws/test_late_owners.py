"""Jobs that only a SLUID names at first, on a whole agent in virtual time: live, over a restart, and replayed."""

from dataclasses import replace

import pytest

from tests.depth import few
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.simulation import proc as simulated_proc
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

JOBS = """
gpus = 2
cycle_s = 600
[[job]]
name = "100"
gpus = [0]
start_s = 0
end_s = 600
load = [[1.0, 400.0, 80]]
[[job]]
name = "200"
gpus = [1]
start_s = 0
end_s = 600
load = [[1.0, 250.0, 50]]
"""
SECOND = 1_000_000


class SlowSlurm(Slurm):
    """A queue that takes its time, in virtual seconds since ``began_us``; it knows jobs by their SLUID then."""

    def __init__(self, clock, takes_s):
        super().__init__(clock.now_us, "sim", None, squeue=())
        self._now_us = clock.now_us
        self.answers_us = clock.now_us() + round(takes_s * 1e6)

    @property
    def answered(self):
        return self._now_us() >= self.answers_us

    def job_of(self, sluid):
        return str(int(sluid[1:])) if self.answered else ""


@pytest.fixture
def node(tmp_path, monkeypatch):
    def path(one):
        return f"/system.slice/slurmstepd.scope/s{one.job.number(one.cycle):013}/step_0/user/task_0"

    monkeypatch.setattr(simulated_proc, "cgroup_path", path)
    script = tmp_path / "node.toml"
    script.write_text(JOBS)
    return simulated(tmp_path, str(script))


def watched(one):
    """Let every snapshot be checked: parts are the whole, no counter falls."""
    shown, show = {}, one.board.show

    def check(snapshot):
        for gpu in snapshot.gpus:
            parts = sum(e.static_hnj + e.dynamic_hnj for e in snapshot.energy if e.gpu_uuid == gpu.uuid)
            assert gpu.energy_hnj == parts
        for entry in snapshot.energy:
            for component in ("static_hnj", "dynamic_hnj"):
                key = (entry.job, entry.gpu_uuid, component)
                assert getattr(entry, component) >= shown.get(key, 0)
                shown[key] = getattr(entry, component)
        show(snapshot)

    one.board.show = check
    return one


def replayed(folder):
    again = Accounts()
    options = Options()
    for chain in find([str(folder)], options):
        for window in chain.windows(options):
            again.add(window)
    again.finish()
    return again


def live(tmp_path, node, takes_s, seconds, **more):
    made, clock = node
    recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
    slurm = SlowSlurm(clock, takes_s)
    one = watched(agent(made, clock, seconds=seconds, recorder=recorder, keep_us=10**12, slurm=slurm, **more))
    one.answered_us = slurm.answers_us
    one.daemon.restore()
    one.daemon.run()
    one.close()
    recorder.close()
    assert not one.faults.counts
    return one


def joules(accounts):
    return {key: job.energy_hnj / 2e9 for key, job in accounts.ledger.jobs.items()}


@pytest.mark.parametrize("takes_s", few([0, 0.5, 5, 9], plain=2))
def test_a_queue_that_is_slow_at_the_start_leaves_no_joule_on_a_sluid(tmp_path, node, takes_s):
    one = live(tmp_path, node, takes_s, 40)
    assert joules(one.accounts).keys() == {"slurm:100", "slurm:200"}
    whole, parts = sums(one.accounts)
    assert whole == parts
    nobodys = sum(a.idle_hnj + a.unattributed_hnj for a in one.accounts.gpus.values())
    assert nobodys <= 0.01 * sum(whole.values())
    assert bills(replayed(tmp_path / "recording")) == bills(one.accounts)


def test_a_queue_that_answers_too_late_for_that_names_what_is_open_and_from_then_on(tmp_path, node):
    one = live(tmp_path, node, 20, 60)
    found = joules(one.accounts)
    assert found.keys() == {"slurm:100", "slurm:200", "slurm:s0000000000100", "slurm:s0000000000200"}
    began_us, ended_us = one.windows[0].start_us, one.windows[-1].end_us
    answered_us = one.answered_us
    for number in ("100", "200"):
        before, after = found[f"slurm:s0000000000{number}"], found[f"slurm:{number}"]
        # what was open at the answer, a window and what its counter had not closed, went to the number as well
        on_sluid_s = before / (before + after) * (ended_us - began_us) / SECOND
        assert 0.5 < (answered_us - began_us) / SECOND - on_sluid_s < 2.5
    seconds = one.accounts.ledger.jobs["slurm:100"].lines
    assert sum(line.active_us for line in seconds.values()) == pytest.approx(ended_us - answered_us, abs=2 * SECOND)
    assert bills(replayed(tmp_path / "recording")) == bills(one.accounts)


def test_what_waits_for_its_energy_goes_to_the_number(tmp_path, node):
    """Rows that were said of the SLUID, and whose energy is booked after the number is known."""
    one = live(tmp_path, node, 20, 60)
    late = next(i for i, w in enumerate(one.windows) if any(o.key == "slurm:100" for o in w.owners))
    # The counter stands still for three windows before the answer: their energy is booked when it moves again.
    books = Accounts()
    for i, window in enumerate(one.windows):
        still = window.readings
        if late - 3 <= i < late:
            still = replace(still, time_us=still.time_us[:0], power_mw=still.power_mw[:0],
                            counter_mj=still.counter_mj[:0], instant_mw=still.instant_mw[:0],
                            offsets=still.offsets * 0)  # fmt: skip
        books.add(replace(window, readings=still))
    books.finish()
    whole, parts = sums(books)
    assert whole == parts
    moved = joules(one.accounts)["slurm:s0000000000100"] - joules(books)["slurm:s0000000000100"]
    assert 3 * 300 < moved < 4.5 * 500  # three seconds and a bit at some 400 W


@pytest.mark.parametrize("takes_s", few([0, 3, 10_000], plain=2))
def test_a_restart_beside_a_silent_queue_loses_no_joule(tmp_path, node, takes_s):
    first = live(tmp_path, node, 0, 30, state=tmp_path / "state")
    nobodys = {k: (a.idle_hnj, a.unattributed_hnj) for k, a in first.accounts.gpus.items()}
    _, clock = node
    clock.sleep_until(clock.now_us() + 20 * SECOND)
    second = live(tmp_path, node, takes_s, 30, state=tmp_path / "state")
    found = joules(second.accounts)
    assert found.keys() == {"slurm:100", "slurm:200"}
    for key, account in second.accounts.gpus.items():
        # neither the 20 s that the agent was away nor what came before the answer is nobody's
        lost = account.idle_hnj + account.unattributed_hnj - sum(nobodys[key])
        assert lost / 2e9 < 1.0
    assert found["slurm:100"] > 2.3 * joules(first.accounts)["slurm:100"]
    assert bills(replayed(tmp_path / "recording")) == bills(second.accounts)
