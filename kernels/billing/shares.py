"""Who gets what of one segment: the rules of `kernels.billing.split`, for those present between two edges.

Parts sum to the whole by largest remainder, ties in the order of the rows.
"""

from __future__ import annotations

from wattshed.kernels.jit import jit

WHOLE_PPM = 1_000_000
HELD, LIVE, AT_MOST = 0, 1, 2
"""Values of ``live``: only held; a process was there; no more than the share can be the owner's."""
ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE = 1, 2, 4, 8, 16
"""Bits of ``method``: how a row's dynamic energy was split."""


@jit(inline="always")
def portion(total: int, part: int, whole: int) -> int:
    """floor(total x part / whole) without overflow, for 0 <= part <= whole; exact while ``whole`` < 2**31."""
    while whole >= 2_147_483_648:
        whole >>= 1
        part >>= 1
    return total // whole * part + total % whole * part // whole


@jit(allocates=False)
def apportion(total: int, weight, weights: int, n: int, out) -> None:  # type: ignore[no-untyped-def]
    """Split ``total`` by ``weight[:n]`` (sum ``weights`` > 0) into ``out[:n]``, by largest remainder."""
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


@jit(allocates=False)
def split_static(total: int, share, rows, n: int, weight, part, static) -> int:  # type: ignore[no-untyped-def]
    """Give a segment's static energy to the ``n`` owners present; returns what is left for ``_idle``."""
    if n == 0 or total == 0:
        return total
    reserved = 0
    unknown = 0
    for j in range(n):
        if share[rows[j]] >= 0:
            reserved += share[rows[j]]
        else:
            unknown += 1
    free = max(WHOLE_PPM - reserved, 0)
    # Weights in millionths of the GPU times the number without a reservation, so that these divide the rest evenly.
    times = max(unknown, 1)
    weights = 0
    for j in range(n):
        weight[j] = share[rows[j]] * times if share[rows[j]] >= 0 else free
        weights += weight[j]
    weight[n] = free * times if unknown == 0 else 0
    weights += weight[n]
    if weights == 0:
        return total
    apportion(total, weight, weights, n + 1, part)
    for j in range(n):
        static[rows[j]] += part[j]
    return int(part[n])


@jit(allocates=False)
def split_dynamic(  # type: ignore[no-untyped-def]
    total: int, activity, busy, share, live, rows, n: int, weight, part, dynamic, method
) -> tuple[int, int]:
    """Give a segment's dynamic energy to the active ones.

    Returns what is left for ``_unattributed``, and how it was split: a bit of ``method``, 0 if among nobody, -1 if by
    no more than the shares. If it was split among several, ``part[:n + 1]`` is what each got, and the rest.
    """
    if total == 0 or n == 0:
        return total, 0
    count, last, bounded = 0, -1, False
    active, all_active_known, reserved, all_reserved = 0, True, 0, True
    for j in range(n):
        row = rows[j]
        if live[row] == 0:
            continue
        count += 1
        last = row
        active += max(activity[row], 0)
        all_active_known = all_active_known and activity[row] >= 0
        reserved += max(share[row], 0)
        all_reserved = all_reserved and share[row] >= 0
        bounded = bounded or live[row] == AT_MOST
    if count == 0 and n == 1 and share[rows[0]] >= WHOLE_PPM:
        # Nobody was seen, but the whole GPU is this one's: what it drew above idle is the holder's too.
        count, last = 1, rows[0]
    if bounded:
        left = split_static(total, share, rows, n, weight, part, dynamic)
        for j in range(n):
            method[rows[j]] |= BY_SHARE
        return left, -1
    if count == 1:
        dynamic[last] += total
        method[last] |= ALONE
        return 0, ALONE
    if count == 0:
        return total, 0
    kind = BY_ACTIVITY if all_active_known else BY_SHARE if all_reserved and reserved > 0 else EQUAL
    weights = 0
    for j in range(n):
        row = rows[j]
        if live[row] == 0:
            weight[j] = 0
        elif kind == BY_ACTIVITY:
            weight[j] = activity[row]
        elif kind == BY_SHARE:
            weight[j] = share[row]
        else:
            weight[j] = 1
        weights += weight[j]
    if weights == 0:
        for j in range(n):
            if live[rows[j]] != 0:
                method[rows[j]] |= NOBODY_ACTIVE
        return total, NOBODY_ACTIVE
    weight[n] = 0
    if kind == BY_ACTIVITY and active * 10 < busy[last] * 9:
        weight[n] = busy[last] - active
        weights += weight[n]
    apportion(total, weight, weights, n + 1, part)
    for j in range(n):
        row = rows[j]
        if live[row] != 0:
            dynamic[row] += part[j]
            method[row] |= kind
    return int(part[n]), kind


@jit(allocates=False)
def parts_of_use(  # type: ignore[no-untyped-def]
    total: int, before, activity, busy, share, live, rows, n: int, weight, part, dynamic, method, used
) -> None:
    """Tell which part each owner present has of what is split by `split_dynamic`, in ``used[:n]`` (float64).

    ``before[:n]`` (int64[n, 3]) is static and dynamic energy and method before ``total`` was split. If that is 0, it is
    found out by an energy that is taken back.
    """
    whole = total
    if total == 0:
        whole = WHOLE_PPM
        split_dynamic(whole, activity, busy, share, live, rows, n, weight, part, dynamic, method)
    for j in range(n):
        row = rows[j]
        used[j] = (dynamic[row] - before[j, 1]) / whole
        if total == 0:
            dynamic[row], method[row] = before[j, 1], before[j, 2]
