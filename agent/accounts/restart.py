"""Continuing after the agent was down: the counter bridges the hole, sampled power does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORGOTTEN = (
    "last_us",
    "power_us",
    "power_mw",
    "shape_us",
    "open_until_us",
    "after_until_us",
    "level_us",
)
"""What belongs to the time line of the agent that was: the new one may begin before it, if the wall clock stepped."""


def go_on(state: NDArray[np.void], start_us: int, *, same_boot: bool) -> None:
    """Prepare the state of reconciling for the first window after a restart.

    Parameters
    ----------
    state : kernels.billing.layout.GPU_STATE[g]
        Changed in place. The counter's base stays if the driver's counters go on, else it is dropped.
    start_us : int, us
        Of the first window after the restart; nothing is booked from before it, should the wall clock have stepped.
    same_boot : bool
    """
    if not same_boot:
        state["counter_mj"] = -1
    for name in FORGOTTEN:
        state[name] = -1
    for name in ("open_hnj", "after_hnj", "suspect"):
        state[name] = 0
    started = state["counter_mj"] >= 0
    for name in ("base_us", "booked_us"):
        state[name][started] = np.minimum(state[name][started], start_us - 1)
