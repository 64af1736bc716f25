"""Whose a cgroup is, by its number: a job's own and those below it, and nobody's where two jobs share it."""

import pytest

from wattshed.agent.jobs.cgroup_ids import CgroupNumbers

JOB = "system.slice/slurmstepd.scope/job_7"
OTHER = "system.slice/slurmstepd.scope/job_70"
SESSION = "user.slice/user-1000.slice/session-3.scope"
HOLDERS = [(10, "slurm:7"), (11, "slurm:7"), (20, "slurm:70"), (30, "user:1000/a"), (99, "slurm:9")]


@pytest.fixture
def host(tmp_path):
    root = tmp_path / "cgroup"
    for path in (f"{JOB}/step_0/user/task_0", f"{JOB}/step_1/user/task_0", f"{OTHER}/step_0", f"{SESSION}/below"):
        (root / path).mkdir(parents=True)
    for pid, path in ((10, f"{JOB}/step_0/user/task_0"), (11, f"{JOB}/step_0"), (20, f"{OTHER}/step_0"), (30, SESSION)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(f"1:cpu:/\n0::/{path}\n")
    return CgroupNumbers(tmp_path, root), root


@pytest.mark.parametrize(
    ("path", "job"),
    [
        (f"{JOB}/step_0/user/task_0", "slurm:7"),
        (f"{JOB}/step_1/user/task_0", "slurm:7"),  # the server is in another step
        (JOB, "slurm:7"),
        (OTHER, "slurm:70"),
        (SESSION, "user:1000/a"),
        (f"{SESSION}/below", None),
        ("system.slice/slurmstepd.scope", None),
        ("system.slice", None),
        ("", None),
    ],
)
def test_a_cgroup_is_its_jobs(host, path, job):
    numbers, root = host
    assert numbers.job_of((root / path).stat().st_ino, HOLDERS) == job


def test_what_two_jobs_share_is_neithers(host):
    numbers, root = host
    assert numbers.job_of((root / SESSION).stat().st_ino, [*HOLDERS, (30, "user:1000/b")]) is None
