"""The processes of a simulated node, as a folder that looks like /proc, and the prolog's mapping folder beside it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.simulation.workload import FIRST_PID

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.simulation.workload import Job, Timeline

BOOT_ID = "5117a7ed-0000-4000-8000-000000000999"
TICK_US = 10_000
USERS = {
    1001: ("ada", "physics"),
    1002: ("grace", "chemistry"),
    1003: ("alan", "biology"),
    1004: ("barbara", "physics"),
    1005: ("edsger", "biology"),
}
"""Name and account of the default node's users, by uid."""
JOB_NAMES = {
    "4001": "train-70b",
    "4002": "fold-proteins",
    "4003": "screen-ligands",
    "4004": "notebook",
    "4005": "ablation",
}
"""What they call their jobs."""
BOOTED_BEFORE_US = 3600 * 1_000_000


class Running(NamedTuple):
    """A process of a job on a GPU."""

    pid: int
    job: Job
    gpu: int
    cycle: int


def pid_of(line: Timeline, job: int, cycle: int) -> int:
    """Pid of a job's process on a GPU; a job that never ends has the same in every cycle."""
    if line.jobs[job].pid_file and (pid := _written(line.jobs[job].pid_file)):
        return pid
    turn = 0 if line.jobs[job].forever else cycle
    return FIRST_PID + (turn * len(line.jobs) + job) * 64 + line.gpu


def _written(file: str) -> int:
    """Read a pid; 0 as long as there is none."""
    try:
        text = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() else 0


class ProcessTree:
    """Keeps the folders in step with the schedule.

    Parameters
    ----------
    root : Path
        An empty folder; ``proc`` and ``mapping`` are made in it.
    timelines : tuple of Timeline

    Attributes
    ----------
    of_this_machine : bool
        Processes are this machine's: /proc shows them, and `proc` does not.
    followed : callable
        Called after every change of the folders: stands for the agent's own look at the mapping folder, ten times a
        second, where time is virtual.
    """

    def __init__(self, root: Path, timelines: tuple[Timeline, ...]) -> None:
        self.followed: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self.proc, self.mapping = root / "proc", root / "mapping"
        self.of_this_machine = any(job.pid_file for line in timelines for job in line.jobs)
        self._timelines = timelines
        self._stretch: tuple[int, int] = (0, 0)
        self._running: tuple[Running, ...] = ()
        self._listed: dict[int, str] = {}
        self._numbered: tuple[int, ...] = ()
        self._numbered_us = 0
        # btime is in whole seconds, so a reader takes the middle of that second: it must be right.
        began_us = timelines[0].origin_us if timelines else BOOTED_BEFORE_US
        self._boot_us = (began_us - BOOTED_BEFORE_US) // 1_000_000 * 1_000_000 + 500_000
        (self.mapping / "jobs").mkdir(parents=True, exist_ok=True)
        (self.proc / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (self.proc / "sys/kernel/random/boot_id").write_text(f"{BOOT_ID}\n")
        (self.proc / "stat").write_text(f"cpu  0 0 0 0 0 0 0 0 0 0\nbtime {self._boot_us // 1_000_000}\n")

    def list_gpus(self, bus_ids: dict[int, str], now_us: int) -> None:
        """Show these boards, in the order in which NVML counts them, as the kernel's driver lists its GPUs."""
        if list(bus_ids.items()) == list(self._listed.items()):
            return
        folder = self.proc / "driver/nvidia/gpus"
        names = {bus_id.removeprefix("0000").lower() for bus_id in bus_ids.values()}
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for gone in set(folder.iterdir() if folder.exists() else ()) - {folder / name for name in names}:
            gone.rmdir()
        self._listed = bus_ids
        # A prolog names a GPU by NVML's number, and by the same as before while another one is only missing.
        if [gpu for gpu in self._numbered if gpu in bus_ids] != list(bus_ids):
            self._numbered, self._numbered_us = tuple(bus_ids), now_us
            self._stretch = (0, 0)
            self.running(now_us)

    def running(self, now_us: int) -> tuple[Running, ...]:
        """Return all processes on GPUs at a moment; the folders show the same."""
        if self.of_this_machine or not self._stretch[0] <= now_us < self._stretch[1]:
            with self._lock:
                self._sync(now_us)
            self.followed()
        return self._running

    @property
    def next_us(self) -> int:
        """When the folders change next."""
        return self._stretch[1]

    def _sync(self, now_us: int) -> None:
        wanted: dict[int, Running] = {}
        held: dict[int, list[str]] = {}
        from_us, until_us = 0, 1 << 62
        for line in self._timelines:
            if line.since_us > now_us:
                until_us = min(until_us, line.since_us)
                continue
            from_us = max(from_us, line.since_us)
            cycle, offset_us, i = line.place(now_us)
            base_us = now_us - offset_us
            from_us = max(from_us, base_us + line.segments[i].start_us)
            later = [s.start_us for s in line.segments[i + 1 :] if s.residents != line.segments[i].residents]
            until_us = min(until_us, base_us + (later[0] if later else line.cycle_us))
            for nth in line.segments[i].residents:
                job = line.jobs[nth]
                turn = 0 if job.forever else cycle
                if job.load:
                    pid = pid_of(line, nth, turn)
                    wanted[pid] = Running(pid, job, line.gpu, turn)
                if job.manager == "slurm":
                    self._describe(job, turn, line.origin_us + turn * line.cycle_us + job.start_us)
                    held.setdefault(line.gpu, []).append(str(job.number(turn)))
        for gone in {r.pid for r in self._running} - wanted.keys():
            shutil.rmtree(self.proc / str(gone), ignore_errors=True)
        for pid in wanted.keys() - {r.pid for r in self._running} if not self.of_this_machine else ():
            self._make(wanted[pid])
        texts = {nth: "".join(f"{job}\n" for job in held.get(gpu, ())) for nth, gpu in enumerate(self._numbered)}
        for nth in range(len(self._timelines)):
            self._hold(self.mapping / str(nth), texts.get(nth, ""), max(from_us, self._numbered_us))
        self._running = tuple(wanted.values())
        self._stretch = (from_us, until_us)

    def _hold(self, file: Path, text: str, at_us: int) -> None:
        """Write who holds a GPU, as prolog and epilog did at that moment: the reader takes it from the file's times."""
        if text == (file.read_text() if file.exists() else ""):
            return
        if text:
            _replace(file, text)
            os.utime(file, ns=(at_us * 1000, at_us * 1000))
        else:
            file.unlink()
        os.utime(self.mapping, ns=(at_us * 1000, at_us * 1000))

    def _describe(self, job: Job, cycle: int, at_us: int) -> None:
        """Write what the prolog writes about a job."""
        file = self.mapping / "jobs" / str(job.number(cycle))
        if not file.exists():
            user, account = USERS.get(job.uid, (f"user{job.uid}", "default"))
            labels = {
                "user": user,
                "account": account,
                "partition": "gpu",
                "name": JOB_NAMES.get(job.name, job.command),
            }
            _replace(file, "".join(f"{label}={value}\n" for label, value in labels.items()))
            os.utime(file, ns=(at_us * 1000, at_us * 1000))

    def _make(self, one: Running) -> None:
        folder = self.proc / str(one.pid)
        folder.mkdir(exist_ok=True)
        line = self._timelines[one.gpu]
        started_us = line.origin_us + one.cycle * line.cycle_us + one.job.start_us
        ticks = max(0, started_us - self._boot_us) // TICK_US
        command = one.job.command
        (folder / "cgroup").write_text(f"0::{cgroup_path(one)}\n")
        (folder / "stat").write_text(
            f"{one.pid} ({command[:15]}) R 1 {one.pid} {one.pid} 0 -1 4194304" + " 0" * 8 + f" 20 0 1 0 {ticks} 0 0\n"
        )
        (folder / "cmdline").write_bytes(f"/usr/bin/{command}\0train.py\0".encode())
        uid = one.job.uid
        (folder / "status").write_text(f"Name:\t{command[:15]}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")


def _replace(file: Path, text: str) -> None:
    """Write by rename, as the prolog does: no reader sees a half-written file."""
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(text)
    fresh.rename(file)


def container_id(job: Job) -> str:
    """Return a 64-digit container id: the job's own, or one made from its name."""
    if job.manager == "docker":
        return job.name.ljust(64, "0")
    return f"{job.name}/{job.container}".encode().hex()[:64].ljust(64, "0")


def cgroup_path(one: Running) -> str:
    """Where the job's manager puts its processes, under cgroup v2."""
    job = one.job
    if job.manager == "slurm":
        return f"/system.slice/slurmstepd.scope/job_{job.number(one.cycle)}/step_0/user/task_{one.gpu}"
    if job.manager == "kubernetes":
        pod = job.name.replace("-", "_")
        return (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice/"
            f"cri-containerd-{container_id(job)}.scope"
        )
    if job.manager == "docker":
        return f"/system.slice/docker-{container_id(job)}.scope"
    if job.manager == "systemd":
        return f"/system.slice/{job.name}"
    return f"/user.slice/user-{job.uid}.slice/session-3.scope"
