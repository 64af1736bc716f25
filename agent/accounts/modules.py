"""Superchips whose energy counter is the whole module's: the GPU is billed by its own power, the module beside it.

Which counter is one, the meter finds out and notes among the device's capabilities (``gpu_scope``), so that a recording
replays to the same bill. Readings stay as they were read: the counter is left out here, on its way into the books.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing import layout
from wattshed.kernels.billing.reconcile import merge, new_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.limits import Limits
    from wattshed.agent.window import Device, Readings
    from wattshed.kernels.billing.layout import Pieces

CEILING_MW = 20_000_000  # as for a board of unknown limit
KEPT = (layout.COUNTER, layout.BASE_T, layout.BOOKED_T)
"""What of a counter's books outlives the agent, within one life of the driver."""
FORGOTTEN = (layout.COUNTER, layout.BASE_T, layout.SEEN_T, layout.SUSPECT, layout.SUSPECT_T, layout.HIGH_WATER)
EMPTIED = (layout.SUSPECT_KIND, layout.SUSPECT_BOOKED, layout.BOOKED_SINCE, layout.HIGH_WATER_BOOKED)


@dataclass(slots=True)
class Module:
    """What one module's counter said.

    Attributes
    ----------
    energy_hnj : int, hnj
        Since the books of its GPU began.
    state : int64[1, kernels.billing.layout.STATES]
    """

    energy_hnj: int = 0
    state: NDArray[np.int64] = field(default_factory=lambda: new_state(1))

    @classmethod
    def from_gpu(cls, counter_hnj: int, state: NDArray[np.int64]) -> Module:
        """Go on from what was taken for the GPU's own: what its counter said so far, and its row of the merge state."""
        module = cls(counter_hnj)
        module.state[0, list(KEPT)] = state[list(KEPT)]
        return module

    def book(self, time_us: NDArray[np.int64], counter_mj: NDArray[np.int64]) -> None:
        """Book readings of the counter (us, mJ; -1 none): resets, dips and jumps as for a GPU's."""
        told = counter_mj >= 0
        count = int(told.sum())
        pieces = merge(
            np.array([0, count], np.int64), time_us[told], np.full(count, -1, np.int32), counter_mj[told], self.state,
            np.array([CEILING_MW]), np.array([-1]), np.array([1], np.int64),
        )  # fmt: skip
        start = int(pieces.starts[0])
        self.energy_hnj += int(pieces.energy_hnj[start : start + int(pieces.counts[0])].sum())

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Go on after the agent was down, at ``start_us``; another life of the driver counts anew."""
        before, self.state = self.state, new_state(1)
        if same_boot and before[0, layout.COUNTER] >= 0:
            self.state[0, layout.COUNTER] = before[0, layout.COUNTER]
            self.state[0, [layout.BASE_T, layout.BOOKED_T]] = np.minimum(before[0, list(KEPT[1:])], start_us - 1)


def tells_power(device: Device) -> bool:
    """Tell whether a GPU tells its own power."""
    able = device.capabilities
    return not (able.get("average", "unknown") and able.get("instant", "unknown"))


def counts_module(device: Device) -> bool:
    """Tell whether a GPU's energy counter was found to be its module's."""
    return bool(device.capabilities.get("gpu_scope"))


def without(readings: Readings, gpus: Sequence[int], book: Callable[[int, slice], None]) -> Readings:
    """Return the readings without the counters of some GPUs, which ``book(gpu, rows)`` is called with instead."""
    counter_mj = readings.counter_mj.copy()
    for gpu in gpus:
        rows = slice(int(readings.offsets[gpu]), int(readings.offsets[gpu + 1]))
        book(gpu, rows)
        counter_mj[rows] = -1
    return replace(readings, counter_mj=counter_mj)


def leave_counter(state: NDArray[np.int64], gpu: int, limits: Limits) -> Pieces:
    """Let a GPU's books go on by power alone; returns what was still open, as pieces of all GPUs.

    Parameters
    ----------
    state : int64[g, kernels.billing.layout.STATES]
        Row ``gpu`` is changed in place.
    gpu : int
    limits : Limits
    """
    mine, one = state[gpu : gpu + 1], slice(gpu, gpu + 1)
    mine[0, layout.SEEN_T] = -1  # what is open lies behind the last reading of the counter: power books it
    nothing = np.empty(0, np.int64)
    pieces = merge(
        np.zeros(2, np.int64), nothing, nothing.astype(np.int32), nothing, mine,
        limits.ceiling_mw[one], limits.limit_mw[one], limits.max_gap_us[one], closing=True,
    )  # fmt: skip
    mine[0, list(FORGOTTEN)] = -1
    mine[0, list(EMPTIED)] = 0
    starts, counts = np.zeros(len(state), np.int64), np.zeros(len(state), np.int64)
    tally = np.zeros((len(state), layout.TALLIES), np.int64)
    starts[gpu], counts[gpu], tally[gpu] = pieces.starts[0], pieces.counts[0], pieces.tally[0]
    return pieces._replace(starts=starts, counts=counts, tally=tally)
