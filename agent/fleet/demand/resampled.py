"""Recorded jobs or hosts that are drawn again, over a stretch of time: what is kept of the fleets that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.ensemble import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ResampledStretch(NamedTuple):
    """Fleets over a stretch of time.

    Attributes
    ----------
    peaks_w : float64[r], W
    total_w, squares_w2 : float
        Sum of their power, and of its square, over steps and fleets.
    """

    peaks_w: NDArray[np.float64]
    total_w: float
    squares_w2: float


def resampled(totals_mw: NDArray[np.int64], replicates: int, seed: int, device: str = "cpu") -> ResampledStretch:
    """Draw units with replacement, as many as there are.

    Parameters
    ----------
    totals_mw : int64[units, t], mW
    replicates, seed : int
        One seed draws the same units for every stretch of time.
    device : {"cpu", "cuda"}
    """
    fleets = bootstrap(totals_mw, replicates, seed, device=device) / 1e3
    return ResampledStretch(fleets.max(axis=1), float(fleets.sum()), float(np.square(fleets).sum()))
