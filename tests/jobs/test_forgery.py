"""Attempts to be billed for another's joules, or to bill another. Alice (1001) attacks; Bob (1002) holds GPU 0.

More of these stand beside what they concern: forged cgroups in `test_delegation`, forged units and holds in
`test_batch` and `test_holding`, pods in `test_kubernetes`.
"""

from __future__ import annotations

import http.server
import json
import os
import pwd
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.jobs import real_slurm
from tests.jobs.fake_proc import FakeProc
from tests.jobs.test_deciding import DEVICES, HEX, SECOND, T0, Batch, Node, hold
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.naming import job_of
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.jobs.text import LONGEST_NAME

ALICE, BOB = 1001, 1002
SCRIPT = Path(__file__).parents[2] / "deploy/slurm/wattshed-jobs"
SLURMD = "/system.slice/slurmd.service"
SSH = "/user.slice/user-1001.slice/session-3.scope"
CHILD = """
import ctypes, sys, threading, time
threading.Thread(target=time.sleep, args=(30,)).start()
print("up", flush=True)
ctypes.CDLL(None).syscall({exit}, 0)  # this thread, not the process
"""
EXIT = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def real_now():
    return time.time_ns() // 1000


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path, Batch())


def keys(rows):
    return {key for key, *_ in rows}


# Who a process is


@pytest.mark.skipif(EXIT is None, reason="the number of exit(2) is known for x86 and ARM only")
def test_a_process_whose_first_thread_has_ended_is_not_nobody():
    """Such a one is a zombie in /proc, and works on; as a pid that nobody knows it were the only holder's."""
    with subprocess.Popen([sys.executable, "-c", CHILD.format(exit=EXIT)], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        until = time.monotonic() + 10
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until
            time.sleep(0.01)
        processes = Processes(Path("/proc"), real_now)
        try:
            found = processes.look(child.pid)
            assert found is not None
            assert processes.alive(found)
            assert processes.uid(found) == os.getuid()
            child.kill()
            child.wait()
            until = time.monotonic() + 10
            while processes.alive(found):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert processes.look(child.pid) is None
        finally:
            processes.close()


def test_where_its_first_thread_is_nowhere_another_tells_where_it_is(tmp_path):
    proc = FakeProc(tmp_path / "proc")
    proc.start(10, "3:cpu:/\n1:name=systemd:/\n", uid=ALICE)
    stat = proc.root / "10/stat"
    stat.write_text(stat.read_text().replace(" S 1 ", " Z 1 ").replace(" 20 0 1 0 ", " 20 0 2 0 "))
    (proc.root / "10/task/11").mkdir(parents=True)
    (proc.root / "10/task/11/cgroup").write_text(f"3:cpu:/\n1:name=systemd:{SSH}\n")
    processes = Processes(proc.root, lambda: T0)
    assert processes.look(10).identity == identify(SSH)
    stat.write_text(stat.read_text().replace(" 20 0 2 0 ", " 20 0 1 0 "))
    assert Processes(proc.root, lambda: T0).look(10) is None


@as_root
def test_a_path_too_long_to_be_told_is_still_its_makers(node):
    """A mapping without users pays for processes in no unit: nobody can leave their unit by hiding it."""
    node.batch.held = [hold(0, "pbs:107.pbs", uid=-1)]
    node.proc.start(10, f"/user.slice/user-1001.slice/user@1001.service/{'/'.join(['x' * 250] * 17)}", uid=ALICE)
    node.proc.start(11, uid=ALICE)
    (node.proc.root / "11/cgroup").write_text("")  # ENAMETOOLONG
    rows = node.window(10, 11)
    assert keys(rows) == {"user:1001/python3", "pbs:107.pbs"}
    assert [row for row in rows if row[0] == "pbs:107.pbs"] == [("pbs:107.pbs", 0, 1000, 0, 0)]


@as_root
@pytest.mark.parametrize("hierarchy", ["unified", "systemd", ""])
def test_a_real_user_hides_in_a_path_too_deep_to_be_told(hierarchy):
    base = Path("/sys/fs/cgroup", hierarchy)
    if not (base / "cgroup.procs").exists():
        pytest.skip(f"{base} is not a hierarchy of cgroups here")
    top = base / f"wattshed-deep-{os.getpid()}"
    top.mkdir()
    for path in (top, *top.iterdir()):
        os.chown(path, 54321, 54321)
    dig = (
        "import os, sys, time\nos.chdir(sys.argv[1])\n"
        "for _ in range(17): os.mkdir('x' * 250); os.chdir('x' * 250)\n"
        "open('cgroup.procs', 'w').write(str(os.getpid()))\nprint('in', flush=True)\ntime.sleep(60)"
    )
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", sys.executable, "-c", dig, str(top)]
    enter = ["sh", "-c", f'echo $$ >{top}/cgroup.procs; exec "$@"', "sh", *user]
    try:
        with subprocess.Popen(enter, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout.readline() == "in\n"
                processes = Processes(Path("/proc"), real_now)
                # What root made is all that is believed, whether the kernel cuts the path or refuses to tell it.
                text = processes._delegation.believed(processes._cgroup(child.pid))
                assert "x" not in text
                assert not text or top.name in text
                processes.close()
            finally:
                child.kill()
    finally:
        for _ in range(50):
            if not _level(top):
                break
            time.sleep(0.1)


def _level(top):
    """Remove a tree that is too deep for its names; True while something keeps it."""
    opened = [os.open(top, os.O_RDONLY)]
    try:
        while below := [name for name in os.listdir(opened[-1]) if name.startswith("xxx")]:  # noqa: PTH208
            opened.append(os.open(below[0], os.O_RDONLY, dir_fd=opened[-1]))
        for folder in reversed(opened[:-1]):
            os.rmdir("x" * 250, dir_fd=folder)
        top.rmdir()
    except OSError:
        return True
    finally:
        for folder in opened:
            os.close(folder)
    return False


def test_a_pid_that_another_has_by_now_says_nothing_of_whoever_had_it(tmp_path):
    proc = FakeProc(tmp_path / "proc")
    proc.start(10, "/", uid=ALICE, ticks=100, env=("SLURM_JOB_ID=1",))
    processes = Processes(proc.root, lambda: T0)
    first = processes.look(10)
    proc.start(10, "/", uid=BOB, ticks=200, argv=("bobs",), env=("SLURM_JOB_ID=501",))
    assert processes.uid(first) == -1
    assert processes.command(first) == "python"
    assert processes.environ(first, "SLURM_JOB_ID") == ""
    assert processes.uid(processes.look(10)) == BOB


# Who holds a GPU


def test_who_was_taken_for_a_jobs_before_its_user_was_known_is_let_go(node):
    """The mapping says no user, and squeue answers two seconds later: another user's process is not the job's."""
    node.batch.held = [hold(0, "slurm:77", uid=-1)]
    node.proc.start(10, SLURMD, uid=ALICE)
    node.proc.start(11, SLURMD, uid=BOB)
    assert keys(node.window(10, 11)) == {"slurm:77"}
    node.batch.held = [hold(0, "slurm:77", uid=BOB)]
    rows = node.window(10, 11)
    assert rows == [("slurm:77", 1000, 2000, 100, 1), ("unit:slurmd.service", 1000, 2000, 100, 1)]


def test_who_pauses_between_two_jobs_is_not_the_next_ones(node):
    """The mapping says no users; a process that Alice's job left behind waits until Bob's has the GPU."""
    node.batch.held = [hold(0, "pbs:1.s", uid=-1, end=T0 + SECOND)]
    node.proc.start(10, "/system.slice/pbs.service", uid=ALICE)
    assert keys(node.window(10)) == {"pbs:1.s"}
    node.batch.held = [hold(0, "pbs:2.s", uid=-1, start=T0 + SECOND)]
    for _ in range(12):
        assert keys(node.window()) <= {"pbs:1.s", "pbs:2.s"}
    rows = node.window(10)
    assert [row for row in rows if row[4]] == [("pbs:1.s", 13_000, 14_000, 100, 1)]


def test_processes_too_short_to_be_seen_are_not_the_holders_where_somebody_else_is_seen(node):
    node.batch.held = [hold(0, "slurm:77", uid=BOB)]
    node.proc.start(10, SSH, uid=ALICE)
    assert ("slurm:77", 0, 1000, 0, 0) in node.window(10, 99)
    assert [row for row in node.window(99) if row[0] == "slurm:77" and row[4]] == []  # she is there yet
    for _ in range(8):
        node.window()
    assert ("slurm:77", 10_000, 11_000, 100, 1) in node.window(99)


# What a bill is called

LONG = "a" * 200


@pytest.mark.parametrize(
    "path",
    [
        f"/system.slice/{LONG}%d.service",
        f"/default/{LONG}%d",
        f"/nomad.slice/share.slice/2fc932ce-fdcc-454b-97bd-aadfdeb4c340.{LONG}%d.scope",
        f"/lxc.payload.{LONG}%d",
        f"/machine.slice/machine-qemu\\x2d1\\x2d{LONG}%d.scope",
        f"/machine.slice/systemd-nspawn@{LONG}%d.service",
        f"/system.slice/htcondor/condor_execute_slot1@{LONG}%d",
        f"/pbs.service/jobid/107.{LONG}%d",
    ],
)
def test_names_that_begin_alike_have_bills_of_their_own(path):
    owners = [job_of(identify(path % number), lambda: ALICE, lambda: "python") for number in (1, 2)]
    assert owners[0].key != owners[1].key
    assert all(len(owner.labels.get("unit", "")) <= LONGEST_NAME for owner in owners)


def test_what_a_user_names_stands_behind_the_users_id():
    """Whatever is to be seen of another's key in a name of Alice's, the bill is hers."""
    own = "/user.slice/user-1001.slice/user@1001.service"
    names = [
        "slurm:501",
        "k8s:x",
        "user:1002",
        "_idle",
        "_unattributed",
        "unit:a.service",
        "sEKNKTV3WPV500",
        "\n",
        '"}',
    ]
    paths = [f"{own}/app.slice/{name}{end}" for name in names for end in (".service", ".scope", "")]
    paths += [
        f"{own}/{name}" for name in ("slurmstepd.scope/job_501", "kubepods/pod" + "1" * 32, f"docker-{HEX}.scope")
    ]
    paths += [f"{own}/user.slice/libpod-{HEX}.scope", f"{own}/user.slice/nerdctl-{HEX}.scope", SSH]
    for path in paths:
        for name in names:
            found = job_of(identify(path), lambda: ALICE, lambda name=name: name)
            assert found.key.startswith("user:1001/"), path
            assert found.key.isprintable()
            assert "sluid" not in found.labels


FORGED = (
    "slurmstepd.scope/job_501/step_0", "a\u2028b", "\r", "x (deleted)", " ", "sys/fs/cgroup/slurmstepd.scope/job_501",
    f"kubepods/pod{'1' * 32}/{HEX}", f"docker-{HEX}.scope", "machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
)  # fmt: skip
ENTER = """
import os, sys
for folder in sys.argv[2:]:
    os.makedirs(folder, exist_ok=True)
    open(folder + "/cgroup.procs", "w").write(str(os.getpid()))
    print(folder, flush=True)
    sys.stdin.readline()
"""


@as_root
@pytest.mark.parametrize("hierarchy", ["unified", "systemd", ""])
def test_a_real_user_forges_below_user_slice_and_pays(hierarchy):
    base = Path("/sys/fs/cgroup", hierarchy)
    if not (base / "cgroup.procs").exists() or (base / "user.slice").exists():
        pytest.skip(f"{base} is not a hierarchy of cgroups here, or one that systemd rules")
    top = base / "user.slice/user-54321.slice/user@54321.service"
    top.mkdir(parents=True)
    for path in (top, *top.iterdir()):
        os.chown(path, 54321, 54321)
    with pytest.raises(OSError, match="Invalid argument"):
        (top / "two\nlines").mkdir()  # else a path could be several
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", sys.executable, "-c", ENTER, "-"]
    enter = ["sh", "-c", f'echo $$ >{top}/cgroup.procs; exec "$@"', "sh", *user, *(f"{top}/{name}" for name in FORGED)]
    try:
        with subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            for name in FORGED:
                child.stdout.readline()
                processes = Processes(Path("/proc"), real_now)
                found = processes.look(child.pid)
                key = job_of(found.identity, lambda p=processes, f=found: p.uid(f), lambda: "python").key
                processes.close()
                assert key == "user:54321/python", name
                child.stdin.write("\n")
                child.stdin.flush()
    finally:
        until = time.monotonic() + 10
        while (base / "user.slice").exists() and time.monotonic() < until:
            for folder, _, _ in os.walk(base / "user.slice", topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()


# What a job's name may do

NAME = (
    "a\u2028uid=1002\u2028sluid=sEKNKTV3WPV500\x0bmanager=lsf\x0cuser=bob\x85account=bobs\x1cjob=slurm:1\nuid=0\rqos=x"
)


def prolog(folder, what, job, **env):
    """Run the prolog or the epilog, as slurmd would: with an environment of its own."""
    wanted = {"SLURM_JOB_ID": str(job), "WATTSHED_MAPPING_DIR": str(folder), "WATTSHED_URL": "http://127.0.0.1:1"}
    path = {"PATH": os.environ["PATH"]}
    subprocess.run([str(SCRIPT), what], env={**path, **wanted, **env}, check=True, timeout=30)


def test_a_jobs_name_is_one_label_whatever_is_in_it(tmp_path):
    """Python takes ten characters for the end of a line; a label that a name made would move the bill."""
    folder = tmp_path / "mapping"
    prolog(folder, "prolog", 501, SLURM_JOB_UID="1001", SLURM_JOB_USER="alice", SLURM_JOB_NAME=NAME, SLURM_JOB_GPUS="0")
    slurm = Slurm(real_now, "n1", folder, squeue=())
    try:
        until = time.monotonic() + 10
        while not (found := slurm.reservations(DEVICES, real_now() - SECOND, real_now())):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert [(one.owner.key, one.uid) for one in found] == [("slurm:501", ALICE)]
        labels = dict(found[0].owner.labels)
        assert labels.pop("name").startswith("a\\u2028uid=1002\\u2028sluid=")
        assert labels == {"manager": "slurm", "user": "alice", "uid": "1001"}
        assert slurm.uid("501") == ALICE
        assert slurm.job_of("sEKNKTV3WPV500") == ""
    finally:
        slurm.close()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "name",
    ['{"job":"slurm:501","energy_j":9}', '\\"job":"slurm:501","energy_j":9', '\n{"job":"slurm:501","energy_j":9', "}{"],
)
def test_no_name_passes_for_a_bill_in_what_the_epilog_reads(name, first):
    class Agent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(snapshot)

        def log_message(self, *_):
            pass

    alices = {"job": "slurm:77", "labels": {"name": name}, "energy_j": 1000.0}
    bobs = {"job": "slurm:501", "labels": {"name": "train"}, "energy_j": 42.0}
    jobs = [alices, bobs] if first else [bobs, alices]
    snapshot = json.dumps({"jobs": jobs}, separators=(",", ":")).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"SLURM_JOB_ID": "501", "WATTSHED_URL": f"http://127.0.0.1:{server.server_port}"}
        said = subprocess.run([str(SCRIPT), "report"], env=env, capture_output=True, text=True, timeout=30, check=True)
        server.shutdown()
    assert said.stdout.startswith("wattshed: job 501 used 42.0 J ")


def test_what_is_known_of_a_long_job_outlives_the_epilogs_of_others(tmp_path):
    """Without its user a job would pay for whoever runs in a batch system's unit."""
    folder = tmp_path / "mapping"
    for job, gpus in ((501, "0"), (502, "1"), (503, "")):
        prolog(folder, "prolog", job, SLURM_JOB_UID="1002", SLURM_JOB_GPUS=gpus)
    (folder / "2").write_text("504 1002\n")
    (folder / "jobs/504").write_text("uid=1002\n")
    long_ago = time.time() - 7_200
    for job in (501, 502, 503, 504):
        os.utime(folder / f"jobs/{job}", (long_ago, long_ago))
    prolog(folder, "epilog", 502)
    assert sorted(path.name for path in (folder / "jobs").iterdir()) == ["501", "504"]
    assert (folder / "0").read_text() == "501\n"


@as_root
@pytest.mark.parametrize("loose", ["", "jobs"])
def test_a_folder_that_others_may_write_describes_nobody(tmp_path, loose):
    """In one, files of root can be given each other's names."""
    folder = tmp_path / "mapping"
    prolog(folder, "prolog", 501, SLURM_JOB_UID="1002", SLURM_JOB_GPUS="0")
    (folder / loose).chmod(0o777)
    mapping = MappingDirectory(folder, real_now)
    try:
        mapping.scan()
    except PermissionError:
        assert not loose
    assert mapping.labels("501") == {}


@as_root
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "believed"),
    [(0, 0, 0o775, True), (0, 54321, 0o755, True), (0, 54321, 0o775, False), (54321, 54321, 0o755, False)],
)
def test_a_folder_of_a_group_is_not_believed(tmp_path, uid, gid, mode, believed):
    folder = tmp_path / "mapping"
    folder.mkdir()
    (folder / "0").write_text("501\n")
    folder.chmod(mode)
    os.chown(folder, uid, gid)
    try:
        assert MappingDirectory(folder, real_now).scan() == 1
    except PermissionError:
        assert not believed
    else:
        assert believed


# What a real Slurm lets its users write


@pytest.mark.real
def test_a_real_job_cannot_tell_the_prolog_what_it_is(monkeypatch):
    """A job's own environment, name and comment, as wrong as can be: neither the prolog nor the bill heeds them."""
    real_slurm.need()
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"wattshed-forgery-{os.getpid()}"
    mapping = folder / "mapping"
    folder.mkdir(mode=0o755)
    forged = {
        "SLURM_JOB_GPUS": "1,2,3", "SLURM_STEP_GPUS": "3", "GPU_DEVICE_ORDINAL": "2", "CUDA_VISIBLE_DEVICES": "GPU-2",
        "SLURM_JOB_UID": "1002", "SLURM_JOB_USER": "bob", "SLURM_JOB_ACCOUNT": "bobs", "SLURM_JOB_ID": "1",
        "SLURM_JOB_SLUID": "sEKNKTV3WPV500", "SLURM_HET_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "6", "BASH_ENV": "/tmp/x",
        "WATTSHED_MAPPING_DIR": str(folder / "evil"), "SPANK_SLURM_JOB_UID": "1002", "SLURM_CLUSTER_NAME": "bobs",
        "SLURM_JOB_NUM_NODES": "99", "SLURM_JOB_RESTART_COUNT": "7",
    }  # fmt: skip
    line = f"WATTSHED_MAPPING_DIR={mapping} WATTSHED_URL=http://127.0.0.1:1 {SCRIPT}"
    try:
        with real_slurm.start(folder, mapping, f"{line} prolog", f"{line} epilog") as cluster:
            export = "--export=ALL," + ",".join(f"{name}={value}" for name, value in forged.items() if "," not in value)
            job = cluster.submit("sleep 60", "--gres=gpu:1", "-J", NAME, "--comment", "uid=0\nuid=1002", export)
            cluster.wait(job)
            monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
            slurm = Slurm(real_now, cluster.node, mapping)
            until = time.monotonic() + 20
            while not slurm.labels(str(job)).get("name"):
                assert time.monotonic() < until
                slurm.reservations(DEVICES, real_now() - SECOND, real_now())
                time.sleep(0.1)
            found = slurm.reservations(DEVICES, real_now() - SECOND, real_now())
            user = pwd.getpwnam(cluster.user)
            assert [(one.gpu, one.owner.key, one.uid) for one in found] == [(0, f"slurm:{job}", user.pw_uid)]
            labels = slurm.labels(str(job))
            assert labels["user"] == cluster.user
            assert labels["name"].startswith("a\\u2028uid=1002")
            known = {"user", "name", "partition", "account", "qos", "uid", "cluster", "nodes"}
            assert labels.keys() <= known, "and not a second run of it"
            assert (labels["uid"], labels["cluster"], labels["nodes"]) == (str(user.pw_uid), "wattshed", "1")
            assert slurm.job_of("sEKNKTV3WPV500") == ""
            assert sorted(path.name for path in mapping.glob("[0-9]*")) == ["0"]
            assert not (folder / "evil").exists()
            slurm.close()
    finally:
        real_slurm.remove(folder)
