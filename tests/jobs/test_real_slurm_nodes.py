"""Two slurmd on this machine: nobody pays on one node for what runs on the other, whatever Slurm's commands do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs import real_slurm
from tests.jobs.test_real_slurm import DEVICES, GPU, SCRIPT, daemon, keeps_the_law, now, scrape, wait_for
from wattshed.agent.jobs.slurm import Slurm

pytestmark = pytest.mark.real

# What Slurm says since 23.11.2: for each GPU the job's shards and all.
NEW_SPELLING = r"""squeue "$@" | sed -E \
  -e 's#shard:h100:([0-9]+)\(IDX:0\)#shard:h100:\1(\1/8,0/8,0/8,0/8)#g' \
  -e 's#shard:([0-9]+)\(IDX:0\)#shard:\1(\1/8,0/8,0/8,0/8)#g' """


@pytest.fixture(scope="module")
def cluster():
    real_slurm.need()
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"wattshed-nodes-{os.getpid()}"
    lines = f"WATTSHED_MAPPING_DIR={folder}/mapping-$SLURMD_NODENAME WATTSHED_URL=http://127.0.0.1:1 {SCRIPT}"
    folder.mkdir(mode=0o755)
    try:
        with real_slurm.start(folder, folder / "x", f"{lines} prolog", f"{lines} epilog", "ab") as running:
            mapping = folder / f"mapping-{running.nodes[0]}"
            mapping.mkdir()
            yield replace(running, mapping=mapping)
    finally:
        real_slurm.remove(folder)


@pytest.fixture
def submit(cluster):
    """Submit to a node, wait until it runs; cancelled at the end."""
    jobs = []

    def begin(what, node, *more):
        jobs.append(cluster.submit("sleep 100", what, "-w", cluster.nodes[node], *more))
        cluster.wait(jobs[-1])
        return jobs[-1]

    yield begin
    for job in jobs:
        subprocess.run(["scancel", str(job)], env=cluster.env, check=False)
    wait_for(lambda: not cluster.call("squeue", "-h"), 30)


@pytest.fixture
def slurm(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    made = []

    def begin(mapping=True, node=None, **commands):
        made.append(Slurm(now, node or cluster.nodes[0], cluster.mapping if mapping else None, **commands))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def commands(folder, name, squeue="squeue", scontrol="scontrol"):
    """A squeue and a scontrol beside each other, made of the real ones."""
    where = folder / name
    where.mkdir()
    for command, line in (("squeue", squeue), ("scontrol", scontrol)):
        (where / command).write_text(f"#!/bin/sh\n{line if ' ' in line else line + ' ' + chr(34) + '$@' + chr(34)}\n")
        (where / command).chmod(0o755)
    return {"squeue": (str(where / "squeue"),), "scontrol": (str(where / "scontrol"),)}


def held(slurm):
    at = now() + 1
    return {(r.owner.key, r.gpu): r.share_ppm for r in slurm.reservations(DEVICES, at, at + 1)}


def joules(url, job):
    """By GPU."""
    samples = scrape(f"{url}/metrics")["wattshed_job_energy_joules_total"]
    found = {}
    for labels, value in samples:
        if labels["job"] == f"slurm:{job}":
            found[labels["gpu_uuid"]] = found.get(labels["gpu_uuid"], 0.0) + value
    return found


def test_agents_bill_their_nodes_jobs_alone_and_shards_by_what_they_are(cluster, submit):
    new = commands(cluster.run, "new", NEW_SPELLING)["squeue"]
    with ExitStack() as running:
        agents = [
            running.enter_context(daemon(cluster, cluster.run / "a", cluster.mapping)),
            running.enter_context(daemon(cluster, cluster.run / "b", "-")),
            running.enter_context(daemon(cluster, cluster.run / "c", "-", *new)),
        ]
        others = [submit(GPU, 1), submit(GPU, 1), submit("--gres=shard:2", 1)]
        both = submit(GPU, 0, "-N2", "-w", ",".join(cluster.nodes))
        six, two = submit("--gres=shard:6", 0), submit("--gres=shard:2", 0)
        own = (both, six, two)
        urls = [url for url, _ in agents]
        wait_for(lambda: all(joules(url, job) for url in urls for job in own), 30)
        time.sleep(3)  # shares are known by then
        before = [{job: sum(joules(url, job).values()) for job in own} for url in urls]
        time.sleep(6)
        for url, early in zip(urls, before, strict=True):
            used = {job: sum(joules(url, job).values()) - early[job] for job in own}
            # Only the first agent sees processes, and sees both as busy; on the others all is idle power, by share.
            if url != urls[0]:
                assert used[six] / (used[six] + used[two]) == pytest.approx(0.75, abs=0.03)
            assert [len(joules(url, job)) for job in own] == [1, 1, 1]
            assert not any(joules(url, job) for job in others)
            found = scrape(f"{url}/metrics")
            shown = {labels["job"] for labels, _ in found["wattshed_job_info"]}
            assert not shown & {f"slurm:{job}" for job in others}
            keeps_the_law(found)
        assert not any(" error " in log.read_text() for _, log in agents)


@pytest.mark.parametrize("spelling", ["squeue", NEW_SPELLING], ids=["old", "new"])
@pytest.mark.parametrize("mapping", [True, False], ids=["mapping", "queue alone"])
def test_shares_are_right_within_seconds(cluster, submit, slurm, tmp_path, mapping, spelling):
    made = slurm(mapping, **commands(tmp_path, "commands", spelling))
    six, two = submit("--gres=shard:6", 0), submit("--gres=shard:2", 0)
    wanted = {(f"slurm:{six}", 0): 750_000, (f"slurm:{two}", 0): 250_000}
    # A job that is new, by the mapping directory or by its processes, hurries the queue.
    wait_for(lambda: made.labels(str(two)) and held(made) == wanted, 5)


def test_a_slow_squeue_and_a_failing_scontrol_cost_no_more_than_their_time(cluster, submit, slurm, tmp_path):
    six, two = submit("--gres=shard:6", 0), submit("--gres=shard:2", 0)
    made = slurm(**commands(tmp_path, "slow", f"sleep 3; {NEW_SPELLING}", "echo down >&2; exit 1"))
    wait_for(lambda: len(held(made)) == 2)
    assert not made.answered
    assert set(held(made).values()) == {-1}
    wanted = {(f"slurm:{six}", 0): 750_000, (f"slurm:{two}", 0): 250_000}
    wait_for(lambda: held(made) == wanted, 8)
    assert made.faults()["scontrol"] >= 1


def test_slurm_is_asked_which_of_its_nodes_this_is(cluster, submit, slurm):
    job = submit(GPU, 0)
    host = os.uname().nodename
    # Both nodes are on this host: its name tells neither, and nothing is taken for ours.
    made = slurm(False, host)
    wait_for(lambda: made.answered and made.faults().get("scontrol"))
    assert made.labels(str(job))["user"] == real_slurm.USER
    assert held(made) == {}


def test_while_slurmctld_is_away_what_is_known_stays(cluster, submit, slurm):
    job = submit(GPU, 0)
    alone, mapped = slurm(False), slurm()
    place = next(iter(wait_for(lambda: held(alone))))
    assert place[0] == f"slurm:{job}"
    wait_for(lambda: held(mapped) == {place: 1_000_000} and mapped.answered)
    cluster.stop("slurmctld")
    try:
        for one in (alone, mapped):
            one.job_of("sEKNKTV3WPV500")  # makes it ask
        wait_for(lambda: alone.faults().get("squeue") and mapped.faults().get("squeue"), 25)
        assert held(alone) == held(mapped) == {place: 1_000_000}
    finally:
        cluster.daemon("slurmctld")
    wait_for(lambda: cluster.call("squeue", "-h"), 20)
    other = submit(GPU, 0)
    for one in (alone, mapped):
        wait_for(lambda one=one: {key for key, _ in held(one)} == {f"slurm:{job}", f"slurm:{other}"}, 20)


def test_a_line_of_a_job_that_is_gone_is_not_believed(cluster, submit, slurm):
    made = slurm()
    stale = cluster.mapping / "0"
    (cluster.mapping / ".x").write_text("999\n")
    (cluster.mapping / ".x").rename(stale)
    (cluster.mapping / "jobs").mkdir(exist_ok=True)
    (cluster.mapping / "jobs/999").write_text("user=ghost\nuid=4242\n")
    job = submit(f"--gres=gpu:{real_slurm.GPUS}", 0)
    wait_for(lambda: stale.read_text().split() == ["999", str(job)])
    wait_for(lambda: held(made) == {(f"slurm:{job}", gpu): 1_000_000 for gpu in range(real_slurm.GPUS)}, 12)
    stale.unlink()
    shutil.rmtree(cluster.mapping / "jobs")
