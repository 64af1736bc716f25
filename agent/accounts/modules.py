"""Superchips whose energy counter is the whole module's: the GPU's own power is used, the module counted beside it.

Which counter is one, the meter finds out and notes among the device's capabilities (``gpu_scope``), so that a recording
replays to the same bill. Readings stay as they were read: the counter is left out here, on its way into the accounts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing.layout import DIAGNOSTICS
from wattshed.kernels.billing.reconcile import merge, new_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.limits import DeviceLimits
    from wattshed.agent.window import Device, Readings
    from wattshed.kernels.billing.layout import EnergyIntervals

CEILING_MW = 20_000_000  # as for a board of unknown limit
KEPT = ("counter_mj", "base_us", "booked_us")
"""What of a counter's accounts outlives the agent, within one life of the driver."""
FORGOTTEN = ("counter_mj", "base_us", "seen_us", "suspect_mj", "suspect_us", "high_water_mj")
EMPTIED = ("suspect", "suspect_booked_hnj", "booked_since_hnj", "high_water_booked_hnj")


@dataclass(slots=True)
class Module:
    """What one module's counter said.

    Attributes
    ----------
    energy_hnj : int, hnj
        Since the accounts of its GPU began.
    state : kernels.billing.layout.GPU_STATE[1]
    """

    energy_hnj: int = 0
    state: NDArray[np.void] = field(default_factory=lambda: new_state(1))

    @classmethod
    def from_gpu(cls, counter_hnj: int, state: np.void) -> Module:
        """Go on from what was taken for the GPU's own: what its counter said so far, and its record of the state."""
        module = cls(counter_hnj)
        for name in KEPT:
            module.state[name] = state[name]
        return module

    def book(self, time_us: NDArray[np.int64], counter_mj: NDArray[np.int64]) -> None:
        """Book readings of the counter (us, mJ; -1 none): resets, dips and jumps as for a GPU's."""
        told = counter_mj >= 0
        count = int(told.sum())
        intervals = merge(
            np.array([0, count], np.int64), time_us[told], np.full(count, -1, np.int32), counter_mj[told], self.state,
            np.array([CEILING_MW]), np.array([-1]), np.array([1], np.int64),
        )  # fmt: skip
        start = int(intervals.starts[0])
        self.energy_hnj += int(intervals.energy_hnj[start : start + int(intervals.counts[0])].sum())

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Go on after the agent was down, at ``start_us``; another life of the driver counts from zero."""
        before, self.state = self.state, new_state(1)
        if same_boot and before["counter_mj"][0] >= 0:
            self.state["counter_mj"] = before["counter_mj"]
            for name in ("base_us", "booked_us"):
                self.state[name] = np.minimum(before[name], start_us - 1)


def tells_power(device: Device) -> bool:
    """Return whether a GPU reports its own power."""
    able = device.capabilities
    return not (able.get("average", "unknown") and able.get("instant", "unknown"))


def counts_module(device: Device) -> bool:
    """Return whether a GPU's energy counter was found to be its module's."""
    return bool(device.capabilities.get("gpu_scope"))


def without(readings: Readings, gpus: Sequence[int], book: Callable[[int, slice], None]) -> Readings:
    """Return the readings without the counters of some GPUs, which ``book(gpu, rows)`` is called with instead."""
    counter_mj = readings.counter_mj.copy()
    for gpu in gpus:
        rows = slice(int(readings.offsets[gpu]), int(readings.offsets[gpu + 1]))
        book(gpu, rows)
        counter_mj[rows] = -1
    return replace(readings, counter_mj=counter_mj)


def leave_counter(state: NDArray[np.void], gpu: int, limits: DeviceLimits) -> EnergyIntervals:
    """Let a GPU's accounts continue by power alone; returns what was still open, as intervals of all GPUs.

    Parameters
    ----------
    state : kernels.billing.layout.GPU_STATE[g]
        Record ``gpu`` is changed in place.
    gpu : int
    limits : DeviceLimits
    """
    mine, one = state[gpu : gpu + 1], slice(gpu, gpu + 1)
    mine["seen_us"] = -1  # what is open is after the last reading of the counter: power decides it
    nothing = np.empty(0, np.int64)
    intervals = merge(
        np.zeros(2, np.int64), nothing, nothing.astype(np.int32), nothing, mine,
        limits.ceiling_mw[one], limits.limit_mw[one], limits.max_gap_us[one], closing=True,
    )  # fmt: skip
    for name in FORGOTTEN:
        mine[name] = -1
    for name in EMPTIED:
        mine[name] = 0
    starts, counts = np.zeros(len(state), np.int64), np.zeros(len(state), np.int64)
    diagnostics = np.zeros(len(state), DIAGNOSTICS)
    starts[gpu], counts[gpu], diagnostics[gpu] = intervals.starts[0], intervals.counts[0], intervals.diagnostics[0]
    return intervals._replace(starts=starts, counts=counts, diagnostics=diagnostics)
