"""One sigma of a split: how far from a row's own energy its part of a shared segment may be.

Three kinds, each for a segment of dynamic energy E of which the row got the share s:

* by activity the split is exact if all draw the same watts per activity. Where these differ from one to the next by a
  relative standard deviation c, independently, the share ``s_j = k_j a_j / sum(k a)`` has, to first order, one sigma of
  ``c s_j sqrt((1 - s_j)^2 + sum of the others' s_i^2)``; who is unknown counts as one more sharer. It is returned for
  c = 1: what c is, the caller knows. It is at most ``c E / sqrt 8``;
* by share, equally, or for nobody of several active: activities say nothing, and the true share may be anything. Of
  all shares on [0, 1] with mean s and the weight of two observations (a beta distribution), sigma is
  ``E sqrt(s (1 - s) / 3)``: for two equal sharers the uniform distribution, ``E / sqrt 12``. Where the energy went to
  nobody, the row may have had as much as anybody of those present or one unknown: the root mean square of that;
* by no more than a share (`kernels.billing.shares.AT_MOST`): between nothing and twice it, uniformly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wattshed.kernels.billing.shares import HELD
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.shares import Here
    from wattshed.kernels.billing.usage import UsageRows


@jit
def of_share(total: float, part: float) -> float:
    """One sigma (hnj) of a part of ``total`` of whose share nothing is known but the mean."""
    if total <= 0.0:
        return 0.0
    share = min(max(part / total, 0.0), 1.0)
    return total * math.sqrt(share * (1.0 - share) / 3.0)


@jit
def of_activity(total: int, here: Here, n: int, unlike) -> None:  # type: ignore[no-untyped-def]
    """Add one sigma of a split by activity, for c = 1, to ``unlike`` (int64[m], hnj).

    ``here.part[:n + 1]`` (hnj) is what each of the ``n`` rows present got of ``total`` (hnj, > 0), and, last, nobody
    known.
    """
    part, whole = here.part, float(total)
    squares = 0.0
    for j in range(n + 1):
        squares += (part[j] / whole) ** 2
    for j in range(n):
        share = part[j] / whole
        unlike[here.rows[j]] += int(part[j] * math.sqrt(max((1.0 - share) ** 2 + squares - share * share, 0.0)))


@jit
def of_guess(total: int, here: Here, n: int, guessed) -> None:  # type: ignore[no-untyped-def]
    """Add one sigma of a split by share or equally to ``guessed`` (int64[m], hnj)."""
    for j in range(n):
        guessed[here.rows[j]] += int(of_share(float(total), float(here.part[j])))


@jit
def of_bound(here: Here, n: int, guessed) -> None:  # type: ignore[no-untyped-def]
    """Add one sigma of a split by no more than a share."""
    for j in range(n):
        guessed[here.rows[j]] += int(here.part[j] / math.sqrt(12.0))


@jit
def of_nobody(total: int, usage: UsageRows, here: Here, n: int, guessed) -> None:  # type: ignore[no-untyped-def]
    """Add one sigma for each of several live rows of which none was active, and none got anything."""
    sharers = 1.0
    for j in range(n):
        if usage.row[here.rows[j]].live != HELD:
            sharers += 1.0
    share = 1.0 / sharers
    for j in range(n):
        if usage.row[here.rows[j]].live != HELD:
            guessed[here.rows[j]] += int(total * math.sqrt(share * share + share * (1.0 - share) / 3.0))
