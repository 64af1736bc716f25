"""Loads as real processes: started one after the other, given the word together, and read afterwards."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from .clock import now_ns
from .results import child_environment, module
from .schedule import Load, ideal_log, script, square, steady

__all__ = ["Load", "Session", "cgroups", "part_ways", "square", "steady"]

LEAD_S = 0.4  # between the word "go" and t0
ORDER = "driver,numba,torch,cupy"
OPENING_S = 0.6  # what a maker takes to open the card, at most: so much before its first segment a late load begins
OPENING_SIMULATED_S = 0.05


class Session:
    """The loads of a schedule as processes of their own; in simulation they sleep, and the schedule itself is exact.

    Attributes
    ----------
    t0_ns : int
        When the schedule begins, on the kit's clock.
    until : float
        When it ends, seconds after that.
    """

    def __init__(self, kit, loads: list[Load], label: str) -> None:
        self.kit, self.loads, self.label = kit, loads, label
        self.t0_ns = 0
        self.until = max(load.ends for load in loads)
        python = named_pythons(kit)
        self.children = [self._start(load, python(load.name)) for load in loads]

    def _start(self, load: Load, python: str) -> subprocess.Popen:
        file = self.kit.raw / f"{self.label}-{load.name}.csv"
        complaints = self.kit.raw / f"{self.label}-{load.name}.err"
        order = "sleep" if self.kit.simulated else load.order or ORDER
        command = [*module("load_maker", python), "--log", str(file), "--order", order]
        command += ["--segments", json.dumps(load.segments)]
        if load.late:
            opening_s = OPENING_SIMULATED_S if self.kit.simulated else OPENING_S
            command += ["--late", str(max(0.0, load.begins - opening_s))]
        with complaints.open("w") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=child_environment()
            )
        load.pid = child.pid
        told = child.stdout.readline()
        if told.startswith("ready "):
            load.about = json.loads(told[6:])
        else:
            child.wait(5)
            self.kit.put(load_failed=True)
            why = complaints.read_text()[-400:].strip()
            self.kit.error(f"load {load.name}", RuntimeError(f"did not start: {why}"))
        return child

    def script(self, lead_s: float = 0.0) -> str:
        """The same schedule for the simulated driver."""
        return script(self.loads, lead_s)

    def go(self, t0_ns: int = 0) -> int:
        """Give the word; t0 on the kit's clock."""
        self.t0_ns = t0_ns or now_ns() + int(LEAD_S * 1e9)
        for child in self.children:
            try:
                child.stdin.write(f"go {self.t0_ns}\n")
                child.stdin.flush()
            except OSError as error:
                self.kit.error("load", error)
        return self.t0_ns

    def finish(self, within_s: float = 5.0) -> None:
        """Wait for the children, whose schedule is bounded, and read their logs."""
        end_ns = max(self.t0_ns + int((self.until + within_s) * 1e9), now_ns() + int(1e9))
        for child, load in zip(self.children, self.loads, strict=True):
            try:
                child.wait(max(0.1, (end_ns - now_ns()) / 1e9))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                self.kit.error(f"load {load.name}", TimeoutError("ended by force"))
            self._read(load)
        for child in self.children:
            child.stdout.close()
            with contextlib.suppress(OSError):  # a word that one that never started did not hear
                child.stdin.close()

    def _read(self, load: Load) -> None:
        file = self.kit.raw / f"{self.label}-{load.name}.csv"
        if file.exists():
            first, *rest = file.read_text().splitlines()
            load.about = json.loads(first)
            load.log = [tuple(map(int, line.split(","))) for line in rest]
        if (
            self.kit.simulated
        ):  # on the simulated card the schedule is exact: what the sleeping processes did is beside it
            load.log = ideal_log(load)

    def names(self, card) -> dict[int, str]:
        """Which pid is which load: our own children, or the simulated card's processes."""
        if not self.kit.simulated:
            return {load.pid: load.name for load in self.loads}
        return {running.pid: running.job.name for running in card.node.tree.running(card.clock.now_us())}

    def makers(self) -> dict[str, str | None]:
        """What each load was made with."""
        return {load.name: load.about.get("maker") for load in self.loads}


def named_pythons(kit):
    """A way to start this interpreter under a name of its own: the agent names jobs by their program.

    A folder with a copy of pyvenv.cfg and links to the real interpreter is a virtual environment to Python; modules
    come through PYTHONPATH.
    """
    folder = kit.tmp / "venv" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    config = Path(sys.prefix) / "pyvenv.cfg"
    if config.exists():
        (folder.parent / "pyvenv.cfg").write_text(config.read_text())

    def python(name: str) -> str:
        link = folder / name
        if not link.exists():
            link.symlink_to(Path(sys.executable).resolve())
        return str(link)

    return python


def cgroups(session: Session) -> dict[str, str]:
    """What kind of cgroup the loads are in: within a service's or a scope's the agent takes them all for one job."""
    found = {}
    for load in session.loads:
        try:
            text = Path(f"/proc/{load.pid}/cgroup").read_text()
        except OSError:
            found[load.name] = "unknown"
            continue
        kinds = [kind for kind in ("service", "scope") if f".{kind}" in text]
        root = all(line.rsplit(":", 1)[-1] == "/" for line in text.split())
        found[load.name] = f"in a {kinds[0]}" if kinds else "root" if root else "in another"
    return found


def part_ways(session: Session) -> str:
    """If all of us are in one service's or scope's cgroup, move the loads to the root of the tree, as root may."""
    if set(cgroups(session).values()) <= {"root", "in another"}:
        return "not needed"
    try:
        for load in session.loads:
            Path("/sys/fs/cgroup/cgroup.procs").write_text(str(load.pid))
    except OSError as error:
        return f"not possible: {error}"
    return "moved to the root cgroup"
