"""Batch systems' cgroups, right and nearly right; and what lies below a job, a unit or a user's slice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.cgroup import NOBODY, CgroupIdentity, identify
from wattshed.agent.jobs.naming import job_of

A, B = "a1" * 32, "b2" * 32
UID = "f67696d6-e246-4cd2-8b2b-dabb90429e3e"
UID_ = UID.replace("-", "_")
ALLOCATION = "5ef5fc0e-3a3d-4fe7-8b5e-0a4bd6f9d3f2"
POD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
FLUX = "/user.slice/user-{0}.slice/user@{0}.service/imp-shell-0-fTE9HHdZvi3.service"


def key(identity, uid=77):
    return job_of(identity, lambda: uid, lambda: "python").key


CASES = [
    # Slurm: SLUIDs since 26.05 (13 digits of Crockford's base 32 for 64 bits), another slice by CgroupSlice=
    (
        "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user/task_0",
        {"runtime": "slurm", "sluid": "s5K1KKYAYG5D00", "step": "0", "task": "0"},
        "slurm:s5K1KKYAYG5D00",
    ),
    (
        "/system.slice/n1_slurmstepd.scope/s8G5M22WGXB100/step_extern/user/task_special",
        {
            "runtime": "slurm",
            "sluid": "s8G5M22WGXB100",
            "step": "extern",
            "task": "special",
            "slurm_node": "n1",
        },
        "slurm:s8G5M22WGXB100",
    ),
    (
        "/slurm/uid_1000/s8G5M22WGXB100/step_0",
        {"runtime": "slurm", "sluid": "s8G5M22WGXB100", "step": "0", "uid": 1000},
        "slurm:s8G5M22WGXB100",
    ),
    ("/hpc.slice/slurmstepd.scope/job_42", {"runtime": "slurm", "job_id": "42"}, "slurm:42"),
    (
        "/hpc.slice/hpc-gpu.slice/n1_slurmstepd.scope/job_42/step_0",
        {
            "runtime": "slurm",
            "job_id": "42",
            "step": "0",
            "slurm_node": "n1",
        },
        "slurm:42",
    ),
    (
        "/hpc.slice/slurmstepd.scope/system",
        {"runtime": "slurm-daemon", "unit": "slurmstepd.scope"},
        "unit:slurmstepd.scope",
    ),
    *(
        (f"/system.slice/slurmstepd.scope/{near}/step_0", {"runtime": "slurm-daemon", "unit": "slurmstepd.scope"}, None)
        for near in (
            "s5K1KKYAYG5D0",
            "s5K1KKYAYG5D000",
            "S5K1KKYAYG5D00",
            "s5K1KKYAYG5D0L",
            "s5K1KKYAYG5D0O",
            "s5K1KKYAYG5D0U",
            "s5k1kkyayg5d00",
            "5K1KKYAYG5D00s",
        )
    ),
    ("/slurmstepd.scope/job_42", {"runtime": "slurm", "job_id": "42"}, "slurm:42"),
    # Slurm in a pod: below the container, below the pod, with the pair of folders made twice, on cgroup v1
    *(
        (path, {"runtime": "slurm", "job_id": "7", "pod_uid": UID, **more}, "slurm:7")
        for path, more in (
            (f"{POD}/cri-containerd-{A}.scope/hpc.slice/slurmstepd.scope/job_7", {"container_id": A}),
            (f"{POD}/system.slice/slurmstepd.scope/system.slice/slurmstepd.scope/job_7", {}),
            (f"/kubepods/pod{UID}/{A}/slurm/uid_5/job_7", {"container_id": A, "uid": 5}),
            (
                f"/../../../pod{UID}/{A}/slurm_n1/uid_5/job_7/step_0/task_1",
                {
                    "container_id": A,
                    "uid": 5,
                    "slurm_node": "n1",
                    "step": "0",
                    "task": "1",
                },
            ),
        )
    ),
    (f"/docker/{A}/slurm/uid_5/job_7", {"runtime": "slurm", "job_id": "7", "uid": 5, "container_id": A}, "slurm:7"),
    # docker beside slurmd in its pod: each container has a bill
    (
        f"{POD}/docker/{A}/init",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
        f"k8s:{UID}/a1a1a1a1a1a1",
    ),
    # a pod that runs pods is one pod to the kubelet that granted the GPU
    (
        f"{POD}/crio-{A}.scope/kubepods/besteffort/pod2fc932ce-fdcc-454b-97bd-aadfdeb4c340/{B}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
        f"k8s:{UID}/a1a1a1a1a1a1",
    ),
    # PBS: pbs_cgroups.PY, any cgroup_prefix; arrays; hooks before 2019; TORQUE
    (
        "/pbs_jobs.service/jobid/2404743.pbs01/x",
        {"runtime": "pbs", "job_id": "2404743.pbs01", "unit": "pbs_jobs.service"},
        "pbs:2404743.pbs01",
    ),
    (
        "/pbspro.service/jobs/9[3].pbs01",
        {"runtime": "pbs", "job_id": "9[3].pbs01", "unit": "pbspro.service"},
        "pbs:9[3].pbs01",
    ),
    ("/site-a.service/jobid/12", {"runtime": "pbs", "job_id": "12", "unit": "site-a.service"}, "pbs:12"),
    ("/pbspro/12.pbs01", {"runtime": "pbs", "job_id": "12.pbs01"}, "pbs:12.pbs01"),
    ("/torque/12.host", {"runtime": "pbs", "job_id": "12.host"}, "pbs:12.host"),
    ("/pbs_jobs.service/jobid", {"runtime": "systemd", "unit": "pbs_jobs.service"}, "unit:pbs_jobs.service"),
    ("/pbs_jobs.service/jobid/x12.pbs01", {"runtime": "systemd", "unit": "pbs_jobs.service"}, "unit:pbs_jobs.service"),
    ("/system.slice/pbs.service/jobid/12.pbs01", {"runtime": "systemd", "unit": "pbs.service"}, "unit:pbs.service"),
    # HTCondor: v1 at the top, v2 beside or below the service; the folder is EXECUTE with "_" for "/", and the slot
    (
        "/htcondor/condor_var_lib_condor_execute_slot1_1@host",
        {"runtime": "htcondor", "slot": "slot1_1@host"},
        "htcondor:slot1_1@host/77",
    ),
    ("/htcondor/condor_var_lib_condor_execute_slot1", {"runtime": "htcondor", "slot": "slot1"}, "htcondor:slot1/77"),
    (
        "/system.slice/condor.service/htcondor/condor_d_slot2@h",
        {"runtime": "htcondor", "slot": "slot2@h"},
        "htcondor:slot2@h/77",
    ),
    (
        "/system.slice/htcondor/condor_scratch_slot_9_slot1_2@a_slot3@b",
        {"runtime": "htcondor", "slot": "slot1_2@a_slot3@b"},
        None,
    ),
    (
        "/system.slice/alice.service/condor_d_slot2@h",
        {"runtime": "systemd", "unit": "alice.service"},
        "unit:alice.service",
    ),
    ("/system.slice/condor.service", {"runtime": "systemd", "unit": "condor.service"}, "unit:condor.service"),
    # Grid Engine: Open Cluster Scheduler's scopes (jobs, array tasks, parallel tasks), and the older cpusets
    (
        "/ocs8012.slice/ocs8012-jobs.slice/ocs8012.1234.7.scope",
        {"runtime": "gridengine", "job_id": "1234", "task": "7"},
        "gridengine:1234",
    ),
    (
        "/ocs8012.slice/ocs8012-jobs.slice/ocs8012-jobs-1234.slice/ocs8012.1234.master.scope",
        {"runtime": "gridengine", "job_id": "1234"},
        "gridengine:1234",
    ),
    (
        "/ocs8012.slice/ocs8012-jobs.slice/ocs8012-jobs-1234.slice/ocs8012.1234-1.node2.scope",
        {"runtime": "gridengine", "job_id": "1234"},
        "gridengine:1234",
    ),
    (
        "/ocs.slice/ocs-a.slice/ocs-a-jobs.slice/ocs-a-jobs-5.2.slice/ocs-a.5.2.master.scope",
        {"runtime": "gridengine", "job_id": "5", "task": "2"},
        "gridengine:5",
    ),
    ("/UGE/8.1", {"runtime": "gridengine", "job_id": "8", "task": "1"}, "gridengine:8"),
    (
        "/ocs8012.slice/other-jobs.slice/ocs8012.1.scope",
        {"runtime": "systemd", "unit": "ocs8012.1.scope"},
        "unit:ocs8012.1.scope",
    ),
    # Nomad: share and reserve, cgroup v1, before 1.7
    (
        f"/nomad.slice/share.slice/{ALLOCATION}.a.b.scope",
        {"runtime": "nomad", "job_id": ALLOCATION, "task": "a.b"},
        f"nomad:{ALLOCATION}/a.b",
    ),
    (
        f"/hpc.slice/reserve.slice/{ALLOCATION}.t.scope",
        {"runtime": "nomad", "job_id": ALLOCATION, "task": "t"},
        f"nomad:{ALLOCATION}/t",
    ),
    (
        f"/nomad.slice/{ALLOCATION}.t.scope",
        {"runtime": "nomad", "job_id": ALLOCATION, "task": "t"},
        f"nomad:{ALLOCATION}/t",
    ),
    (f"/nomad/{ALLOCATION}.t", {"runtime": "nomad", "job_id": ALLOCATION, "task": "t"}, f"nomad:{ALLOCATION}/t"),
    (
        f"/nomad/reserve/{ALLOCATION}.t",
        {"runtime": "nomad", "job_id": ALLOCATION, "task": "t"},
        f"nomad:{ALLOCATION}/t",
    ),
    (
        f"/nomad/reserved/{ALLOCATION}-t",
        {"runtime": "nomad", "job_id": ALLOCATION, "task": "t"},
        f"nomad:{ALLOCATION}/t",
    ),
    (f"/nomad/{ALLOCATION}", {"runtime": "nomad", "job_id": ALLOCATION}, f"nomad:{ALLOCATION}"),
    (f"/nomad.slice/docker-{A}.scope", {"runtime": "docker", "container_id": A}, "container:a1a1a1a1a1a1"),
    (f"/system.slice/{ALLOCATION}.t.scope", {"runtime": "systemd", "unit": f"{ALLOCATION}.t.scope"}, None),
    # Flux: below the user manager of an account of the system only
    (FLUX.format(500), {"runtime": "flux", "job_id": "fTE9HHdZvi3"}, "flux:fTE9HHdZvi3"),
    (
        FLUX.format(1000),
        {"runtime": "systemd-user", "unit": "imp-shell-0-fTE9HHdZvi3.service", "uid": 1000},
        "user:1000/imp-shell-0-fTE9HHdZvi3.service",
    ),
    # users' own containers
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
        {"runtime": "docker", "container_id": A, "uid": 1000},
        "user:1000/docker-a1a1a1a1a1a1",
    ),
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{A}.scope/init.scope",
        {"runtime": "containerd", "container_id": A, "uid": 1000},
        "user:1000/nerdctl-a1a1a1a1a1a1",
    ),
    (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope/kubepods/pod{UID}/{B}",
        {"runtime": "docker", "container_id": A, "uid": 1000},
        "user:1000/docker-a1a1a1a1a1a1",
    ),
    # services that hold pods
    *(
        (
            f"/system.slice/{unit}/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
            {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "guaranteed"},
            f"k8s:{UID}/a1a1a1a1a1a1",
        )
        for unit in (
            "k3s.service",
            "k3s-agent.service",
            "rke2-server.service",
            "rke2-agent.service",
            "kubelet.service",
            "snap.microk8s.daemon-kubelite.service",
            "k0sworker.service",
            "containerd.service",
            "crio.service",
        )
    ),
    (
        f"/system.slice/web.service/libpod-payload-{A}",
        {"runtime": "podman", "container_id": A, "unit": "web.service"},
        "unit:web.service",
    ),
]


@pytest.mark.parametrize(("path", "expected", "billed"), CASES, ids=[path for path, _, _ in CASES])
def test_path(path, expected, billed):
    identity = identify(f"0::{path}\n")
    assert identity == CgroupIdentity(**expected)
    assert billed is None or key(identity) == billed


def test_what_a_batch_job_is_labelled_with():
    def labels(path):
        return job_of(identify(path), lambda: 77, lambda: "python").labels

    pod = {"pod_uid": UID, "container_id": "a1a1a1a1a1a1"}
    slurm = f"{POD}/crio-{A}.scope/system.slice/slurmstepd.scope/s8G5M22WGXB100"
    assert labels(slurm) == {"manager": "slurm", "sluid": "s8G5M22WGXB100", **pod}
    slot = {"manager": "htcondor", "slot": "slot1@h", "uid": "77"}
    assert labels("/htcondor/condor_d_slot1@h") == slot
    assert labels(FLUX.format(500)) == {"manager": "flux", "uid": "77"}
    assert labels(f"/nomad/{ALLOCATION}.t") == {"manager": "nomad", "task": "t"}
    assert labels("/system.slice/web.service/libpod-payload-" + A) == {
        "manager": "podman",
        "container": "a1a1a1a1a1a1",
        "unit": "web.service",
    }


def test_flux_is_whoever_its_account_says():
    person, system = FLUX.format(1500), FLUX.format(500)
    assert identify(person, flux_uid=1500).runtime == "flux"
    assert identify(system, flux_uid=1500).runtime == "systemd-user"
    assert identify(person).runtime == "systemd-user"


def test_hybrid_hierarchies_keep_the_job():
    pbs = "12:memory:/pbs_jobs.service/jobid/107.pbs01\n1:name=systemd:/system.slice/pbs.service\n0::/\n"
    assert identify(pbs).job_id == "107.pbs01"
    condor = "4:memory:/htcondor/condor_d_slot1_1@h\n1:name=systemd:/system.slice/condor.service\n"
    assert identify(condor) == CgroupIdentity("htcondor", slot="slot1_1@h")
    pod = f"4:memory:/kubepods/pod{UID}/{A}/slurm/uid_5/job_7/step_0\n3:cpuset:/kubepods/pod{UID}/{A}\n"
    assert identify(pod).job_id == "7"


@pytest.mark.parametrize(
    "path",
    [
        f"/system.slice/htcondor/condor_x_odd@h/kubepods/pod{UID}/{A}",
        f"/htcondor/odd/kubepods/pod{UID}/{A}",
        f"/system.slice/alice/docker-{A}.scope",
    ],
)
def test_what_nobody_knows_names_nobody(path):
    assert identify(path) == NOBODY


def test_a_service_that_is_called_like_a_manager_s_is_none():
    for unit in ("docker-alice.service", "containerd@alice.service", "kubelet.alice.service", "my-k3s.service"):
        assert identify(f"/system.slice/{unit}/kubepods/pod{UID}/{A}") == CgroupIdentity("systemd", unit=unit)


def test_a_machine_is_billed_apart_from_the_unit_that_it_is_called_like():
    assert key(identify("/machine/nginx.service.libvirt-qemu/emulator")) == "unit:machine/nginx.service"
    nested = identify(f"/docker/{B}/system.slice/nginx.service/libpod-payload-{A}")
    assert key(nested) == "container:a1a1a1a1a1a1"


# Handed over to a user, or run by one: nothing below names anybody but that job, that unit, that user.
HANDED_OVER = [
    "/user.slice/user-1000.slice/user@1000.service",
    "/user.slice/user-1000.slice/session-3.scope",
    "/user/alice/0",
    "/system.slice/htcondor/condor_d_slot1_1@h",
    "/htcondor/condor_d_slot1_1@h",
    "/system.slice/alice-notebook.service",
    "/system.slice/system-jupyter.slice/jupyter@alice.service",
    "/system.slice/run-u7.scope",
    "/alice.service",
    "/lxc.payload.web",
    "/lxc/101",
    "/machine.slice/systemd-nspawn@web.service",
    "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
    "/system.slice/slurmstepd.scope/job_4/step_0/user/task_0",
    "/slurm/uid_1/job_5/step_0",
    "/pbs_jobs.service/jobid/12.pbs01",
    "/oar/alice_45670",
    "/oar.slice/oar-u1000.slice/oar-u1000-j45670",
    "/ocs8012.slice/ocs8012-jobs.slice/ocs8012.1234.scope",
    f"/nomad.slice/share.slice/{ALLOCATION}.t.scope",
]
PART = st.one_of(
    st.text(st.characters(exclude_characters="/\n\0"), min_size=1, max_size=20),
    st.sampled_from(sorted({part for path, _, _ in CASES for part in path.split("/") if part not in {"", ".."}})),
)


@settings(max_examples=examples(600), deadline=None)
@given(st.sampled_from(HANDED_OVER), st.lists(PART, min_size=1, max_size=8))
def test_nothing_below_what_was_handed_over_names_another(prefix, parts):
    above, below = (key(identify(f"0::{path}"), 1000) for path in (prefix, f"{prefix}/{'/'.join(parts)}"))
    # "jobid/12.pbs01" below a service at the very top is PBS' own layout: who may write there is asked of the kernel.
    layout = prefix == "/alice.service" and parts[0] in {"jobid", "jobs"}
    assert below == above or below.startswith("user:1000/") or layout
    assert identify(prefix) != NOBODY or prefix == "/user/alice/0"


@pytest.mark.parametrize("prefix", HANDED_OVER)
def test_no_known_layout_is_believed_below_what_was_handed_over(prefix):
    above = key(identify(f"0::{prefix}"), 1000)
    for path in (path for path, _, _ in CASES if not path.startswith("/..")):
        below = key(identify(f"0::{prefix}{path}"), 1000)
        assert below == above or below.startswith("user:1000/"), path
