"""Known totals of the population, to which a sample is fitted: ratio, regression, raking, poststratification.

J.-C. Deville and C.-E. Sarndal, *J. Am. Stat. Assoc.* 87 (1992) 376. Each unit's weight w is multiplied by g so that
the weighted sample has the known totals; the variance of the total is that of w g e, e the residual of the regression
of the value on what is known. Without g in it the error of a clustered sample of schools is 27 % short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.sample import Sample

ALL = "hosts"
"""Column of a table of margins that stands for the number of all units."""

CLOSE, PASSES = 1e-9, 2000


@dataclass(frozen=True, slots=True)
class Margins:
    """What is known of the population beside its strata.

    Attributes
    ----------
    counts : mapping of str to mapping of str to float
        Column of the sample -> category -> units of the population in it.
    totals : mapping of str to float
        Column of numbers -> its sum over the population; ``hosts`` is the number of all units.
    """

    counts: Mapping[str, Mapping[str, float]]
    totals: Mapping[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sample that hold categories."""
        return tuple(self.counts)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns of the sample that hold numbers."""
        return tuple(name for name in self.totals if name != ALL)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A sample fitted to known totals.

    Attributes
    ----------
    g : float64[u]
        Factor of each unit's weight.
    known : float64[u, p]
        What is known of each unit.
    solve : float64[p, u]
        Turns values into coefficients of ``known``.
    """

    g: NDArray[np.float64]
    known: NDArray[np.float64]
    solve: NDArray[np.float64]

    def residual(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the known totals do not explain of ``value``, times g: float64[u]."""
        return self.g * (value - self.known @ (self.solve @ value))


def read_margins(path: str | Path) -> Margins:
    """Read ``column,category,total``: a row per category, or per column of numbers (its category empty).

    Raises
    ------
    InputError
        For a row that appears twice, a column with categories and without, a negative count.
    """
    counts: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = {}
    for row in read_table(path, columns := ("column", "category", "total"), used=columns):
        name, category = row.name("column").lower(), row.text("category")
        if name in totals or category in counts.get(name, {}) or (not category and name in counts):
            raise row.error("column", f"{name!r} {category!r} appears twice; give each known total one row")
        if category:
            counts.setdefault(name, {})[category] = row.number("total", least=0.0)
        else:
            totals[name] = row.number("total")
    if not counts and not totals:
        raise InputError("lists no known total; add a row per category", str(path), 2)
    return Margins(counts, totals)


def nothing_known(sample: Sample) -> Calibrated:
    """Leave the design's weights as they are."""
    units = sample.value.size
    return Calibrated(np.ones(units), np.empty((units, 0)), np.empty((0, units)))


def by_ratio(sample: Sample, weight: NDArray[np.float64]) -> Calibrated:
    """Fit to the known total of ``size``: the combined ratio estimator, its variance given the sizes drawn.

    Raises
    ------
    InputError
        If a size is missing, or those of the sample sum to 0.
    """
    sizes = sample.size
    if np.isnan(sizes).any():
        name = sample.names[int(sample.unit_host[np.flatnonzero(np.isnan(sizes))[0]])]
        raise InputError(
            f"the ratio method needs the size of every measured host, and {name!r} has none; add a column size"
        )
    if not (drawn := float(weight @ sizes)) > 0.0:
        raise InputError("the ratio method needs sizes above 0, and those of the sample sum to 0")
    known = _stratum_sizes(sample, "ratio")
    return Calibrated(np.full(sizes.size, known.sum() / drawn), sizes[:, None], (weight / drawn)[None, :])


def by_strata(sample: Sample, weight: NDArray[np.float64]) -> Calibrated:
    """Fit to the number of hosts of each stratum."""
    known = _dummies(sample.unit_stratum, len(sample.population.strata))
    return _fitted(known, weight, sample.population.hosts.astype(np.float64))


def by_regression(sample: Sample, weight: NDArray[np.float64], margins: Margins | None) -> Calibrated:
    """Fit linearly to the margins; without them to the hosts and the total ``size`` of the strata.

    Raises
    ------
    InputError
        If a size is missing, a category is not in the margins, or no weights meet them.
    """
    if margins is not None:
        known, totals = _of_margins(sample, margins)
    else:
        if np.isnan(sample.size).any():
            name = sample.names[int(sample.unit_host[np.flatnonzero(np.isnan(sample.size))[0]])]
            raise InputError(
                f"the regression method needs the size of every measured host, and {name!r} has none; add a column "
                "size, or give known totals with --calibrate"
            )
        if sample.primary != "host":
            raise InputError(f"regression of units in {sample.primary}s needs --calibrate")
        strata = _dummies(sample.unit_stratum, len(sample.population.strata))
        known = np.column_stack([strata, sample.size])
        totals = np.append(sample.population.hosts, _stratum_sizes(sample, "regression").sum())
    return _fitted(known, weight, totals)


def by_raking(sample: Sample, weight: NDArray[np.float64], margins: Margins) -> Calibrated:
    """Fit to the counts of each column's categories in turn, until all hold; one column is poststratification.

    Raises
    ------
    InputError
        For margins of numbers, categories that sample and margins do not share, or counts that contradict each other.
    """
    if margins.totals:
        name = next(iter(margins.totals))
        raise InputError(f"raking takes counts of categories, and {name!r} has none; use --method regression with it")
    known, totals = _of_margins(sample, margins)
    sizes = {name: sum(counts.values()) for name, counts in margins.counts.items()}
    if max(sizes.values()) - min(sizes.values()) > CLOSE * max(sizes.values()):
        said = ", ".join(f"{name} {size:g}" for name, size in sizes.items())
        raise InputError(f"the known counts sum to different populations: {said}")
    raked = weight.copy()
    for _ in range(PASSES):
        for column, total in zip(known.T, totals, strict=True):
            raked *= np.where(column > 0.0, total / (raked @ column), 1.0)
        if np.all(np.abs(raked @ known - totals) <= CLOSE * totals):
            return Calibrated(raked / weight, known, _solver(known, weight))
    raise InputError("the known counts contradict each other: no weights of this sample meet them all")


def _stratum_sizes(sample: Sample, method: str) -> NDArray[np.float64]:
    population = sample.population
    if (missing := np.isnan(population.sizes) & (population.hosts > 0)).any():
        name = population.strata[int(np.flatnonzero(missing)[0])]
        raise InputError(
            f"the {method} method needs the total size of every stratum, and {name!r} has none; add a column size"
        )
    return np.where(population.hosts > 0, population.sizes, 0.0)


def _dummies(category: NDArray[np.int64], categories: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (category[:, None] == np.arange(categories)).astype(np.float64)
    return found


def _of_margins(sample: Sample, margins: Margins) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lay out what is known of each unit (float64[u, p]), and its sums over the population (float64[p])."""
    known: list[NDArray[np.float64]] = []
    totals: list[float] = []
    for name, counts in margins.counts.items():
        texts = np.array(sample.columns[name])
        if (strange := sorted(set(texts.tolist()) - set(counts))) and strange:
            raise InputError(f"--calibrate: the sample has the {name} {strange[0]!r}, and the known totals do not")
        for category, total in counts.items():
            inside = texts == category
            if total > 0.0 and not inside.any():
                raise InputError(
                    f"--calibrate: nothing was measured of the {total:g} with {name} {category!r}; measure some, or "
                    "merge the category with another in both files"
                )
            if inside.any():
                known.append(inside.astype(np.float64))
                totals.append(total)
    for name, total in margins.totals.items():
        known.append(np.ones(sample.value.size) if name == ALL else sample.numbers(name))
        totals.append(total)
    return np.column_stack(known), np.array(totals)


def _solver(known: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn values into coefficients of a weighted regression, of whatever rank: float64[p, u]."""
    root = np.sqrt(weight)
    scaled = root[:, None] * known
    norm = np.sqrt(np.sum(scaled**2, axis=0))
    norm[norm == 0.0] = 1.0
    solved: NDArray[np.float64] = np.linalg.pinv(scaled / norm, rcond=1e-11) * root / norm[:, None]
    return solved


def _fitted(known: NDArray[np.float64], weight: NDArray[np.float64], totals: NDArray[np.float64]) -> Calibrated:
    """Weights nearest to the design's that have the known totals (chi-square distance)."""
    solve = _solver(known, weight)
    # (X' W X)^- = solve W^-1 solve', so that g = 1 + X (X' W X)^- (totals - X' w).
    short = totals - weight @ known
    g = 1.0 + known @ ((solve / weight) @ (solve.T @ short))
    off = (weight * g) @ known - totals
    scale = np.maximum(np.abs(totals), weight @ np.abs(known))
    if not np.all(np.abs(off) <= 1e-6 * np.maximum(scale, math.ulp(1.0))):
        raise InputError("the known totals contradict each other or the sample: no weights meet them all")
    return Calibrated(g, known, solve)
