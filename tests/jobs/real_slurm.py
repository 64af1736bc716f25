"""A real Slurm on this machine: munged, slurmctld, slurmd (one a node) with fake GPUs, in one folder.

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
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ports import free_ports

GPUS = 4
SHARDS = 8
USER = "wattshed-ci"
MAJOR = 195  # NVIDIA's character devices

SLURM_CONF = """\
ClusterName=wattshed
SlurmctldHost={host}(127.0.0.1)
FirstJobId={first}
SlurmctldPort={ctld_port}
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool-%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd-%n.log
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
{accounting}
JobCompType=jobcomp/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu,shard
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:8
"""
NODE_CONF = """\
NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=8 RealMemory=1000 \
Gres=gpu:h100:{gpus},shard:{shards} State=UNKNOWN"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={run}/munge.socket
AccountingStoragePort={port}"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={run}/slurmdbd.log
PidFile={run}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
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
    nodes: tuple[str, ...] = ()
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        socket_ = str(self.run / "mariadb.socket")  # slurmdbd's library takes it from here
        return {**os.environ, "SLURM_CONF": str(self.conf / "slurm.conf"), "MYSQL_UNIX_PORT": socket_}

    @property
    def mariadb(self) -> list[str]:
        """What MariaDB is told of where it is."""
        return ["--no-defaults", f"--datadir={self.run}/mariadb", f"--socket={self.run}/mariadb.socket"]

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

    def daemon(self, name: str) -> None:
        """Start ``munged``, ``slurmctld`` or ``slurmd-NODE``."""
        munged = ["munged", "-F", "-f", f"--key-file={self.run}/munge.key", f"--socket={self.run}/munge.socket"]
        munged += [f"--{what}-file={self.run}/munged.{what}" for what in ("pid", "log", "seed")]
        program, _, node = name.partition("-")
        special = {"munged": munged, "mariadbd": ["mariadbd", *self.mariadb, "--skip-networking", "--user=root"]}
        argv = special.get(program, [program, "-D", *(["-N", node] if node else [])])
        # The children keep this file open: their last words are in the logs that a failing test prints.
        with (self.run / f"{name}.err.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, start_new_session=True)

    def stop(self, name: str) -> None:
        """End one of them."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failing test."""
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-3000:]}" for p in self.run.glob("*.log"))


def missing(*more: str) -> str:
    """Why a real Slurm, and what else is named, cannot run here; empty if it can."""
    for program in ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "srun", "squeue", "runuser", *more):
        if shutil.which(program) is None:
            packages = "slurm-wlm munge" + (" slurmdbd mariadb-server-core mariadb-client-core" if more else "")
            return f"{program} is not installed (apt-get install --no-install-recommends {packages})"
    if os.geteuid() != 0:
        return "needs root: slurmd makes cgroups and runs jobs as their users"
    if not Path("/sys/fs/cgroup/devices").is_dir():
        return "needs cgroup v1 hierarchies: the Slurm of Debian 12 needs systemd for cgroup v2"
    return ""


def need(*more: str) -> None:
    """Skip where a real Slurm, and what else is named, cannot run; fail where it must (``CI_REAL=1``)."""
    why = missing(*more)
    if why and os.environ.get("CI_REAL") == "1":
        pytest.fail(f"CI_REAL=1, but {why}")
    if why:
        pytest.skip(why)


@contextmanager
def start(
    folder: Path, mapping: Path, prolog: str = "", epilog: str = "", suffixes: str = " ", accounting: bool = False
):
    """Start the cluster, with a node for each suffix of a name.

    ``prolog`` and ``epilog`` are shell lines that its Prolog and Epilog run as root. ``accounting``: with slurmdbd, on
    a MariaDB of its own.
    """
    # Names and numbers of its own, so that two of these may run side by side on one machine.
    nodes = tuple(f"w{os.getpid()}{suffix}".strip() for suffix in suffixes)
    conf, run = folder / "conf", folder / "run"
    for path in (conf, run, run / "state", *(run / f"spool-{node}" for node in nodes), mapping):
        path.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    dbd_port, *ports = free_ports(2 + len(nodes))
    _configure(folder, nodes, ports, ACCOUNTING.format(port=dbd_port, run=run) if accounting else NO_ACCOUNTING)
    for name, lines in (("prolog.sh", prolog), ("epilog.sh", epilog)):
        (conf / name).write_text(f"#!/bin/sh\n{lines}\nexit 0\n")
        (conf / name).chmod(0o755)
    added = subprocess.run(["id", USER], capture_output=True, check=False).returncode != 0
    if added:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", USER], check=True)
    cluster = Cluster(conf, run, nodes[0], mapping, nodes=nodes)
    try:
        key = run / "munge.key"
        subprocess.run(["mungekey", "-c", "-k", str(key)], check=True)
        key.chmod(0o600)
        run.chmod(0o755)
        cluster.daemon("munged")
        _wait_for((run / "munge.socket").exists, "munged", cluster)
        if accounting:
            _start_accounting(cluster, dbd_port)
        for name in ("slurmctld", *(f"slurmd-{node}" for node in nodes)):
            cluster.daemon(name)
        _wait_for(lambda: _sinfo(cluster).split() == ["idle"] * len(nodes), "slurmd", cluster)
        yield cluster
    finally:
        if "slurmctld" in cluster.daemons:
            subprocess.run(["scancel", "--full", "-u", USER], env=cluster.env, capture_output=True, check=False)
            _wait_quietly(lambda: not _queue(cluster))
        for name in reversed(list(cluster.daemons)):
            cluster.stop(name)
        if added:
            subprocess.run(["userdel", USER], capture_output=True, check=False)


def _configure(folder: Path, nodes: tuple[str, ...], ports: list[int], accounting: str) -> None:
    """Write slurm.conf, cgroup.conf and gres.conf, and make the devices; the first port is slurmctld's."""
    conf, run, host = folder / "conf", folder / "run", socket.gethostname().split(".")[0]
    values = {"gpus": GPUS, "shards": SHARDS * GPUS, "host": host}
    lines = [NODE_CONF.format(node=node, port=port, **values) for node, port in zip(nodes, ports[1:], strict=True)]
    (conf / "slurm.conf").write_text(
        SLURM_CONF.format(
            run=run,
            conf=conf,
            host=host,
            first=1000 + os.getpid() % 60000 * 100,
            ctld_port=ports[0],
            accounting=accounting,
            nodes="\n".join(lines),
        )
    )
    (conf / "cgroup.conf").write_text(CGROUP_CONF)
    gres = ["AutoDetect=off"]
    for place, node in enumerate(nodes):
        for gpu in range(GPUS):
            path = folder / f"{node}-gpu{gpu}"
            os.mknod(path, 0o666 | 0o020000, os.makedev(MAJOR, place * GPUS + gpu))
            path.chmod(0o666)
        gres.append(f"NodeName={node} Name=gpu Type=h100 File={folder}/{node}-gpu[0-{GPUS - 1}]")
        gres.append(f"NodeName={node} Name=shard Count={SHARDS * GPUS}")
    (conf / "gres.conf").write_text("\n".join(gres) + "\n")


def _start_accounting(cluster: Cluster, port: int) -> None:
    run = cluster.run
    subprocess.run(
        ["mariadb-install-db", *cluster.mariadb[:2], "--user=root", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
    )
    cluster.daemon("mariadbd")
    _wait_for((run / "mariadb.socket").exists, "mariadbd", cluster)
    conf = cluster.conf / "slurmdbd.conf"
    conf.write_text(SLURMDBD_CONF.format(run=run, port=port))
    conf.chmod(0o600)
    cluster.daemon("slurmdbd")
    shown = ["sacctmgr", "-n", "show", "cluster"]
    _wait_for(
        lambda: not subprocess.run(shown, env=cluster.env, capture_output=True, check=False).returncode, "dbd", cluster
    )
    cluster.call("sacctmgr", "-i", "add", "cluster", "wattshed")


def _sinfo(cluster: Cluster) -> str:
    return subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%T"], env=cluster.env, capture_output=True, text=True, check=False
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
