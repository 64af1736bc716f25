"""Going on after the agent was down: the counter bridges the hole, sampled power does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.accounts.tenancy import Tenancy
from kernels import booking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agent.window import JobKey, Window

FORGOTTEN = (
    booking.LAST_T,
    booking.POWER_T,
    booking.POWER,
    booking.SHAPE_T,
    booking.OPEN_T,
    booking.AFTER_T,
)
"""What belongs to the time line of the agent that was: the new one may begin before it, if the wall clock stepped."""


def go_on(state: NDArray[np.int64], window: Window, alone: Mapping[int, JobKey], *, same_boot: bool) -> Tenancy:
    """Prepare the merge state for the first window after a restart, and say who pays for the downtime.

    Parameters
    ----------
    state : int64[g, kernels.booking.STATES]
        Changed in place. The counter's base stays if the driver's counters go on, else it is dropped.
    window : Window
        The first one after the restart.
    alone : mapping of int to JobKey
        GPU -> its only owner in the last window before.
    same_boot : bool

    Returns
    -------
    Tenancy
        A row over the downtime for each GPU that one job held alone before and after; the rest is nobody's.
    """
    resumed = np.full(len(state), window.start_us, np.int64)
    if same_boot:
        resumed = np.minimum(state[:, booking.BOOKED_T], window.start_us - 1)
    else:
        state[:, booking.COUNTER] = -1
    for column in FORGOTTEN:
        state[:, column] = -1
    for column in (booking.OPEN, booking.AFTER, booking.SUSPECT_KIND):
        state[:, column] = 0
    started = state[:, booking.COUNTER] >= 0
    state[started, booking.BASE_T] = np.minimum(state[started, booking.BASE_T], window.start_us - 1)
    state[started, booking.BOOKED_T] = resumed[started]
    rows = Tenancy.of(window, window.busy_us)
    bridged = []
    for gpu, key in alone.items():
        mine = np.flatnonzero(rows.gpu == gpu)
        owners = [rows.owners[rows.owner[row]] for row in mine]
        if same_boot and {owner.key for owner in owners} == {key}:
            row = mine[0]
            bridged.append((gpu, owners[0], int(resumed[gpu]), int(rows.share_ppm[row]), int(rows.live[row])))
    unknown = np.full(len(bridged), -1, np.int64)
    return Tenancy(
        owners=tuple(owner for _, owner, _, _, _ in bridged),
        gpu=np.array([gpu for gpu, *_ in bridged], np.int64),
        owner=np.arange(len(bridged)),
        start_us=np.array([since for _, _, since, _, _ in bridged], np.int64),
        end_us=np.full(len(bridged), window.start_us, np.int64),
        activity_ppm=unknown,
        busy_ppm=unknown,
        share_ppm=np.array([share for _, _, _, share, _ in bridged], np.int64),
        live=np.array([live for *_, live in bridged], np.int8),
    )
