"""Usage rows: who held and used each GPU from when to when, and a sweep over their starts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from wattshed.kernels.jit import jit
from wattshed.kernels.records import dtype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


COMMON = 1024
"""Watts per activity of whom nothing is known."""


@dataclass(slots=True)
class OwnerUse:
    """One owner on one GPU for a while, as `kernels.billing.split.split` is given it.

    Attributes
    ----------
    start_us, end_us : int, us
    activity_ppm, busy_ppm, share_ppm : int, millionths of the GPU
        -1 unknown.
    live : int
        `kernels.billing.shares` has its values.
    owner : int
        Whose it is, to tell where an owner only goes on.
    watts : int, 1024ths of the common line
        What it is taken to draw per activity, beside others, see `kernels.billing.watts`.
    """

    start_us: int = 0
    end_us: int = 0
    activity_ppm: int = -1
    busy_ppm: int = -1
    share_ppm: int = -1
    live: int = 0
    owner: int = -1
    watts: int = COMMON


OWNER_USE = dtype_of(OwnerUse)


class UsageRows(NamedTuple):
    """Usage rows of all GPUs, GPU by GPU.

    Attributes
    ----------
    row : records of `OwnerUse`
    by_start, by_end : int64[m]
        The rows of each GPU in the order of their starts, and of their ends.
    """

    row: Sequence[OwnerUse]
    by_start: NDArray[np.int64]
    by_end: NDArray[np.int64]


def usage_rows(
    rows: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    activity_ppm: NDArray[np.int64],
    busy_ppm: NDArray[np.int64],
    share_ppm: NDArray[np.int64],
    live: NDArray[np.integer[Any]],
    owner: NDArray[np.int64] | None = None,
    watts: NDArray[np.int64] | None = None,
) -> UsageRows:
    """Make records of usage rows, of which GPU ``i`` owns ``rows[i]:rows[i + 1]``, and order their starts and ends."""
    usage = np.empty(len(start_us), OWNER_USE)
    columns = (
        start_us,
        end_us,
        activity_ppm,
        busy_ppm,
        share_ppm,
        live,
        -1 if owner is None else owner,
        COMMON if watts is None else watts,
    )
    for name, column in zip(OWNER_USE.names or (), columns, strict=True):
        usage[name] = column
    gpu_of = np.repeat(np.arange(len(rows) - 1), np.diff(rows))
    by_start, by_end = np.lexsort((start_us, gpu_of)), np.lexsort((end_us, gpu_of))
    return UsageRows(cast("Sequence[OwnerUse]", usage), by_start, by_end)


class SweepPlace(NamedTuple):
    """Where a sweep over one GPU's usage rows stands, between two moments at which somebody comes or goes.

    Attributes
    ----------
    first, stop : int
        The GPU's rows.
    present : int
        So many rows are there.
    coming, going : int
        Places in `UsageRows.by_start` and ``by_end`` of the rows that begin and end next.
    """

    first: int
    stop: int
    present: int
    coming: int
    going: int


@jit
def next_edge(usage: UsageRows, at: SweepPlace, until: int) -> int:
    """Return when somebody comes or goes next, ``until`` if nobody does before."""
    edge = until
    if at.coming < at.stop:
        edge = min(edge, usage.row[usage.by_start[at.coming]].start_us)
    if at.going < at.stop:
        edge = min(edge, usage.row[usage.by_end[at.going]].end_us)
    return edge


@jit
def pass_edge(usage: UsageRows, at: SweepPlace, edge: int, here) -> SweepPlace:  # type: ignore[no-untyped-def]
    """Let those go who end at ``edge``, then those come who begin.

    ``here[:present]`` (int64[m]) are the rows that are there, in their order.
    """
    first, stop, present, coming, going = at
    while going < stop and usage.row[usage.by_end[going]].end_us <= edge:
        gone = usage.by_end[going]
        j = 0
        while j < present and here[j] != gone:
            j += 1
        if j < present:
            present -= 1
            for m in range(j, present):
                here[m] = here[m + 1]
        going += 1
    while coming < stop and usage.row[usage.by_start[coming]].start_us <= edge:
        row = usage.by_start[coming]
        if usage.row[row].end_us > edge:
            j = present
            while j > 0 and here[j - 1] > row:
                here[j] = here[j - 1]
                j -= 1
            here[j] = row
            present += 1
        coming += 1
    return SweepPlace(first, stop, present, coming, going)


@jit
def count_past_edge(usage: UsageRows, at: SweepPlace, edge: int) -> SweepPlace:
    """Move past ``edge`` like `pass_edge`, but only count who is there."""
    first, stop, present, coming, going = at
    while going < stop and usage.row[usage.by_end[going]].end_us <= edge:
        gone = usage.by_end[going]
        present -= usage.row[gone].start_us < usage.row[gone].end_us
        going += 1
    while coming < stop and usage.row[usage.by_start[coming]].start_us <= edge:
        present += usage.row[usage.by_start[coming]].end_us > edge
        coming += 1
    return SweepPlace(first, stop, present, coming, going)


@jit
def comes(usage: UsageRows, at: SweepPlace, row: int) -> bool:
    """Tell whether a row's owner comes with it; if not, the row before is the owner's too, and a window ended there."""
    return row == at.first or not _goes_on(usage, row - 1)


@jit
def goes(usage: UsageRows, at: SweepPlace, row: int) -> bool:
    """Tell whether a row's owner goes with it."""
    return row + 1 == at.stop or not _goes_on(usage, row)


@jit
def _goes_on(usage: UsageRows, row: int) -> bool:
    """Tell whether the row after this one is its owner's too, without a break."""
    return bool(
        usage.row[row].owner == usage.row[row + 1].owner and usage.row[row].end_us == usage.row[row + 1].start_us
    )


@jit
def owners_changed(usage: UsageRows, before: SweepPlace, after: SweepPlace) -> bool:
    """Tell whether an owner came or went between two moments of a sweep."""
    for i in range(before.going, after.going):
        if goes(usage, before, usage.by_end[i]):
            return True
    for i in range(before.coming, after.coming):  # noqa: SIM110, numba knows no generators
        if comes(usage, before, usage.by_start[i]):
            return True
    return False
