"""The mapping folder beside every batch system: whoever holds the GPU, and is shown to run there, has the bill."""

from __future__ import annotations

import time

import pytest

from tests.jobs.fake_proc import FakeProc
from wattshed.agent.jobs.mapping import owner_of
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.window import Device, MigDevice, ProcessObservation

DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=i) for i in range(4))
HEX = "ab" * 32
SLUIDS = "/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0", "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0"
ROOTLESS = f"/user.slice/user-1001.slice/user@1001.service/user.slice/docker-{HEX}.scope"


def now():
    return time.time_ns() // 1000


@pytest.fixture
def billed(tmp_path):
    """Write a mapping, start processes as (cgroup, uid, gpu), and return who is billed for each GPU: (key, live)."""
    opened = []

    def bill(mapping, *processes, labels=None, mig=dict):
        folder = tmp_path / "map"
        (folder / "jobs").mkdir(parents=True)
        for name, text in mapping.items():
            (folder / name).write_text(text)
        for job, text in (labels or {}).items():
            (folder / "jobs" / job).write_text(text)
        slurm = Slurm(now, "n1", folder, squeue=(), mig=mig)
        opened.append(slurm)
        until = time.monotonic() + 5
        while not slurm._folder.looks:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.02)  # the window begins after the lines were written
        proc, at = FakeProc(tmp_path / "proc"), now()
        for pid, (cgroup, uid, _) in enumerate(processes, 100):
            proc.start(pid, cgroup, uid=uid)
        resolver = JobResolver(Processes(proc.root, now), slurm, mig=mig)
        seen = [ProcessObservation(gpu, 100 + i, at - 1000, at, 1000) for i, (_, _, gpu) in enumerate(processes)]
        owners, usage = resolver.resolve(seen, DEVICES, at - 1000, at)
        bill.owners, bill.faults = {owner.key: owner.labels for owner in owners}, resolver.faults()
        bill.shares = {owners[owner].key: share for owner, share in zip(usage.owner, usage.share_ppm, strict=True)}
        rows = zip(usage.gpu.tolist(), usage.owner.tolist(), usage.live.tolist(), strict=True)
        # A hold that began within the stretch cuts a row in two: that is no news here.
        return sorted({(gpu, owners[owner].key, live) for gpu, owner, live in rows})

    yield bill
    for slurm in opened:
        slurm.close()


@pytest.mark.parametrize(
    ("line", "process", "labels", "key"),
    [
        ("107.pbs", ("/pbs_jobs.service/jobid/107.pbs", 1001), "", "pbs:107.pbs"),
        ("107.pbs", ("/system.slice/pbs.service", 1001), "", "pbs:107.pbs"),
        ("107[3].head", ("/system.slice/pbs.service", 1001), "", "pbs:107[3].head"),
        ("42.0", ("/system.slice/htcondor/condor_var_lib_condor_execute_slot1_1@h", 65534), "", "htcondor:42.0"),
        ("42.0", ("/system.slice/condor.service", 1001), "uid=1001\n", "htcondor:42.0"),
        ("f2gY", ("/system.slice/flux.service", 1001), "", "flux:f2gY"),
        ("1234", ("/system.slice/lsfd.service", 1001), "manager=lsf\nuser=ada\nuid=1001\n", "lsf:1234"),
        ("77", ("/user.slice/user-1001.slice/session-3.scope", 1001), "uid=1001\n", "slurm:77"),
        ("77", (f"/system.slice/docker-{HEX}.scope", 0), "uid=1001\n", "slurm:77"),
        ("77", (ROOTLESS, 101000), "uid=1001\n", "slurm:77"),
        ("77", ("/system.slice/system-slurmd.slice/slurmd@n1.service", 1001), "uid=1001\n", "slurm:77"),
        ("77", ("/system.slice/slurmd.service", 1001), "", "slurm:77"),
        ("77", ("/hpc.slice/slurmstepd.scope/job_77/step_0/user/task_0", 1001), "uid=1001\n", "slurm:77"),
        ("77", (SLUIDS[0], 1001), "uid=1001\n", "slurm:77"),
        ("77 1001", ("/user.slice/user-1001.slice/session-3.scope", 1001), "", "slurm:77"),
        ("77\r\n\r\n# a comment\r", ("/", 1001), "", "slurm:77"),
    ],
)
def test_the_holder_is_billed_and_nobody_else(billed, line, process, labels, key):
    job = line.split()[0]
    assert billed({"0": line + "\n"}, (*process, 0), labels={job: labels} if labels else {}) == [(0, key, 1)]


def test_each_of_two_users_jobs_has_its_own(billed):
    found = billed(
        {"0": "107.pbs\n", "1": "108.pbs\n"},
        ("/pbs_jobs.service/jobid/107.pbs", 1001, 0),
        ("/pbs_jobs.service/jobid/108.pbs", 1002, 1),
    )
    assert found == [(0, "pbs:107.pbs", 1), (1, "pbs:108.pbs", 1)]


def test_a_stranger_on_somebodys_gpu_has_a_bill_of_their_own(billed):
    """Other users, other jobs, the machine's own services: job 78 of user 1002 pays for none of them."""
    strangers = {
        "/user.slice/user-1001.slice/session-3.scope": (1001, "user:1001/python3"),
        "/system.slice/slurmstepd.scope/job_77/step_0": (1001, "slurm:77"),
        SLUIDS[0]: (1001, "slurm:sEKNKTV3WPV500"),
        "/system.slice/nvidia-persistenced.service": (0, "unit:nvidia-persistenced.service"),
        "/system.slice/dcgm.service": (999, "unit:dcgm.service"),
        "/": (1001, "user:1001/python3"),
        f"/kubepods/pod2fc932ce-fdcc-454b-97bd-aadfdeb4c340/{HEX}": (
            1002,
            f"k8s:2fc932ce-fdcc-454b-97bd-aadfdeb4c340/{HEX[:12]}",
        ),
        ROOTLESS: (101000, f"user:1001/docker-{HEX[:12]}"),
        "/lxc.payload.a": (1002, "container:lxc/a"),
    }
    found = billed(
        {"0": "77\n", "1": "78\n"},
        *((path, uid, 1) for path, (uid, _) in strangers.items()),
        labels={"77": "uid=1001\n", "78": "uid=1002\n"},
    )
    assert {key for gpu, key, live in found if gpu == 1 and live} == {key for _, key in strangers.values()}
    assert (1, "slurm:78", 0) in found


def test_two_jobs_of_one_user_on_one_gpu_are_told_apart_by_their_cgroups_only(billed):
    found = billed(
        {"0": "77\n78\n"},
        *((path, 1001, 0) for path in SLUIDS),
        ("/user.slice/user-1001.slice/session-3.scope", 1001, 0),
        ("/system.slice/slurmstepd.scope/job_78/step_0", 1001, 0),
        labels={"77": "uid=1001\n", "78": "uid=1001\n"},
    )
    assert found == [
        (0, "slurm:77", 0),
        (0, "slurm:78", 1),
        (0, "slurm:s5K1KKYAYG5D00", 1),
        (0, "slurm:sEKNKTV3WPV500", 1),
        (0, "user:1001/python3", 1),
    ]


def test_files_named_by_uuid_and_by_index_are_one_gpu(billed):
    assert billed({"GPU-0": "77 1001\n", "0": "77 1001\n"}, ("/", 1001, 0)) == [(0, "slurm:77", 1)]
    assert billed.owners["slurm:77"]["uid"] == "1001"


def test_a_uuid_of_another_node_holds_nothing_and_is_said(billed, caplog):
    assert billed({"GPU-9": "77 1001\n"}, ("/", 1001, 0)) == [(0, "user:1001/python3", 1)]
    assert billed.faults == {"mapping": 1}
    assert "GPU-9: unknown GPU or MIG UUID" in caplog.text


def test_mig_instances_held_idle_are_the_part_of_the_gpu_that_the_driver_lists(billed):
    """By UUID or as N.gi, before any process was seen there; the compute instances of one GPU instance add up."""
    mig = {
        "MIG-aa": MigDevice("GPU-0", "1", 428_571),
        "MIG-bb": MigDevice("GPU-0", "2", 142_857),
        "MIG-cc": MigDevice("GPU-0", "2", 142_857),
        "MIG-dd": MigDevice("GPU-1", "2", 1),
    }
    found = billed({"MIG-aa": "77 1001\n", "0.2": "78\n"}, mig=lambda: mig)
    assert found == [(0, "slurm:77", 0), (0, "slurm:78", 0)]
    assert billed.shares == {"slurm:77": 428_571, "slurm:78": 285_714}
    assert billed.faults == {}


def test_what_is_no_job_id_names_nobody_and_is_counted(billed):
    assert billed({"0": "77 1001\n78,79\n80 1001 x\n81 alice\n"}, ("/", 1002, 0)) == [
        (0, "slurm:77", 0),
        (0, "user:1002/python3", 1),
    ]
    assert billed.faults == {"mapping": 3}


def test_labels_of_other_batch_systems_come_from_the_prolog(billed):
    billed({"0": "1234\n"}, labels={"1234": "manager=lsf\nuser=ada\nuid=1001\naccount=chem\n"})
    assert billed.owners["lsf:1234"] == {"manager": "lsf", "user": "ada", "uid": "1001", "account": "chem"}


@pytest.mark.parametrize(
    ("job", "key"),
    [
        ("77", "slurm:77"),
        ("9_3", "job:9_3"),
        ("42.0", "htcondor:42.0"),
        ("107.pbs", "pbs:107.pbs"),
        ("107[].head.site", "pbs:107[].head.site"),
        ("f2gY", "flux:f2gY"),
        ("\u01922gY", "flux:\u01922gY"),
        ("fred", "job:fred"),
        ("a-b", "job:a-b"),
    ],
)
def test_the_shape_of_an_id_tells_the_batch_system(job, key):
    assert owner_of(job).key == key


def test_a_prolog_cannot_name_what_is_no_batch_job():
    for manager in ("k8s", "user", "unit", "container", "UPPER", "a:b", ""):
        assert owner_of("77", {"manager": manager}).key == "slurm:77"
    assert owner_of("77", {"manager": "gridengine"}).key == "gridengine:77"
