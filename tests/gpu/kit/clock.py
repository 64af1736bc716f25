"""Time: CLOCK_MONOTONIC, which is the same in every process of a machine, and the clocks that a stamp may be of."""

from __future__ import annotations

import time


def now_ns() -> int:
    """Time on the kit's one clock, ns."""
    return time.monotonic_ns()


def sleep_until(t_ns: int, spin_ns: int = 0) -> None:
    """Sleep until a moment; the last ``spin_ns`` are waited for busily, for exact starts."""
    while (left := t_ns - now_ns()) > spin_ns:
        time.sleep((left - spin_ns) / 1e9)
    while now_ns() < t_ns:
        pass


def clocks_us() -> dict[str, int]:
    """The clocks that the driver may stamp its samples with, us, read within a microsecond or two of each other."""
    return {
        "realtime": time.time_ns() // 1000,
        "monotonic": time.monotonic_ns() // 1000,
        "boot": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
    }


def wall_offset_ns() -> int:
    """What is to be added to a time on the kit's clock to get Unix time: the tightest of five readings."""
    best = None
    for _ in range(5):
        before, wall, after = now_ns(), time.time_ns(), now_ns()
        if best is None or after - before < best[0]:
            best = (after - before, wall - (before + after) // 2)
    return best[1]
