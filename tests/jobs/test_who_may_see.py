"""Whose job it is, as the history takes it: by the kernel's or root's word, never by what a user writes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.jobs.fake_proc import FakeProc
from tests.jobs.test_resolve import DEVICES, HEX, SECOND, SLURM, T0, UID, Clock, Granted, hold, seen
from tests.jobs.test_slurm import now, script, wait_for
from wattshed.agent.accounts.ledger import JobAccount
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.queue import QueuedJob
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.window import uid_of

PROLOG = Path(__file__).parents[2] / "deploy/slurm/wattshed-jobs"


def seen_by(owner):
    """The user that may see an owner's job, as its account tells the history; -1 for administrators only."""
    return JobAccount(owner.key, dict(owner.labels)).uid


def owner_at(tmp_path, cgroup, uid=1000, scheduler=None, **process):
    proc = FakeProc(tmp_path / "proc")
    proc.start(10, cgroup, uid=uid, **process)
    resolver = JobResolver(Processes(proc.root, Clock()), scheduler)
    (owner,), _ = resolver.resolve([seen(10)], DEVICES, T0, T0 + SECOND)
    return owner


@pytest.mark.parametrize(
    ("cgroup", "uid"),
    [
        # Slurm: the path of cgroup v1 names the user, that of v2 does not; the process's own user is not asked.
        ("/slurm/uid_1001/job_7/step_0/task_0", 1001),
        (SLURM.format(7), -1),
        # Other batch systems: the path, or whom the manager started the job as.
        ("/oar.slice/oar-u1002.slice/oar-u1002-j7", 1002),
        ("/pbs_jobs.service/jobid/7.pbs", 1000),
        ("/user.slice/user-1003.slice/session-3.scope", 1003),
        ("/user.slice/user-1003.slice/user@1003.service/app.slice/jupyter.service", 1003),
        (f"/user.slice/user-1003.slice/user@1003.service/user.slice/libpod-{HEX}.scope", 1003),
        ("/", 1000),
        # Nobody's in particular: services of the machine, containers of root's engine, pods, guests.
        ("/system.slice/vllm.service", -1),
        (f"/docker/{HEX}", -1),
        (f"/kubepods/pod{UID}/{HEX}", -1),
        ("/machine.slice/machine-qemu\\x2d2\\x2dvm.scope", -1),
    ],
)
def test_by_where_the_kernel_has_the_process(tmp_path, cgroup, uid):
    assert seen_by(owner_at(tmp_path, cgroup)) == uid


def test_slurms_word_counts_where_the_path_has_no_user_and_the_paths_where_it_has(tmp_path):
    told = Granted(labels={"7": {"user": "bob", "uid": "1005"}})
    assert seen_by(owner_at(tmp_path, SLURM.format(7), scheduler=told)) == 1005
    other = tmp_path / "other"
    other.mkdir()
    assert seen_by(owner_at(other, "/slurm/uid_1001/job_7/step_0/task_0", scheduler=told)) == 1001


def test_a_user_cannot_write_whose_job_it_is(tmp_path):
    """Environment, program and a unit of their own say nothing of the user."""
    owner = owner_at(
        tmp_path, "/user.slice/user-1000.slice/user@1000.service/app.slice/uid=0.service",
        env=["uid=0", "SLURM_JOB_UID=0"], argv=("uid=0\nuid=0",), comm="uid=0",
    )  # fmt: skip
    assert (owner.key, seen_by(owner)) == ("user:1000/uid=0.service", 1000)


def test_a_container_that_a_job_is_taken_to_have_started_is_the_jobs_users(tmp_path):
    held = Granted(hold(0, "slurm:7", uid=1005), labels={"7": {"uid": "1005"}})
    owner = owner_at(tmp_path, f"/docker/{HEX}", scheduler=held)
    assert (owner.key, seen_by(owner)) == ("slurm:7", 1005)


def test_the_queue_alone_says_whose_where_and_which_run(tmp_path):
    job = {
        "job_id": 7, "user_id": 1000, "user_name": "alice", "account": "physics", "partition": "gpu", "qos": "normal",
        "job_state": ["RUNNING"], "nodes": "n1,n2", "node_count": {"set": True, "number": 2}, "cluster": "east",
        "restart_cnt": 3, "gres_detail": ["gpu:1(IDX:0)", "gpu:1(IDX:0)"],
    }  # fmt: skip
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"jobs": [job]}))
    slurm = Slurm(now, "n1", None, script(tmp_path, "squeue", f"cat {answer}"), ())
    wait_for(lambda: slurm.reservations(DEVICES, 0, 10))
    assert slurm.labels("7") == {
        "user": "alice", "uid": "1000", "account": "physics", "partition": "gpu", "qos": "normal", "cluster": "east",
        "nodes": "2", "restart": "3",
    }  # fmt: skip
    (held,) = slurm.reservations(DEVICES, 0, 10)
    assert seen_by(held.owner) == 1000
    slurm.close()


def test_a_job_that_is_completing_still_has_all_its_nodes_and_the_next_run_its_own():
    running = QueuedJob({"nodes": "12", "user": "alice"}, gpus={0: 1}, here=True)
    completing = QueuedJob({"nodes": "3", "user": "alice"}, here=False).after(running)
    assert (completing.labels, completing.gpus) == ({"nodes": "12", "user": "alice"}, {0: 1})
    again = QueuedJob({"nodes": "3", "restart": "1"}, gpus={1: 1}, here=True).after(completing)
    assert (again.labels, again.gpus) == ({"nodes": "3", "restart": "1"}, {1: 1})
    assert QueuedJob({}, here=False).after(QueuedJob({})).labels == {}


def test_the_prolog_writes_what_totals_of_all_nodes_need(tmp_path):
    (tmp_path / ".gpus").write_text("- - -\n")
    given = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "1000", "SLURM_JOB_NUM_NODES": "4", "SLURM_CLUSTER_NAME": "east"}
    for restarts, told in (("0", {}), ("2", {"restart": "2"})):
        env = {
            **given,
            "SLURM_JOB_RESTART_COUNT": restarts,
            "WATTSHED_MAPPING_DIR": str(tmp_path),
            "SLURM_JOB_GPUS": "0",
        }
        subprocess.run([PROLOG, "prolog"], env=env, check=True)
        mapping = MappingDirectory(tmp_path, now)
        mapping.scan()
        assert mapping.labels("7") == {"uid": "1000", "cluster": "east", "nodes": "4", **told}


def test_a_word_of_root_that_is_no_user_id_is_nobodys(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "0").write_text("7\n8 1008\n")
    (tmp_path / "jobs/7").write_text("uid=99999999999999999999\nuser=eve\n")
    (tmp_path / "jobs/8").write_text("uid=alice\n")
    slurm = Slurm(now, "n1", tmp_path, (), ())
    wait_for(lambda: slurm.events == 2)
    found = {r.owner.key: seen_by(r.owner) for r in slurm.reservations(DEVICES, now() - 1, time.time_ns() // 1000)}
    assert found == {"slurm:7": -1, "slurm:8": 1008}
    slurm.close()


def test_user_ids_are_32_bits_and_decimal():
    texts = ("0", "1000", "4294967294", "4294967295", "10000000000", "", "-1", "unknown", "1e3", "\u0661", " 1")
    assert [uid_of(text) for text in texts] == [0, 1000, 4_294_967_294, -1, -1, -1, -1, -1, -1, -1, -1]
