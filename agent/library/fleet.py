"""`wattshed.fleet`: from measured GPUs to a fleet, as functions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from wattshed.agent.fleet.claims.scenario import load, shipped
from wattshed.agent.fleet.estimate.action import SampleQuestion
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.simulate import SimulatedFleet

if TYPE_CHECKING:
    from wattshed.agent.fleet.claims.scenario import Scenario
    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.library.paths import Path

    Method = Literal["stratified", "ratio", "cluster", "two-stage", "regression", "pps", "pi"]
    IntervalKind = Literal["auto", "t", "johnson", "hall", "bounded"]


def estimate(
    sample: Path,
    population: Path,
    *,
    method: Method = "stratified",
    confidence: float = 0.95,
    meter_sigma: float = 0.0,
    interval: IntervalKind = "auto",
    by: str = "",
    calibrate: Path = "",
    joint: Path = "",
    against: Path = "",
) -> Estimate:
    """Estimate the total of a fleet from a sample of its hosts: what ``wattshed fleet estimate`` does.

    Parameters
    ----------
    sample : path
        CSV ``stratum,host[,unit],value[,size][,units][,job]``, a row for each measured GPU or host.
    population : path
        CSV ``stratum,hosts[,size][,limit]``: how many hosts each stratum of the fleet has.
    method : {"stratified", "ratio", "cluster", "two-stage", "regression", "pps", "pi"}
    confidence : float
        Of the interval.
    meter_sigma : float
        One sigma of the gain error that all meters share, as a fraction; it does not shrink with more hosts.
    interval : {"auto", "t", "johnson", "hall", "bounded"}
        ``auto`` is Student's t, or ``johnson``, which extends it if the sample is skewed; ``bounded`` needs a column
        ``limit``.
    by : str
        Column of the sample; ``domains`` has a total for each of its values.
    calibrate : path
        CSV ``column,category,total``: known totals of the fleet, which the weights of the sample are fitted to.
    joint : path
        CSV ``host,other,pi``: joint probabilities, for ``pps`` and ``pi``.
    against : path
        An earlier sample of the same fleet; ``change`` is the difference of the totals.

    Returns
    -------
    Estimate
        ``total``, ``lower``, ``upper`` and ``se`` in the unit of the values, ``df``, ``strata``, ``deff``, ``domains``,
        ``change``, ``sampling_unit``, ``interval``, ``warnings``; what the sample does not tell is None, with a
        warning.

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
    asked = SampleQuestion(
        method,
        confidence,
        meter_sigma,
        interval,
        by,
        os.fspath(calibrate),
        os.fspath(joint),
        os.fspath(against),
    )
    return asked.answer(os.fspath(sample), os.fspath(population))[0]


def simulate(
    inventory: Path, *, share: float = 1.0, idle: float = 0.0, off: float = 0.0, seed: int = 1
) -> SimulatedFleet:
    """Make a fleet whose true power is known, to try estimators on; ``wattshed fleet simulate`` sends it to a server.

    Parameters
    ----------
    inventory : path
        FLEET.toml: sites and strata of the fleet.
    share : float
        Share of the hosts that report, of those that are not off.
    idle, off : float
        Shares of the hosts that run no job, and that are powered down.
    seed : int
        The same one gives the same hosts.

    Returns
    -------
    SimulatedFleet
        ``powers(time_s)`` of each stratum, float64[hosts], W; ``truth_w(time_s)``, W, of all hosts;
        ``series(time_s)`` of those that report, and the state of each host.

    Raises
    ------
    InputError
        If the inventory cannot be used; it names the line and the column.
    """
    return SimulatedFleet(read_inventory(os.fspath(inventory)), seed=seed, share=share, idle=idle, off=off)


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
