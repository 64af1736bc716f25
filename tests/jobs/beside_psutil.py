"""What psutil does in place of the agent's own reader of /proc: time, and what each says of odd processes.

``python -m tests.jobs.beside_psutil [PROCESSES]`` prints the numbers of docs/decisions/0981.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.jobs.fake_proc import FakeProc
from wattshed.agent.jobs.delegation import Delegation
from wattshed.agent.jobs.processes import Processes


@contextmanager
def sleepers(count):
    """Keep some processes that do nothing."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        pids.append(pid)
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def best(measured, times=5):
    """Return the least processor time of some, ms."""
    took = []
    for _ in range(times):
        begun = time.thread_time_ns()
        measured()
        took.append((time.thread_time_ns() - begun) / 1e6)
    return round(min(took), 2)


def own(root=Path("/proc")):
    """Make the agent's reader, without pidfds: psutil has nothing like them."""
    made = Processes(root, lambda: time.time_ns() // 1000, delegation=Delegation(()))
    if made._exits is not None:
        made._exits.close()
        made._exits = None
    return made


def of_new(pids, ours=True):
    """Everything that is wanted of a new process, but for its cgroup: start, user id, program."""
    if ours:
        reader = own()
        reader._identity = lambda pid: None
        return [(p.key[2], reader.uid(p), reader.command(p)) for p in map(reader.look, pids)]
    found = []
    for pid in pids:
        one = psutil.Process(pid)
        with one.oneshot():
            found.append((round(one._ident[1] * 100), one.uids().real, one.cmdline()))
        one.is_running()  # that it is still the same one
    return found


def again(pids):
    """Whether processes that are known still run."""
    reader, theirs = own(), [psutil.Process(pid) for pid in pids]
    known = [reader.look(pid) for pid in pids]
    return best(lambda: [reader.alive(one) for one in known]), best(lambda: [one.is_running() for one in theirs])


def watched(pids):
    """Whether processes still run, where the kernel tells their end."""
    reader = Processes(Path("/proc"), lambda: time.time_ns() // 1000, delegation=Delegation(()))
    known = [reader.look(pid) for pid in pids]
    try:
        return best(lambda: [reader.alive(one) for one in known]), sum(one.watched for one in known)
    finally:
        reader.close()


def leaderless():
    """A process whose first thread has ended and whose others go on, as CUDA programs may be."""
    code = (
        "import ctypes,threading,time; threading.Thread(target=time.sleep, args=(60,)).start(); print(1, flush=True); "
    )
    code += "ctypes.CDLL(None).pthread_exit(None)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(0.3)
    try:
        theirs = psutil.Process(child.pid)
        try:
            command = theirs.cmdline()
        except psutil.Error as error:
            command = type(error).__name__
        return own().look(child.pid) is not None, theirs.status(), command
    finally:
        child.kill()
        child.wait()


def thread_ids():
    """What is said of a thread's id, which drivers have been seen to name."""
    ready, ids = threading.Event(), []
    thread = threading.Thread(target=lambda: (ids.append(threading.get_native_id()), ready.wait(10)))
    thread.start()
    while not ids:
        time.sleep(0.01)
    try:
        return own().look(ids[0]) is not None, psutil.pid_exists(ids[0]), psutil.Process(ids[0]).is_running()
    finally:
        ready.set()
        thread.join()


def two_roots():
    """Whether processes below two roots still run, once PROCFS_PATH was set for each of them in turn."""
    with tempfile.TemporaryDirectory() as folder:
        held = []
        for name, ticks in (("a", 100), ("b", 200)):
            Path(folder, name).mkdir()
            proc = FakeProc(Path(folder, name))
            proc.start(77, ticks=ticks)
            stat = proc.root / "77" / "stat"
            stat.write_text(stat.read_text().rstrip() + " 0" * 28)  # psutil wants the last fields, too
            psutil.PROCFS_PATH = str(proc.root)
            reader = own(proc.root)
            held.append((reader, reader.look(77), psutil.Process(77)))
        try:
            return [(reader.alive(process), theirs.is_running()) for reader, process, theirs in held]
        finally:
            psutil.PROCFS_PATH = "/proc"


def reused():
    """What is said of a process whose pid another one has by now."""
    first = subprocess.Popen(["sleep", "60"])
    time.sleep(0.1)
    theirs, reader = psutil.Process(first.pid), own()
    process = reader.look(first.pid)
    first.kill()
    first.wait()
    time.sleep(0.1)
    for _ in range(100):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
        second = subprocess.Popen(["tail", "-f", "/dev/null"])
        if second.pid == first.pid:
            break
        second.kill()
        second.wait()
    time.sleep(0.1)
    try:
        return second.pid == first.pid, reader.command(process), theirs.cmdline()[0]
    finally:
        second.kill()
        second.wait()


def hidden():
    """A process of another user where /proc is mounted with hidepid: run as nobody, in namespaces of its own."""
    code = """
import os, psutil, sys, time
from pathlib import Path
from tests.jobs.beside_psutil import own
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    theirs = psutil.Process(1); said = []
    for name in ('create_time', 'uids', 'cmdline'):
        try: said.append(f'{name}={getattr(theirs, name)()!r:.20}')
        except Exception as error: said.append(f'{name}: {type(error).__name__}')
    theirs = ' '.join(said)
except Exception as error: theirs = type(error).__name__
print('   psutil:', theirs, '| pid_exists', psutil.pid_exists(1), '| own:', own().look(1), own()._cgroup(1))
"""
    for level in (1, 2):
        mount = f'mount -t proc -o hidepid={level} proc /proc && {sys.executable} -c "$CODE"'
        done = subprocess.run(
            ["unshare", "-pfm", "sh", "-c", mount],
            check=False,
            env={**os.environ, "CODE": code, "PYTHONPATH": ".:deploy/python"},
            capture_output=True,
            text=True,
        )
        print(f"hidepid={level}", done.stdout.strip() or done.stderr.strip()[-200:])


def waiting_names():
    """How long a user's name is waited for when the directory service hangs for half a second."""
    real = pwd.getpwuid
    pwd.getpwuid = lambda uid: (time.sleep(0.5), real(uid))[1]
    try:
        begun = time.perf_counter()
        psutil.Process().username()
        theirs = time.perf_counter() - begun
        reader = own()
        begun = time.perf_counter()
        reader.user(os.getuid())
        return time.perf_counter() - begun, theirs
    finally:
        pwd.getpwuid = real


def long_command():
    """What a command line of 2 MiB costs, which any user can have: ms, bytes kept."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *["x" * 100_000] * 18])
    time.sleep(0.3)

    def ours():
        reader = own()
        return reader.command(reader.look(child.pid))

    try:
        return best(ours), best(lambda: psutil.Process(child.pid).cmdline())
    finally:
        child.kill()
        child.wait()


def main(count):
    """Print it all."""
    with sleepers(count) as pids:
        print(f"{count} new processes, ms: own {best(lambda: of_new(pids))}", end="")
        print(f", psutil {best(lambda: of_new(pids, ours=False))}")
        print("whether they still run, ms: own {}, psutil {}".format(*again(pids)))
        print("the same of 400 by pidfd, ms, and how many had one: {}, {}".format(*watched(pids[:400])))
    print("a pid that was reused: {}, own {!r}, psutil {!r}".format(*reused()))
    print("a process without its first thread: own alive {}, psutil {!r}, {!r}".format(*leaderless()))
    print("a thread's id: own {}, psutil pid_exists {}, is_running {}".format(*thread_ids()))
    print("processes of two roots, alive by (own, psutil):", two_roots())
    print("a directory service that takes half a second: own {:.4f} s, psutil {:.4f} s".format(*waiting_names()))
    print("a command line of 1.8 MB, ms: own {}, psutil {}".format(*long_command()))
    hidden()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
