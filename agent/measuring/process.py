"""All that this process measures: its sessions, its open windows, their union, and the work it tells the agent."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from wattshed.agent.measuring.measured import MeasuredEnergy, measured, not_measured
from wattshed.agent.measuring.measurement import Measurement, OpenWindow
from wattshed.agent.measuring.opening import METER, SCOPES, open_session
from wattshed.agent.measuring.visible import ORDER
from wattshed.agent.measuring.visible import VARIABLE as VISIBLE
from wattshed.agent.wire.agent_socket import VARIABLE as SOCKET
from wattshed.agent.wire.agent_socket import AgentAbsentError, agent_socket, ask, wrong_work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.measuring.session import Edge, MeteringSession

AGAIN_S = 30.0
"""Where nothing could be measured, it is tried again after so long."""
TELL_S, MOST_UNITS = 0.25, 8
"""Work is told in sums, so often, and of so many units."""
PATIENCE_S = 3.0


class WorkTeller:
    """Tells the agent what work was done, in a thread of its own: sums, so that nobody waits and nothing is lost.

    Parameters
    ----------
    environ : mapping
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._condition = threading.Condition()
        self._sums: Counter[str] = Counter()
        self._thread: threading.Thread | None = None

    def tell(self, unit: str, count: int) -> None:
        """Add to a sum, which is told soon; of too many units the new ones are dropped."""
        with self._condition:
            if unit not in self._sums and len(self._sums) >= MOST_UNITS:
                return
            self._sums[unit] += count
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wattshed-work", daemon=True)
                self._thread.start()
            self._condition.notify()

    def flush(self) -> None:
        """Tell all sums now; those that no agent takes are kept for the next time."""
        path = agent_socket(self._environ, os.geteuid())
        with self._condition:
            sums, self._sums = self._sums, Counter()
        for unit, count in sums.items():
            try:
                taken = path and "error" not in ask(path, {"op": "add", "unit": unit, "count": count})
            except AgentAbsentError as error:
                taken = error.sent  # whether it arrived nobody knows: once at most
            if not taken:
                with self._condition:
                    self._sums[unit] += count

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._sums:
                    self._condition.wait()
            time.sleep(TELL_S)
            self.flush()
            if self._sums:
                time.sleep(AGAIN_S / 10)


class ProcessMeasuring:
    """What belongs to a process; a forked one starts anew.

    Parameters
    ----------
    environ : mapping
    opening : callable
        Opens a session for GPUs and a scope.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        opening: Callable[[Sequence[int | str] | None, str, Mapping[str, str]], MeteringSession] = open_session,
    ) -> None:
        self._environ, self._opening = environ, opening
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._sessions: dict[tuple[object, ...], tuple[MeteringSession, float]] = {}
        self._open: list[tuple[OpenWindow, MeteringSession]] = []
        self._unions: dict[MeteringSession, _Union] = {}
        self._teller = WorkTeller(self._environ)

    def forked(self) -> None:
        """Start anew: threads, and the driver's session, stayed with the parent."""
        self._begin()

    def session(self, gpus: str | Sequence[int | str], scope: str) -> MeteringSession:
        """Return the session that measures these GPUs, opened when it is first asked for.

        Raises
        ------
        ValueError
            The scope is none, or the GPUs are none.
        """
        if scope not in SCOPES:
            raise ValueError(f"scope is {', '.join(SCOPES)}, not {scope!r}")
        if isinstance(gpus, str) and gpus != "auto":
            raise ValueError(f"gpus is 'auto' or a list of numbers and UUIDs, not {gpus!r}")
        wanted = None if isinstance(gpus, str) else tuple(gpus)
        key = wanted, scope, tuple(self._environ.get(name) for name in (METER, SOCKET, VISIBLE, ORDER))
        with self._lock:
            found, opened_s = self._sessions.get(key, (None, -math.inf))
            if found is None or (not found.source and time.monotonic() - opened_s > AGAIN_S):
                found = self._opening(wanted, scope, self._environ)
                self._sessions[key] = found, time.monotonic()
            return found

    def enter(self, window: OpenWindow, session: MeteringSession) -> Edge:
        """Open a window."""
        with self._lock:
            for other, _ in self._open:
                if window.overlaps(other):
                    window.flags.add("overlap")
                    other.flags.add("overlap")
            edge = session.edge(opens=True)
            self._open.append((window, session))
            self._unions.setdefault(session, _Union()).enter(edge)
            return edge

    def leave(self, window: OpenWindow, session: MeteringSession, start: Edge) -> Edge:
        """Close a window."""
        with self._lock:
            if (window, session) not in self._open:  # it was opened before a fork
                return start
            edge = session.edge(closes=True)
            self._open.remove((window, session))
            self._unions[session].leave(edge)
            return edge

    def total(self) -> MeasuredEnergy:
        """Return what all windows of this process used: time that several share counts once."""
        with self._lock:
            parts = [
                measured(session, start, end or session.edge(), PATIENCE_S)
                for session, union in self._unions.items()
                for start, end in union.stretches
            ]
        return _joined(parts)

    def tell(self, unit: str, count: int) -> None:
        """Tell the agent of work.

        Raises
        ------
        ValueError
            The unit or the count cannot be.
        """
        if why := wrong_work(unit, count):
            raise ValueError(why)
        self._teller.tell(unit, count)

    def close(self) -> None:
        """Tell what is left to tell, and give the driver back."""
        self._teller.flush()
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session, _ in sessions:
            session.close()


class _Union:
    """The stretches of time in which any window of a session was open."""

    def __init__(self) -> None:
        self.stretches: list[tuple[Edge, Edge | None]] = []
        self._open = 0

    def enter(self, edge: Edge) -> None:
        self._open += 1
        if self._open == 1:
            self.stretches.append((edge, None))

    def leave(self, edge: Edge) -> None:
        self._open -= 1
        if self._open == 0:
            start, _ = self.stretches[-1]
            self.stretches[-1] = start, edge


def _joined(parts: Sequence[MeasuredEnergy]) -> MeasuredEnergy:
    """Add up stretches of time: edges' errors are each stretch's own, the meters' gain is that of all."""
    reason = next((part.reason for part in parts if part.reason), "" if parts else "nothing was measured")
    seconds = sum(part.seconds for part in parts)
    if reason:
        return not_measured(reason, seconds)
    return MeasuredEnergy(
        sum(part.joules for part in parts),
        sum(part.sigma_j for part in parts),
        sum(part.energy_hnj or 0 for part in parts),
        seconds,
        tuple(sorted({gpu for part in parts for gpu in part.gpus})),
        parts[0].scope,
        parts[0].source,
        tuple(sorted({flag for part in parts for flag in part.flags})),
        "",
        "",
    )


PROCESS = ProcessMeasuring()
os.register_at_fork(after_in_child=PROCESS.forked)
atexit.register(PROCESS.close)


def measure(
    name: str = "",
    *,
    gpus: str | Sequence[int | str] = "auto",
    scope: str = "auto",
    sync: str | bool | Callable[[], object] = "auto",
    strict: bool = False,
) -> Measurement:
    """Measure the GPUs' energy of a piece of this program.

    Use it as ``with wattshed.measure("epoch") as m:`` and read ``m.joules``; as ``async with``; or as a decorator,
    ``@wattshed.measure("step")``, of functions, coroutine functions and generators.

    With an agent of wattshed on the host, the joules are those of this process's job, on GPUs that are shared, too; or,
    outside of jobs, those of this process and of those that it started. Without an agent they are those of whole GPUs,
    read by NVML ten times a second. Windows may be nested, and may overlap. Entering and leaving one never waits.

    Parameters
    ----------
    name : str
        Stands in `Measurement.path`, after those of the windows around it.
    gpus : "auto", or sequence of int or str
        Which GPUs, by the driver's number or UUID; by default those that CUDA_VISIBLE_DEVICES leaves.
    scope : "auto", "job" or "gpu"
        Whose joules: this process's job's, or its own (which only an agent can tell), or those of whole GPUs.
    sync : "auto", bool or callable
        How to wait for the GPU at both ends: by PyTorch if the program has started it, by a callable, or not at all.
    strict : bool
        Raise where the joules are not known, instead of NaN and a warning.

    Returns
    -------
    Measurement

    Raises
    ------
    ValueError
        On entering: an argument cannot be.
    """
    return Measurement(PROCESS, name, gpus, scope, sync, strict=strict)


def add_work(unit: str, count: int) -> None:
    """Tell the agent of this host that this process's job did some work: tokens, images, steps.

    The agent shows it beside the job's joules. It never waits, and without an agent it does nothing.

    Parameters
    ----------
    unit : str
        a to z, 0 to 9 and _, a letter first, at most 32 characters.
    count : int
        1 to 2^53.

    Raises
    ------
    ValueError
        The unit or the count cannot be.
    """
    PROCESS.tell(unit, count)


def total() -> MeasuredEnergy:
    """Return the energy of all windows of this process: time that several of them share counts once."""
    return PROCESS.total()
