"""The agent's own reader of /proc beside psutil, which shares no code with it, and where psutil will not do."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.jobs.fake_proc import FakeProc
from wattshed.agent.jobs.processes import Processes


def now():
    return time.time_ns() // 1000


@pytest.fixture
def processes():
    made = Processes(Path("/proc"), now)
    yield made
    made.close()


def test_both_say_the_same_of_every_process_here(processes):
    """Start, user and program; whoever ends meanwhile is left out."""
    children = [subprocess.Popen(["sleep", "30"]) for _ in range(5)]
    children.append(subprocess.Popen(["", "30"], executable=shutil.which("sleep")))  # it has no title
    ticks, compared = os.sysconf("SC_CLK_TCK"), set()
    for theirs in psutil.process_iter():
        ours = processes.look(theirs.pid)
        try:
            with theirs.oneshot():
                since_boot, uid, command = theirs._ident[1], theirs.uids().real, theirs.cmdline()
                started_s, name = theirs.create_time(), theirs.name()
        except psutil.Error:
            continue
        if ours is None or not theirs.is_running() or name.startswith("kworker/"):
            continue  # a worker of the kernel is called by what it does at the moment
        assert ours.key[2] == round(since_boot * ticks)
        assert ours.started_us / 1e6 == pytest.approx(started_s, abs=1.1)  # psutil's boot time is in whole seconds
        assert processes.uid(ours) == uid
        program = command[0].split(" ")[0].rstrip(":").rsplit("/", 1)[-1] if command else ""
        program = program or name  # a title may be empty: some daemons erase it
        ours_runs = processes.command(ours)
        try:
            if (theirs.cmdline(), psutil.Process(theirs.pid).name()) != (command, name):
                continue  # it has become another program meanwhile, or said what it does
        except psutil.Error:
            continue
        assert ours_runs == program
        compared.add(theirs.pid)
    assert compared >= {os.getpid(), *(child.pid for child in children)}
    for child in children:
        child.kill()
        child.wait()


def test_a_process_lives_on_without_its_first_thread(processes):
    """CUDA programs may be such; to psutil they are zombies without a command line."""
    code = (
        "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nprint(flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}ctypes.CDLL(None).pthread_exit(None)"], stdout=subprocess.PIPE
    )
    try:
        child.stdout.readline()
        until = time.monotonic() + 10
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until
            time.sleep(0.01)
        found = processes.look(child.pid)
        assert processes.alive(found)
        assert processes.command(found) == found.comm
        assert processes.uid(found) == os.getuid()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_threads_id_is_known(processes):
    done, ids = threading.Event(), []
    thread = threading.Thread(target=lambda: (ids.append(threading.get_native_id()), done.wait(30)))
    thread.start()
    try:
        until = time.monotonic() + 10
        while not ids:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not psutil.pid_exists(ids[0])
        assert processes.uid(processes.look(ids[0])) == os.getuid()
    finally:
        done.set()
        thread.join()


def test_two_roots_are_two_worlds(tmp_path):
    """psutil has one root for all of a process, which a simulated node beside the real /proc may not have."""
    held = []
    for name, ticks in (("a", 100), ("b", 200)):
        (tmp_path / name).mkdir()
        proc = FakeProc(tmp_path / name)
        proc.start(77, uid=ticks, ticks=ticks)
        reader = Processes(proc.root, now)
        held.append((reader, reader.look(77), ticks))
    for reader, process, ticks in held:
        assert process.key[2] == ticks
        assert reader.alive(process)
        assert reader.uid(process) == ticks
    (tmp_path / "a" / "77" / "stat").unlink()
    assert [reader.alive(process) for reader, process, _ in held] == [False, True]


def test_who_was_met_is_known_after_its_end(processes):
    child = subprocess.Popen(["sleep", "30"])
    while processes.last(child.pid) is None or processes.command(processes.last(child.pid)) != "sleep":
        processes.forget(set())
        processes.meet(child.pid)  # before the exec it is not yet that program
    child.kill()
    child.wait()
    process = processes.last(child.pid)
    while process.ended_us is None:
        time.sleep(0.01)  # another thread waits for that
    processes.meet(child.pid)
    assert processes.look(child.pid) is None
    assert processes.last(child.pid) is process
    assert (processes.uid(process), processes.command(process)) == (os.getuid(), "sleep")
    processes.meet(2**22 + 1)
    assert processes.last(2**22 + 1) is None, "there is no such process"
