"""A real agent, and real processes on a simulated GPU: a server that it finds by its port, and commands that ask."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import wattshed
from tests.daemon.process import ROOT, Agent
from tests.ports import free_port

RATE, WATTS, IDLE_W = 200, 400, 70  # tokens a second; power of the server above idle, and at rest
NODE = """
gpus = 2
cycle_s = 86400
[[job]]
name = "server"
manager = "user"
gpus = [0]
pid_file = "{folder}/server.pid"
load = [[600, 400, 80]]
[[job]]
name = "a"
manager = "user"
gpus = [1]
pid_file = "{folder}/a.pid"
load = [[600, 100, 20]]
[[job]]
name = "b"
manager = "user"
gpus = [1]
pid_file = "{folder}/b.pid"
load = [[600, 300, 60]]
"""
WORKER = """
echo $$ > "$1.new"
until [ -e "$2" ]; do sleep 0.01; done
mv "$1.new" "$1"
exec sleep "$3"
"""
"""Takes its GPU at a sign: a board draws what the file says, whoever of the two is there."""


@contextmanager
def undisturbed():
    """Skip a test in which this machine stood still: who is not looking does not see who comes and goes."""
    gaps, ended = [], threading.Event()

    def watch():
        before = time.monotonic()
        while not ended.wait(0.02):
            now, then = time.monotonic(), before
            gaps.append(now - then)
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    except AssertionError:
        if max(gaps) < 0.5:
            raise
        pytest.skip(f"this machine stood still for {max(gaps):.1f} s")
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def job_cgroup():
    """The cgroup of a job, as Slurm makes it; empty where none may be made, or the path is another's."""
    mounts = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    root = next((one for one in mounts if (one / "cgroup.procs").exists()), None)
    folder = root / f"system.slice/slurmstepd.scope/job_{os.getpid()}/step_0" if root else None
    try:
        folder.mkdir(parents=True)
    except (OSError, AttributeError):
        yield ""
        return
    yield str(folder)
    for one in (folder, *list(folder.parents)[:3]):
        with suppress(OSError):
            one.rmdir()


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent")
    node, port = folder / "node.toml", free_port()
    node.write_text(NODE.format(folder=folder))
    work = f'[work]\nservers = "auto"\nports = [{port}]\ninterval_s = 0.5\n'
    flags = ["--meter", f"simulated:{node}", "--record", str(folder / "recording")]
    with Agent(folder, *flags, config=work) as one:
        one.server_port = port
        yield one.ready()


@contextmanager
def serving(agent, cgroup):
    """A life of the server."""
    pid_file = agent.folder / "server.pid"
    pid_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.daemon.token_server", str(agent.server_port), str(RATE)]
    server = subprocess.Popen([*command, str(pid_file), cgroup], cwd=ROOT)
    try:
        yield agent.wait(pid_file.exists)
    finally:
        server.kill()
        server.wait()


def work_of(agent, job):
    _, page = agent.get("/api/v1/snapshot")
    return next((one["work"][0] for one in json.loads(page)["jobs"] if one["job"] == job and one["work"]), None)


def test_a_server_is_found_by_its_port_and_counted_over_its_restart(agent, job_cgroup):
    own = Path("/proc/self/cgroup").read_text()
    if not job_cgroup and own.rstrip().endswith("0::/"):
        pytest.skip("no cgroup of its own, and none may be made")
    key = f"slurm:{os.getpid()}" if job_cgroup else None
    jobs = lambda: [labels for labels in agent.metric("wattshed_job_work_total") if 'unit="output_tokens"' in labels]
    with undisturbed():
        for seconds in (2.0, 2.0):
            with serving(agent, job_cgroup):
                agent.wait(jobs)
                key = key or jobs()[0].partition('job="')[2].partition('"')[0]
                end = time.monotonic() + seconds
                agent.wait(lambda end=end: time.monotonic() > end)
        agent.wait(lambda: sum(agent.metric("wattshed_work_resets_total").values()) == 1)
        work = work_of(agent, key)
        assert work["joules_per_unit"] == pytest.approx((WATTS + IDLE_W) / RATE, abs=2 * work["sigma_j"])
        assert work["sigma_j"] < 0.3 * work["joules_per_unit"]


def test_commands_on_one_gpu_are_told_their_own_joules(agent):
    command = [sys.executable, "-m", "wattshed", "measure", "--json", "--", "sh", "-c", WORKER, "sh"]
    environ = {**os.environ, "WATTSHED_SOCKET": str(agent.folder / "agent.sock")}
    pids, sign, seconds = [agent.folder / f"{name}.pid" for name in "ab"], agent.folder / "sign", 3.0
    with undisturbed():
        runs = [
            subprocess.Popen([*command, str(pid), str(sign), str(seconds)], env=environ, stderr=subprocess.PIPE)
            for pid in pids
        ]
        agent.wait(lambda: all(pid.with_name(f"{pid.name}.new").exists() for pid in pids))
        sign.touch()
        a, b = (json.loads(run.communicate(timeout=60)[1]) for run in runs)
        assert {a["scope"], b["scope"]} == {"process"}, (a, b)
        for one, watts in ((a, 100), (b, 300)):
            assert one["joules"] == pytest.approx((watts + IDLE_W / 2) * seconds, abs=2 * one["sigma_j"])
        assert b["joules"] > 1.5 * a["joules"] > 0


def test_a_replay_says_the_same(agent):
    """The server has ended, so its joules per token stay what they are."""
    _, page = agent.get("/api/v1/snapshot")
    told = [(job["job"], one) for job in json.loads(page)["jobs"] for one in job["work"] or ()]
    assert agent.stop() == 0
    replayed = wattshed.replay(agent.folder / "recording").work.to_pylist()
    assert [(one["job"], one["unit"], one["count"]) for one in replayed] == [
        (job, one["unit"], one["count"]) for job, one in told
    ]
    digits = [one["joules_per_unit"] for _, one in told]  # of which the page shows twelve
    assert [one["joules_per_unit"] for one in replayed] == pytest.approx(digits, rel=1e-11)
