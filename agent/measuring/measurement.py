"""Windows: ``with wattshed.measure() as m:``, ``async with``, and a decorator."""

from __future__ import annotations

import asyncio
import math
import os
import warnings
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from wattshed.agent.measuring.decorating import decorated
from wattshed.agent.measuring.measured import NotMeasuredError, NotMeasuredWarning, measured, not_measured
from wattshed.agent.measuring.synchronising import leaves_work, synchroniser
from wattshed.agent.wire.agent_socket import wrong_work

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from wattshed.agent.measuring.measured import MeasuredEnergy
    from wattshed.agent.measuring.process import ProcessMeasuring
    from wattshed.agent.measuring.session import Edge, MeteringSession

_Function = TypeVar("_Function", bound="Callable[..., Any]")

PATIENCE_S = 3.0
"""`Measurement.joules` waits no longer than that for the meter to tell the end of its window."""


@dataclass(eq=False, slots=True)
class OpenWindow:
    """A window as others see it.

    Attributes
    ----------
    name : str
    around : tuple of OpenWindow
        Those around it, the outermost first.
    flags : set of str
    work : Counter
        Noted in it, and in those within, by unit.
    """

    name: str
    around: tuple[OpenWindow, ...] = ()
    flags: set[str] = field(default_factory=set)
    work: Counter[str] = field(default_factory=Counter)

    @property
    def path(self) -> str:
        """Names of the windows around it, and its own."""
        return "/".join(one.name for one in (*self.around, self) if one.name)

    def overlaps(self, other: OpenWindow) -> bool:
        """Tell whether the two hold the same joules though neither is within the other."""
        return other not in self.around and self not in other.around


_outer: ContextVar[OpenWindow | None] = ContextVar("wattshed_window", default=None)


class Measurement:
    """A window of this process: a context manager, an asynchronous one, an awaitable, and a decorator.

    Entering and leaving it never waits for the meter; reading `joules` waits for at most three seconds, and ``await m``
    does so without stopping the loop. See `wattshed.measure`.
    """

    def __init__(
        self,
        process: ProcessMeasuring,
        name: str,
        gpus: str | Sequence[int | str],
        scope: str,
        sync: str | bool | Callable[[], object],
        *,
        strict: bool,
        nests: bool = True,
    ) -> None:
        self._process, self._window, self._gpus, self._scope = process, OpenWindow(name), gpus, scope
        self._sync, self._strict, self._nests = sync, strict, nests
        self._session: MeteringSession | None = None
        self._start: Edge | None = None
        self._end: Edge | None = None
        self._pid = os.getpid()
        self._warned = False

    def __enter__(self) -> Self:
        if self._start is not None:
            raise RuntimeError("a window is entered once; call wattshed.measure() again for another one")
        self._session = self._process.session(self._gpus, self._scope)
        wait = synchroniser(self._sync)
        if wait is not None:
            wait()
        outer, self._pid = _outer.get(), os.getpid()
        self._window.around = () if outer is None else (*outer.around, outer)
        self._start = self._process.enter(self._window, self._session)
        if self._nests:
            _outer.set(self._window)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, start = self._begun()
        try:
            wait = synchroniser(self._sync)
            if wait is not None and kind is None:
                wait()
            elif leaves_work():
                self._window.flags.add("no-sync")
        finally:
            self._end = self._process.leave(self._window, session, start)
            if _outer.get() is self._window:
                _outer.set(self._window.around[-1] if self._window.around else None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __await__(self) -> Generator[Any, None, MeasuredEnergy]:
        return asyncio.to_thread(self.result).__await__()

    def __call__(self, function: _Function) -> _Function:
        """Measure every call of a function, a coroutine function or a generator function."""
        return decorated(function, self._again)

    @property
    def name(self) -> str:
        """The window's own name."""
        return self._window.name

    @property
    def path(self) -> str:
        """Names of the windows around it, and its own."""
        return self._window.path

    def result(self, patience_s: float = PATIENCE_S) -> MeasuredEnergy:
        """Return what was used in the window, which has ended; waits for at most so long, s.

        Raises
        ------
        NotMeasuredError
            It is not known, and the window is strict.
        """
        session, start = self._begun()
        if self._end is None:
            raise RuntimeError("the window has not ended; running() tells what it used so far")
        return self._checked(self._between(session, start, self._end, patience_s))

    def running(self, patience_s: float = PATIENCE_S) -> MeasuredEnergy:
        """Return what was used since the window began, until now or its end; waits for at most so long, s."""
        session, start = self._begun()
        end = self._end or session.edge()
        return self._between(session, start, end, patience_s)

    @property
    def joules(self) -> float:
        """The energy, J; NaN where it is not known."""
        return self.result().joules

    @property
    def sigma_j(self) -> float:
        """One sigma of the energy, J."""
        return self.result().sigma_j

    @property
    def energy_hnj(self) -> int | None:
        """The energy in half nanojoules; None where it is not known."""
        return self.result().energy_hnj

    @property
    def seconds(self) -> float:
        """Length of the window so far, s."""
        session, start = self._begun()
        return ((self._end.time_ns if self._end is not None else session.now_ns()) - start.time_ns) / 1e9

    @property
    def watts(self) -> float:
        """The mean power, W."""
        return self.result().watts

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that count."""
        return self.result().gpus

    @property
    def scope(self) -> str:
        """``job``, ``process`` or ``gpu``."""
        return self._begun()[0].scope

    @property
    def source(self) -> str:
        """``agent``, ``nvml`` or ``simulated``."""
        return self._begun()[0].source

    @property
    def flags(self) -> tuple[str, ...]:
        """What to know about the energy; see `MeasuredEnergy`."""
        return self.result().flags

    @property
    def reason(self) -> str:
        """Why the energy is not known; empty: it is."""
        return self.result().reason

    def add_work(self, **counts: int) -> None:
        """Note work that was done in the window, by unit (``tokens=512``), and tell the agent of it.

        Raises
        ------
        ValueError
            A unit or a count cannot be.
        """
        for unit, count in counts.items():
            if why := wrong_work(unit, count):
                raise ValueError(why)
        for unit, count in counts.items():
            for window in (*self._window.around, self._window):
                window.work[unit] += count
            self._process.tell(unit, count)

    @property
    def work(self) -> Mapping[str, int]:
        """Work that was noted in the window, and in those within it, by unit."""
        return dict(self._window.work)

    def per(self, unit: str) -> tuple[float, float]:
        """Return joules for one unit of the work that was noted, and one sigma of it; NaN without work."""
        count, found = self._window.work[unit], self.result()
        return (found.joules / count, found.sigma_j / count) if count else (math.nan, math.nan)

    def __str__(self) -> str:
        """Write it in a line; waits as `joules` does, once the window has ended."""
        return repr(self) if self._end is None else str(self.result())

    def __repr__(self) -> str:
        """Write it in a line, without waiting."""
        if self._start is None:
            return f"<wattshed.measure {self.name!r}: not entered>"
        session, start = self._begun()
        if self._end is None:
            return f"<wattshed.measure {self.path!r}: running>"
        return f"<wattshed.measure {self._between(session, start, self._end, 0.0)}>"

    def _again(self, *, nests: bool) -> Measurement:
        made = self._process, self.name, self._gpus, self._scope, self._sync
        return Measurement(*made, strict=self._strict, nests=nests)

    def _begun(self) -> tuple[MeteringSession, Edge]:
        if self._session is None or self._start is None:
            raise RuntimeError("the window was not entered: write `with wattshed.measure() as m:`")
        return self._session, self._start

    def _between(self, session: MeteringSession, start: Edge, end: Edge, patience_s: float) -> MeasuredEnergy:
        if self._pid != os.getpid():
            why = "the process was forked within the window"
            return not_measured(why, (end.time_ns - start.time_ns) / 1e9, self.path)
        return measured(session, start, end, patience_s, path=self.path, flags=self._window.flags)

    def _checked(self, found: MeasuredEnergy) -> MeasuredEnergy:
        if found.reason and self._strict:
            raise NotMeasuredError(found.reason)
        if found.reason and not self._warned:
            self._warned = True
            warnings.warn(f"wattshed.measure: {found.reason}", NotMeasuredWarning, stacklevel=3)
        return found
