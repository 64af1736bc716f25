"""GPUs that are not read now: for how long, and for how long their energy is not known.

The merge of counter and power reports a gap when it is over (`kernels.billing.reconcile.follow`). While it is open,
what was booked stands still and the GPU draws on; so every window that ends in it says how long it is by then: that
much of the GPU's energy is missing, and sigma has it. Once it is over the merge counts the same time, and nothing
falls. What the merge does not count, for it knows of no reading before it, is counted here: the time before the first
reading of a GPU, also after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.kernels.billing.layout import GpuState


def untold(state: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return of each GPU whether the merge knows no power, no counter, no reading since the start: bool[g, 3]."""
    return np.stack([state["power_us"] < 0, state["counter_mj"] < 0, state["shape_us"] < 0], axis=1)


def follow(
    accounts: Sequence[GpuAccount],
    state: NDArray[np.void],
    before: NDArray[np.bool_],
    max_gap_us: NDArray[np.int64],
    end_us: int,
) -> None:
    """Say of each GPU how long it is silent, and how much of its time is missing, at the end of a booked window.

    Parameters
    ----------
    accounts : sequence of GpuAccount
        Of the GPUs that are here: the first ones of the arrays.
    state : kernels.billing.layout.GPU_STATE[g]
    before : bool[g, 3]
        What `untold` said before the window.
    max_gap_us : int64[g], us
        Less than that between two readings is no gap.
    end_us : int, us
    """
    here = len(accounts)
    state, max_gap_us = state[:here], max_gap_us[:here]
    since_us = np.array([account.here_since_us for account in accounts], np.int64)
    down = np.array([not account.up for account in accounts], bool)
    power_us, counted = state["power_us"], state["counter_mj"] >= 0
    silent_us = end_us - np.where(power_us >= 0, power_us, np.maximum(state["seen_us"], since_us))
    silent_us[silent_us <= max_gap_us] = 0
    # A counter will show what was drawn since it was last booked; nothing shows the time before the first reading.
    missing_us = end_us - np.where(counted, state["booked_us"], np.maximum(state["booked_us"], since_us))
    missing_us[(missing_us <= max_gap_us) & ~down | (missing_us < 0)] = 0
    if not (silent_us.any() or missing_us.any() or any(one.silent_us or one.missing_us for one in accounts)):
        return
    for i, account in enumerate(accounts):
        merged = not before[i, 1:].any() and power_us[i] < 0  # its counter came back, and it reports nothing else
        if silent_us[i] < account.silent_us and before[i, 0] and not merged:
            account.totals.gap_us += account.silent_us
            account.totals.gaps += 1
            if before[i, 1] and counted[i]:
                account.totals.unknown_us += account.silent_us
        account.silent_us, account.missing_us = int(silent_us[i]), int(missing_us[i])


def begin(account: GpuAccount, start_us: int) -> None:
    """Let a GPU be here from a window's start on."""
    account.here_since_us = start_us


def end(account: GpuAccount, state: GpuState, until_us: int, *, forgotten: bool) -> None:
    """Count what is open before the merge forgets the power before it: the GPU goes away, or the agent was down.

    Parameters
    ----------
    account : GpuAccount
    state : GpuState
    until_us : int, us
        The time until then was not read.
    forgotten : bool
        Its counter restarted meanwhile.
    """
    by_power = state.counter_mj < 0 <= state.power_us
    open_us = account.silent_us
    if by_power:
        open_us = max(open_us, until_us - state.power_us)  # nothing shows what it drew meanwhile
    if open_us > 0:
        account.totals.gap_us += open_us
        account.totals.gaps += account.silent_us > 0
    if not by_power and (forgotten or state.counter_mj < 0):
        account.totals.unknown_us += account.missing_us
    account.silent_us = account.missing_us = 0
