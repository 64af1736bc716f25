"""Field numbers that are not the same in all drivers: times of throttling, and power smoothing.

nvml.h of CUDA 12.8 (driver 570) had power smoothing from 251 on. CUDA 12.9 and 13.0.0 (575, 580.65) put the times of
throttling there and smoothing behind them; since 13.0.1 (580.82) smoothing is at 251 again, and those times at 269
[nvml.h in NVIDIA/go-nvml f420a32, 62ce1e3, 9da9e13, 2a1f6c3; nvidia-ml-py 12.570.86, 12.575.51, 13.580.65, 13.580.82].
Read by the wrong number, nanoseconds of throttling would be a switch that is on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class FieldNumbers(NamedTuple):
    """What a driver calls the fields that moved.

    Attributes
    ----------
    throttle : mapping of str -> int
        Reason -> field of the nanoseconds for which clocks were held back for it.
    shaping : mapping of str -> int
        Means of the driver to shape power -> field that says whether it is on: 0 or 1.
    """

    throttle: Mapping[str, int]
    shaping: Mapping[str, int]


_ALWAYS = {"power_cap": 74, "sync_boost": 76}
NOW = FieldNumbers(
    throttle={**_ALWAYS, "sw_thermal": 269, "hw_thermal": 270, "power_brake": 271},
    shaping={"power_smoothing": 251, "soc_power_smoothing": 300},
)
MOVED = FieldNumbers(
    throttle={**_ALWAYS, "sw_thermal": 251, "hw_thermal": 252, "power_brake": 253}, shaping={"power_smoothing": 256}
)
MOVED_FROM, MOVED_UNTIL = (575, 0), (580, 82)


def numbers_of(driver: str) -> FieldNumbers:
    """Return the numbers of a driver, by its version ("580.65.06"); those of now if that is not known."""
    found = re.match(r"(\d+)\.(\d+)", driver)
    return MOVED if found and MOVED_FROM <= (int(found[1]), int(found[2])) < MOVED_UNTIL else NOW
