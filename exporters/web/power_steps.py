"""Steps of time with what each GPU used in them and for how long that is known: the page's lines of power.

Readings may come late or not at all, so a step's joules are not those of the step's length: each GPU says what time
its joules cover. An owner's power is the sum over its GPUs, each by the GPU's own time, so that the lines of a GPU's
owners add up to its own. Where nothing was covered the power is unknown, and no 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any

from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

MAX_JOBS = 24
"""Jobs drawn by name; the rest is drawn as one."""

REST = "_rest"
"""The sum of the jobs that are not drawn by name: no owner, unlike ``_other``."""

ENDED = "_ended"
"""The sum of the jobs that are published no more: who they were is not for everybody."""


@dataclass(frozen=True, slots=True)
class PowerStep:
    """What was used from one moment to another.

    Attributes
    ----------
    from_us, to_us : int, us
    gpus : mapping of UUID to (hnj, us)
        Energy, and the time that it covers.
    shares : mapping of (owner, UUID) to int, hnj
        Whose that energy is.
    """

    from_us: int
    to_us: int
    gpus: Mapping[str, tuple[int, int]]
    shares: Mapping[tuple[str, str], int]

    def joined(self, later: PowerStep) -> PowerStep:
        """Return this one and the one after it as one."""
        gpus, shares = dict(self.gpus), dict(self.shares)
        for uuid, (hnj, us) in later.gpus.items():
            before_hnj, before_us = gpus.get(uuid, (0, 0))
            gpus[uuid] = before_hnj + hnj, before_us + us
        for place, hnj in later.shares.items():
            shares[place] = shares.get(place, 0) + hnj
        return PowerStep(self.from_us, later.to_us, gpus, shares)

    def renamed(self, names: Mapping[str, str]) -> PowerStep:
        """Return it with owners under other names; those who get the same one are one."""
        shares: dict[tuple[str, str], int] = {}
        for (owner, uuid), hnj in self.shares.items():
            place = names.get(owner, owner), uuid
            shares[place] = shares.get(place, 0) + hnj
        return PowerStep(self.from_us, self.to_us, self.gpus, shares)

    def folded(self) -> PowerStep:
        """Return it with the `MAX_JOBS` largest jobs by name, and the others as `REST`."""
        return self.renamed(small(energy_by_owner([self])))

    def gpu_w(self) -> dict[str, float]:
        """Return the mean power of each GPU of which anything is known, W."""
        return {uuid: hnj / HNJ_PER_JOULE / (us / 1e6) for uuid, (hnj, us) in self.gpus.items() if us > 0}

    def owner_w(self) -> dict[str, float]:
        """Return the mean power of each owner, W."""
        watts: dict[str, float] = {}
        for (owner, uuid), hnj in self.shares.items():
            us = self.gpus.get(uuid, (0, 0))[1]
            if us > 0:
                watts[owner] = watts.get(owner, 0.0) + hnj / HNJ_PER_JOULE / (us / 1e6)
        return watts


def energy_by_owner(steps: Iterable[PowerStep]) -> dict[str, int]:
    """Return what each owner used in all, hnj."""
    sums: dict[str, int] = {}
    for step in steps:
        for (owner, _), hnj in step.shares.items():
            sums[owner] = sums.get(owner, 0) + hnj
    return sums


def small(sums: Mapping[str, float]) -> dict[str, str]:
    """Name those `REST` that are not among the `MAX_JOBS` largest jobs; what begins with ``_`` is no job."""
    jobs = sorted((owner for owner in sums if not owner.startswith("_")), key=lambda owner: (-sums[owner], owner))
    return dict.fromkeys(jobs[MAX_JOBS:], REST)


def named(steps: Sequence[PowerStep], shown: Collection[str]) -> list[PowerStep]:
    """Fold the jobs that may not be named into `ENDED`, and then all but the largest into `REST`."""
    sums = energy_by_owner(steps)
    names = {owner: ENDED for owner in sums if not owner.startswith("_") and owner not in shown}
    names |= small({owner: hnj for owner, hnj in sums.items() if owner not in names})
    return [step.renamed(names) for step in steps]


def coarsened(steps: Sequence[PowerStep], step_us: int) -> list[PowerStep]:
    """Join the steps that end in one multiple of a length and follow each other without a break."""
    found = []
    for _, group in groupby(steps, key=lambda step: (step.to_us - 1) // step_us):
        run: list[PowerStep] = []
        for step in group:
            if run and step.from_us > run[-1].to_us:
                found.append(reduce(PowerStep.joined, run))
                run = []
            run.append(step)
        found.append(reduce(PowerStep.joined, run))
    return found


def columns(steps: Sequence[PowerStep]) -> dict[str, dict[str, list[float | None]]]:
    """Lay watts out by GPU and by owner, a value a step; None where nothing is known."""
    return {"gpus": _columns([step.gpu_w() for step in steps]), "jobs": _columns([step.owner_w() for step in steps])}


def covered(steps: Sequence[PowerStep]) -> dict[str, list[float | None]]:
    """Return by GPU how much of each step was measured, s; None where nothing is known of it."""
    told = [{uuid: us / 1e6 for uuid, (_, us) in step.gpus.items()} for step in steps]
    return _columns(told)


def energies(steps: Sequence[PowerStep]) -> dict[str, dict[str, float]]:
    """Add up the joules of all steps, by GPU and by owner."""
    gpus: dict[str, int] = {}
    for step in steps:
        for uuid, (hnj, _) in step.gpus.items():
            gpus[uuid] = gpus.get(uuid, 0) + hnj
    told: dict[str, Mapping[str, int]] = {"gpus": gpus, "jobs": energy_by_owner(steps)}
    return {kind: {key: hnj / HNJ_PER_JOULE for key, hnj in of.items()} for kind, of in told.items()}


def _columns(steps: list[Mapping[str, float]] | list[dict[str, float]]) -> dict[str, list[float | None]]:
    keys: dict[str, Any] = dict.fromkeys(key for step in steps for key in step)
    return {
        key: [round(step[key], 3) if key in step else None for step in steps]
        for key in sorted(keys, key=lambda key: (key.startswith("_"), key))
    }
