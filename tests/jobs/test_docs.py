"""docs/jobs.md cannot rot: its files exist, and the scripts do what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/jobs.md").read_text()


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"deploy/slurm/[\w.-]+", TEXT))
    assert "deploy/slurm/wattshed-jobs" in named
    for name in named:
        assert (ROOT / name).exists()
        assert os.access(ROOT / name, os.X_OK)


SCRIPT = ROOT / "deploy/slurm/wattshed-jobs"
SNAPSHOT = """{"schema":"wattshed.snapshot/1","jobs":[
{"job":"slurm:77","labels":{"name":"{\\"job\\":\\"slurm:7\\"},{\\"energy_j\\":5"},"method":"","energy_j":1.0,"gpus":{}},
{"job":"slurm:7","labels":{"name":"x{y"},"method":"alone","energy_j":3600.125,"static_j":1.0,"gpus":{}},
{"job":"_idle","labels":{},"energy_j":9.0}]}"""


@pytest.fixture
def script(tmp_path):
    """Run the script as Slurm would, with stand-ins for curl and nvidia-smi first on its path."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    (stand_ins / "curl").write_text(f"#!/bin/sh\ncat <<'X'\n{SNAPSHOT}\nX\n")
    (stand_ins / "logger").write_text("#!/bin/sh\ncat >/dev/null\n")
    (stand_ins / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path}/smi\n")
    for one in stand_ins.iterdir():
        one.chmod(0o755)
    (tmp_path / "smi").write_text("")
    copy = tmp_path / "wattshed-jobs"
    copy.write_text(SCRIPT.read_text().replace("\nPATH=", f"\nPATH={stand_ins}:"))

    def run(verb, **environ):
        given = {"WATTSHED_MAPPING_DIR": str(tmp_path / "map"), "PATH": "/usr/bin:/bin", **environ}
        done = subprocess.run(["/bin/sh", copy, verb], env=given, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.returncode == 0
        return done.stdout

    run.map = tmp_path / "map"
    run.smi = tmp_path / "smi"
    return run


def holds(folder):
    return {f.name: f.read_text().split() for f in folder.iterdir() if f.name[0].isdecimal()}


def test_two_jobs_take_and_leave(script):
    script("prolog", SLURM_JOB_ID="7", SLURM_JOB_GPUS="0,2", SLURM_JOB_USER="bob", SLURM_JOB_NAME="a\nuser=root")
    script("prolog", SLURM_JOB_ID="8", SLURM_JOB_GPUS="2")
    script("prolog", SLURM_JOB_ID="8", SLURM_JOB_GPUS="2")
    assert holds(script.map) == {"0": ["7"], "2": ["7", "8"]}
    assert (script.map / "jobs/7").read_text() == "user=bob\nname=a user=root\n"
    script("epilog", SLURM_JOB_ID="7")
    assert holds(script.map) == {"2": ["8"]}
    script("epilog", SLURM_JOB_ID="8")
    assert holds(script.map) == {}
    assert {f.name for f in script.map.iterdir()} == {".gpus", ".lock", "jobs"}


INSTANCE = """\
    MIG Devices
        MIG Device
            Index                         : 0
            GPU Instance ID               : 3
            MIG UUID                      : MIG-aaaa-1
"""
SMI = """
GPU 00000000:1B:00.0
    GPU UUID                              : GPU-first
    Minor Number                          : 1
GPU 00000000:9A:00.0
    GPU UUID                              : GPU-second
    Minor Number                          : 0
"""


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"SLURM_JOB_GPUS": "0"}, {"1"}),
        ({"SLURM_JOB_GPUS": "1"}, {"0"}),
        ({"SLURM_JOB_GPUS": "0,1"}, {"0", "1"}),
        ({"SLURM_STEP_GPUS": "1"}, {"0"}),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "0"}, {"1"}),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "GPU-first,GPU-second"}, {"0", "1"}),
        ({}, set()),
        ({"SLURM_JOB_GPUS": "$(touch /tmp/x),../../etc"}, set()),
    ],
)
def test_gpus_are_named_by_nvmls_index(script, environ, files):
    script.smi.write_text(SMI)
    script("prolog", SLURM_JOB_ID="7", **environ)
    assert holds(script.map).keys() == files


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"SLURM_JOB_GPUS": "5", "CUDA_VISIBLE_DEVICES": "MIG-aaaa-1"}, {"0.3"}),
        ({"SLURM_JOB_GPUS": "0,1", "CUDA_VISIBLE_DEVICES": "MIG-aaaa-1,GPU-second"}, {"0.3", "1"}),
        # Number 0 of gres.conf is the instance, or a GPU: nobody can tell, so nobody is billed for it.
        ({"SLURM_JOB_GPUS": "0"}, set()),
        ({"SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "1"}, set()),
    ],
)
def test_under_mig_a_number_names_no_gpu(script, environ, files):
    script.smi.write_text(SMI.replace("    GPU UUID", f"{INSTANCE}    GPU UUID", 1))
    script("prolog", SLURM_JOB_ID="7", **environ)
    assert holds(script.map).keys() == files


def test_what_the_prolog_writes_about_a_job(script):
    known = {
        "SLURM_JOB_USER": "alice",
        "SLURM_JOB_UID": "1000",
        "SLURM_JOB_ACCOUNT": "a\nuid=0",
        "SLURMD_NODENAME": "na",
    }
    script("prolog", SLURM_JOB_ID="7", SLURM_JOB_SLUID="sEKNKTV3WPV500", SLURM_JOB_GPUS="0", **known)
    lines = (script.map / "jobs/7").read_text().splitlines()
    assert lines == ["user=alice", "uid=1000", "account=a uid=0", "sluid=sEKNKTV3WPV500", "node=na"]


@pytest.mark.parametrize("job", ["", "7;rm -rf", "../7", "-1"])
def test_a_job_id_is_a_number_or_nothing_happens(script, job):
    script("prolog", SLURM_JOB_ID=job, SLURM_JOB_GPUS="0")
    assert not script.map.exists()


def test_a_job_reads_its_joules(script):
    assert "wattshed: job 7 used 3600.1 J (0.001000 kWh) of GPU energy on " in script("report", SLURM_JOB_ID="7")
    assert script("report", SLURM_JOB_ID="70") == ""


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs util-linux")
def test_many_prologs_at_once_lose_nothing(script):
    running = [
        subprocess.Popen(
            ["/bin/sh", SCRIPT, "prolog"],
            env={"WATTSHED_MAPPING_DIR": str(script.map), "SLURM_JOB_ID": str(job), "SLURM_JOB_GPUS": "0,1"},
        )
        for job in range(1, 21)
    ]
    assert [one.wait() for one in running] == [0] * 20
    found = holds(script.map)
    assert sorted(map(int, found["0"])) == sorted(map(int, found["1"])) == list(range(1, 21))
