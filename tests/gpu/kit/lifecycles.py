"""Processes that come and go on a schedule, each with a context of its own, and what they say of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from .child import Child
from .clock import sleep_until
from .loads import ORDER
from .schedule import Load, script, steady

STARTING_S = 0.3  # of a simulated one, until its first kernel


@dataclass
class Life:
    """One process: started, computing on all matrix units, resting with its context open, gone.

    Attributes
    ----------
    begin_s, compute_s, rest_s : float
        When it is started, after t0, and for how long it does what.
    marks : dict of str to int
        What happened when, ns: asked for, alive (its first line of code), opening (its context), open, first kernel,
        last kernel (its end), told to end, gone.
    """

    begin_s: float
    compute_s: float
    rest_s: float
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether it went all its way."""
        return "gone" in self.marks

    def live(self, kit, t0_ns: int) -> None:
        """Do it all; waits for the end."""
        sleep_until(t0_ns + int(self.begin_s * 1e9))
        try:
            worker = Child(kit, "worker")
            self.marks |= {"asked": worker.asked_ns, "alive": worker.alive_ns}
            opened = worker.ask("open", "sleep" if kit.simulated else ORDER)
            self.marks |= {"opening": opened["begin_ns"], "open": opened["end_ns"]}
            at = worker.ask("run", "full", 5_000_000, self.compute_s)["at_ns"]
            self.marks |= {"first kernel": at[0], "last kernel": at[-1]}
            sleep_until(at[-1] + int(self.rest_s * 1e9))
            self.marks["told to end"], self.marks["gone"] = worker.end()
        except (OSError, RuntimeError) as error:
            kit.error("life", error)
            return
        if kit.simulated:  # on the simulated card the schedule is exact: what the sleeping process did is beside it
            self.marks = self.ideal(t0_ns)

    def ideal(self, t0_ns: int) -> dict[str, int]:
        """What the marks would be if everything came when it should."""
        begin, kernel = self.begin_s, self.begin_s + STARTING_S
        done = kernel + self.compute_s
        at = {"asked": begin, "alive": begin + STARTING_S / 3, "opening": begin + STARTING_S / 2, "open": kernel}
        at |= {"first kernel": kernel, "last kernel": done, "told to end": done + self.rest_s}
        return {name: t0_ns + int(s * 1e9) for name, s in (at | {"gone": at["told to end"]}).items()}


def in_turn(kit, t0_ns: int, lives: list[Life]) -> threading.Thread:
    """Live them one after the other beside the caller, who polls."""

    def run() -> None:
        for life in lives:
            life.live(kit, t0_ns)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def lives_script(lives: list[Life]) -> str:
    """The same lives for the simulated driver."""
    loads = []
    for i, life in enumerate(lives):
        begin = life.begin_s + STARTING_S
        compute = steady(begin, begin + life.compute_s, "full")
        rest = {"from": compute["to"], "to": compute["to"] + life.rest_s, "kind": "none", "period": 1, "on": 1}
        loads.append(Load(f"kit-life-{i}", [compute, rest]))
    return script(loads)


def keep_marks(kit, t0_ns: int, lives: list[Life]) -> None:
    """Keep what happened when."""
    rows = [(i, name, t - t0_ns) for i, life in enumerate(lives) for name, t in life.marks.items()]
    kit.keep_series("lives.csv", "life,mark,ns_after_t0", rows)
