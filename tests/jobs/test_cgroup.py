"""Identities from cgroup paths: every layout that runtimes are known to make, and those that users make up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.cgroup import NOBODY, CgroupIdentity, identify

A, B, C = "a1" * 32, "b2" * 32, "c3" * 32
UID = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"
UID_ = UID.replace("-", "_")
STATIC = "3e61c214bc3ed9ff81e21474dd6cba17"
KIND = f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice"
POD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
USER = "/user.slice/user-1000.slice/user@1000.service"

CASES = [
    # Slurm, cgroup v1: src/plugins/cgroup/v1; Debian adds the node's name
    ("/slurm/uid_1000/job_5", {"runtime": "slurm", "job_id": "5", "uid": 1000}),
    ("/slurm/uid_1000/job_5/step_0/task_3", {"runtime": "slurm", "job_id": "5", "step": "0", "task": "3", "uid": 1000}),
    ("/slurm/uid_1/job_5/step_extern", {"runtime": "slurm", "job_id": "5", "step": "extern", "uid": 1}),
    (
        "/slurm/uid_1/job_5/step_interactive/task_0",
        {"runtime": "slurm", "job_id": "5", "step": "interactive", "task": "0", "uid": 1},
    ),
    (
        "/slurm_n-01.x/uid_1/job_5/step_batch",
        {"runtime": "slurm", "job_id": "5", "step": "batch", "uid": 1, "slurm_node": "n-01.x"},
    ),
    # Slurm, cgroup v2
    ("/system.slice/slurmstepd.scope/job_4", {"runtime": "slurm", "job_id": "4"}),
    (
        "/system.slice/slurmstepd.scope/job_4/step_extern/user/task_special",
        {"runtime": "slurm", "job_id": "4", "step": "extern", "task": "special"},
    ),
    (
        "/system.slice/slurmstepd.scope/job_4/step_0+1/user/task_2",
        {"runtime": "slurm", "job_id": "4", "step": "0+1", "task": "2"},
    ),
    ("/system.slice/slurmstepd.scope/job_4/step_batch/slurm", {"runtime": "slurm", "job_id": "4", "step": "batch"}),
    (
        "/system.slice/my_node_slurmstepd.scope/job_4/step_0/user",
        {"runtime": "slurm", "job_id": "4", "step": "0", "slurm_node": "my_node"},
    ),
    ("/../../system.slice/slurmstepd.scope/job_4/step_0", {"runtime": "slurm", "job_id": "4", "step": "0"}),
    ("/system.slice/slurmstepd.scope/system", {"runtime": "slurm-daemon", "unit": "slurmstepd.scope"}),
    ("/system.slice/slurmstepd.scope/job_bad", {"runtime": "slurm-daemon", "unit": "slurmstepd.scope"}),
    ("/slurm_vm", {"runtime": "slurm-daemon"}),
    ("/system.slice/slurmd.service", {"runtime": "systemd", "unit": "slurmd.service"}),
    # a container that a job started below itself stays the job's
    (
        f"/system.slice/slurmstepd.scope/job_4/step_0/user/task_0/libpod-{A}",
        {"runtime": "slurm", "job_id": "4", "step": "0", "task": "0"},
    ),
    # OAR 2 and 3
    ("/oar/alice_45670", {"runtime": "oar", "job_id": "45670"}),
    (
        "/oar.slice/oar-u1000.slice/oar-u1000-j45670.slice/oar-u1000-j45670-s1.scope",
        {"runtime": "oar", "job_id": "45670", "uid": 1000},
    ),
    ("/oar.slice/oar-u1000.slice/oar-u1000-j45670", {"runtime": "oar", "job_id": "45670", "uid": 1000}),
    # Kubernetes: cgroupfs and systemd drivers, all QoS classes, static pods, nested nodes
    (f"/kubepods/pod{UID}/{A}", {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "guaranteed"}),
    (
        f"/kubepods/besteffort/pod{UID}/{A}/kube-proxy",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "besteffort"},
    ),
    (
        f"/kubepods/kubepods/besteffort/pod{UID}/{A}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "besteffort"},
    ),
    (
        f"/kubepods/burstable/pod{STATIC}/{A}",
        {"runtime": "kubernetes", "pod_uid": STATIC, "container_id": A, "qos": "burstable"},
    ),
    (
        f"{POD}/cri-containerd-{A}.scope",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (
        f"{POD}/crio-{A}.scope/container",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (f"{POD}/docker-{A}.scope", {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"}),
    (f"{POD}/crio-conmon-{A}.scope", {"runtime": "kubernetes", "pod_uid": UID, "qos": "burstable"}),
    (f"{POD}/kata_{A}", {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"}),
    (POD, {"runtime": "kubernetes", "pod_uid": UID, "qos": "burstable"}),
    (
        f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{A}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "besteffort"},
    ),
    (
        f"/kubelet/kubepods/burstable/pod{UID}/{A}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (
        f"/docker/{B}/kubelet/kubepods/burstable/pod{UID}/{A}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (
        f"/system.slice/docker-{B}.scope{POD}/docker-{A}.scope",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (
        f"/machine.slice/libpod-{B}.scope/container{KIND}/cri-containerd-{A}.scope",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "guaranteed"},
    ),
    (
        f"/../../../burstable/pod{UID}/{A}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "burstable"},
    ),
    (f"/pod{UID}/{A}", {"runtime": "kubernetes", "pod_uid": UID, "container_id": A}),
    # a container that a pod started (docker in a pod) stays the pod's
    (
        f"/kubepods/pod{UID}/{A}/docker/{B}",
        {"runtime": "kubernetes", "pod_uid": UID, "container_id": A, "qos": "guaranteed"},
    ),
    # docker
    (f"/docker/{A}", {"runtime": "docker", "container_id": A}),
    (f"/docker/{A}/init.scope", {"runtime": "docker", "container_id": A}),
    (f"/docker-{A}", {"runtime": "docker", "container_id": A}),
    (f"/docker/{A} (deleted)", {"runtime": "docker", "container_id": A}),
    (f"/system.slice/docker-{A}.scope/system.slice/cron.service", {"runtime": "docker", "container_id": A}),
    (f"/docker/{A}/docker/{B}", {"runtime": "docker", "container_id": B}),
    (f"/actions_job/{A}", {"runtime": "docker", "container_id": A}),
    (f"/ecs/0410eff2-7e59-4111-823e-1e0d98ef7f30/{A}", {"runtime": "docker", "container_id": A}),
    ("/system.slice/docker.service", {"runtime": "systemd", "unit": "docker.service"}),
    # podman
    (f"/machine.slice/libpod-{A}.scope", {"runtime": "podman", "container_id": A}),
    (f"/libpod_parent/libpod-{A}", {"runtime": "podman", "container_id": A}),
    (
        f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container",
        {"runtime": "podman", "container_id": A},
    ),
    (f"/system.slice/web.service/libpod-payload-{A}", {"runtime": "podman", "container_id": A, "unit": "web.service"}),
    (f"{USER}/user.slice/libpod-{A}.scope/container", {"runtime": "podman", "container_id": A, "uid": 1000}),
    (
        f"{USER}/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope",
        {"runtime": "podman", "container_id": A, "uid": 1000},
    ),
    (f"/machine.slice/libpod-conmon-{A}.scope", {"runtime": "podman-monitor", "container_id": A}),
    (f"/libpod_parent/{B}/conmon", {"runtime": "podman-monitor"}),
    (f"{USER}/user.slice/libpod-conmon-{A}.scope", {"runtime": "podman-monitor", "container_id": A, "uid": 1000}),
    (f"{USER}/libpod_parent/conmon", {"runtime": "podman-monitor", "uid": 1000}),
    # containerd and cri-o without a pod
    (f"/containerd/{A}", {"runtime": "containerd", "container_id": A}),
    (f"/k8s.io/{A}", {"runtime": "containerd", "container_id": A, "containerd_namespace": "k8s.io"}),
    (f"/team-a/{A}/init.scope", {"runtime": "containerd", "container_id": A, "containerd_namespace": "team-a"}),
    (f"/system.slice/nerdctl-{A}.scope", {"runtime": "containerd", "container_id": A}),
    (f"/system.slice/cri-containerd-{A}.scope", {"runtime": "containerd", "container_id": A}),
    (f"/crio-{A}", {"runtime": "crio", "container_id": A}),
    # LXC 3, 4 and Proxmox
    ("/lxc/web", {"runtime": "lxc", "container_id": "web"}),
    ("/lxc/101/ns/system.slice/ssh.service", {"runtime": "lxc", "container_id": "101"}),
    ("/lxc.payload/web", {"runtime": "lxc", "container_id": "web"}),
    ("/lxc.payload.user-1000_web/init.scope", {"runtime": "lxc", "container_id": "user-1000_web"}),
    ("/lxc.monitor.web", {"runtime": "lxc-monitor", "container_id": "web"}),
    ("/lxc.monitor/101", {"runtime": "lxc-monitor", "container_id": "101"}),
    ("/lxc.monitor", {"runtime": "none"}),
    # libvirt and nspawn
    (
        "/machine.slice/machine-qemu\\x2d1\\x2dvm\\x2da.scope/libvirt/vcpu0",
        {"runtime": "libvirt", "machine": "qemu-1-vm-a"},
    ),
    (
        "/machine.slice/machine-prod.slice/machine-qemu\\x2d18\\x2dtest.scope",
        {"runtime": "libvirt", "machine": "qemu-18-test"},
    ),
    ("/machine/qemu-2-guest.libvirt-qemu/emulator", {"runtime": "libvirt", "machine": "qemu-2-guest"}),
    ("/machine/prod.partition/guest7.libvirt-qemu/vcpu1", {"runtime": "libvirt", "machine": "guest7"}),
    (
        "/machine.slice/systemd-nspawn@web.service/payload",
        {"runtime": "systemd", "unit": "systemd-nspawn@web.service", "machine": "web"},
    ),
    (
        "/machine.slice/machine-deb\\x2d12.scope",
        {"runtime": "systemd", "unit": "machine-deb\\x2d12.scope", "machine": "deb-12"},
    ),
    # systemd
    (
        "/system.slice/system-postgresql.slice/postgresql@9.4-main.service",
        {"runtime": "systemd", "unit": "postgresql@9.4-main.service"},
    ),
    ("/system.slice/vllm.service/worker/0", {"runtime": "systemd", "unit": "vllm.service"}),
    ("/init.scope", {"runtime": "systemd", "unit": "init.scope"}),
    ("/runtime.slice/kubelet.service", {"runtime": "systemd", "unit": "kubelet.service"}),
    (
        "/user.slice/user-1000.slice/session-3.scope",
        {"runtime": "systemd-user", "unit": "session-3.scope", "uid": 1000},
    ),
    (f"{USER}/app.slice/jupyter.service", {"runtime": "systemd-user", "unit": "jupyter.service", "uid": 1000}),
    (f"{USER}/init.scope", {"runtime": "systemd-user", "unit": "init.scope", "uid": 1000}),
    (USER, {"runtime": "systemd-user", "unit": "user@1000.service", "uid": 1000}),
    # LSF's jobs are named by the mapping
    ("/lsf/cluster1/job.12.27179.1775318460", {"runtime": "none"}),
    # nobody
    ("", {"runtime": "none"}),
    ("/", {"runtime": "none"}),
    ("0::/", {"runtime": "none"}),
    ("/system.slice", {"runtime": "none"}),
    ("/user.slice/user-1000.slice", {"runtime": "none"}),
    ("/podruntime/kubelet", {"runtime": "none"}),
    (f"/{A}", {"runtime": "none"}),
    (f"/docker/{A[:12]}", {"runtime": "none"}),
    ("/docker/", {"runtime": "none"}),
]

SPOOFED = [
    f"{USER}/app.slice/slurmstepd.scope/job_9/step_0",
    f"{USER}/system.slice/slurmstepd.scope/job_9",
    f"{USER}/slurm/uid_0/job_9",
    f"{USER}/kubepods/besteffort/pod{UID}/{A}",
    f"{USER}/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
    f"{USER}/docker/{A}",
    f"{USER}/app.slice/docker-{A}.scope",
    f"{USER}/lxc.payload.web",
    f"{USER}/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
    f"{USER}/oar.slice/oar-u0-j9.slice",
    f"{USER}/user.slice/user-0.slice/session-1.scope",
]


@pytest.mark.parametrize(("path", "expected"), CASES, ids=[path or "empty" for path, _ in CASES])
def test_path(path, expected):
    assert identify(path) == CgroupIdentity(**expected)


@pytest.mark.parametrize("path", ["/slurm/uid_1/job_5", f"/docker/{A}", POD, "/system.slice/a.service"])
def test_forms_of_one_path(path):
    wanted = identify(path)
    assert wanted.runtime != "none"
    for text in (f"0::{path}", f"0::{path}\n", f"12:cpu,cpuacct:{path}\n0::/\n", f"1:name=systemd:{path}\n2:pids:/"):
        assert identify(text) == wanted
    assert identify(f"/sys/fs/cgroup{path}") == identify(f"/sys/fs/cgroup/memory{path}") == wanted


@pytest.mark.parametrize("path", SPOOFED)
def test_what_a_user_makes_below_their_own_slice_is_theirs(path):
    owner = identify(f"0::{path}")
    assert (owner.runtime, owner.uid) == ("systemd-user", 1000)
    assert owner.job_id is owner.pod_uid is owner.container_id is owner.machine is None


@pytest.mark.parametrize(
    "path",
    [
        "/evil/system.slice/slurmstepd.scope/job_9/step_0",
        "/system.slice/evil.service/slurmstepd.scope/job_9",
        "/system.slice/slurmstepd.scope.d/job_9",
        "/system.slice/slurmstepd.scope/job_9x",
        "/slurmx/uid_1/job_9",
        "/slurm/job_9",
        "/lxc.payload.web/system.slice/slurmstepd.scope/job_9",
        f"/lxc.payload.web/kubepods/pod{UID}/{A}",
        f"/machine.slice/systemd-nspawn@web.service/payload/docker/{A}",
        f"/docker/{B}/user.slice/user-0.slice/user@0.service/kubepods/pod{UID}/{A}",
        "/user.slice/job_456",
    ],
)
def test_what_stands_elsewhere_than_root_puts_it_is_no_job(path):
    owner = identify(path)
    assert owner.job_id is None
    assert owner.pod_uid is None
    assert owner.container_id in {None, A if path.startswith(f"/docker/{A}") else None, "web", B}


def test_hierarchies_that_disagree():
    text = (
        "9:name=systemd:/user.slice/user-7.slice/session-3.scope\n6:freezer:/slurm_vm/uid_7/job_6/step_0\n"
        "5:devices:/slurm_vm/uid_7/job_6/step_0/task_0\n2:cpuacct:/slurm_vm/uid_7/job_6\n0::/\n"
    )
    wanted = CgroupIdentity("slurm", "6", "0", "0", "vm", uid=7)
    assert identify(text) == wanted
    assert identify("\n".join(reversed(text.split("\n")))) == wanted
    rancher = (
        f"11:name=systemd:/kubepods/besteffort/pod{UID}/{A}\n10:cpuset:/docker/{B}/kubepods/besteffort/pod{UID}/{A}"
    )
    assert identify(rancher).pod_uid == UID


def test_an_owner_is_frozen_and_says_none_for_what_does_not_apply():
    with pytest.raises(FrozenInstanceError):
        NOBODY.runtime = "slurm"
    assert [getattr(NOBODY, f.name) for f in fields(CgroupIdentity)] == ["none"] + [None] * (
        len(fields(CgroupIdentity)) - 1
    )


RUNTIMES = {
    *("slurm", "slurm-daemon", "kubernetes", "docker", "podman", "podman-monitor", "containerd", "crio"),
    *("lxc", "lxc-monitor", "libvirt", "oar", "systemd", "systemd-user", "none"),
    *("pbs", "htcondor", "gridengine", "nomad", "flux"),
}
PART = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [part for path, _ in CASES for part in path.split("/")] + ["job_9", "uid_0", "..", ".", ":", "0::"]
    ),
)
TEXTS = st.one_of(
    st.text(),
    st.lists(PART, max_size=8).map("/".join),
    st.lists(st.lists(PART, max_size=6).map(lambda p: "3:memory:/" + "/".join(p)), max_size=4).map("\n".join),
)


@settings(max_examples=examples(200), deadline=None)
@given(TEXTS)
def test_any_text_is_answered(text):
    owner = identify(text)
    assert owner.runtime in RUNTIMES
    batch = {"slurm", "oar", "pbs", "gridengine", "nomad", "flux", "htcondor"}
    assert (owner.job_id or owner.sluid or owner.slot or "") != "" or owner.runtime not in batch
    assert owner == identify("\n".join(reversed(text.split("\n"))))


SYSTEM = {True: {"flux"}, False: set()}


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, 4_000_000_000), st.lists(PART.filter(lambda p: "\n" not in p), max_size=8))
def test_nothing_below_a_users_slice_names_anybody_else(uid, parts):
    path = f"/user.slice/user-{uid}.slice/user@{uid}.service/" + "/".join(parts)
    owner = identify(f"0::{path}")
    assert owner.runtime in {"systemd-user", "podman", "podman-monitor", "docker", "containerd"} | SYSTEM[uid < 1000]
    assert owner.uid == uid or owner.runtime == "flux"
    assert owner.pod_uid is owner.machine is None
    assert owner.job_id is None or owner.runtime == "flux"


@pytest.mark.parametrize("text", ["/a" * 5_000_000, "0::/" + "x" * 10_000_000, "\n" * 5_000_000, "\0" * 100])
def test_huge_text_is_cut(text):
    assert identify(text) == NOBODY


def test_the_recorded_cases():
    traces = Path(os.environ.get("WATTSHED_TRACES", Path(__file__).parents[3] / "shared/traces"))
    files = [file for file in (traces.parent / "cases").glob("**/cgroup.json") if file.is_file()]
    if not files:
        pytest.skip("no recorded cases beside the traces (WATTSHED_TRACES)")
    names = {f.name for f in fields(CgroupIdentity)}
    for case in (case for file in files for case in json.loads(file.read_text())):
        owner = identify(case.get("path") or case["file"])
        assert {name: getattr(owner, name) for name in names & case.keys()} == {n: case[n] for n in names & case.keys()}


@pytest.mark.parametrize(
    ("outer", "wanted"),
    [
        (f"{POD}/crio-{A}.scope/container", {"pod_uid": UID, "container_id": A}),
        (f"/machine.slice/libpod-{A}.scope/container", {"container_id": A}),
    ],
)
def test_slurm_in_a_container_that_crun_made(outer, wanted):
    """crun (CRI-O on OpenShift, podman) starts a container in a folder of its scope."""
    found = identify(f"{outer}/system.slice/slurmstepd.scope/job_8/step_0/user/task_0")
    assert {"runtime": "slurm", "job_id": "8", "step": "0", "task": "0", **wanted}.items() <= {
        f.name: getattr(found, f.name) for f in fields(found)
    }.items()
    assert identify(outer).runtime in {"kubernetes", "podman"}


def test_it_is_found_in_the_installed_package_from_anywhere(tmp_path):
    code = "from wattshed.agent.jobs.cgroup import identify as i; print(i('/slurm/uid_7/job_5').job_id)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (told.stdout, told.stderr) == ("5\n", "")
