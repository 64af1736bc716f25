"""A real Slurm on this machine: munged, slurmctld, one slurmd with fake GPUs, all in one folder, stopped at the end.

What it takes: root, Debian's slurm-wlm and munge, cgroup v1 hierarchies, mknod. The daemon's end-to-end test may use
:func:`start` by itself.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GPUS = 4
SHARDS = 8
USER = "wattshed-ci"
MAJOR = 195  # NVIDIA's character devices

SLURM_CONF = """\
ClusterName=wattshed
SlurmctldHost={host}(127.0.0.1)
FirstJobId={first}
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
SlurmdDebug=verbose
SlurmdParameters=config_overrides
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PrologFlags=Alloc,Contain
Prolog={conf}/prolog.sh
Epilog={conf}/epilog.sh
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu,shard
NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory=1000 Gres=gpu:h100:{gpus},shard:{shards} \
State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:8
"""
CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=yes
ConstrainDevices=yes
"""


@dataclass(frozen=True)
class Cluster:
    """Where the parts of the running cluster are."""

    conf: Path
    run: Path
    node: str
    mapping: Path
    user: str = USER

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf / "slurm.conf")}

    def call(self, *argv: str, timeout: float = 60) -> str:
        """Run a Slurm command as root and return its output."""
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, (argv, done.stdout, done.stderr, self.logs())
        return done.stdout

    def submit(self, script: str, *options: str) -> int:
        """``sbatch`` as the ordinary user; returns the job id."""
        out = self.call(
            "runuser", "-u", self.user, "--", "sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", script
        )
        return int(out.strip().split(";")[0])

    def wait(self, job: int, state: str = "RUNNING", timeout: float = 30) -> None:
        """Wait until a job has a state (or is no longer known, for COMPLETED)."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            out = subprocess.run(
                ["scontrol", "show", "job", str(job)], env=self.env, capture_output=True, text=True, check=False
            ).stdout
            if f"JobState={state}" in out:
                return
            time.sleep(0.1)
        raise AssertionError((job, state, out, self.call("scontrol", "show", "node"), self.logs()))

    def pids(self, job: int) -> list[int]:
        """The processes of a job's steps (not of slurmstepd), by their cgroups."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    text = (entry / "cgroup").read_text()
                    name = (entry / "comm").read_text().strip()
                except OSError:
                    continue
                if f"/job_{job}/" in text + "/" and "slurmstepd" not in name:
                    found.append(int(entry.name))
        return sorted(found)

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failing test."""
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-3000:]}" for p in self.run.glob("*.log"))


def missing() -> str:
    """Why a real Slurm cannot run here; empty if it can."""
    for program in ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "srun", "squeue", "runuser"):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install --no-install-recommends slurm-wlm munge)"
    if os.geteuid() != 0:
        return "needs root: slurmd makes cgroups and runs jobs as their users"
    if not Path("/sys/fs/cgroup/devices").is_dir():
        return "needs cgroup v1 hierarchies: the Slurm of Debian 12 needs systemd for cgroup v2"
    return ""


@contextmanager
def start(folder: Path, mapping: Path, prolog: str = "", epilog: str = ""):
    """Start the cluster; ``prolog`` and ``epilog`` are shell lines that its Prolog and Epilog run as root."""
    conf, run = folder / "conf", folder / "run"
    for path in (conf, run, run / "state", run / "spool", mapping):
        path.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    # Names and numbers of its own, so that two of these may run side by side on one machine.
    host, node = socket.gethostname().split(".")[0], f"w{os.getpid()}"
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    values = {
        "node": node,
        "run": run,
        "conf": conf,
        "cpus": 8,
        "host": host,
        "first": 1000 + os.getpid() % 60000 * 100,
        "gpus": GPUS,
        "shards": SHARDS * GPUS,
    }
    (conf / "slurm.conf").write_text(SLURM_CONF.format(ctld_port=ports[0], slurmd_port=ports[1], **values))
    (conf / "cgroup.conf").write_text(CGROUP_CONF)
    gpus = [folder / f"fakegpu{minor}" for minor in range(GPUS)]
    for minor, gpu in enumerate(gpus):
        os.mknod(gpu, 0o666 | 0o020000, os.makedev(MAJOR, minor))
        gpu.chmod(0o666)
    (conf / "gres.conf").write_text(
        f"AutoDetect=off\nNodeName={node} Name=gpu Type=h100 File={folder}/fakegpu[0-{GPUS - 1}]\n"
        f"NodeName={node} Name=shard Count={SHARDS * GPUS}\n"
    )
    for name, lines in (("prolog.sh", prolog), ("epilog.sh", epilog)):
        (conf / name).write_text(f"#!/bin/sh\n{lines}\nexit 0\n")
        (conf / name).chmod(0o755)
    added = subprocess.run(["id", USER], capture_output=True, check=False).returncode != 0
    if added:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", USER], check=True)
    cluster = Cluster(conf, run, node, mapping)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        key = run / "munge.key"
        subprocess.run(["mungekey", "-c", "-k", str(key)], check=True)
        key.chmod(0o600)
        run.chmod(0o755)
        munged = ["munged", "-F", "-f", f"--key-file={key}", f"--socket={run}/munge.socket"]
        munged += [f"--pid-file={run}/munged.pid", f"--log-file={run}/munged.log", f"--seed-file={run}/munged.seed"]
        daemons.append(_daemon(munged, cluster))
        _wait_for((run / "munge.socket").exists, "munged", cluster)
        daemons.append(_daemon(["slurmctld", "-D"], cluster))
        daemons.append(_daemon(["slurmd", "-D", "-N", node], cluster))
        _wait_for(lambda: "idle" in _sinfo(cluster), "slurmd", cluster)
        yield cluster
    finally:
        if len(daemons) == 3:
            subprocess.run(["scancel", "--full", "-u", USER], env=cluster.env, capture_output=True, check=False)
            _wait_quietly(lambda: not _queue(cluster))
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        if added:
            subprocess.run(["userdel", USER], capture_output=True, check=False)


def _daemon(argv: list[str], cluster: Cluster) -> subprocess.Popen[bytes]:
    # The children keep this file open: their last words are in the logs that a failing test prints.
    with (cluster.run / f"{argv[0]}.err.log").open("wb") as log:
        return subprocess.Popen(argv, env=cluster.env, stdout=log, stderr=log, start_new_session=True)


def _sinfo(cluster: Cluster) -> str:
    return subprocess.run(
        ["sinfo", "-h", "-o", "%T"], env=cluster.env, capture_output=True, text=True, check=False
    ).stdout


def _queue(cluster: Cluster) -> str:
    return subprocess.run(["squeue", "-h"], env=cluster.env, capture_output=True, text=True, check=False).stdout


def _wait_for(condition, what: str, cluster: Cluster) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, (what, cluster.logs())
        time.sleep(0.1)


def _wait_quietly(condition) -> None:
    give_up = time.monotonic() + 10
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.1)


def remove(folder: Path) -> None:
    """Delete everything that :func:`start` made."""
    shutil.rmtree(folder, ignore_errors=True)
