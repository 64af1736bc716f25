"""measure() beside an agent: each job's own joules, exact where the agent's are, on GPUs that are shared, too."""

import pytest

from tests.virtual import agent, bills, simulated
from wattshed.agent.daemon.callers.desk import CallersDesk
from wattshed.agent.daemon.callers.energies import JobEnergies
from wattshed.agent.daemon.callers.own_parts import OwnParts
from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.measuring.agent_meter import AgentMeter
from wattshed.agent.measuring.points import difference
from wattshed.agent.measuring.session import MeteringSession
from wattshed.agent.wire.agent_socket import AgentAbsentError

SHARED = """
gpus = 2
cycle_s = 3600
[[job]]
name = "7"
gpus = [0]
load = [[600.0, 100.0, 20]]
[[job]]
name = "8"
gpus = [0]
load = [[600.0, 300.0, 60]]
[[job]]
name = "9"
gpus = [1]
start_s = {start}
end_s = {end}
load = [[600.0, 400.0, 90]]
"""


class Beside:
    """An agent in virtual time, and processes of its jobs that measure themselves."""

    def __init__(self, tmp_path, text=SHARED, **more):
        script = tmp_path / "node.toml"
        script.write_text(text)
        self.node, self.clock = simulated(tmp_path, str(script))
        self.energies = JobEnergies()
        self.desk = CallersDesk({"simulated": True}, self.energies, OwnParts(Ancestry(self.node.proc_root)))
        self.agent = agent(self.node, self.clock, callers=self.desk, **more)
        self.processes = Processes(self.node.proc_root, self.clock.now_us)
        self.sessions = []

    def now_ns(self):
        return self.clock.now_us() * 1000

    def process_of(self, job):
        (pid,) = {one.pid for one in self.node.tree.running(self.clock.now_us()) if one.job.name == job}
        self.processes.meet(pid)
        return self.processes.look(pid)

    def session(self, job):
        """A session in a process of a job."""
        process = self.process_of(job)
        asking = lambda _, message: self.desk.answer(process, message, self.clock.now_us())
        session = MeteringSession(AgentMeter("", None, asking), "", self.now_ns, threaded=False)
        self.sessions.append(session)
        return session

    def until(self, time_us):
        while self.clock.now_us() < time_us:
            self.agent.daemon.step()
            for session in self.sessions:
                session.step()

    def windows(self, jobs, windows):
        """Measure windows (s) in processes of jobs; returns for each what it told, and the truth, J."""
        begun_us, edges = self.node.begun_us, {}
        self.until(begun_us + 1_000_000 * round(min(min(window) for window in windows) - 1))
        for job, window in zip(jobs, windows, strict=True):
            session = self.session(job)
            for at_s in window:
                self.clock.call_at(
                    begun_us + round(at_s * 1e6),
                    lambda key=(job, at_s), session=session: edges.__setitem__(key, session.edge()),
                )
        self.until(begun_us + round((max(map(max, windows)) + 4) * 1e6))
        found = []
        for job, (a, b) in zip(jobs, windows, strict=True):
            start, end = edges[job, a], edges[job, b]
            assert start.value is not None
            assert end.value is not None
            truth = self.node.truth.jobs_nj(start.time_ns // 1000, end.time_ns // 1000)
            truth_j = sum(sum(parts) for (key, _), parts in truth.items() if key == f"slurm:{job}") / 1e9
            found.append((difference(start.value, end.value, start.time_ns), truth_j))
        return found


def test_two_jobs_on_one_gpu_get_their_own_joules(tmp_path):
    text = SHARED.format(start=0, end=3600)
    (seven, truth7), (eight, truth8) = Beside(tmp_path, text).windows(["7", "8"], [(20.3, 50.8), (20.3, 50.8)])
    assert seven.gpus == eight.gpus
    assert seven.energy_hnj / 2e9 == pytest.approx(truth7, rel=0.02)
    assert eight.energy_hnj / 2e9 == pytest.approx(truth8, rel=0.02)
    assert abs(seven.energy_hnj / 2e9 - truth7) < 2 * seven.sigma_j
    assert truth8 / truth7 > 2


LOAD = """
gpus = 1
cycle_s = 3600
[[job]]
name = "9"
gpus = [0]
load = [[{before}, 50, 10], [{length}, 500, 90], [3000, 50, 10]]
"""


@pytest.mark.parametrize(("length_s", "bound", "sigma"), [(60, 0.001, 0.042), (8, 0.01, 0.05), (1, 0.15, 0.2)])
def test_a_window_around_a_load_is_right_and_a_second_is_within_its_interval(tmp_path, length_s, bound, sigma):
    begin = 13.37
    beside = Beside(tmp_path, LOAD.format(before=begin, length=length_s))
    (found, truth), *_ = beside.windows(["9"], [(begin, begin + length_s)])
    assert found.energy_hnj / 2e9 == pytest.approx(truth, rel=bound)
    assert "simulated" in found.flags
    assert abs(found.energy_hnj / 2e9 - truth) < 2 * found.sigma_j
    assert found.sigma_j < sigma * truth


def test_what_is_told_is_the_agents_own_account(tmp_path):
    """The same integers, whoever asks, and whether anybody asks."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    text = SHARED.format(start=0, end=3600)
    asked = Beside(tmp_path / "a", text)
    asked.windows(["7", "9"], [(12, 18), (12.5, 17)])
    alone = Beside(tmp_path / "b", text)  # there is one driver at a time
    alone.until(asked.clock.now_us() - asked.node.begun_us + alone.node.begun_us)
    assert bills(asked.agent.accounts) == bills(alone.agent.accounts)
    process = asked.process_of("9")
    end_us = asked.agent.windows[-4].end_us
    told = asked.desk.answer(process, energy(0, end_us), end_us)
    assert told["reason"] == "before_the_agent"
    a, b, c = (end_us - back for back in (9_000_000, 4_321_000, 0))
    parts = [asked.desk.answer(process, energy(x, y), c)["energy_hnj"] for x, y in ((a, b), (b, c), (a, c))]
    assert parts[0] + parts[1] == parts[2] > 0


def energy(start_us, end_us):
    return {"op": "energy", "start_ns": start_us * 1000, "end_ns": end_us * 1000}


def test_what_is_not_known_yet_is_estimated(tmp_path):
    beside = Beside(tmp_path, SHARED.format(start=0, end=3600))
    process = beside.process_of("9")
    beside.until(beside.node.begun_us + 12_000_000)
    now_us = beside.clock.now_us()
    start_us, end_us = now_us - 5_000_000, now_us - 100_000
    told = beside.desk.answer(process, energy(start_us, end_us), now_us)
    if "wait" in told and "end" not in told:  # it had not asked before
        beside.until(now_us + 1_000_000)
        start_us, end_us, now_us = start_us + 1_000_000, end_us + 1_000_000, beside.clock.now_us()
        told = beside.desk.answer(process, energy(start_us, end_us), now_us)
    (end,) = told["end"].values()
    truth = beside.node.truth.jobs_nj(start_us, end_us)
    truth_j = sum(sum(parts) for (key, _), parts in truth.items() if key == "slurm:9") / 1e9
    assert "wait" in told
    assert told["energy_hnj"] / 2e9 == pytest.approx(truth_j, rel=0.05)
    assert 10 < end[3] < 1000
    beside.until(now_us + 4_000_000)
    told = beside.desk.answer(process, energy(start_us, end_us), now_us)
    assert "wait" not in told
    assert next(iter(told["end"].values()))[3] < 100


def test_a_job_that_comes_to_a_gpu_within_a_window_had_used_nothing_before(tmp_path):
    beside = Beside(tmp_path, SHARED.format(start=25, end=3600))
    process = beside.process_of("7")
    nine = type(process)(("boot", 1, 1), process.identity, "python", 0, uid=1000, command="train")
    nine.identity = type(process.identity)("slurm", job_id="9")
    asking = lambda _, message: beside.desk.answer(nine, message, beside.clock.now_us())
    session = MeteringSession(AgentMeter("", None, asking), "", beside.now_ns, threaded=False)
    beside.sessions.append(session)
    begun_us = beside.node.begun_us
    beside.until(begun_us + 15_000_000)
    start = session.edge()
    beside.until(begun_us + 20_000_000)
    middle = session.edge()
    beside.until(begun_us + 45_000_000)
    end = session.edge()
    beside.until(begun_us + 50_000_000)
    assert "no GPU was used" in difference(start.value, middle.value, start.time_ns).reason
    found = difference(middle.value, end.value, middle.time_ns)
    truth = beside.node.truth.jobs_nj(middle.time_ns // 1000, end.time_ns // 1000)
    truth_j = sum(sum(parts) for (key, _), parts in truth.items() if key == "slurm:9") / 1e9
    assert found.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.06)
    assert "new-job" in found.flags


def test_an_agent_that_was_started_anew_goes_on_or_says_that_it_cannot(tmp_path):
    beside = Beside(tmp_path, SHARED.format(start=0, end=3600), state=tmp_path / "state")
    beside.agent.daemon.restore()
    begun_us = beside.node.begun_us
    beside.until(begun_us + 10_000_000)
    session = beside.session("9")
    beside.until(begun_us + 12_000_000)
    start = session.edge()
    beside.until(begun_us + 18_000_000)
    beside.agent.daemon.close()
    beside.agent.close()
    beside.desk = CallersDesk({"simulated": True}, JobEnergies(), OwnParts(Ancestry(beside.node.proc_root)))
    beside.agent = agent(beside.node, beside.clock, callers=beside.desk, state=tmp_path / "state")
    beside.agent.daemon.restore()
    beside.until(begun_us + 30_000_000)
    end = session.edge()
    beside.until(begun_us + 34_000_000)
    found = difference(start.value, end.value, start.time_ns)
    truth = beside.node.truth.jobs_nj(start.time_ns // 1000, end.time_ns // 1000)
    truth_j = sum(sum(parts) for (key, _), parts in truth.items() if key == "slurm:9") / 1e9
    assert found.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.02)


def test_an_agent_that_does_not_know_who_asks_is_no_meter():
    for told in ({"again": "who was that"}, {"error": "no"}):
        with pytest.raises(AgentAbsentError, match="does not tell this process"):
            AgentMeter("/x", None, lambda *_, told=told: told)
    busy = AgentMeter("/x", None, lambda _, message: {"op": message} if message["op"] == "hello" else {"wait": "soon"})
    assert busy.value(1) is None
    assert busy.trouble() == "soon"
    newer = AgentMeter("/x", None, lambda _, message: {"end": [message["op"]]})
    assert "none that this version knows" in newer.value(1).reason
