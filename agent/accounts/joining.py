"""Usage that waits long for its energy: rows are joined, so that what waits does not grow with time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage

APART_US = 60_000_000
"""Rows that waited for less stay apart: a counter that is doubted is decided within 30 s, and till then power shows the
shape of the energy that they wait for."""
MOST_WAITING = 4096
"""Rows that wait on one GPU; more are joined coarsely."""


def joined(rows: PendingUsage, now_us: int, since_us: NDArray[np.int64]) -> PendingUsage:
    """Join rows of one owner on one GPU.

    Rows that touch and agree (share, live, whether the activity is known) become one, with the mean of their
    activities, once both have waited for `APART_US`. Where more than `MOST_WAITING` are left on a GPU, the older half
    becomes one row an owner; only where that is not enough, for there are too many owners, are the oldest given up.

    Parameters
    ----------
    rows : PendingUsage
        In the split's order.
    now_us : int, us
    since_us : int64[g], us
        The beginning of each GPU's hole: no row is joined across it.

    Returns
    -------
    PendingUsage
        In the split's order.
    """
    if not len(rows.gpu) or int(rows.start_us.min()) > now_us - APART_US:
        return rows
    names = {owner.key: owner for owner in rows.owners}  # the latest labels
    places = {key: place for place, key in enumerate(names)}
    who = np.array([places[owner.key] for owner in rows.owners], np.int64)[rows.owner]
    rows = replace(rows.but(owner=who), owners=tuple(names.values()))
    joins = (rows.start_us[1:] == rows.end_us[:-1]) & (rows.end_us[1:] <= now_us - APART_US)
    in_hole = rows.start_us >= since_us[rows.gpu]
    for column in (rows.gpu, rows.owner, rows.share_ppm, rows.live, rows.activity_ppm >= 0, in_hole):
        joins &= np.equal(column[1:], column[:-1])
    rows = _merged(rows, np.flatnonzero(np.append(True, ~joins)))
    crowded = np.flatnonzero(np.bincount(rows.gpu) > MOST_WAITING)
    return _coarse(rows, crowded) if len(crowded) else rows


def _merged(rows: PendingUsage, first: NDArray[np.int64]) -> PendingUsage:
    """Make one row of each run of rows; ``first`` are the places at which runs begin."""
    if len(first) == len(rows.gpu):
        return rows
    length = np.maximum(rows.end_us - rows.start_us, 0)
    whole = np.maximum(np.add.reduceat(length, first), 1)

    def mean(ppm: NDArray[np.int64]) -> NDArray[np.int64]:
        unknown = np.minimum.reduceat(ppm, first) < 0
        return np.where(unknown, -1, np.add.reduceat(ppm * length, first) // whole)

    return rows.keep(first).but(
        end_us=np.maximum.reduceat(rows.end_us, first),
        activity_ppm=mean(rows.activity_ppm),
        busy_ppm=mean(rows.busy_ppm),
        tensor_ppm=mean(rows.tensor_ppm),
        dram_ppm=mean(rows.dram_ppm),
        live=np.maximum.reduceat(rows.live, first),
    )


def _coarse(rows: PendingUsage, crowded: NDArray[np.int64]) -> PendingUsage:
    """Make fewer rows of the older half on these GPUs."""
    old = np.zeros(len(rows.gpu), bool)
    for gpu in crowded:
        old[_oldest(rows, gpu, int(np.sum(rows.gpu == gpu)) // 2)] = True
    older = rows.keep(old)
    other = (older.gpu[1:] != older.gpu[:-1]) | (older.owner[1:] != older.owner[:-1])
    fewer = _merged(older, np.flatnonzero(np.append(True, other))).followed_by(rows.keep(~old))
    left = np.ones(len(fewer.gpu), bool)
    for gpu in crowded:
        left[_oldest(fewer, gpu, int(np.sum(fewer.gpu == gpu)) - MOST_WAITING)] = False
    return fewer.keep(left)


def _oldest(rows: PendingUsage, gpu: int, count: int) -> NDArray[np.int64]:
    mine = np.flatnonzero(rows.gpu == gpu)
    return mine[np.argsort(rows.end_us[mine], kind="stable")[: max(count, 0)]]
