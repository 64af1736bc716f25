"""What callers are answered: by the socket's thread at once, from what the loop noted after its last window.

A caller's job is decided where the jobs of all processes are: in the loop, window by window. So the first question of a
process is answered with ``wait``, and work that it tells is kept until then, with the time at which it was told. A
caller in no job is told what it used itself, and the processes that it started (`agent.daemon.callers.own_parts`).
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wattshed.agent.window import MISSING
from wattshed.agent.wire.agent_socket import JOB, PROCESS, SCHEMA, wrong_work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.daemon.callers.energies import JobEnergies
    from wattshed.agent.daemon.callers.own_parts import CallerKey, OwnParts
    from wattshed.agent.jobs.processes import Process
    from wattshed.agent.jobs.uses import ProcessUse
    from wattshed.agent.window import Owner, Window

KEPT_US = 60_000_000
"""A caller that asked nothing for so long is forgotten; it is decided anew when it asks again."""
REFRESH_US = 1_000_000
"""Process lists cost the driver milliseconds: they are not read for callers more often than this."""
MOST_CALLERS, MOST_OF_A_USER, MOST_TOLD = 4096, 512, 20_000
"""Callers, of all and of one user; and amounts of work that wait for the next window."""
MOST_REFUSALS = 16
"""Units of a caller of which it is known that they are refused: whoever makes up more is refused a window later."""
_OUTSIDE = "user:"
"""How the keys of those owners begin that are no jobs: what users run outside of all jobs."""


class WorkDesk(Protocol):
    """Who keeps what work jobs tell of themselves."""

    def add(self, owner: Owner, unit: str, count: int, time_us: int) -> str:
        """Take down work of a job; returns why it is refused, or nothing.

        The loop calls it when the owners of a window are known, before the window is recorded. The time is when it was
        told, on the windows' time line: before the window's end, or a little after where more than one was told late.
        """

    def refuse(self, reason: str) -> None:
        """Count what was refused before it was known whose it is; any thread may call it."""


class CallerResolver(Protocol):
    """Who decides whose a process is that need not be on any GPU."""

    def owner_of(self, process: Process) -> Owner:
        """Return its owner."""

    def uses(self) -> Sequence[ProcessUse]:
        """Return what each process did on each GPU in the last window."""


@dataclass(slots=True)
class _Caller:
    process: Process
    asked_us: int
    first_us: int
    owner: Owner | None = None
    refusals: dict[str, str] = field(default_factory=dict)  # of work, by its unit

    @property
    def uid(self) -> int:
        return MISSING if self.process.uid is None else self.process.uid


class CallersDesk:
    """Answers questions, and passes work on.

    Parameters
    ----------
    about : mapping
        What `hello` tells of the agent.
    energies : JobEnergies
    parts : OwnParts
    offset_us : int, us
        The windows' time line is so far ahead of CLOCK_MONOTONIC.
    work : WorkDesk or None
    refresh : callable
        Has the meter look who is on the GPUs: a caller that just came may be there, and not be noticed yet.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        energies: JobEnergies,
        parts: OwnParts,
        offset_us: int = 0,
        work: WorkDesk | None = None,
        *,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._about, self._energies, self._parts = about, energies, parts
        self._offset_us, self._work = offset_us, work
        self._lock = threading.Lock()
        self._callers: dict[CallerKey, _Caller] = {}
        self._told: deque[tuple[Process, str, int, int]] = deque()
        self._refresh, self._refreshed_us, self._settled_us = refresh, 0, 0
        self.refused: Counter[str] = Counter()

    def answer(self, process: Process, message: Mapping[str, Any], now_us: int) -> dict[str, Any]:
        """Answer one question; the socket's thread asks, and never waits here.

        Parameters
        ----------
        process : Process
            Who asks.
        message : mapping
        now_us : int, us
        """
        op = message.get("op")
        if op == "add":
            return self._add(process, message.get("unit"), message.get("count"), now_us)
        if op not in {"hello", "energy"}:
            return self.refusal("unknown_op", "op is hello, add or energy")
        owner = self._owner(process, now_us)
        if owner is None:
            return {"wait": "whose this process is will be known after the next window"}
        if op == "hello":
            return {"schema": SCHEMA, **self._about, "job": owner.key, "scope": _scope(owner)}
        return self._energy(process, owner, message.get("start_ns"), message.get("end_ns"), now_us)

    def refusal(self, reason: str, text: str) -> dict[str, Any]:
        """Count a refusal, and return the answer that says so."""
        with self._lock:
            self.refused[reason] += 1
        if self._work is not None:
            self._work.refuse(reason)
        return {"error": text, "reason": reason}

    def settle(self, resolver: CallerResolver, window: Window) -> None:
        """Decide whose the callers are, and pass on the work that was told until the end of a window.

        Parameters
        ----------
        resolver : CallerResolver
        window : Window
            Its owners are resolved; it is not recorded yet.
        """
        with self._lock:
            for key, caller in list(self._callers.items()):
                if window.end_us - caller.asked_us > KEPT_US:
                    del self._callers[key]
            # Whose a process is may be known better than before, but matters only where it asks.
            waiting = [one for one in self._callers.values() if one.owner is None or one.asked_us >= self._settled_us]
            self._settled_us = window.end_us
            told = []
            while self._told and self._told[0][3] <= window.end_us:
                told.append(self._told.popleft())
        owners = {caller.process.key: resolver.owner_of(caller.process) for caller in waiting}
        outside = [caller for caller in waiting if _scope(owners[caller.process.key]) == PROCESS]
        for caller in outside:
            self._parts.follow(caller.process, owners[caller.process.key], caller.first_us)
        if self._parts:
            self._parts.see(window, resolver.uses())
        for process, unit, count, time_us in told:
            if self._work is None:
                continue
            owner = self._parts.owner_of(process.key) or owners.get(process.key) or resolver.owner_of(process)
            if why := self._work.add(owner, unit, count, time_us):
                self._note_refusal(process.key, unit, why)
        with self._lock:
            for caller in waiting:
                caller.owner = owners[caller.process.key]

    def follow(self, accounts: Accounts, window: Window) -> None:
        """Note what everybody has used by the end of a window, which is attributed by now."""
        self._energies.follow(accounts, window, self._parts.book(accounts, window.end_us))

    def _owner(self, process: Process, now_us: int) -> Owner | None:
        with self._lock:
            caller = self._callers.get(process.key)
            if caller is None:
                if len(self._callers) >= MOST_CALLERS:
                    return None
                uid = MISSING if process.uid is None else process.uid
                if sum(one.uid == uid for one in self._callers.values()) >= MOST_OF_A_USER:
                    return None
                caller = self._callers[process.key] = _Caller(process, now_us, now_us)
                self._look_soon(now_us)
            caller.process, caller.asked_us = process, now_us
            return caller.owner

    def _add(self, process: Process, unit: Any, count: Any, now_us: int) -> dict[str, Any]:
        if self._work is None:
            return self.refusal("off", "this agent takes no work down")
        if why := wrong_work(unit, count):
            return self.refusal("malformed", why)
        owner = self._owner(process, now_us)
        with self._lock:
            caller = self._callers.get(process.key)
            why = caller.refusals.get(unit, "") if caller is not None else ""
            full = len(self._told) >= MOST_TOLD
            if not why and not full:
                self._told.append((process, unit, count, now_us))
        if why:
            return {"error": why}
        if full:
            return self.refusal("overflow", "too much work was told at once")
        return {"ok": True, **({"job": owner.key} if owner is not None else {})}

    def _note_refusal(self, key: CallerKey, unit: str, why: str) -> None:
        """Have the next one who tells of a unit know why it was refused."""
        with self._lock:
            caller = self._callers.get(key)
            if caller is None:
                return
            while len(caller.refusals) >= MOST_REFUSALS:
                del caller.refusals[next(iter(caller.refusals))]
            caller.refusals[unit] = why

    def _look_soon(self, now_us: int) -> None:
        if now_us - self._refreshed_us > REFRESH_US:
            self._refreshed_us = now_us
            self._refresh()

    def _energy(self, process: Process, owner: Owner, start_ns: Any, end_ns: Any, now_us: int) -> dict[str, Any]:
        times = start_ns, end_ns
        if any(isinstance(t, bool) or not isinstance(t, int) for t in times) or not 0 <= start_ns <= end_ns < 1 << 63:
            return self.refusal("malformed", "start_ns and end_ns are times of CLOCK_MONOTONIC, in order")
        scope = _scope(owner)
        whose = process.key if scope == PROCESS else owner.key
        if not self._energies.knows(whose):
            self._look_soon(now_us)
        told = self._energies.between(whose, *(t // 1000 + self._offset_us for t in times))
        if "began_us" in told:
            told["began_ns"] = (told.pop("began_us") - self._offset_us) * 1000
        return {"job": owner.key, "scope": scope, "simulated": bool(self._about.get("simulated")), **told}


def _scope(owner: Owner) -> str:
    """Return whose joules a caller is told that has this owner: its job's, or its own."""
    return PROCESS if owner.key.startswith(_OUTSIDE) else JOB
