"""What a GPU shows now besides its energy: kept for as long as it is current, and only if it can be true.

A gauge is absent when it cannot be read. Those that one driver call returns belong together: they are renewed by it,
dropped at once when it fails, and after a while without it. What no board can show (a power above the
ceiling, 200 % of utilisation) is not a reading, by the same bounds that the accounts go by.
"""

from __future__ import annotations

import sys
from functools import cache
from math import ulp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

SHORTEST_LIFE_US = 5_000_000
PERIODS = 2.5  # one reading may be missed, and the next be late
MODULE_W = 20_000.0  # a module holds more than its GPU: bounded by what no board draws, as one of unknown limit is
MOST_MHZ = 20_000.0
MOST_MIB = float(1 << 30)  # a pebibyte
BOUNDS = {
    "temperature_c": (-40.0, 150.0),
    "memory_temperature_c": (-40.0, 150.0),
    "gpu_util": (0.0, 100.0),
    "mem_copy_util": (0.0, 100.0),
    "sm_clock_mhz": (0.0, MOST_MHZ),
    "mem_clock_mhz": (0.0, MOST_MHZ),
    "fb_used_mib": (0.0, MOST_MIB),
    "fb_free_mib": (0.0, MOST_MIB),
    "fb_total_mib": (0.0, MOST_MIB),
    "gr_engine_active": (0.0, 1.0),
    "sm_active": (0.0, 1.0),
    "sm_occupancy": (0.0, 1.0),
    "pipe_tensor_active": (0.0, 1.0),
    "dram_active": (0.0, 1.0),
}
"""Least and greatest believable value; powers and limits are bounded by the board's ceiling, all others by 0."""


@cache
def _bounds(name: str) -> tuple[float, float | None]:
    """Return between which numbers a gauge may be; None: up to what the board can draw."""
    if name.endswith("_w"):
        return ulp(0.0), MODULE_W if name == "power_module_w" else None
    return BOUNDS.get(name, (0.0, sys.float_info.max))


class Gauges:
    """The gauges of one GPU, by the driver call that returns them.

    Parameters
    ----------
    ceiling_mw : callable
        Returns what bounds the board's powers now, mW.
    """

    def __init__(self, ceiling_mw: Callable[[], int]) -> None:
        self._ceiling_mw = ceiling_mw
        self._calls: dict[str, tuple[float, dict[str, float]]] = {}  # call -> until (us), values

    def renew(self, call: str, values: Mapping[str, float], now_us: int, period_us: float) -> None:
        """Replace what ``call`` returned; what it no longer returns is gone.

        Parameters
        ----------
        call : str
        values : mapping of str to float
        now_us : int, us
        period_us : float, us
            How often it is asked; infinity for what stays until something else is returned.
        """
        sane = {name: float(value) for name, value in values.items() if self.sane(name, value)}
        self._calls[call] = now_us + max(SHORTEST_LIFE_US, PERIODS * period_us), sane

    def asking(self, *calls: str) -> _Asking:
        """Forget at once what these calls returned if they fail in a block."""
        return _Asking(self, calls)

    def forget(self, *calls: str) -> None:
        """Let what these calls returned be unknown."""
        for call in calls:
            self._calls.pop(call, None)

    def clear(self) -> None:
        """Forget all: the GPU cannot be read."""
        self._calls = {}

    def at(self, now_us: int) -> dict[str, float]:
        """Return what is current."""
        return {
            name: value
            for until_us, values in tuple(self._calls.values())
            if now_us <= until_us
            for name, value in values.items()
        }

    def value(self, name: str, now_us: int) -> float | None:
        """Return one that is current, and None if it is not."""
        for until_us, values in self._calls.values():
            if name in values and now_us <= until_us:
                return values[name]
        return None

    def sane(self, name: str, value: float) -> bool:
        """Return whether a value can be true."""
        least, most = _bounds(name)
        return least <= value <= (self._ceiling_mw() / 1e3 if most is None else most)


class _Asking:
    """A block in which driver calls are made, see `Gauges.asking`."""

    __slots__ = ("_calls", "_gauges")

    def __init__(self, gauges: Gauges, calls: tuple[str, ...]) -> None:
        self._gauges, self._calls = gauges, calls

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._gauges.forget(*self._calls)
