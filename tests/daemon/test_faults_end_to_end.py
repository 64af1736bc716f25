"""Each fault is done to a real agent process: it meters on, says what is wrong, and no counter goes backwards."""

import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon.process import ROOT, Agent, not_less
from tests.depth import deep
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

pytestmark = pytest.mark.timeout(300)


def replayed(folder):
    """Rows and rejected rows of a recording."""
    import json

    done = subprocess.run(
        [sys.executable, "-m", "wattshed", "replay", str(folder), "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@deep
def test_killed_at_any_moment(tmp_path):
    recording, before = tmp_path / "recording", {}
    for life in range(4):
        with Agent(tmp_path, "--record", str(recording)) as agent:
            agent.ready().metering(min(before.values(), default=0.0))
            time.sleep(0.13 * life)
            now = agent.law()
            assert not_less({f'{{gpu_uuid="{u}",simulated="1"}}': v for u, v in now.items()}, before)
            before = agent.joules()
            os.kill(agent.process.pid, signal.SIGKILL)
            agent.process.wait(10)
    with Agent(tmp_path, "--record", str(recording)) as agent:
        agent.ready()
        assert "resumed totals saved" in agent.log
        assert not_less(agent.joules(), before)
        assert agent.stop() == 0
    whole = replayed(recording)
    assert whole["total_j"] > 0
    assert len(whole["gpus"]) == 8


def namespaced(command):
    """A prefix that runs shell commands in a mount namespace of its own before the agent."""
    probe = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("mounting a small file system needs root")
    return ["unshare", "-m", "sh", "-c", f'{command} && exec "$@"', "sh"]


def test_disk_full(tmp_path):
    """State and recording lie on a disk of 256 KiB that is full; later there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    wrap = namespaced(
        f"mount -t tmpfs -o size=256k tmpfs {small} && head -c 300k /dev/zero > {small}/filler 2>/dev/null; true"
    )
    config = "[recording]\nmax_bytes = 0\n"
    with Agent(
        tmp_path,
        "--record",
        str(small / "recording"),
        wrap=wrap,
        config=config,
        environ={"WATTSHED_STATE_DIR": str(small)},
    ) as agent:
        agent.ready().metering()
        agent.law()
        faults = agent.metric("wattshed_faults_total")
        assert sum(faults.values()) > 0, "a full disk is a metric"
        assert "No space left" in agent.log or "full" in agent.log
        assert agent.log.count("No space left") <= 6, "said once, not at every window"
        before = agent.joules()
        inside = Path(f"/proc/{agent.process.pid}/root{small}")
        (inside / "filler").unlink()
        agent.wait(lambda: any(path.stat().st_size for path in inside.glob("simulated.json")))
        assert not_less(agent.joules(), before)
        assert agent.stop() == 0


def test_nothing_may_be_written(tmp_path):
    shut = tmp_path / "shut"
    shut.mkdir()
    wrap = namespaced(f"mount -t tmpfs -o ro tmpfs {shut}")
    environ = {
        "WATTSHED_STATE_DIR": f"{shut}/state",
        "WATTSHED_CACHE_DIR": f"{shut}/cache",
        "WATTSHED_JIT": "off",  # tests/kernels tests the cache; without one all is compiled anew
    }
    with Agent(tmp_path, "--record", str(shut / "recording"), wrap=wrap, environ=environ) as agent:
        agent.ready().metering()
        agent.law()
        assert "Read-only file system" in agent.log
        assert agent.stop() == 0


@pytest.mark.parametrize("damage", ["flipped", "folder"])
def test_corrupted_state(tmp_path, damage):
    with Agent(tmp_path) as agent:
        agent.ready().metering()
        assert agent.stop() == 0
    state = tmp_path / ".local/state/wattshed"
    files = [path for path in state.rglob("*") if path.is_file() and path.suffix != ".lock"]  # a lock is empty
    assert files
    for path in files:
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :]
        if damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(flipped)
    with Agent(tmp_path) as agent:
        agent.ready().metering()
        agent.law()
        assert "state" in agent.log, "it says so"
        assert sum(v for labels, v in agent.metric("wattshed_faults_total").items() if "state" in labels) >= 1
        assert agent.stop() == 0
    with Agent(tmp_path) as agent:
        agent.ready()
        if damage != "folder":
            assert "resumed totals saved" in agent.log, "recovered by itself"


def test_a_wrong_configuration_starts_nothing(tmp_path):
    with Agent(tmp_path, config="power_hz = 'fast'\n") as agent:
        assert agent.process.wait(30) == 2
        assert agent.log.strip() == (
            f"wattshed: {tmp_path}/config.toml:3:1: sampling.power_hz: must be a number, not 'fast'"
        )


@pytest.mark.parametrize("step_s", [-7200, 7200])
def test_the_clock_of_the_wall_is_set(tmp_path, step_s):
    """Two hours back or forth, two seconds after the start: no negative energy, no gap, no hole in time."""
    step = f"""
import time, threading
real, real_ns, begin = time.time, time.time_ns, time.monotonic()
shift = lambda: {step_s} if time.monotonic() - begin > 4 else 0
time.time = lambda: real() + shift()
time.time_ns = lambda: real_ns() + shift() * 10**9
"""
    with Agent(tmp_path, prepare=step) as agent:
        agent.ready().metering()
        before = agent.joules()
        time.sleep(4)
        agent.metering(min(before.values()))
        after = agent.joules()
        assert not_less(after, before)
        hours = 2 * 3600 * 60
        assert all(after[gpu] - before[gpu] < hours for gpu in before), "no two hours of power out of nowhere"
        agent.law()
        assert sum(agent.metric("wattshed_gpu_gap_seconds_total").values()) < 30
        assert agent.stop() == 0


def test_attacks_over_http(tmp_path):
    """Stalled connections, half requests, garbage and a thousand scrapes: answers in time, sampler not late."""
    with Agent(tmp_path) as agent:
        agent.ready().metering()
        late = sum(agent.metric("wattshed_sampler_late_seconds_total").values())
        stalled = []
        for number in range(300):
            one = socket.create_connection(("127.0.0.1", agent.port), timeout=5)
            stalled.append(one)
            if number % 3 == 0:
                one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            elif number % 3 == 1:
                one.sendall(bytes([0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]) + os.urandom(50))
        slowest = 0.0
        for _ in range(1000):
            began = time.monotonic()
            assert agent.get("/metrics")[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        for text in (
            b"\0" * 1000,
            b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", agent.port), timeout=5) as one:
                try:
                    one.sendall(text)
                    one.recv(1000)
                except OSError:
                    continue
        for one in stalled:
            one.close()
        assert slowest < 2.0
        assert agent.get("/metrics")[0] == 200
        assert sum(agent.metric("wattshed_sampler_late_seconds_total").values()) - late < 2.0
        agent.law()
        assert agent.stop() == 0


def test_out_of_descriptors(tmp_path):
    """Connections up to the limit of open files: metering goes on, and so do scrapes once there is room."""
    soft = 40
    prepare = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {soft}))"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200
    with Agent(tmp_path, prepare=prepare) as agent:
        agent.ready().metering()
        before = agent.joules()
        held = []
        for _ in range(100):
            one = socket.socket()
            one.settimeout(0.2)
            try:
                one.connect(("127.0.0.1", agent.port))
            except OSError:
                one.close()
                break
            held.append(one)
        time.sleep(2)
        assert agent.process.poll() is None, agent.log[-2000:]
        for one in held:
            one.close()
        agent.wait(lambda: agent.get("/metrics")[0] == 200, 30)
        agent.metering(min(before.values()))
        assert not_less(agent.joules(), before)
        agent.law()
        assert agent.stop() == 0


def test_stopped_twice_and_reloaded_while_starting(tmp_path):
    """Signals at bad moments end it cleanly or do nothing."""
    with Agent(tmp_path) as agent:
        agent.ready()
        for _ in range(3):
            agent.process.send_signal(signal.SIGHUP)
        agent.metering()
        agent.process.send_signal(signal.SIGTERM)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(30) == 0
        assert "Traceback" not in agent.log


def test_the_driver_fails_and_comes_back(tmp_path):
    """A lost GPU, a reset counter, one that is not ready, power of 0 W; then the whole driver is reloaded."""
    faults = [
        ("gpu-lost", 0, 3),
        ("counter-reset", 1, 3),
        ("not-ready", 2, 3),
        ("zero-power", 3, 3),
        ("driver-reload", -1, 8),
    ]
    scenario = tmp_path / "fault.toml"
    scenario.write_text(
        "gpus = 4\n"
        + "".join(f'[[fault]]\nkind = "{kind}"\ngpu = {gpu}\nat_s = {at}\nfor_s = 2\n' for kind, gpu, at in faults)
    )
    with Agent(tmp_path, "--meter", f"simulated:{scenario}") as agent:
        agent.ready().metering()
        last, lost, end = agent.joules(), False, time.monotonic() + 14
        while time.monotonic() < end:
            now = agent.joules()
            assert not_less(now, last)
            last = now
            lost = lost or 0.0 in agent.metric("wattshed_gpu_up").values()
            time.sleep(0.2)
        assert lost, "a GPU that cannot be read is shown as down"
        agent.wait(lambda: set(agent.metric("wattshed_gpu_up").values()) == {1.0}, 90)
        agent.law()
        assert max(agent.metric("wattshed_gpu_counter_resets_total").values()) >= 1
        assert agent.stop() == 0


def test_a_library_that_does_not_fit_ends_in_75(tmp_path):
    scenario = tmp_path / "fault.toml"
    scenario.write_text('gpus = 1\n[[fault]]\nkind = "version-mismatch"\nat_s = 3\n')
    with Agent(tmp_path, "--meter", f"simulated:{scenario}") as agent:
        assert agent.process.wait(60) == 75, agent.log[-2000:]


def test_hung_squeue_and_kubelet_delay_nothing(tmp_path):
    """Both are asked in the background, and never waited for: not at the start, not for an answer, not at the end."""
    from wattshed.agent.jobs.kubernetes import Pods
    from wattshed.agent.jobs.podresources import Kubelet
    from wattshed.agent.jobs.slurm import Slurm
    from wattshed.agent.window import Device

    hung = tmp_path / "squeue"
    hung.write_text("#!/bin/sh\nexec sleep 60\n")
    hung.chmod(0o755)
    devices = (Device("host", 0, "GPU-1", minor=0),)
    with socket.socket(socket.AF_UNIX) as deaf:  # takes connections, and never says a word
        deaf.bind(str(tmp_path / "kubelet.sock"))
        deaf.listen()
        began = time.monotonic()
        slurm = Slurm(lambda: time.time_ns() // 1000, "host", None, squeue=(str(hung),))
        pods = Pods(Kubelet(tmp_path / "kubelet.sock"), tmp_path, tmp_path)
        for _ in range(20):
            assert list(slurm.reservations(devices, 0, 1_000_000)) == []
            assert list(pods.reservations(devices, 0, 1_000_000)) == []
        assert time.monotonic() - began < 4.5  # the kubelet would be waited for five seconds, the queue ten
        began = time.monotonic()
        slurm.close()
        pods.close()
        assert time.monotonic() - began < 9.0


def test_stopped_or_reloaded_before_the_first_window(tmp_path):
    """There is nothing yet that a stop could lose."""
    with Agent(tmp_path, environ={"WATTSHED_SAMPLING_WINDOW_S": "10"}) as agent:
        agent.wait(lambda: agent.get("/-/healthy")[0] == 200)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait(lambda: "found 8 GPUs" in agent.log)
        assert agent.get("/-/ready")[0] == 503
        assert agent.stop() == 0, agent.log
    assert "shutting down before the first window" in agent.log


def test_a_stopped_process_claims_nothing_of_the_time_that_it_did_not_see(tmp_path):
    """SIGSTOP for nine seconds: one window tells of them, and the counters the joules."""
    recording = tmp_path / "recording"
    with Agent(tmp_path, "--record", str(recording)) as agent:
        agent.ready().metering()
        before = agent.joules()
        agent.process.send_signal(signal.SIGSTOP)
        time.sleep(9)
        agent.process.send_signal(signal.SIGCONT)
        agent.wait(lambda: all(agent.joules()[gpu] > joules + 9 * 60 for gpu, joules in before.items()))
        agent.law()
        assert agent.stop() == 0
    options = Options()
    (chain,) = find([str(recording)], options)
    windows = list(chain.windows(options))
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(windows))
    long = max(windows, key=lambda one: one.end_us - one.start_us)
    assert 7_500_000 < long.end_us - long.start_us < 30_000_000
    assert (len(long.readings.time_us), set(long.busy_us.tolist())) == (0, {-1})
    assert not long.usage.live.any()
