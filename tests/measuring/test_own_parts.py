"""Callers outside of jobs: each is told what it used itself and what it started, and nobody's bill knows of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.measuring.test_agent import Beside
from tests.virtual import bills
from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.measuring.agent_meter import AgentMeter
from wattshed.agent.measuring.points import difference
from wattshed.agent.measuring.session import MeteringSession

PROGRAMS = """
gpus = 1
cycle_s = 3600
[[job]]
name = "a"
manager = "user"
gpus = [0]
load = [[600, 100, 20]]
[[job]]
name = "b"
manager = "user"
gpus = [0]
load = [[600, 300, 60]]
[[job]]
name = "c"
manager = "user"
gpus = [0]
uid = 1001
load = [[600, 60, 12]]
"""


class Programs(Beside):
    """Two programs of one user, with one name, and one of another user, on one GPU."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path, PROGRAMS)
        self.until(self.node.begun_us + 6_000_000)

    def started_by(self, parent, *jobs, uid=1000):
        """Make a process that is the parent of those of some jobs, and return it."""
        folder = self.node.proc_root / str(parent)
        folder.mkdir()
        child = self.node.proc_root / str(self.process_of("a").pid)
        (folder / "stat").write_text((child / "stat").read_text().replace(child.name, str(parent)))
        (folder / "cgroup").write_text((child / "cgroup").read_text().replace("1000", str(uid)))
        (folder / "cmdline").write_bytes(b"/usr/bin/wattshed\0measure\0")
        (folder / "status").write_text(f"Name:\twattshed\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        for job in jobs:
            stat = self.node.proc_root / str(self.process_of(job).pid) / "stat"
            stat.write_text(stat.read_text().replace(" R 1 ", f" R {parent} "))
        self.processes.meet(parent)
        return self.processes.look(parent)

    def asked_by(self, process):
        asking = lambda _, message: self.desk.answer(process, message, self.clock.now_us())
        session = MeteringSession(AgentMeter("", None, asking), "", self.now_ns, threaded=False)
        self.sessions.append(session)
        return session

    def measured(self, sessions, length_s=20):
        self.until(self.clock.now_us() + 1_300_000)
        starts = [session.edge() for session in sessions]
        self.until(self.clock.now_us() + round(length_s * 1e6))
        ends = [session.edge() for session in sessions]
        self.until(self.clock.now_us() + 4_000_000)
        stretch = starts[0].time_ns // 1000, ends[0].time_ns // 1000
        return [difference(a.value, b.value, a.time_ns) for a, b in zip(starts, ends, strict=True)], stretch


def test_two_programs_of_one_name_each_get_their_own_joules(tmp_path):
    beside = Programs(tmp_path)
    sessions = [beside.asked_by(beside.process_of(job)) for job in "abc"]
    (a, b, c), stretch = beside.measured(sessions)
    seconds = (stretch[1] - stretch[0]) / 1e6
    assert [session.scope for session in sessions] == ["process"] * 3
    # Of 70 W at rest each owner has a half, and each of two programs of one owner the half of that.
    # The driver's ticks tell activity with some noise.
    assert [one.energy_hnj / 2e9 / seconds for one in (a, b, c)] == pytest.approx([117.5, 317.5, 95], rel=0.12)
    assert abs(a.energy_hnj / 2e9 - 117.5 * seconds) < 2 * a.sigma_j
    assert 0.05 * a.energy_hnj < 2e9 * a.sigma_j < a.energy_hnj
    assert not a.flags & {"new-job", "short"}


def test_parts_add_up_to_what_the_owner_is_billed_to_the_last_integer(tmp_path):
    beside = Programs(tmp_path)
    processes = [beside.process_of(job) for job in "ab"]
    for process in processes:
        beside.asked_by(process)
    beside.until(beside.clock.now_us() + 3_000_000)
    begin, end = (beside.agent.windows[-k].end_us * 1000 for k in (2, 1))
    beside.until(beside.clock.now_us() + 14_000_000)
    end = beside.agent.windows[-4].end_us * 1000
    ask = {"op": "energy", "start_ns": begin, "end_ns": end}
    told = [beside.desk.answer(process, ask, beside.clock.now_us()) for process in processes]
    owner = beside.energies.between("user:1000/python", begin // 1000, end // 1000)
    assert sum(one["energy_hnj"] for one in told) == owner["energy_hnj"] > 0


def test_a_parent_is_told_what_it_started_and_what_has_it_alone_is_exact(tmp_path):
    beside = Programs(tmp_path)
    shell = beside.started_by(77, "a", "b")
    other = beside.started_by(78, uid=1001)
    mine, stranger = beside.asked_by(shell), beside.asked_by(other)
    (all_, nothing), stretch = beside.measured([mine, stranger])
    assert all_.energy_hnj / 2e9 == pytest.approx(435e-6 * (stretch[1] - stretch[0]), rel=0.02)
    assert "no GPU was used" in nothing.reason


def test_another_users_process_is_not_shown_although_it_was_started_by_the_caller(tmp_path):
    beside = Programs(tmp_path)
    su = beside.started_by(77, "a", "b", uid=1001)
    (found,), _ = beside.measured([beside.asked_by(su)], 5)
    assert "no GPU was used" in found.reason


def test_who_asks_changes_nobodys_bill(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    asked = Programs(tmp_path / "a")
    asked.measured([asked.asked_by(asked.process_of(job)) for job in "ab"], 5)
    alone = Programs(tmp_path / "b")
    alone.until(asked.clock.now_us() - asked.node.begun_us + alone.node.begun_us)
    assert bills(asked.agent.accounts) == bills(alone.agent.accounts)


def test_what_was_used_before_the_first_question_is_not_known(tmp_path):
    beside = Programs(tmp_path)
    process = beside.process_of("a")
    beside.asked_by(process)
    beside.until(beside.clock.now_us() + 6_000_000)
    end_ns = beside.agent.windows[-4].end_us * 1000
    reasons = []
    for start_ns in (0, end_ns - 9_000_000_000):
        ask = {"op": "energy", "start_ns": start_ns, "end_ns": end_ns}
        reasons.append(beside.desk.answer(process, ask, beside.clock.now_us())["reason"])
    assert reasons == ["before_the_agent", "unasked"]


def test_parents_are_followed_as_far_as_they_can_be_proved():
    """A real chain: the test, a shell, and a process whose first parent has ended."""
    child = subprocess.Popen(["sh", "-c", "sleep 30 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    grandchild = int(child.stdout.readline())
    ancestry, processes = Ancestry(Path("/proc")), Processes(Path("/proc"), lambda: 0, await_exits=False)
    process = processes.look(grandchild)
    found = [one.pid for one in ancestry.of(process)]
    assert found[:3] == [grandchild, child.pid, os.getpid()]
    assert ancestry.descends(grandchild, os.getpid())
    assert not ancestry.descends(os.getpid(), grandchild)
    child.kill()
    child.wait()
    assert child.pid not in [one.pid for one in ancestry.of(process)]
    os.kill(grandchild, signal.SIGKILL)
    # Who took the pid of a parent that ended began after its child.
    time.sleep(0.03)  # times of starts are told in hundredths of a second
    young = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.parent = young.pid
    while ancestry.lives(ancestry.of(process)[0]):
        pass
    assert [one.pid for one in ancestry.of(process)] == [grandchild]
    young.communicate(b"\n")
