"""What was measured, and of what: a sample of hosts, and the population that it represents."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def sums(group: NDArray[np.int64], value: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Sum of the values of each group: float64[groups]."""
    return np.bincount(group, value, groups).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True)
class Population:
    """The strata of a finite population.

    Attributes
    ----------
    strata : tuple of str
    hosts : int64[H]
        Primary units (hosts; jobs or racks for cluster sampling) in each stratum of the population.
    sizes : float64[H]
        Known total size of each stratum (nameplate watts, GPU-hours, ...); NaN unknown.
    limits : float64[H] or None
        Most that one primary unit of each stratum can have, in the unit of the values; NaN unknown, None all unknown.
    """

    strata: tuple[str, ...]
    hosts: NDArray[np.int64]
    sizes: NDArray[np.float64]
    limits: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Measured units, grouped into primary units (hosts), which lie in strata.

    A unit is what one value belongs to: a host, or a GPU where GPUs are sampled or counted one by one.

    Attributes
    ----------
    population : Population
    names : tuple of str
        Primary units, n of them.
    stratum : int64[n]
        Index into the population's strata.
    units : int64[n]
        Units (GPUs) that the primary unit really has, measured or not; -1 unknown.
    unit_host : int64[u]
        Primary unit of each measured unit.
    value, size : float64[u]
        Measured value of each unit, and its size (NaN unknown).
    warnings : tuple of str
        What is odd about the files, though usable.
    primary : {"host", "job", "cluster"}
        What a primary unit is.
    hosts_are_units : bool
        Whether ``population.hosts`` counts units, not primary units: jobs were met by chance, not drawn from a list.
    columns : mapping of str to tuple of str
        Further columns that were asked for: a text for each measured unit.
    """

    population: Population
    names: tuple[str, ...]
    stratum: NDArray[np.int64]
    units: NDArray[np.int64]
    unit_host: NDArray[np.int64]
    value: NDArray[np.float64]
    size: NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    primary: str = "host"
    hosts_are_units: bool = False
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def unit_stratum(self) -> NDArray[np.int64]:
        """Stratum of each measured unit: int64[u]."""
        return self.stratum[self.unit_host]

    @property
    def measured(self) -> NDArray[np.int64]:
        """Measured units of each primary unit: int64[n]."""
        return np.bincount(self.unit_host, minlength=len(self.names))

    @property
    def totals(self) -> NDArray[np.float64]:
        """Sum of the measured values of each primary unit: float64[n]."""
        return sums(self.unit_host, self.value, len(self.names))

    @property
    def host_sizes(self) -> NDArray[np.float64]:
        """Sum of the sizes of each primary unit: float64[n], NaN unknown."""
        return sums(self.unit_host, self.size, len(self.names))

    @property
    def sampled(self) -> NDArray[np.int64]:
        """Primary units measured in each stratum: int64[H]."""
        return np.bincount(self.stratum, minlength=len(self.population.strata))

    @property
    def counted(self) -> NDArray[np.int64]:
        """Measured members of each stratum, in what ``population.hosts`` counts: int64[H]."""
        return np.bincount(self.unit_stratum, minlength=self.sampled.size) if self.hosts_are_units else self.sampled

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Values of a further column that was read as numbers: float64[u]."""
        return np.array([float(text) for text in self.columns[column]])


def from_hosts(population: Population, powers: Mapping[str, Mapping[str, float]]) -> Sample:
    """Make a sample of one value per host: stratum -> host -> value; strata that the population lacks are left out."""
    index = {name: i for i, name in enumerate(population.strata)}
    rows = [(index[s], h, v) for s, hosts in powers.items() if s in index for h, v in hosts.items() if math.isfinite(v)]
    n = len(rows)
    return Sample(
        population,
        tuple(h for _, h, _ in rows),
        np.array([s for s, _, _ in rows], np.int64),
        np.full(n, MISSING, np.int64),
        np.arange(n),
        np.array([v for _, _, v in rows], np.float64),
        np.full(n, math.nan),
    )
