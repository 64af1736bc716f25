"""Real jobs in a real slurmdbd: what is written of them, where sacct then shows it, and what is left alone."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.collect.test_write_back import Runs
from tests.jobs import real_slurm
from wattshed.agent.collect.write_back import FinishedRun, SlurmAccounting, WriteBack
from wattshed.agent.errors import Faults

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cluster():
    real_slurm.need("slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sacctmgr")
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"wattshed-slurmdbd-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        with real_slurm.start(folder, folder / "mapping", accounting=True) as running:
            yield running
    finally:
        real_slurm.remove(folder)


@pytest.fixture
def accounting(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    return SlurmAccounting(threading.Event())


def now():
    return time.time_ns() // 1000


def ran(cluster, job, start_us):
    """A run of a job that is over, as its hosts told of it."""
    cluster.wait(job, "COMPLETED")
    return FinishedRun(job, str(job), "wattshed", start_us, now(), 7_200_000_000_001, 12.5, 1, 1)


def comments(cluster, *jobs):
    """What sacct shows, by Slurm's number of the job."""
    options = ["-a", "-X", "-P", "-n", "--format=JobIDRaw,AdminComment"]
    text = cluster.call("sacct", *options, "-j", ",".join(map(str, jobs)))
    return dict(line.split("|", 1) for line in text.splitlines())


def write(runs, accounting):
    """Go round until all is settled: slurmdbd hears of an end a moment later."""
    faults = Faults()
    back = WriteBack(runs, accounting, faults, lambda seconds: bool(time.sleep(seconds)))
    give_up = time.monotonic() + 30
    while runs.waiting and time.monotonic() < give_up:
        back.step()
        time.sleep(0.1)
    return runs.settled, faults.counts


def test_one_job_one_task_of_an_array_and_what_is_anothers(cluster, accounting):
    start = now()
    plain, foreign = (cluster.submit("sleep 0.2", "--gres=gpu:1") for _ in range(2))
    array = cluster.submit("sleep 0.2", "--array=3-4")
    runs = [ran(cluster, job, start) for job in (plain, foreign, array)]
    give_up = time.monotonic() + 20
    while len(known := comments(cluster, plain, foreign, array)) < 4 and time.monotonic() < give_up:
        time.sleep(0.1)
    assert set(known.values()) == {""}
    accounting.write("wattshed", str(foreign), "JS1:H4sIAAAAAAAA")
    settled, faults = write(Runs({one.number: one for one in runs}), accounting)
    assert settled == {plain: "written", foreign: "foreign", array: "written"}
    assert not faults
    found = comments(cluster, plain, foreign, array)
    comment = "wattshed:energy_j=3600.0000000005;sigma_j=12.5;gpus=1;hosts=1"
    others = {job: text for job, text in found.items() if job not in {str(plain), str(foreign), str(array)}}
    assert (found[str(plain)], found[str(array)]) == (comment, comment)
    assert found[str(foreign)].startswith("js1:"), "as it was: this Slurm writes in lower case"
    assert list(others.values()) == [""], "the array's other task is a job of its own"


def test_a_run_that_was_requeued_has_no_place_and_the_last_one_has(cluster, accounting):
    start = now()
    job = cluster.submit("sleep 1", "--requeue")
    cluster.wait(job)
    cluster.call("scontrol", "requeue", str(job))
    first = FinishedRun(1, str(job), "wattshed", start, now(), 2_000_000_000, 1.0, 1, 1)
    time.sleep(7)
    again = now()
    cluster.call("scontrol", "update", f"jobid={job}", "StartTime=now")  # Slurm would wait for two minutes
    second = replace(ran(cluster, job, again), number=2, energy_hnj=4_000_000_000)
    settled, _ = write(Runs({1: first, 2: second}), accounting)
    assert settled == {1: "older", 2: "written"}
    assert comments(cluster, job)[str(job)].startswith("wattshed:energy_j=2;")


def test_while_slurmdbd_is_down_it_is_tried_again(cluster, accounting):
    start = now()
    job = cluster.submit("sleep 0.2")
    runs = Runs({job: ran(cluster, job, start)})
    cluster.stop("slurmdbd")
    back = WriteBack(runs, accounting, faults := Faults(), lambda seconds: False)
    back.step()
    assert (runs.settled, faults.counts) == ({}, {"write_back": 1})
    cluster.daemon("slurmdbd")
    settled, _ = write(runs, accounting)
    assert settled == {job: "written"}
    assert comments(cluster, job)[str(job)].startswith("wattshed:")
