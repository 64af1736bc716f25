"""A real container: podman with runc, on whatever cgroup hierarchies this machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.window import Device, ProcessObservation

pytestmark = pytest.mark.real
DEVICES = (Device("h", 0, "GPU-0", minor=0),)


def now():
    return time.time_ns() // 1000


def root_of(folder, program):
    """Make a root file system that holds one program of this machine and its libraries."""
    libraries = re.findall(
        r"(/\S+)", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    )
    for path in (program, *libraries):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("proc", "sys", "dev", "etc", "run", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return folder


@pytest.fixture
def podman():
    for program in ("podman", "runc", "conmon", "ldd"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed (apt-get install --no-install-recommends podman conmon runc)")
    if os.geteuid() != 0:
        pytest.skip("needs root to start a container that is not this user's own")
    runc = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin")
    # Not pytest's folder: podman refuses a run root of more than 50 characters.
    folder = Path(tempfile.mkdtemp(prefix="wattshed-"))
    argv = ["podman", "--root", folder / "root", "--runroot", folder / "run", "--tmpdir", folder / "tmp"]
    argv += ["--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs", "--runtime", runc]

    def call(*more):
        return subprocess.run([*argv, *more], capture_output=True, text=True, check=True).stdout.strip()

    yield call
    call("rm", "--all", "--force", "--time", "0")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_container_is_billed_until_the_moment_it_ends(podman, tmp_path):
    sleep = os.path.realpath(shutil.which("sleep"))
    limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
    rootfs = root_of(tmp_path / "rootfs", sleep)
    container = podman("run", "--detach", "--network=none", *limits, "--rootfs", str(rootfs), sleep, "60")
    pid = int(podman("inspect", "--format", "{{.State.Pid}}", container))
    monitor = int(podman("inspect", "--format", "{{.State.ConmonPid}}", container))
    identity = identify(Path(f"/proc/{pid}/cgroup").read_text())
    assert (identity.runtime, identity.container_id) == ("podman", container)
    assert identify(Path(f"/proc/{monitor}/cgroup").read_text()).runtime != "podman"

    resolver = JobResolver(Processes(Path("/proc"), now))
    start = now() - 100_000
    owners, usage = resolver.resolve([ProcessObservation(0, pid, start, now(), 50)], DEVICES, start, now())
    assert [owner.key for owner in owners] == [f"container:{container[:12]}"]
    assert usage.live.tolist() == [1]
    start = now()
    podman("kill", container)
    ended = now()
    time.sleep(0.3)
    _, usage = resolver.resolve([], DEVICES, start, now())
    assert start < int(usage.end_us[0]) <= ended + 100_000
    resolver.close()
