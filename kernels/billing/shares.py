"""Who gets what of one segment: the rules of `kernels.billing.split`, for those present between two edges.

Parts sum to the whole by largest remainder, ties in the order of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wattshed.kernels.billing.usage import UsageRows

WHOLE_PPM = 1_000_000
HELD, LIVE, AT_MOST = 0, 1, 2
"""Values of ``live``: only held; a process was there; no more than the share can be the owner's."""
ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE, LEARNED = 1, 2, 4, 8, 16, 32
"""Bits of ``method``: how a row's dynamic energy was split; by learned watts per activity, who splits says."""


@jit
def portion(total: int, part: int, whole: int) -> int:
    """floor(total x part / whole) without overflow, for 0 <= part <= whole; exact while ``whole`` < 2**31."""
    while whole >= 2_147_483_648:
        whole >>= 1
        part >>= 1
    return total // whole * part + total % whole * part // whole


@jit
def _equally(total: int, weight, n: int, out) -> bool:  # type: ignore[no-untyped-def]
    """Split among those who weigh anything, with one division, if they weigh the same; tells whether they do."""
    each, sharing = 0, 0
    for j in range(n):
        if weight[j] > 0:
            if sharing > 0 and weight[j] != each:
                return False
            each = weight[j]
            sharing += 1
    part = total // sharing
    left = total - part * sharing
    for j in range(n):
        out[j] = 0
        if weight[j] > 0:
            out[j] = part + (left > 0)
            left -= left > 0
    return True


@jit
def apportion(total: int, weight, weights: int, n: int, out) -> None:  # type: ignore[no-untyped-def]
    """Split ``total`` by ``weight[:n]`` (sum ``weights`` > 0) into ``out[:n]``, by largest remainder."""
    if _equally(total, weight, n, out):
        return
    left = total
    for j in range(n):
        out[j] = total // weights * weight[j] + total % weights * weight[j] // weights
        left -= out[j]
    chosen, bar = -1, weights  # the remainder just served, and whose it was; the next is lower, or as high and later
    while left > 0:
        best, best_remainder = -1, -1
        for j in range(n):
            remainder = total % weights * weight[j] % weights
            if (remainder < bar or (remainder == bar and j > chosen)) and remainder > best_remainder and weight[j] > 0:
                best, best_remainder = j, remainder
        out[best] += 1
        left -= 1
        chosen, bar = best, best_remainder


class Here(NamedTuple):
    """Who is there between two edges, and room to share among them, last somebody unknown.

    Attributes
    ----------
    rows : int64[m + 1]
        Usage rows, in their order; how many of them are there is told apart.
    weight, part : int64[m + 1]
        By what something is shared, and what each got.
    """

    rows: NDArray[np.int64]
    weight: NDArray[np.int64]
    part: NDArray[np.int64]


class Before(NamedTuple):
    """What those who are there had before a segment, and the part of each in what is split by use.

    Attributes
    ----------
    static_hnj, dynamic_hnj, method : int64[m]
    used : float64[m]
    """

    static_hnj: NDArray[np.int64]
    dynamic_hnj: NDArray[np.int64]
    method: NDArray[np.int64]
    used: NDArray[np.float64]


ROOM = 6
"""Columns of whole numbers that `here_in` and `before_in` need, with one place for each usage row and GPU."""


@jit
def here_in(room, gpu: int, lo: int, hi: int) -> Here:  # type: ignore[no-untyped-def]
    """Return what of ``room`` (int64[ROOM, m + g]) is for a GPU's rows ``lo:hi``, and one unknown."""
    a, b = lo + gpu, hi + gpu + 1
    return Here(room[0, a:b], room[1, a:b], room[2, a:b])


@jit
def before_in(room, used, gpu: int, lo: int, hi: int) -> Before:  # type: ignore[no-untyped-def]
    """Return what of ``room``, and of ``used`` (float64[m + g]), is for a GPU's rows ``lo:hi``."""
    a, b = lo + gpu, hi + gpu + 1
    return Before(room[3, a:b], room[4, a:b], room[5, a:b], used[a:b])


@jit
def split_static(total: int, usage: UsageRows, here: Here, n: int, static) -> int:  # type: ignore[no-untyped-def]
    """Give a segment's static energy to the ``n`` owners present; returns what is left for ``_idle``."""
    if n == 0 or total == 0:
        return total
    rows, weight = here.rows, here.weight
    reserved = 0
    unknown = 0
    for j in range(n):
        if usage.row[rows[j]].share_ppm >= 0:
            reserved += usage.row[rows[j]].share_ppm
        else:
            unknown += 1
    free = max(WHOLE_PPM - reserved, 0)
    # Weights in millionths of the GPU times the number without a reservation, so that these divide the rest evenly.
    times = max(unknown, 1)
    weights = 0
    for j in range(n):
        share = usage.row[rows[j]].share_ppm
        weight[j] = share * times if share >= 0 else free
        weights += weight[j]
    weight[n] = free * times if unknown == 0 else 0
    weights += weight[n]
    if weights == 0:
        return total
    apportion(total, weight, weights, n + 1, here.part)
    for j in range(n):
        static[rows[j]] += here.part[j]
    return int(here.part[n])


class _Users(NamedTuple):
    """Those present who may use the GPU: how many, the last of them, what is known of all of them."""

    number: int
    last: int
    activity_ppm: int
    activities_known: bool
    reserved_ppm: int
    all_reserved: bool
    bounded: bool


@jit
def _users(usage: UsageRows, here: Here, n: int) -> _Users:
    """Look through the rows that are live."""
    count, last, bounded = 0, -1, False
    active, known, reserved, all_reserved = 0, True, 0, True
    for j in range(n):
        row = here.rows[j]
        if usage.row[row].live == HELD:
            continue
        count += 1
        last = row
        active += max(usage.row[row].activity_ppm, 0)
        known = known and usage.row[row].activity_ppm >= 0
        reserved += max(usage.row[row].share_ppm, 0)
        all_reserved = all_reserved and usage.row[row].share_ppm >= 0
        bounded = bounded or usage.row[row].live == AT_MOST
    if count == 0 and n == 1 and usage.row[here.rows[0]].share_ppm >= WHOLE_PPM:
        # Nobody was seen, but the whole GPU is this one's: what it drew above idle is the holder's too.
        count, last = 1, here.rows[0]
    return _Users(count, last, active, known, reserved, all_reserved, bounded)


@jit
def _weigh_users(kind: int, usage: UsageRows, here: Here, n: int) -> int:
    """Give each live row its weight in a split of that kind; returns their sum."""
    weights = 0
    for j in range(n):
        row = here.rows[j]
        if usage.row[row].live == HELD:
            here.weight[j] = 0
        elif kind == BY_ACTIVITY:
            active = usage.row[row].activity_ppm
            here.weight[j] = max((active * usage.row[row].watts + 512) >> 10, 1) if active > 0 else 0
        elif kind == BY_SHARE:
            here.weight[j] = usage.row[row].share_ppm
        else:
            here.weight[j] = 1
        weights += here.weight[j]
    return weights


@jit
def split_dynamic(  # type: ignore[no-untyped-def]
    total: int, usage: UsageRows, here: Here, n: int, dynamic, method
) -> tuple[int, int]:
    """Give a segment's dynamic energy to the active ones.

    Returns what is left for ``_unattributed``, and how it was split: a bit of ``method``, 0 if among nobody, -1 if by
    no more than the shares. If it was split among several, ``here.part[:n + 1]`` is what each got, and the rest.
    """
    if total == 0 or n == 0:
        return total, 0
    users = _users(usage, here, n)
    if users.bounded:
        left = split_static(total, usage, here, n, dynamic)
        for j in range(n):
            method[here.rows[j]] |= BY_SHARE
        return left, -1
    if users.number == 1:
        dynamic[users.last] += total
        method[users.last] |= ALONE
        return 0, ALONE
    if users.number == 0:
        return total, 0
    reserved = users.all_reserved and users.reserved_ppm > 0
    kind = BY_ACTIVITY if users.activities_known else BY_SHARE if reserved else EQUAL
    weights = _weigh_users(kind, usage, here, n)
    if weights == 0:
        kind = NOBODY_ACTIVE
    else:
        here.weight[n] = 0
        if kind == BY_ACTIVITY and users.activity_ppm * 10 < usage.row[users.last].busy_ppm * 9:
            here.weight[n] = usage.row[users.last].busy_ppm - users.activity_ppm
        apportion(total, here.weight, weights + here.weight[n], n + 1, here.part)
    for j in range(n):
        row = here.rows[j]
        if usage.row[row].live != HELD:
            dynamic[row] += here.part[j] if weights > 0 else 0
            method[row] |= kind
    return (int(here.part[n]) if weights > 0 else total), kind


@jit
def parts_of_use(  # type: ignore[no-untyped-def]
    total: int, usage: UsageRows, here: Here, n: int, before: Before, dynamic, method
) -> None:
    """Tell which part each owner present has of what is split by `split_dynamic`, in ``before.used[:n]``.

    ``before`` is what they had before ``total`` was split. If that is 0, it is found out by an energy that is taken
    back.
    """
    whole = total
    if total == 0:
        whole = WHOLE_PPM
        split_dynamic(whole, usage, here, n, dynamic, method)
    for j in range(n):
        row = here.rows[j]
        before.used[j] = (dynamic[row] - before.dynamic_hnj[j]) / whole
        if total == 0:
            dynamic[row], method[row] = before.dynamic_hnj[j], before.method[j]
