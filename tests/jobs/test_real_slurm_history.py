"""Users of a real Slurm ask for their jobs: what they get, what they do not, and that the epilog says the same."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.jobs import real_slurm
from tests.jobs.test_real_slurm import SCRIPT, daemon, wait_for

pytestmark = pytest.mark.real
GPU = "--gres=gpu:1"


@pytest.fixture(scope="module")
def cluster():
    real_slurm.need()
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"wattshed-history-{os.getpid()}"
    folder.mkdir(mode=0o755)
    mapping, log = folder / "mapping", folder / "epilogs"
    log.mkdir()
    # What goes to syslog is kept: the script calls `logger` by its own PATH, so it is run with another one.
    (log / "logger").write_text(f"#!/bin/sh\ncat >>{log}/said\n")
    (log / "logger").chmod(0o755)
    script = log / "wattshed-jobs"
    script.write_text(SCRIPT.read_text().replace("\nPATH=", f"\nPATH={log}:", 1))
    script.chmod(0o755)
    line = f"WATTSHED_MAPPING_DIR={mapping} WATTSHED_URL=unix:{folder}/run/agent/api.sock {script}"
    try:
        with real_slurm.start(folder, mapping, f"{line} prolog", f"{line} epilog") as running:
            yield running, log / "said"
    finally:
        real_slurm.remove(folder)


AS_USER = """
import contextlib, io, os, sys
from wattshed.agent.__main__ import main
uid, argv = int(sys.argv[1]), sys.argv[2:]
# Once as root: what a command imports may be readable by root only.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    main(argv)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
sys.exit(main(argv))
"""


class Asker:
    """Asks an agent's socket as one user or another."""

    def __init__(self, socket):
        self._socket = socket

    def run(self, uid, *argv):
        """Run a command of wattshed; returns its exit code, its answer, and what it said."""
        command = [sys.executable, "-c", AS_USER, str(uid), *map(str, argv), "--url", f"unix:{self._socket}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def document(self, uid, *argv):
        code, answer, said = self.run(uid, *argv, "--json")
        assert code == 0, (argv, said)
        return json.loads(answer)

    def ended(self, *jobs):
        """Return what root is told of jobs, once their energy is what it will be."""

        def told():
            found = [self.document(0, "job", job)["job"] for job in jobs]
            return found if all(one["end_s"] is not None for one in found) else None

        return wait_for(told, 60)


def joules(documents):
    return sum(Decimal(one["energy_j"]) for one in documents)


def test_users_see_their_own_jobs_and_the_epilog_says_what_wattshed_job_says(cluster):
    cluster, epilogs = cluster
    user = pwd.getpwnam(cluster.user).pw_uid
    with daemon(cluster, cluster.run / "agent"):
        asker = Asker(cluster.run / "agent/api.sock")
        own = [cluster.submit("sleep 4", GPU, "-A", "physics", "-J", "mine") for _ in range(2)]
        wrap = ("sbatch", "--parsable", "-o", "/dev/null", GPU, "-A", "chemistry", "-J", "roots", "--wrap", "sleep 4")
        others = int(cluster.call(*wrap))
        for job in (*own, others):
            cluster.wait(job)
        wait_for(lambda: asker.run(0, "job", others)[0] == 0, 30)
        wait_for(lambda: len(asker.document(user, "jobs")["jobs"]) == 2, 30)
        jobs = asker.ended(*own, others)
        assert min(Decimal(job["energy_j"]) for job in jobs) > 100

        # One's own: all of it. Another's: as if there were none.
        mine = asker.document(user, "job", own[0])["job"]
        assert (mine["user"], mine["account"], mine["name"]) == (cluster.user, "physics", "mine")
        refused, never = asker.run(user, "job", others), asker.run(user, "job", 99999999)
        assert refused[:2] == (1, "")
        assert refused[2].replace(str(others), "N") == never[2].replace("99999999", "N")
        listed = asker.document(user, "jobs")["jobs"]
        assert {job["job"] for job in listed} == {f"slurm:{job}" for job in own}
        for choice in (("--account", "chemistry"), ("--user", "root"), ("--job", f"slurm:{others}"), ("--running",)):
            assert asker.document(user, "jobs", *choice)["jobs"] == []
        rows = asker.document(user, "report", "--by", "account")["rows"]
        assert [(row["name"], Decimal(row["energy_j"])) for row in rows] == [("physics", joules(listed))]

        # The account's report is the sum of its jobs.
        rows = {row["name"]: row for row in asker.document(0, "report", "--by", "account")["rows"]}
        for account, count in (("physics", 2), ("chemistry", 1)):
            of_account = asker.document(0, "jobs", "--account", account)["jobs"]
            assert len(of_account) == rows[account]["jobs"] == count
            assert Decimal(rows[account]["energy_j"]) == joules(of_account)

        # The epilog's number is the one that is told ever after.
        wait_for(lambda: epilogs.exists() and len(epilogs.read_text().splitlines()) == 3, 60)
        said = dict(re.findall(r"job (\d+) used (\S+) J", epilogs.read_text()))
        told = {str(job): asker.document(0, "job", job)["job"]["energy_j"] for job in (*own, others)}
        assert said == {job: f"{float(energy):.1f}" for job, energy in told.items()}


def test_the_tutorial_does_what_it_says(cluster):
    """docs/tutorials/slurm-cluster.md: its job is submitted as it says, and asked for as it says."""
    cluster, _ = cluster
    text = (Path(__file__).parents[2] / "docs/tutorials/slurm-cluster.md").read_text(encoding="utf-8")
    (submit, queue), (running, one) = (
        re.search(rf'^```sh title="{title}"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)[1].splitlines()
        for title in ("On a login node", "On the job's node")
    )
    user = pwd.getpwnam(cluster.user).pw_uid
    with daemon(cluster, cluster.run / "agent-of-the-tutorial"):
        asker = Asker(cluster.run / "agent-of-the-tutorial/api.sock")
        as_user = ("runuser", "-u", cluster.user, "--", "sh", "-c")
        told = cluster.call(*as_user, submit.replace("sleep 60", "sleep 8").replace("sbatch", "sbatch -o /dev/null", 1))
        job = re.fullmatch(r"Submitted batch job (\d+)\n", told)[1]
        cluster.wait(int(job))
        assert job in cluster.call(*as_user, queue)
        wait_for(lambda: job in asker.run(user, *running.split()[1:])[1], 30)
        command = one.replace("1234", job).split()[1:]
        assert command != one.split()[1:]
        code, answer, said = asker.run(user, *command)
        assert (code, said) == (0, "")
        assert answer.startswith(f"slurm:{job}  hello\n")
