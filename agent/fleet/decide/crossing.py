"""How likely the sum of many hosts exceeds a limit over a time, and how many hosts a limit carries.

S. O. Rice, Bell System Technical Journal 23 (1944): a sum whose derivative does not depend on where it is crosses the
level u upwards nu0 sqrt(2 pi) S f(u) times a second; S is its standard deviation, f its density and
nu0 = sd(dP/dt) / (2 pi S). For a Gaussian that is nu0 exp(-z^2 / 2). Rare crossings are a Poisson process:

    P(never above u within H) = P(not above u at first) exp(-nu0 H sqrt(2 pi) S f(u))

Jobs of M hosts in lockstep replay what was recorded, each from a phase of its own. The density of their sum is that
of the saddlepoint (H. E. Daniels, Annals of Mathematical Statistics 25, 1954), with the tail of R. Lugannani and S. O.
Rice (1980): recorded power is skewed, and with tens of jobs a Gaussian density gave a third of the true probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.demand.fleets import Fleets

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TILTS = 400  # points at which the cumulants are known
_SINGLE, _GROUPS = 1024, 2048  # readings at the top that count one by one, and means of the others
_VALUES, _LEAST_VALUES = 300_000, 256  # of both for all kinds together, and for each at least
_MIXES = 2000  # drawn, where jobs are of several kinds
_DRAWN_ONE_BY_ONE = 300  # jobs; of more, how many are of which kind is drawn from the normal limit
_PHI = NormalDist()


@dataclass(frozen=True, slots=True)
class HostSwing:
    """What a host's power is like, for each kind that was recorded.

    Attributes
    ----------
    mean_w, largest_w : float64[kinds], W
    variance, speed : float64[kinds], W^2 and W^2/s^2
        Of the power over time, and the mean square of its slope.
    tilt : float64[t], 1/W
    cumulant, first, second : float64[kinds, t]
        log of the mean of exp(tilt * (P - mean)), and its derivatives.
    """

    mean_w: NDArray[np.float64]
    largest_w: NDArray[np.float64]
    variance: NDArray[np.float64]
    speed: NDArray[np.float64]
    tilt: NDArray[np.float64]
    cumulant: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def within_w(self) -> float:
        """Standard deviation over time, root mean square over the kinds, W."""
        return math.sqrt(float(self.variance.mean()))

    @property
    def between_w(self) -> float:
        """Standard deviation of the kinds' means, W."""
        return float(self.mean_w.std())

    @property
    def crossings_hz(self) -> float:
        """nu0, Hz."""
        within = self.within_w
        return math.sqrt(float(self.speed.mean())) / (2.0 * math.pi * within) if within > 0.0 else 0.0

    def without(self, kinds: NDArray[np.int64]) -> HostSwing:
        """Leave some kinds out."""
        rows = {f.name: np.delete(getattr(self, f.name), kinds, axis=0) for f in fields(self) if f.name != "tilt"}
        return replace(self, **rows)

    def times(self, factor: float, more_w: float = 0.0) -> HostSwing:
        """Return the swing of power that is ``factor`` times this one and ``more_w``; the factor is above 0."""
        return HostSwing(
            self.mean_w * factor + more_w, self.largest_w * factor + more_w, self.variance * factor**2,
            self.speed * factor**2, self.tilt / factor, self.cumulant, self.first * factor, self.second * factor**2,
        )  # fmt: skip


def swing_of(powers_w: NDArray[np.float64], step_s: float) -> HostSwing:
    """Measure the kinds: float64[kinds, n], W, each taken as a circle."""
    speed = np.mean((np.diff(powers_w, axis=1, append=powers_w[:, :1]) / step_s) ** 2, axis=1)
    means, variance = powers_w.mean(axis=1), powers_w.var(axis=1)
    within = math.sqrt(float(variance.mean()))
    unit = within if within > 0.0 else 1.0
    # Up to where the largest reading alone decides: nothing is left of the others.
    tilt = np.concatenate(([0.0], np.geomspace(1e-4, 50.0, _TILTS - 1))) / unit
    share = min(1.0, max(_VALUES // len(powers_w), _LEAST_VALUES) / (_SINGLE + _GROUPS))
    columns = [_cumulants(row - mean, tilt, share) for row, mean in zip(powers_w, means, strict=True)]
    cumulant, first, second = (np.array(column) for column in zip(*columns, strict=True))
    return HostSwing(means, powers_w.max(axis=1), variance, speed, tilt, cumulant, first, second)


def _cumulants(swing: NDArray[np.float64], tilt: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], ...]:
    """Cumulant generating function of readings, with two derivatives: float64[t] each.

    Of many kinds a ``share`` of the values is enough: none of them decides alone.
    """
    ordered = np.sort(swing)
    single = max(swing.size - round(_SINGLE * share), 0)
    body, top = ordered[:single], ordered[single:]
    groups = np.array_split(body, min(round(_GROUPS * share), body.size)) if body.size else []
    values = np.concatenate(([group.mean() for group in groups], top))
    weights = np.concatenate(([group.size for group in groups], np.ones(top.size))) / swing.size
    largest = values[-1]
    grown = weights * np.exp(tilt[:, None] * (values - largest))
    total = grown.sum(axis=1)
    first = grown @ values / total
    return np.log(total) + tilt * largest, first, grown @ values**2 / total - first**2


def circular_means(powers_w: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Means over each ``k`` successive steps of each row, taken as a circle: float64[kinds, n]."""
    n = powers_w.shape[1]
    if k <= 1:
        return powers_w
    centre = powers_w.mean(axis=1, keepdims=True)
    around = np.concatenate((powers_w - centre, (powers_w - centre)[:, : k - 1]), axis=1)
    total = np.concatenate((np.zeros((len(powers_w), 1)), np.cumsum(around, axis=1)), axis=1)
    return np.asarray(centre + (total[:, k : k + n] - total[:, :n]) / k, np.float64)


class Crossings:
    """Fleets of jobs that are alike, or drawn from the recorded kinds; the same draws for every size of fleet.

    Parameters
    ----------
    swing : HostSwing
    job_hosts : float
        Hosts of a job; of jobs of several sizes, ``sum h^2 / sum h``.
    most : float
        Hosts of the largest fleet.
    seed : int
    """

    def __init__(self, swing: HostSwing, job_hosts: float, most: float, seed: int = 1) -> None:
        self.swing, self.job_hosts = swing, job_hosts
        random, kinds, jobs = np.random.default_rng(seed), swing.mean_w.size, math.ceil(most / job_hosts) + 1
        self._drawn: NDArray[np.int64] | None = None
        self._normal: NDArray[np.float64] | None = None
        if kinds > 1 and jobs <= _DRAWN_ONE_BY_ONE:
            # A row of kinds for each fleet: the first jobs of it are those of a smaller one.
            self._drawn = random.integers(kinds, size=(_MIXES, jobs)) + kinds * np.arange(_MIXES)[:, None]
        elif kinds > 1:
            free = random.standard_normal((_MIXES, kinds))
            self._normal = (free - free.mean(axis=1, keepdims=True)) / math.sqrt(kinds)

    def _mixes(self, jobs: float) -> NDArray[np.float64]:
        """Jobs of each kind, in each of the fleets that were drawn: float64[mixes, kinds]."""
        kinds = self.swing.mean_w.size
        if self._drawn is not None:
            whole = int(jobs)
            counts = np.bincount(self._drawn[:, :whole].ravel(), minlength=_MIXES * kinds).astype(np.float64)
            if whole < self._drawn.shape[1]:
                counts[self._drawn[:, whole]] += jobs - whole
            return counts.reshape(_MIXES, kinds)
        if self._normal is not None:
            return jobs / kinds + math.sqrt(jobs) * self._normal
        return np.full((1, 1), jobs)

    def exceeding(self, hosts: float, feed_w: float, horizon_s: float) -> float:
        """Probability that a fleet exceeds a feed within a time during which its jobs are the same."""
        mixes = self._mixes(hosts / self.job_hosts)
        level = feed_w / self.job_hosts - mixes @ self.swing.mean_w  # of the swing of the jobs, a host of each
        return float(np.mean(self._above(mixes, level, horizon_s)))

    def _above(self, mixes: NDArray[np.float64], level: NDArray[np.float64], horizon_s: float) -> NDArray[np.float64]:
        swing, tilt = self.swing, self.swing.tilt
        first = mixes @ swing.first
        place = (first < level[:, None]).sum(axis=1)  # the first tilt whose mean reaches the level
        sure, never = place == 0, level >= mixes @ (swing.largest_w - swing.mean_w)
        right = np.clip(place, 1, tilt.size - 1)
        rows = np.arange(level.size)
        low, high = first[rows, right - 1], first[rows, right]
        share = np.clip((level - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
        at = tilt[right - 1] + share * (tilt[right] - tilt[right - 1])

        def summed(table: NDArray[np.float64], place: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.asarray((mixes * table[:, place].T).sum(axis=1), np.float64)

        # From the nearer end of the step, along the chord of the derivative, which is known at both places.
        cumulant = summed(swing.cumulant, right - 1) + (at - tilt[right - 1]) * 0.5 * (low + level)
        before = summed(swing.second, right - 1)
        spread = before + share * (summed(swing.second, right) - before)
        spread = np.maximum(spread, 1e-12 * swing.within_w**2 + 1e-300)
        density = np.exp(cumulant - at * level) / np.sqrt(2.0 * math.pi * spread)
        sd = swing.within_w * np.sqrt(mixes.sum(axis=1))
        crossings = swing.crossings_hz * horizon_s * math.sqrt(2.0 * math.pi) * sd * density
        begins = _tail(cumulant, at, level, spread)
        above = 1.0 - (1.0 - begins) * np.exp(-crossings)
        return np.where(never, 0.0, np.where(sure, 1.0, above))


def _tail(
    cumulant: NDArray[np.float64], tilt: NDArray[np.float64], level: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability to be above a level at one moment (Lugannani and Rice): float64[mixes]."""
    root = np.sqrt(2.0 * np.maximum(tilt * level - cumulant, 0.0))
    other = tilt * np.sqrt(spread)
    near = (root < 0.05) | (other < 0.05)
    root_, other_ = np.where(near, 1.0, root), np.where(near, 1.0, other)
    normal = np.array([_PHI.cdf(-r) for r in root.tolist()])
    density = np.exp(-0.5 * root_**2) / math.sqrt(2.0 * math.pi)
    return np.clip(np.where(near, normal, normal + density * (1.0 / other_ - 1.0 / root_)), 0.0, 1.0)


def over_horizon(probability: float, lasts_s: float, horizon_s: float) -> float:
    """Probability within a horizon in which the jobs are drawn anew every ``lasts_s``."""
    if probability >= 1.0:
        return 1.0
    return -math.expm1(max(horizon_s / lasts_s, 1.0) * math.log1p(-probability))


def most_hosts(
    swing: HostSwing,
    job_hosts: float,
    feed_w: float,
    exceed: float,
    horizon_s: float,
    *,
    lasts_s: float | None = None,
    seed: int = 1,
) -> int:
    """Largest number of hosts that exceed a feed within a horizon with a probability of at most ``exceed``.

    Never below the feed over the largest power of a host: so many cannot exceed it, if they do as they were recorded.
    """
    lasts = min(lasts_s or horizon_s, horizon_s)
    low, high = in_lockstep(swing, feed_w), math.floor(feed_w / max(float(swing.mean_w.min()), 1e-9)) + 1
    fleets = Crossings(swing, job_hosts, high, seed)
    while high - low > 1:
        middle = (low + high) // 2
        fits = over_horizon(fleets.exceeding(middle, feed_w, lasts), lasts, horizon_s) <= exceed
        low, high = (middle, high) if fits else (low, middle)
    return low


def in_lockstep(swing: HostSwing, feed_w: float) -> int:
    """Hosts that a feed carries with all of them at the largest power of any host at once."""
    largest = float(swing.largest_w.max())
    return math.floor(feed_w / largest * (1.0 + 1e-12)) if largest > 0.0 else 0


def phase_fleet_peaks(
    powers_w: NDArray[np.float64], hosts: int, job_hosts: int, replicates: int, seed: int = 1
) -> NDArray[np.float64]:
    """Peaks of fleets whose jobs replay a kind from a phase of their own: float64[replicates], W, exact by FFT."""
    whole, rest = divmod(hosts, job_hosts)
    parts = [(job_hosts, Fleets(powers_w, whole, seed))] if whole else []
    if rest:
        parts.append((rest, Fleets(powers_w, 1, seed + replicates)))
    return np.array(
        [np.sum([size * fleets.draw(r) for size, fleets in parts], axis=0).max() for r in range(replicates)]
    )
