"""Faults of a simulated driver: what goes wrong, on which GPU, when and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = {
    "counter-reset": "the energy counter restarts at zero",
    "counter-dip": "the counter shows `value` joules less for a while, then recovers",
    "counter-stuck": "the counter does not change",
    "counter-jump": "the counter increases by `value` joules at once",
    "not-ready": "the counter returns NotReady (27)",
    "zero-power": "power reads 0 W, with success",
    "garbage": "power reads 4,294,967 W, with success",
    "frozen-power": "power shows the same number all the time",
    "scrambled-pids": "process lists contain pids that do not exist",
    "success-error": "process utilisation returns success without a sample, which the binding raises as an error",
    "garbage-utilisation": "utilisation reads far above 100 %",
    "latched-utilisation": "the utilisation of the GPU reads 100 %, whatever runs",
    "error": "the call named `call` (or every call) returns the code `value`",
    "latency": "every call takes `value` microseconds; with `gpu`, every call for that GPU; with `call`, only that "
    "call",
    "slow-gpu": "every call for the GPU takes `value` microseconds and then returns `code`, if given; what the "
    "library caches (name, UUID, PCI address, handle) returns immediately",
    "slow-counter": "reading the energy counter takes `value` microseconds, five times that within 10 ms after it was "
    "published",
    "wedged": "one call does not return before the fault is over",
    "gpu-lost": "the GPU is lost (15); afterwards it needs a new session",
    "unbind": "the GPU is taken from the driver as soon as nobody has it open, and then given back with its counter at "
    "zero",
    "held": "the library keeps the GPU's device node open when its session ends",
    "xid": "an XID error with number `value` is reported",
    "driver-reload": "the driver is missing (9), then back with counters at zero; it needs a new session",
    "version-mismatch": "every call returns that library and driver differ (18)",
    "event": "the driver reports an event of type `value` (256: MIG was reconfigured; 32768: recovery action)",
    "wrap": "the counter of a host meter starts again at zero: at its end, which it reaches at `at_s`",
    "unknown-power": "a host meter shows the number that means unknown (ACPI), or an inactive reading (BMC)",
    "denied": "a host meter may not be read; a BMC does not answer",
    "gone": "a host meter disappears",
    "frozen": "a host meter shows the same number all the time",
    "hung": "reading a host meter does not return before the fault is over",
    "cut-off": "the devices are no longer available to this process: everything returns unknown error (999)",
}
"""Every kind of fault, and what it does."""

WHOLE = {"driver-reload", "version-mismatch", "cut-off"}
"""Those that strike the driver, and so all GPUs, whichever is named."""

COUNTER = {
    "counter-reset",
    "counter-dip",
    "counter-stuck",
    "counter-jump",
    "not-ready",
    "driver-reload",
    "slow-counter",
}

BESIDE = {"wrap", "unknown-power", "denied", "gone", "frozen", "hung"}
"""Those of host meters."""

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
        Symbol that fails, or is slow; empty: all.
    code : int
        What a slow GPU answers in the end; 0: success.
    done : bool
        Something that happens once has happened.
    meter : str
        Of the host, as ``rapl/package-0``; empty: all of them.
    """

    kind: str
    start_us: int
    end_us: int
    gpu: int = -1
    value: float = 0.0
    call: str = ""
    code: int = 0
    done: bool = False
    meter: str = ""


class FaultPlan:
    """The faults of a run, asked by kind; all that are on at a moment count."""

    def __init__(self, faults: Iterable[ScriptedFault] = ()) -> None:
        self._by_kind: dict[str, list[ScriptedFault]] = {}
        for fault in sorted(faults, key=lambda f: f.start_us):
            mine = replace(fault, gpu=-1) if fault.kind in WHOLE else fault
            self._by_kind.setdefault(fault.kind, []).append(mine)

    def has(self, kinds: set[str]) -> bool:
        """Whether any fault of these kinds is planned."""
        return not kinds.isdisjoint(self._by_kind)

    def of(self, kind: str) -> list[ScriptedFault]:
        """Return the faults of a kind in the order of their beginnings."""
        return self._by_kind.get(kind, [])

    def active(self, kind: str, now_us: int, gpu: int = -1) -> list[ScriptedFault]:
        """Return the faults of a kind that are on now for that GPU; -1: a call about none."""
        return [f for f in self.began(kind, now_us, gpu) if now_us < f.end_us]

    def began(self, kind: str, now_us: int, gpu: int = -1) -> list[ScriptedFault]:
        """Return the faults of a kind that have begun by now, over or not."""
        return [f for f in self._by_kind.get(kind, ()) if f.start_us <= now_us and f.gpu in {-1, gpu}]

    def of_meter(self, kind: str, now_us: int, meter: str) -> list[ScriptedFault]:
        """Return the faults of a kind that are on now for a meter of the host."""
        return [f for f in self.planned(kind, meter) if f.start_us <= now_us < f.end_us]

    def planned(self, kind: str, meter: str) -> list[ScriptedFault]:
        """Return the faults of a kind for a meter of the host, whenever they are on."""
        return [f for f in self._by_kind.get(kind, ()) if f.meter in {"", meter}]

    def reset_us(self, now_us: int, gpu: int) -> int:
        """Return the last moment at which a GPU's counter began at zero; 0: it never did."""
        resets = [f.start_us for f in self.began("counter-reset", now_us, gpu)]
        reloads = [f.end_us for f in self.of("driver-reload") if f.end_us <= now_us]
        return max([0, *resets, *reloads])
