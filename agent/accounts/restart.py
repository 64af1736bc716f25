"""Going on after the agent was down: the counter bridges the hole, sampled power does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORGOTTEN = (
    layout.LAST_T,
    layout.POWER_T,
    layout.POWER,
    layout.SHAPE_T,
    layout.OPEN_T,
    layout.AFTER_T,
)
"""What belongs to the time line of the agent that was: the new one may begin before it, if the wall clock stepped."""


def go_on(state: NDArray[np.int64], start_us: int, *, same_boot: bool) -> None:
    """Prepare the merge state for the first window after a restart.

    Parameters
    ----------
    state : int64[g, kernels.billing.layout.STATES]
        Changed in place. The counter's base stays if the driver's counters go on, else it is dropped.
    start_us : int, us
        Of the first window after the restart; nothing is booked from before it, should the wall clock have stepped.
    same_boot : bool
    """
    if not same_boot:
        state[:, layout.COUNTER] = -1
    for column in FORGOTTEN:
        state[:, column] = -1
    for column in (layout.OPEN, layout.AFTER, layout.SUSPECT_KIND):
        state[:, column] = 0
    started = state[:, layout.COUNTER] >= 0
    for column in (layout.BASE_T, layout.BOOKED_T):
        state[started, column] = np.minimum(state[started, column], start_us - 1)
