"""Slurm 26.05's cgroups, really made: jobs are named by SLUIDs, users and processes are real, squeue takes its time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from wattshed.agent.jobs.delegation import mounts_of
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.window import Device, ProcessObservation

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a job's cgroup and become its user"),
]
DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=i) for i in range(2))
JOBS = {
    "501": ("sEKNKTV3WPV500", 2001, "shard:h100:2(2/8,0/8)", 0),
    "502": ("s5K1KKYAYG5D00", 2002, "shard:h100:6(6/8,0/8)", 0),
    "503": ("s8G5M22WGXB100", 2003, "gpu:h100:1(IDX:1)", 1),
}


def now():
    return time.time_ns() // 1000


def number(value):
    return {"set": True, "infinite": False, "number": value}


def queue():
    nodes = {"count": 1, "list": "na", "allocation": [{"index": 0, "name": "na"}]}
    return [
        {
            "job_id": int(job),
            "step_id": {"sluid": sluid, "job_id": number(int(job))},
            "user_id": uid,
            "job_state": ["RUNNING"],
            "nodes": "na",
            "gres_detail": [gres],
            "job_resources": {"nodes": nodes},
        }
        for job, (sluid, uid, gres, _) in JOBS.items()
    ]


@pytest.fixture
def processes():
    """One process a job, of the job's user, where slurmstepd would put it."""
    mounts = [Path(m.point) for m in mounts_of(Path("/proc/self/mountinfo").read_text()) if not m.controllers]
    scope = next((m for m in mounts if os.access(m, os.W_OK)), Path("/nowhere")) / "system.slice/slurmstepd.scope"
    children, made = {}, []
    try:
        for job, (sluid, uid, _, _) in JOBS.items():
            task = scope / sluid / "step_0/user/task_0"
            try:
                task.mkdir(parents=True)
            except OSError as error:
                pytest.skip(f"cgroup v2 cannot be written here: {error}")
            made.append(task)
            user = ["setpriv", f"--reuid={uid}", "--clear-groups", "sleep", "60"]
            children[job] = subprocess.Popen(user)
            (task / "cgroup.procs").write_text(str(children[job].pid))
        yield {job: child.pid for job, child in children.items()}
    finally:
        for child in children.values():
            child.kill()
            child.wait()
        for task in made:
            for folder in (task, *list(task.parents)[:3]):
                folder.rmdir()
        for folder in (scope, scope.parent):
            if folder.exists() and not any(one.is_dir() for one in folder.iterdir()):
                folder.rmdir()


def agent(tmp_path, takes_s, jobs, mapping):
    """Put a resolver together on a squeue that says these jobs after so many seconds."""
    (tmp_path / "queue.json").write_text(json.dumps({"jobs": jobs}))
    scripts = {
        "squeue": f"sleep {takes_s}; cat {tmp_path}/queue.json",
        "scontrol": "echo 'NodeName=na Gres=gpu:h100:2(S:0),shard:h100:16(S:0)'",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    folder = None
    if mapping:
        folder = tmp_path / "map"
        (folder / "jobs").mkdir(parents=True)
        for gpu in (0, 1):
            held = [job for job, (*_, on) in JOBS.items() if on == gpu]
            (folder / str(gpu)).write_text("".join(f"{job}\n" for job in held))
        for job, (_, uid, _, _) in JOBS.items():
            (folder / "jobs" / job).write_text(f"uid={uid}\n")
    slurm = Slurm(now, "na", folder, (str(tmp_path / "squeue"),), (str(tmp_path / "scontrol"),))
    return JobResolver(Processes(Path("/proc"), now), slurm)


class Windows:
    """Windows of a fifth of a second, in order; those that must wait for their owners do."""

    def __init__(self, resolver, pids):
        self.resolver, self.pids, self.last_us, self.held = resolver, pids, now(), []

    def turn(self):
        """Return who used the GPUs in the windows that were ready, as (key, GPU)."""
        time.sleep(0.2)
        start, end = self.last_us, now()
        self.last_us = end
        seen = [ProcessObservation(JOBS[job][3], pid, start, end, (end - start) // 4) for job, pid in self.pids.items()]
        self.held.append((seen, start, end))
        if not self.resolver.ready(seen, end):
            return set()
        found = set()
        for observations, a, b in self.held:
            owners, usage = self.resolver.resolve(observations, DEVICES, a, b)
            rows = zip(usage.gpu.tolist(), usage.owner.tolist(), usage.live.tolist(), strict=True)
            found |= {(owners[owner].key, gpu) for gpu, owner, live in rows if live}
        self.held = []
        return found


RIGHT = {(f"slurm:{job}", gpu) for job, (*_, gpu) in JOBS.items()}


@pytest.mark.parametrize("mapping", [True, False])
@pytest.mark.parametrize("takes_s", [0, 3])
def test_no_window_of_a_starting_agent_is_billed_to_anything_but_the_jobs(tmp_path, processes, takes_s, mapping):
    windows = Windows(agent(tmp_path, takes_s, queue(), mapping), processes)
    found, until = set(), time.monotonic() + takes_s + 8
    while found < RIGHT and time.monotonic() < until:
        found |= windows.turn()
    for _ in range(3):
        found |= windows.turn()
    windows.resolver.close()
    assert found == RIGHT


def test_a_job_that_the_queue_learns_of_later(tmp_path, processes):
    windows = Windows(agent(tmp_path, 0, [], mapping=False), processes)
    found, until = set(), time.monotonic() + 10
    while not found and time.monotonic() < until:
        found = windows.turn()
    assert found == {(f"slurm:{sluid}", gpu) for sluid, _, _, gpu in JOBS.values()}
    (tmp_path / "queue.json").write_text(json.dumps({"jobs": queue()}))
    until = time.monotonic() + 40
    while found != RIGHT and time.monotonic() < until:
        found = windows.turn()
    windows.resolver.close()
    assert found == RIGHT
