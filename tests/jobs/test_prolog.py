"""deploy/slurm/wattshed-jobs as Slurm's Prolog and Epilog call it; the driver's table is given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/slurm/wattshed-jobs"
FULL = "3 0 GPU-aa\n2 1 GPU-bb\n1 2 GPU-cc\n0 3 GPU-dd\n- - -\n"
MIG = "0 0 GPU-aa\nmig 0.1 MIG-11\nmig 0.2 MIG-22\n1 1 GPU-bb\n- - -\n"


def run(folder, what, **env):
    given = {"WATTSHED_MAPPING_DIR": str(folder), "WATTSHED_URL": "http://127.0.0.1:1", **env}
    subprocess.run([SCRIPT, what], env=given, check=True, timeout=30)
    return {path.name: path.read_text().split() for path in folder.iterdir() if path.name[0].isdecimal()}


@pytest.mark.parametrize(
    ("table", "env", "files"),
    [
        (FULL, {"SLURM_JOB_GPUS": "0,3"}, ["0", "3"]),
        (FULL, {"SLURM_JOB_GPUS": "2"}, ["1"]),
        (FULL, {"SLURM_STEP_GPUS": "2"}, ["1"]),
        (FULL, {"SLURM_JOB_GPUS": "2", "CUDA_VISIBLE_DEVICES": "GPU-cc"}, ["2"]),
        (MIG, {"SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "MIG-22"}, ["0.2"]),
        (MIG, {"SLURM_JOB_GPUS": "1,2", "CUDA_VISIBLE_DEVICES": "MIG-22,GPU-bb"}, ["0.2", "1"]),
        # gres.conf's line 1 is an instance of GPU 0, or GPU 1: by number nobody can tell
        (MIG, {"SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "1"}, []),
        (MIG, {"SLURM_JOB_GPUS": "1"}, []),
        ("- - -\n", {"SLURM_JOB_GPUS": "1"}, ["1"]),
        (FULL, {}, []),
    ],
)
def test_the_files_of_a_job_are_its_gpus(tmp_path, table, env, files):
    (tmp_path / ".gpus").write_text(table)
    assert run(tmp_path, "prolog", SLURM_JOB_ID="7", **env) == {name: ["7"] for name in files}
    assert run(tmp_path, "prolog", SLURM_JOB_ID="8", **env) == {name: ["7", "8"] for name in files}
    assert run(tmp_path, "epilog", SLURM_JOB_ID="7", **env) == {name: ["8"] for name in files}
    assert run(tmp_path, "epilog", SLURM_JOB_ID="8") == {}


def test_what_the_prolog_writes_about_a_job(tmp_path):
    (tmp_path / ".gpus").write_text(FULL)
    env = {"SLURM_JOB_USER": "alice", "SLURM_JOB_UID": "1000", "SLURM_JOB_ACCOUNT": "a\nuid=0", "SLURMD_NODENAME": "na"}
    run(tmp_path, "prolog", SLURM_JOB_ID="7", SLURM_JOB_SLUID="sEKNKTV3WPV500", SLURM_JOB_GPUS="0", **env)
    lines = (tmp_path / "jobs/7").read_text().splitlines()
    assert lines == ["user=alice", "uid=1000", "account=a uid=0", "sluid=sEKNKTV3WPV500", "node=na"]
    run(tmp_path, "prolog", SLURM_JOB_ID="8", SLURM_JOB_GPUS="0")
    assert (tmp_path / "jobs/8").read_text() == ""


@pytest.mark.parametrize("job", ["", "../7", "7 8", "x"])
def test_what_is_no_job_of_slurms_writes_nothing(tmp_path, job):
    run(tmp_path, "prolog", SLURM_JOB_ID=job, SLURM_JOB_GPUS="0")
    assert not list(tmp_path.iterdir())
