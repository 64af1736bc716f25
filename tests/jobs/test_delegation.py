"""Who may write a cgroup: with made trees, and with real cgroups and a real unprivileged user who forges."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.cgroup import NOBODY, CgroupIdentity, identify
from wattshed.agent.jobs.delegation import Delegation, Mount, mounts_of
from wattshed.agent.jobs.naming import job_of
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.users import local_uid

ROOT = Path(__file__).parents[2]
ALICE = 54_321
VICTIM = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"
CONTAINER = "a1" * 32
FORGED = f"kubepods/burstable/pod{VICTIM}/{CONTAINER}"
MOUNTINFO = (
    "25 20 0:22 / /sys rw - sysfs sysfs rw\n"
    "31 25 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "34 31 0:31 /../../.. /host/cgr\\040oup ro - cgroup2 cgroup2 ro\n"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def test_mounts_are_read_as_the_kernel_writes_them():
    found = mounts_of(MOUNTINFO)
    assert [(m.point, m.root) for m in found] == [
        ("/host/cgr oup", ("..", "..", "..")),
        ("/sys/fs/cgroup/systemd", ()),
        ("/sys/fs/cgroup/cpu,cpuacct", ()),
    ]
    assert [set(m.controllers.split(",")) for m in found] == [
        {""},
        {"rw", "xattr", "name=systemd"},
        {"rw", "cpu", "cpuacct"},
    ]
    assert mounts_of("") == mounts_of("nonsense\n1 2 3 - cgroup\n") == []


def made(folder, path, *, owner=None, mode=None, uid=ALICE, gid=0):
    """Make a path below a folder; give the part called ``owner`` away, or change its mode."""
    below = folder
    for part in path.split("/"):
        below = below / part
        below.mkdir(exist_ok=True)
        if part == owner:
            os.chown(below, uid, gid)
            if mode is not None:
                below.chmod(mode)
    return below


@as_root
@pytest.mark.parametrize(
    ("owner", "how", "kept"),
    [
        ("d", {}, "a/b/c/d"),
        ("c", {}, "a/b/c"),
        ("b", {}, "a/b"),
        ("a", {}, "a"),
        (None, {}, "a/b/c/d"),
        ("b", {"uid": 0, "gid": 5, "mode": 0o775}, "a/b"),
        ("b", {"uid": 0, "gid": 0, "mode": 0o775}, "a/b/c/d"),
        ("b", {"uid": 0, "gid": 5, "mode": 0o755}, "a/b/c/d"),
        ("b", {"uid": 0, "gid": 0, "mode": 0o777}, "a/b"),
    ],
)
def test_a_path_is_believed_down_to_what_was_handed_over(tmp_path, owner, how, kept):
    tmp_path.chmod(0o755)
    made(tmp_path, "a/b/c/d", owner=owner, **how)
    delegation = Delegation([Mount("", (), str(tmp_path))])
    assert delegation.believed("0::/a/b/c/d\n") == f"0::/{kept}"


@as_root
def test_a_root_of_all_that_is_not_roots_says_nothing(tmp_path):
    made(tmp_path, "a/b")
    os.chown(tmp_path, ALICE, ALICE)
    assert identify(Delegation([Mount("", (), str(tmp_path))]).believed("0::/a/b")) == NOBODY


@as_root
def test_hierarchies_are_asked_for_their_own(tmp_path):
    for name in ("unified", "cpu", "memory"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, FORGED, owner="kubepods" if name != "memory" else None)
    mounts = [
        Mount("", (), f"{tmp_path}/unified"),
        Mount("cpu,cpuacct,rw", (), f"{tmp_path}/cpu"),
        Mount("memory,rw", (), f"{tmp_path}/memory"),
    ]
    believed = Delegation(mounts).believed
    assert identify(believed(f"0::/{FORGED}")).pod_uid is None
    assert identify(believed(f"3:cpuacct,cpu:/{FORGED}")).pod_uid is None
    # true in one hierarchy is true, in any order
    for lines in ((f"0::/{FORGED}", f"4:memory:/{FORGED}"), (f"4:memory:/{FORGED}", f"0::/{FORGED}")):
        assert identify(believed("\n".join(lines))).pod_uid == VICTIM
    # a hierarchy that is not mounted cannot make true what another denies
    for lines in ((f"0::/{FORGED}", f"5:pids:/{FORGED}"), (f"5:pids:/{FORGED}", f"0::/{FORGED}")):
        assert identify(believed("\n".join(lines))).pod_uid is None


@as_root
def test_from_another_namespace(tmp_path):
    """The agent in a container: paths climb, the mount begins above it, and its own folder is found by its pid."""
    home = "kubepods/podx/self"
    made(tmp_path, home)
    (tmp_path / home / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    made(tmp_path, f"kubepods/pody/c/{FORGED}", owner="c")
    made(tmp_path, f"system/htcondor/{FORGED}", owner="htcondor")
    tmp_path.chmod(0o755)
    climbing = Delegation([Mount("", ("..",) * 3, str(tmp_path))]).believed
    assert climbing(f"0::/../../../system/htcondor/{FORGED}") == "0::/system/htcondor"
    assert climbing(f"0::/../../pody/c/{FORGED}") == "0::/kubepods/pody/c"
    assert climbing("0::/../../../kubepods/podx/self") == f"0::/{home}"
    # what no mount shows stays as it is
    shut = Delegation([Mount("", (), str(tmp_path))]).believed
    assert shut("0::/../../system") == "0::/../../system"
    assert Delegation(()).believed("0::/a\n1:x:/b") == "0::/a\n1:x:/b"


@as_root
def test_what_is_gone_or_a_users_own_stays_whole(tmp_path):
    made(tmp_path, "user.slice/user-5.slice/user@5.service/user.slice", owner="user@5.service")
    made(tmp_path, "system.slice")
    tmp_path.chmod(0o755)
    believed = Delegation([Mount("", (), str(tmp_path))]).believed
    own = f"/user.slice/user-5.slice/user@5.service/user.slice/docker-{CONTAINER}.scope"
    assert identify(believed(f"0::{own}")) == CgroupIdentity("docker", container_id=CONTAINER, uid=5)
    assert believed("0::/system.slice/gone.service/x") == "0::/system.slice/gone.service/x"


@as_root
@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.sampled_from(["a", "system.slice", "kubepods", f"pod{VICTIM}", CONTAINER, "job_9"]), max_size=6),
    st.integers(0, 5),
)
def test_below_what_was_handed_over_nothing_changes_the_identity(tmp_path_factory, below, depth):
    folder = tmp_path_factory.mktemp("cgroup")
    folder.chmod(0o755)
    try:
        above = ["lab", "x", "alice"][: 1 + depth % 3]
        given_away = made(folder, "/".join(above))
        os.chown(given_away, ALICE, ALICE)
        made(given_away, "/".join(below)) if below else None
        believed = Delegation([Mount("", (), str(folder))]).believed
        path = "/".join(["", *above])
        assert identify(believed(f"0::{'/'.join([path, *below])}")) == identify(believed(f"0::{path}"))
    finally:
        shutil.rmtree(folder)


def test_the_local_account_of_flux(tmp_path):
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/:\n# a comment\nfluxy:x:7:7::/:\nflux:x:501:501::/:/bin/sh\nbroken\n")
    assert local_uid("flux", passwd) == 501
    assert local_uid("broken", passwd) is local_uid("nobody", passwd) is local_uid("flux", tmp_path / "none") is None


@contextmanager
def handed_over(root, path, tasks=("cgroup.procs",)):
    """Make a cgroup and give it to Alice, as a manager does that delegates."""
    made_here, below = [], root
    for part in path.split("/"):
        below = below / part
        if not below.exists():
            below.mkdir()
            made_here.append(below)
    os.chown(below, ALICE, ALICE)
    for name in (*tasks, "cgroup.subtree_control", "cgroup.threads"):
        if (below / name).exists():
            os.chown(below / name, ALICE, ALICE)
    try:
        yield below
    finally:
        until = time.monotonic() + 5
        for folder in [*sorted(below.glob("**/"), reverse=True), *reversed(made_here)]:
            while folder.exists() and time.monotonic() < until:
                try:
                    folder.rmdir()
                except OSError:
                    # A process that was just killed is not gone yet.
                    time.sleep(0.02)


@contextmanager
def forging(cgroup, sub):
    """A process of Alice's in a cgroup that she made herself below the one that she was given."""
    forge = 'mkdir -p "$1/$2" && echo $$ >"$1/$2/cgroup.procs" && echo ready && read -r _'
    start = (
        'echo $$ >"$1/cgroup.procs" && exec setpriv --reuid="$4" --regid="$4" --clear-groups sh -c "$3" sh "$1" "$2"'
    )
    process = subprocess.Popen(
        ["sh", "-c", start, "sh", cgroup, sub, forge, str(ALICE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def real_roots():
    roots = {"v2": Path("/sys/fs/cgroup/unified"), "v1": Path("/sys/fs/cgroup/memory")}
    if Path("/sys/fs/cgroup/cgroup.procs").exists():
        roots["v2"] = Path("/sys/fs/cgroup")
    return {name: root for name, root in roots.items() if (root / "cgroup.procs").exists()}


@pytest.fixture(params=["v1", "v2"])
def root(request):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv (apt-get install util-linux)")
    found = real_roots().get(request.param)
    if found is None:
        if real_roots():
            return pytest.skip(f"this machine has no cgroup {request.param}")
        pytest.skip("no cgroup hierarchy is mounted")
    if not os.access(found, os.W_OK):
        pytest.skip(f"{found} is mounted read-only")
    return found


SLOT = "slot1_1@gpu01"
HANDED = {
    f"system.slice/htcondor-{os.getpid()}/condor_var_lib_condor_execute_{SLOT}": f"htcondor:{SLOT}/{ALICE}",
    f"system.slice/alice-{os.getpid()}.service": f"unit:alice-{os.getpid()}.service",
    f"lab-{os.getpid()}/alice": f"user:{ALICE}/sh",
    f"lab-{os.getpid()}.slice": f"user:{ALICE}/sh",
}
NAMES = [
    FORGED,
    f"kubepods.slice/kubepods-pod{VICTIM.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope",
    "system.slice/slurmstepd.scope/job_9/step_0/user/task_0",
    "slurmstepd.scope/job_9",
    "slurm/uid_0/job_9",
    f"docker/{CONTAINER}",
    f"docker-{CONTAINER}.scope",
    f"libpod-payload-{CONTAINER}",
    "victim.service",
    "victim.service/jobid/9.pbs01",
    "htcondor/condor_x_slot1_9@other",
    "user.slice/user-0.slice/user@0.service/victim.service",
    "a:b (deleted)/kubepods/\u00e9\t/" + FORGED,
]


@pytest.mark.real
@pytest.mark.parametrize("given_away", HANDED, ids=["htcondor", "unit", "lab", "slice"])
def test_a_real_user_names_nobody_else(root, given_away):
    processes = Processes(Path("/proc"), lambda: time.time_ns() // 1000)
    try:
        with handed_over(root, given_away) as cgroup:
            for name in NAMES:
                with forging(cgroup, name) as pid:
                    text = Path(f"/proc/{pid}/cgroup").read_text()
                    assert f"/{given_away}/{name}" in text
                    process = processes.look(pid)
                    job = job_of(
                        process.identity, lambda p=process: processes.uid(p), lambda p=process: processes.command(p)
                    )
                    assert job.key == HANDED[given_away], name
                    assert processes.identify_again(process) == process.identity
                    if given_away.startswith("lab") and name == FORGED:
                        # The path alone would name the victim: it is the folder's owner that tells.
                        assert identify(text).pod_uid == VICTIM or given_away.endswith(".slice")
            # Nor can she go where she was not let in.
            aside = cgroup.parent / "victim"
            aside.mkdir()
            try:
                with pytest.raises(AssertionError), forging(cgroup, "../victim"):
                    pass
            finally:
                aside.rmdir()
    finally:
        processes.close()


@pytest.mark.real
def test_a_real_agent_in_a_namespace_of_its_own(root):
    """As in a pod on cgroup v2: every path climbs, and the host's hierarchy is mounted from above our own root."""
    outer = f"kube-{os.getpid()}/pod-{os.getpid()}/agent"
    look = (
        "import sys; from pathlib import Path; from wattshed.agent.jobs.delegation import Delegation;"
        "print(Delegation.of_this_host().believed(Path(f'/proc/{sys.argv[1]}/cgroup').read_text()))"
    )
    start = 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup "$2" -c "$3" "$4"'
    with handed_over(root, outer) as ours, handed_over(root, f"lab-{os.getpid()}/alice") as cgroup:
        os.chown(ours, 0, 0)
        with forging(cgroup, FORGED) as pid:
            argv = ["sh", "-c", start, "sh", ours, sys.executable, look, str(pid)]
            said = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert f":/lab-{os.getpid()}/alice" in said.split()[0]
    assert identify(said) == NOBODY


@pytest.mark.real
def test_a_process_that_its_manager_moves_is_identified_again(root):
    job = f"system.slice/w{os.getpid()}_slurmstepd.scope/job_4"
    processes = Processes(Path("/proc"), lambda: time.time_ns() // 1000)
    try:
        with (
            handed_over(root, f"lab-{os.getpid()}/alice") as cgroup,
            handed_over(root, job) as target,
            forging(cgroup, "x") as pid,
        ):
            process = processes.look(pid)
            assert process.identity == NOBODY
            (target / "cgroup.procs").write_text(str(pid))
            assert processes.look(pid).identity == NOBODY
            assert processes.identify_again(process).job_id == "4"
            assert processes.look(pid).identity.job_id == "4"
    finally:
        processes.close()
