"""Whose job a process works for that no cgroup puts into one: the holder's, or nobody's but its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.holding import is_of_roots_engine, works_for
from wattshed.agent.jobs.reservations import Reservation, exclusive, holders
from wattshed.agent.window import JobKey, Owner

HEX = "ab" * 32
SLURMD = "/system.slice/slurmd.service"
SSH = "/user.slice/user-1001.slice/session-3.scope"
DOCKER = f"/system.slice/docker-{HEX}.scope"
ROOTLESS = f"/user.slice/user-1001.slice/user@1001.service/user.slice/docker-{HEX}.scope"


def held(key="slurm:77", uid=1001, share=1_000_000, since=0, instance=""):
    return Reservation(0, Owner(JobKey(key)), 0, 1_000_000, share, instance, uid, since)


def whose(path, uid, *holds, seen=100):
    found = works_for(identify(path), uid, seen, holds)
    return found and (found[0].owner.key, found[1])


@pytest.mark.parametrize(
    ("path", "uid", "right"),
    [
        (SSH, 1001, ("slurm:77", False)),
        (SSH, 0, ("slurm:77", False)),  # sudo within the user's session
        (SSH.replace("1001", "1002"), 1002, None),
        (SSH.replace("1001", "1002"), 1001, None),  # su: the session is whose it was
        (ROOTLESS, 101_000, ("slurm:77", False)),
        (ROOTLESS.replace("1001", "1002"), 1001, None),
        (SLURMD, 1001, ("slurm:77", False)),
        ("/system.slice/system-slurmd.slice/slurmd@n1.service", 1001, ("slurm:77", False)),
        (SLURMD, 1002, None),
        ("/system.slice/vllm.service", 1001, ("slurm:77", False)),
        ("/system.slice/vllm.service", 1002, None),
        ("/system.slice/nvidia-persistenced.service", 0, None),
        ("/", 1001, ("slurm:77", False)),
        ("/", 1002, None),
        ("/", 0, None),
        ("/", -1, None),
        (DOCKER, 0, ("slurm:77", True)),
        (DOCKER, 1002, ("slurm:77", True)),  # a user id within the image says nothing about this host
        ("/lxc.payload.web", 1001, None),
        ("/machine.slice/machine-qemu\\x2d2\\x2dvm.scope", 1001, None),
        ("/machine.slice/systemd-nspawn@x.service", 1001, None),
        (f"/kubepods/pod2fc932ce-fdcc-454b-97bd-aadfdeb4c340/{HEX}", 1001, None),
        ("/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_0", 1001, ("slurm:77", False)),
        ("/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_0", 1002, None),
    ],
)
def test_one_job_holds_the_gpu(path, uid, right):
    assert whose(path, uid, held()) == right


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/", "job"),
        (SLURMD, "job"),
        ("/system.slice/slurmstepd.scope", "job"),
        ("/system.slice/pbs.service", "job"),
        ("/system.slice/flux.service", "job"),
        ("/system.slice/condor.service", "job"),
        ("/system.slice/lsfd.service", "job"),
        ("/system.slice/htcondor/condor_var_lib_condor_execute_slot1_1@h", "job"),
        (SSH, None),
        ("/system.slice/vllm.service", None),
        # a user may call a service of their own what they like
        ("/user.slice/user-1001.slice/user@1001.service/app.slice/pbs.service", None),
        ("/user.slice/user-1001.slice/user@1001.service/slurmd.service", None),
    ],
)
def test_a_mapping_without_users_knows_batch_systems_only(path, right):
    one = held("pbs:107.pbs", -1)
    assert whose(path, 1001, one) == (right and ("pbs:107.pbs", False))
    assert whose(path, 1001, one, held("pbs:108.pbs", -1)) is None
    assert whose(path, 1001, one, held("pbs:108.pbs", 1002)) is None


def test_which_of_one_users_jobs_it_is_nobody_can_say():
    assert whose(SSH, 1001, held(), held("slurm:78")) is None
    assert whose(SSH, 1001, held(), held("slurm:78", 1002)) == ("slurm:77", False)
    assert whose("/", 1001, held(share=500_000), held("slurm:77", share=250_000)) == ("slurm:77", False)


def test_a_container_of_roots_engine_needs_a_job_that_has_the_gpu_to_itself_and_was_there_first():
    assert whose(DOCKER, 0, held(), held("slurm:78", 1002)) is None
    assert whose(DOCKER, 0, held(share=500_000)) is None
    assert whose(DOCKER, 0, held(share=-1)) is None
    assert whose(DOCKER, 0, held(share=-1, instance="3")) == ("slurm:77", True)
    assert whose(DOCKER, 0, held(since=101)) is None
    assert whose(DOCKER, 0, held(uid=-1)) == ("slurm:77", True)
    service = f"/system.slice/vllm.service/libpod-payload-{HEX}"
    assert whose(service, 1001, held()) is None


def test_services_of_the_machine_are_not_a_job_of_roots():
    assert whose("/system.slice/nvidia-persistenced.service", 0, held(uid=0)) is None
    assert whose(SLURMD, 0, held(uid=0)) == ("slurm:77", False)
    assert whose("/", 0, held(uid=0)) == ("slurm:77", False)


def test_no_holder_no_job():
    assert whose("/", 1001) is None
    assert exclusive([]) is None


def test_instances_are_places_of_their_own():
    three, five = held("slurm:3", share=-1, instance="3"), held("slurm:5", share=-1, instance="5")
    assert holders([three, five], 0, "3/0", 0, 9) == [three]
    assert holders([three, five], 0, "", 0, 9) == [three, five]
    assert holders([three, five], 1, "3/0", 0, 9) == []
    assert exclusive([three, five]) is None


PATHS = st.sampled_from([
    "/", SLURMD, SSH, SSH.replace("1001", "1002"), DOCKER, ROOTLESS, ROOTLESS.replace("1001", "1002"),
    "/system.slice/slurmstepd.scope", "/system.slice/vllm.service", "/system.slice/pbs.service",
    f"/machine.slice/libpod-{HEX}.scope", "/lxc.payload.a", f"/default/{HEX}",
    "/user.slice/user-1002.slice/user@1002.service/app.slice/slurmd.service",
    "/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0",
])  # fmt: skip
HOLDS = st.lists(
    st.builds(
        held,
        st.sampled_from(["slurm:1", "slurm:2", "slurm:3"]),
        st.sampled_from([1001, 1002, 1003]),
        st.sampled_from([250_000, 500_000, 1_000_000]),
        st.integers(0, 200),
    ),
    max_size=4,
)


@settings(max_examples=examples(500), deadline=None)
@given(PATHS, st.sampled_from([0, 1001, 1002, 1003, 101_000]), HOLDS)
def test_nobodys_process_lands_on_another_users_job(path, uid, holds):
    """But for a container of root's engine, of which nobody knows who started it, on a GPU that is all one job's."""
    identity = identify(path)
    found = works_for(identity, uid, 100, holds)
    if found is None:
        return
    hold, guessed = found
    if guessed:
        assert is_of_roots_engine(identity)
        assert {one.owner.key for one in holds} == {hold.owner.key}
        assert any(one.share_ppm == 1_000_000 for one in holds)
    else:
        assert hold.uid == (uid if identity.uid is None else identity.uid)
        assert not is_of_roots_engine(identity)


def reserved(job, gpu=0, start=10, end=20, **rest):
    return Reservation(gpu, Owner(JobKey(job), {}), start, end, **rest)


@pytest.mark.parametrize(
    ("held", "gpu", "instance", "stretch", "there"),
    [
        (reserved("a"), 0, "", (12, 15), True),
        (reserved("a"), 1, "", (12, 15), False),
        (reserved("a"), 0, "", (20, 25), True),  # edges that touch count: times are read one after the other
        (reserved("a"), 0, "", (5, 10), True),
        (reserved("a"), 0, "", (21, 25), False),
        (reserved("a"), 0, "", (5, 9), False),
        (reserved("a"), 0, "3/0", (12, 15), True),
        (reserved("a", instance="3"), 0, "3/0", (12, 15), True),
        (reserved("a", instance="3"), 0, "3", (12, 15), True),
        (reserved("a", instance="3"), 0, "4/0", (12, 15), False),
        (reserved("a", instance="3"), 0, "", (12, 15), True),  # on which instance it was is not known
    ],
)
def test_who_held_the_place_where_a_process_was(held, gpu, instance, stretch, there):
    assert holders([held], gpu, instance, *stretch) == ([held] if there else [])


@pytest.mark.parametrize(
    ("held", "whose"),
    [
        ([], None),
        ([reserved("a", share_ppm=1_000_000)], 0),
        ([reserved("a", share_ppm=999_999)], None),
        ([reserved("a")], None),
        ([reserved("a", instance="3")], 0),
        ([reserved("a", share_ppm=500_000), reserved("a", share_ppm=1_000_000)], 1),
        ([reserved("a", share_ppm=1_000_000), reserved("b", share_ppm=500_000)], None),
        ([reserved("a", instance="3"), reserved("b", instance="3")], None),
    ],
)
def test_who_has_a_gpu_alone(held, whose):
    assert exclusive(held) is (None if whose is None else held[whose])
