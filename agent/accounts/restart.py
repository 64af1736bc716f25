"""Continuing after the agent was down: the counter bridges the hole, sampled power does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts import silence
from wattshed.kernels.billing.layout import GpuState
from wattshed.kernels.records import objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount

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


def doubt_counter(account: GpuAccount, state: NDArray[np.void], ceiling_mw: int, back_us: int) -> None:
    """Drop the counter's base where it may have begun at zero in a hole and have passed what it showed before.

    A GPU that was reset, unbound or met by a new driver begins to count anew, and shows it by a smaller number; but not
    where its counter was younger than the hole is long. Then nothing tells one from the other, and nothing is bridged.

    Parameters
    ----------
    account : GpuAccount
    state : kernels.billing.layout.GPU_STATE[1]
        Changed in place.
    ceiling_mw : int, mW
    back_us : int, us
        When the GPU can be read again.
    """
    one = objects(state, GpuState)[0]
    if 0 <= one.counter_mj <= ceiling_mw * (back_us - one.booked_us) // 1_000_000:
        silence.end(account, one, back_us, forgotten=True)
        silence.begin(account, back_us)
        go_on(state, back_us, same_boot=False)
