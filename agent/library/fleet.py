"""`wattshed.fleet`: from measured GPUs to a fleet, as functions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from wattshed.agent.fleet.claims.scenario import load, shipped
from wattshed.agent.fleet.estimate import estimators
from wattshed.agent.fleet.estimate.reading import read_population, read_sample
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.simulate import SimulatedFleet

if TYPE_CHECKING:
    from wattshed.agent.fleet.claims.scenario import Scenario
    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.library.paths import Path

    Method = Literal["stratified", "ratio", "cluster", "two-stage"]


def estimate(
    sample: Path,
    population: Path,
    *,
    method: Method = "stratified",
    confidence: float = 0.95,
    meter_sigma: float = 0.0,
) -> Estimate:
    """Estimate the total of a fleet from a sample of its hosts: what ``wattshed fleet estimate`` does.

    Parameters
    ----------
    sample : path
        CSV ``stratum,host[,unit],value[,size][,units][,job]``, a row for each measured GPU or host.
    population : path
        CSV ``stratum,hosts[,size]``: how many hosts each stratum of the fleet has.
    method : {"stratified", "ratio", "cluster", "two-stage"}
    confidence : float
        Of the interval.
    meter_sigma : float
        One sigma of the gain error that all meters share, as a fraction; it does not shrink with more hosts.

    Returns
    -------
    Estimate
        ``total``, ``lower``, ``upper`` and ``se`` in the unit of the values, ``df``, ``strata``, ``deff``,
        ``warnings``; what the sample does not tell is None, with a warning.

    Raises
    ------
    InputError
        If a file cannot be used; it names the line and the column.

    Examples
    --------
    >>> import wattshed
    >>> found = wattshed.fleet.estimate("sample.csv", "population.csv")  # doctest: +SKIP
    >>> found.total, found.lower, found.upper  # doctest: +SKIP
    """
    whole = read_population(os.fspath(population))
    measured = read_sample(os.fspath(sample), whole, cluster=method == "cluster")
    return estimators.estimate(measured, method, confidence=confidence, meter_gain_sigma=meter_sigma)


def simulate(inventory: Path, *, share: float = 1.0, seed: int = 1) -> SimulatedFleet:
    """Make a fleet whose true power is known, to try estimators on; ``wattshed fleet simulate`` sends it to a server.

    Parameters
    ----------
    inventory : path
        FLEET.toml: sites and strata of the fleet.
    share : float
        Share of the hosts that report.
    seed : int
        The same one gives the same hosts.

    Returns
    -------
    SimulatedFleet
        ``powers(time_s)`` of each stratum, float64[hosts], W; ``truth_w(time_s)``, W, of all hosts;
        ``series(time_s)`` of those that report.

    Raises
    ------
    InputError
        If the inventory cannot be used; it names the line and the column.
    """
    return SimulatedFleet(read_inventory(os.fspath(inventory)), seed=seed, share=share)


def scenario(name: Path) -> Scenario:
    """Compute a public claim about power anew and judge it: what ``wattshed fleet scenario`` does.

    Parameters
    ----------
    name : str or path
        One of `scenarios`, or a file of your own (docs/fleet.md).

    Returns
    -------
    Scenario
        ``boundaries``, each with a power and its interval, W; ``energy_kwh_per_year``; ``claims``, each with a
        ``verdict``: supported, supported for part of it, contradicted, undetermined, not comparable or not
        computable.

    Raises
    ------
    InputError
        If there is no such scenario, or the file cannot be used; it names the line and the column.

    Examples
    --------
    >>> import wattshed
    >>> [str(claim.verdict) for claim in wattshed.fleet.scenario("xai-memphis").claims]
    ['contradicted', 'contradicted', 'contradicted', 'supported for part of it']
    """
    return load(os.fspath(name))


def scenarios() -> list[str]:
    """Return the names of the scenarios that come with wattshed."""
    return list(shipped())
