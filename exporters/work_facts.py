"""What a job did, beside its energy: one of the published facts, which is also made of a history alone."""

from __future__ import annotations

from dataclasses import dataclass

from wattshed.exporters.units import HNJ_PER_JOULE


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """How much of one unit a job did: its own word (``told``), or its server's pages (``scraped``).

    ``energy_hnj`` is what the job used from where counting began to where it stands; ``sigma`` is one standard
    deviation of the energy of a unit, relative; None: nothing was done, and there is no such energy.
    """

    unit: str
    source: str
    count: int
    energy_hnj: int
    sigma: float | None

    @property
    def joules(self) -> float | None:
        """Energy of one unit, J; None if nothing was done."""
        return self.energy_hnj / self.count / HNJ_PER_JOULE if self.count else None

    def plain(self) -> dict[str, str | int | float | None]:
        """Lay it out for JSON; ``joules_per_unit`` and its sigma are null where nothing was done."""
        joules = self.joules
        sigma = joules * self.sigma if joules is not None and self.sigma is not None else None
        about: dict[str, str | int | float | None] = {"unit": self.unit, "source": self.source, "count": self.count}
        return about | {"joules_per_unit": joules, "sigma_j": sigma}
