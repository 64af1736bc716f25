"""What bounds a host's readings, and how much of them may be booked at once without leaving int64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import Readings
from wattshed.kernels.billing.reconcile import MOST_HNJ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wattshed.agent.window import Device


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What the accounts need to know of a host's devices, in columns.

    Attributes
    ----------
    ceiling_mw, limit_mw, idle_mw : int64[g], mW
        As in `Device`.
    max_gap_us : int64[g], us
        At most what the ceiling leaves: no interval that is bridged can hold more than 2 `MOST_HNJ`, whatever a
        damaged stamp says. At 20 kW that is 32 hours.
    calibrated : bool
        Whether the meter of any of them has a known correction.
    """

    ceiling_mw: NDArray[np.int64]
    limit_mw: NDArray[np.int64]
    idle_mw: NDArray[np.int64]
    max_gap_us: NDArray[np.int64]
    calibrated: bool

    @property
    def longest_us(self) -> int:
        """How long readings may be at once without their energies leaving int64, whatever they say, us."""
        return MOST_HNJ // (2 * max(int(self.ceiling_mw.max(initial=1)), 2 * int(self.limit_mw.max(initial=1))))

    @classmethod
    def of(cls, devices: tuple[Device, ...], max_gap_us: int) -> DeviceLimits:
        """Collect the limits of ``devices``; ``max_gap_us`` is for those that state none."""

        def column(name: str) -> NDArray[np.int64]:
            return np.array([getattr(device, name) for device in devices], np.int64)

        ceiling, gap = column("ceiling_mw"), column("max_gap_us")
        longest = MOST_HNJ // np.maximum(ceiling, 1)
        return cls(
            ceiling,
            column("limit_mw"),
            column("idle_mw"),
            np.minimum(np.where(gap > 0, gap, max_gap_us), longest),
            any(device.gain_ppm or device.offset_mw for device in devices),
        )


_NOTHING = np.empty(0, np.int64)
NO_LIMITS = DeviceLimits(_NOTHING, _NOTHING, _NOTHING, _NOTHING, calibrated=False)


def in_parts(readings: Readings, limits: DeviceLimits) -> Iterator[Readings]:
    """Give readings in parts if they span so long that their energies might leave int64; nearly always they are one.

    Parameters
    ----------
    readings : Readings
    limits : DeviceLimits

    Yields
    ------
    Readings
        In the order of time; within a GPU rows keep their order.
    """
    time_us = readings.time_us
    longest = limits.longest_us
    if not len(time_us) or int(time_us.max()) - int(time_us.min()) <= longest:
        yield readings
        return
    gpu = np.repeat(np.arange(len(limits.ceiling_mw)), np.diff(readings.offsets))
    # A row that goes back in time stays behind the row before it, where it is rejected.
    reached = np.concatenate([np.maximum.accumulate(mine) for mine in np.split(time_us, readings.offsets[1:-1])])
    part = (reached - reached.min()) // longest
    order = np.argsort(part, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        yield Readings(
            np.searchsorted(gpu[rows], np.arange(len(limits.ceiling_mw) + 1)).astype(np.int64),
            time_us[rows],
            readings.power_mw[rows],
            readings.counter_mj[rows],
            readings.instant_mw[rows] if len(readings.instant_mw) else readings.instant_mw,
        )
