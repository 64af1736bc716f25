"""Faults of a simulated driver: what goes wrong, on which GPU, when and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = {
    "counter-reset": "the energy counter starts again at zero",
    "counter-dip": "the counter shows `value` joules less for a while, then recovers",
    "counter-stuck": "the counter stands still",
    "counter-jump": "the counter grows by `value` joules at once",
    "not-ready": "the counter answers NotReady (27)",
    "zero-power": "power reads 0 W, with success",
    "garbage": "power reads 4,294,967 W, with success",
    "frozen-power": "power shows the same number all the time",
    "scrambled-pids": "process lists hold pids that do not exist",
    "success-error": "process utilisation answers success without a sample, which the binding raises as an error",
    "garbage-utilisation": "utilisation reads far above 100 %",
    "error": "the call named `call` (or every call) answers the code `value`",
    "latency": "every call takes `value` microseconds",
    "wedged": "one call does not return before the fault is over",
    "gpu-lost": "the GPU is lost (15); afterwards it needs a new session",
    "xid": "an XID error of number `value` is reported",
    "driver-reload": "the driver is away (9), then back with counters at zero; it needs a new session",
    "version-mismatch": "every call answers that library and driver differ (18)",
    "cut-off": "the devices are gone for this process: everything answers unknown error (999)",
}
"""Every kind of fault, and what it does."""

COUNTER = {"counter-reset", "counter-dip", "counter-stuck", "counter-jump", "not-ready"}

POWER = {"zero-power", "garbage", "frozen-power"}


@dataclass(slots=True)
class ScriptedFault:
    """One fault.

    Attributes
    ----------
    kind : str
        A key of :data:`KINDS`.
    start_us, end_us : int, us
        On the clock's line.
    gpu : int
        -1: all of them.
    value : float
        See :data:`KINDS`.
    call : str
        Symbol that fails; empty: all.
    done : bool
        Something that happens once has happened.
    """

    kind: str
    start_us: int
    end_us: int
    gpu: int = -1
    value: float = 0.0
    call: str = ""
    done: bool = False


class FaultPlan:
    """The faults of a run, asked by kind."""

    def __init__(self, faults: Iterable[ScriptedFault] = ()) -> None:
        self._by_kind: dict[str, list[ScriptedFault]] = {}
        for fault in sorted(faults, key=lambda f: f.start_us):
            self._by_kind.setdefault(fault.kind, []).append(fault)

    def has(self, kinds: set[str]) -> bool:
        """Whether any fault of these kinds is planned."""
        return not kinds.isdisjoint(self._by_kind)

    def active(self, kind: str, now_us: int, gpu: int = -1) -> ScriptedFault | None:
        """Return the fault of a kind that is on now for that GPU."""
        for fault in self._by_kind.get(kind, ()):
            if fault.start_us <= now_us < fault.end_us and (fault.gpu in {-1, gpu} or gpu == -1):
                return fault
        return None

    def began(self, kind: str, now_us: int, gpu: int = -1) -> list[ScriptedFault]:
        """Return the faults of a kind that have begun by now, over or not."""
        return [f for f in self._by_kind.get(kind, ()) if f.start_us <= now_us and (f.gpu in {-1, gpu} or gpu == -1)]
