"""Attempts to be billed for another's joules, or to bill another. Alice (1001) attacks; Bob (1002) holds GPU 0.

More of these stand beside what they concern: forged cgroups in `test_delegation`, forged units and holds in
`test_batch` and `test_holding`, pods in `test_kubernetes`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.jobs.cgroup import identify
from agent.jobs.mapping import MappingDirectory
from agent.jobs.processes import Processes
from agent.jobs.slurm import Slurm
from tests.jobs.fake_proc import BOOT, FakeProc
from tests.jobs.test_deciding import DEVICES, HEX, SECOND, T0, Batch, Node, hold

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
        pytest.skip(f"no {base}")
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
        while below := [name for name in os.listdir(opened[-1]) if name.startswith("xxx")]:
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
