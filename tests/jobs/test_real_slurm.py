"""A real Slurm with our prolog and epilog: real jobs, real cgroups, and the joules of a simulated meter."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jobs import real_slurm
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.window import Device, ProcessObservation

pytestmark = pytest.mark.real
SCRIPT = Path(__file__).parents[2] / "deploy/slurm/wattshed-jobs"
DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=i) for i in range(real_slurm.GPUS))
GPU, SHARD = "--gres=gpu:1", "--gres=shard:2"


def now():
    return time.time_ns() // 1000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    real_slurm.need()
    # The jobs' user must be able to reach its own folders: pytest's are for root alone.
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"wattshed-slurm-{os.getpid()}"
    mapping = folder / "mapping"
    lines = f"WATTSHED_MAPPING_DIR={mapping} WATTSHED_URL=http://127.0.0.1:1 {SCRIPT}"
    folder.mkdir(mode=0o755)
    try:
        with real_slurm.start(folder, mapping, f"{lines} prolog", f"{lines} epilog") as running:
            yield running
    finally:
        real_slurm.remove(folder)


@pytest.fixture
def slurm(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    made = Slurm(now, cluster.node, cluster.mapping)
    yield made
    made.close()


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def gpu_of(cluster, job):
    """Where the prolog said that a job is."""
    files = [f for f in cluster.mapping.iterdir() if f.name.isdecimal() and str(job) in f.read_text().split()]
    return int(files[0].name) if files else None


def look(resolver, cluster, jobs, sm=1000):
    """One window: every process of these jobs is seen on its job's GPU."""
    end = now()
    observations = [
        ProcessObservation(gpu_of(cluster, job), pid, end - 500_000, end, sm)
        for job in jobs
        for pid in cluster.pids(job)
    ]
    return resolver.resolve(observations, DEVICES, end - 500_000, end)


def test_batch_array_steps_and_shards(cluster, slurm):
    resolver = JobResolver(Processes(Path("/proc"), now), slurm)
    batch = cluster.submit("srun sleep 60", GPU, "-A", "physics", "-J", "tr\x1b[31main")
    array = cluster.submit("sleep 60", GPU, "--array=3-4", "-A", "chemistry")
    shards = [cluster.submit("sleep 60", SHARD, "-A", account) for account in ("one", "two")]
    running = ("squeue", "-h", "-r", "-t", "R", "-j", str(array), "-o", "%A")
    tasks = wait_for(lambda: len(ids := cluster.call(*running).split()) == 2 and [int(task) for task in ids])
    jobs = [batch, *tasks, *shards]
    for job in jobs:
        cluster.wait(job)
    wait_for(lambda: all(len(cluster.pids(job)) >= 2 for job in jobs))
    wait_for(lambda: all(slurm.labels(str(job)).get("name") for job in jobs))
    look(resolver, cluster, jobs)
    time.sleep(0.6)
    owners, usage = look(resolver, cluster, jobs)
    found = {owner.key: owner.labels for owner in owners}
    assert set(found) == {f"slurm:{job}" for job in jobs}
    assert {labels["user"] for labels in found.values()} == {real_slurm.USER}
    assert [found[f"slurm:{job}"]["account"] for job in jobs] == ["physics", "chemistry", "chemistry", "one", "two"]
    assert found[f"slurm:{batch}"]["name"] == "tr\\x1b[31main"
    assert sorted(found[f"slurm:{task}"]["array"] for task in tasks) == [f"{array}_3", f"{array}_4"]
    live = {owners[usage.owner[i]].key: i for i in range(len(usage.gpu)) if usage.live[i]}
    assert len(live) == 5
    # both shard jobs are on one GPU, with the share that Slurm counted: 2 of 8
    assert len({int(usage.gpu[live[f"slurm:{job}"]]) for job in shards}) == 1
    assert {int(usage.share_ppm[live[f"slurm:{job}"]]) for job in shards} == {2 * 1_000_000 // real_slurm.SHARDS}
    assert {int(usage.share_ppm[live[f"slurm:{job}"]]) for job in (batch, *tasks)} == {1_000_000}
    # the srun step and the batch script are one job, their activity added
    assert int(usage.activity_us[live[f"slurm:{batch}"]]) == 1000 * len(cluster.pids(batch))
    for job in jobs:
        cluster.call("scancel", str(job))
    wait_for(lambda: not [f for f in cluster.mapping.iterdir() if f.name.isdecimal()])
    wait_for(lambda: not slurm.reservations(DEVICES, now(), now() + 1))
    resolver.close()


def test_a_job_that_ends_between_two_samples_is_known_with_user_and_account(cluster, slurm):
    resolver = JobResolver(Processes(Path("/proc"), now), slurm)
    start = now()
    job = cluster.submit("sleep 0.2", GPU, "-A", "physics")
    wait_for(lambda: slurm.events >= 2)
    owners, usage = resolver.resolve([], DEVICES, start, now())
    assert [owner.key for owner in owners] == [f"slurm:{job}"]
    assert owners[0].labels["user"] == real_slurm.USER
    assert owners[0].labels["account"] == "physics"
    assert usage.share_ppm.tolist() == [1_000_000]
    assert 200_000 < int(usage.end_us[0] - usage.start_us[0]) < 10_000_000
    resolver.close()


def test_held_without_any_process_on_the_gpu(cluster, slurm):
    job = cluster.submit("sleep 30", "--gres=gpu:2", "-A", "physics")
    cluster.wait(job)
    wait_for(lambda: len(slurm.reservations(DEVICES, now() - 1, now())) == 2)
    end = now()
    _, usage = JobResolver(Processes(Path("/proc"), now), slurm).resolve([], DEVICES, end - 1000, end)
    assert usage.live.tolist() == [0, 0]
    assert usage.share_ppm.tolist() == [1_000_000, 1_000_000]
    wait_for(lambda: len(cluster.pids(job)) >= 2)  # a job that is only starting is killed after KillWait, 30 s
    cluster.call("scancel", str(job))
    wait_for(lambda: not slurm.reservations(DEVICES, now(), now() + 1))


def test_the_queue_alone_knows_the_same(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    jobs = [cluster.submit("sleep 30", option, "-A", "physics") for option in (GPU, SHARD)]
    for job in jobs:
        cluster.wait(job)
    alone = Slurm(now, cluster.node, None)
    wait_for(lambda: len(alone.reservations(DEVICES, 0, 1)) == 2)
    wait_for(lambda: all(gpu_of(cluster, job) is not None for job in jobs))  # the queue may be before the prolog
    found = {r.owner.key: (r.gpu, r.share_ppm, r.uid > 0) for r in alone.reservations(DEVICES, 0, 1)}
    assert found == {
        f"slurm:{jobs[0]}": (gpu_of(cluster, jobs[0]), 1_000_000, True),
        f"slurm:{jobs[1]}": (gpu_of(cluster, jobs[1]), 250_000, True),
    }
    alone.close()
    for job in jobs:
        cluster.call("scancel", str(job))


@contextmanager
def daemon(cluster, folder, mapping=None, *squeue):
    """The whole agent; it becomes ``nobody`` and reads the node without any capability."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir()
    argv = [sys.executable, str(Path(__file__).with_name("agent_on_slurm.py"))]
    argv += [str(mapping or cluster.mapping), cluster.node, str(folder), address, *map(str, squeue)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=cluster.env, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or "ready" in (folder / "log").read_text(), 60)
        assert process.poll() is None, (folder / "log").read_text()
        yield f"http://{address}", folder / "log"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()


def scrape(url):
    """Samples by name: (labels, value)."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    samples = defaultdict(list)
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        samples[name].append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))
    return samples


def keeps_the_law(found):
    """The jobs' joules and those of ended ones are the GPUs', to the last."""
    per_gpu = defaultdict(float)
    for name in ("wattshed_job_energy_joules_total", "wattshed_ended_jobs_energy_joules_total"):
        for labels, joules in found[name]:
            per_gpu[labels["gpu_uuid"]] += joules
    for labels, joules in found["wattshed_gpu_energy_joules_total"]:
        assert per_gpu[labels["gpu_uuid"]] == pytest.approx(joules, rel=1e-6)


def test_the_daemon_bills_real_jobs_to_the_last_joule(cluster):
    with daemon(cluster, cluster.run / "agent") as (url, log):
        whole = cluster.submit("sleep 60", GPU, "-A", "physics")
        shards = [cluster.submit("sleep 60", SHARD, "-A", account) for account in ("one", "two")]
        for job in (whole, *shards):
            cluster.wait(job)
        short = cluster.submit("sleep 0.2", GPU, "-A", "brief")
        jobs = {whole: "physics", shards[0]: "one", shards[1]: "two", short: "brief"}

        def shown():
            with urllib.request.urlopen(f"{url}/api/v1/snapshot", timeout=5) as answer:
                found = {job["job"]: job for job in json.load(answer)["jobs"]}
            return {job: found.get(f"slurm:{job}", {}) for job in jobs}

        def billed():
            found = shown()
            return all(j.get("energy_j", 0) > 0 and j["labels"].get("account") for j in found.values()) and found

        before = wait_for(billed, 40)
        found = scrape(f"{url}/metrics")
        keeps_the_law(found)
        info = {labels["job"]: labels for labels, _ in found["wattshed_job_info"]}
        for job, account in jobs.items():
            assert info[f"slurm:{job}"]["account"] == account
            assert info[f"slurm:{job}"]["user"] == real_slurm.USER
        # Two equal shard jobs on one busy GPU pay alike; a whole one as busy costs as much as both and the rest.
        time.sleep(5)
        after = shown()
        used = {job: after[job]["energy_j"] - before[job]["energy_j"] for job in (whole, *shards)}
        one, two = (used[job] for job in shards)
        assert one == pytest.approx(two, rel=0.1)
        assert 0.9 * (one + two) < used[whole] < 2 * (one + two)
        # What the job itself is told at its end.
        told = {"SLURM_JOB_ID": str(whole), "WATTSHED_URL": url, "WATTSHED_MAPPING_DIR": str(cluster.mapping)}
        line = subprocess.run([SCRIPT, "report"], env=told, capture_output=True, text=True, check=True).stdout
        assert after[whole]["energy_j"] - 0.1 <= float(re.search(r"used (\S+) J", line)[1])
        for job in jobs:
            subprocess.run(["scancel", str(job)], env=cluster.env, check=False)
        assert "uid 65534, capabilities 0\n" in log.read_text()
        # The driver may name a process that ended that moment; what it used stays with its job, as is asserted above.
        assert not [line for line in log.read_text().splitlines() if " error " in line and "unknown_pid" not in line]
