"""What energies cost and emit: each joule at the value of the time in which it was used."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.inputs.tariffs.steps import Tariff

HNJ_PER_KWH = 3_600_000 * HNJ_PER_JOULE


@dataclass(frozen=True, slots=True)
class Energies:
    """Energies of groups, each used evenly over a stretch of time.

    Attributes
    ----------
    group : int64[n]
        0 to ``groups - 1``.
    from_us, to_us : int64[n], us
    joules, rest : int64[n], J and hnj
        Together the energy, see `agent.wire.parts.split_hnj`.
    groups : int
    """

    group: NDArray[np.int64]
    from_us: NDArray[np.int64]
    to_us: NDArray[np.int64]
    joules: NDArray[np.int64]
    rest: NDArray[np.int64]
    groups: int


@dataclass(frozen=True, slots=True)
class Amount:
    """What one group costs, emits, or draws at the wall.

    Attributes
    ----------
    value : Decimal
        In the tariff's unit without its ``/kWh``: money, grams, or kWh at the wall.
    estimated_hnj, unpriced_hnj : int, hnj
        Of the energy: what was multiplied by an estimate, and what was used when the tariff has no value. It costs
        something, and is in nothing.
    """

    value: Decimal
    estimated_hnj: int
    unpriced_hnj: int


def amounts(energies: Energies, tariff: Tariff) -> list[Amount]:
    """Multiply each energy by the values of its time, and add up by group.

    Exact: energies are whole half-nanojoules, split at the edges of steps by rounding each edge once, and values are
    decimal numbers.
    """
    first = tariff.steps_at(energies.from_us)
    last = tariff.steps_at(np.maximum(energies.to_us - 1, energies.from_us))
    whole = _within_one(energies, tariff, first, last)
    shares = _whole(energies, first, whole)
    for i in np.flatnonzero(~whole).tolist():
        _cut(energies, tariff, i, shares)
    values = [Decimal(0)] * energies.groups
    estimated, unpriced = [0] * energies.groups, [0] * energies.groups
    for (group, step), hnj in sorted(shares.items()):
        if step < 0:
            unpriced[group] += hnj
            continue
        values[group] += hnj * tariff.values[step]
        if tariff.estimated[step]:
            estimated[group] += hnj
    return [Amount(value / HNJ_PER_KWH, *rest) for value, *rest in zip(values, estimated, unpriced, strict=True)]


def _whole(energies: Energies, step: NDArray[np.int64], whole: NDArray[np.bool_]) -> dict[tuple[int, int], int]:
    """Add up those energies that lie within one step, hnj by group and step; -1 is the step of what has no value."""
    chosen = np.flatnonzero(whole)
    pairs = np.stack([energies.group[chosen], step[chosen]], axis=1)
    found, place = np.unique(pairs, axis=0, return_inverse=True)
    joules, rest = np.zeros(len(found), np.int64), np.zeros(len(found), np.int64)
    np.add.at(joules, place.ravel(), energies.joules[chosen])
    np.add.at(rest, place.ravel(), energies.rest[chosen])
    sums = zip(found.tolist(), joules.tolist(), rest.tolist(), strict=True)
    return {(group, at): j * HNJ_PER_JOULE + r for (group, at), j, r in sums}


def _within_one(
    energies: Energies, tariff: Tariff, first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which energies lie within one step, or within one time without a value: bool[n]."""
    same: NDArray[np.bool_] = first == last
    outside = np.flatnonzero(same & (first < 0))
    # No value at the begin and none at the end: there may be a step between.
    before = np.searchsorted(tariff.from_us, energies.from_us[outside], "right")
    after = np.searchsorted(tariff.from_us, energies.to_us[outside], "left")
    same[outside[before != after]] = False
    return same


def _cut(energies: Energies, tariff: Tariff, i: int, shares: dict[tuple[int, int], int]) -> None:
    """Spread one energy over the steps that it lies across."""
    begin, end = int(energies.from_us[i]), int(energies.to_us[i])
    hnj = int(energies.joules[i]) * HNJ_PER_JOULE + int(energies.rest[i])
    for a, b, value in tariff.within(begin, end):
        step = -1 if value is None else int(tariff.steps_at(np.array([a], np.int64))[0])
        part = hnj * (b - begin) // (end - begin) - hnj * (a - begin) // (end - begin)
        place = int(energies.group[i]), step
        shares[place] = shares.get(place, 0) + part


def rounded(values: list[Decimal], places: int) -> list[Decimal]:
    """Round amounts so that they still add up to the rounded whole: the largest remainders are rounded up.

    Parameters
    ----------
    values : list of Decimal
    places : int
        Digits behind the point.
    """
    unit = Decimal(1).scaleb(-places)
    whole = [value.quantize(unit, "ROUND_FLOOR") for value in values]
    missing = int((sum(values, Decimal(0)).quantize(unit) - sum(whole, Decimal(0))) / unit)
    order = sorted(range(len(values)), key=lambda i: (whole[i] - values[i], i))
    for i in order[:missing]:
        whole[i] += unit
    return whole
