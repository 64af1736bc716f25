"""What an examination of one load found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.fleet.demand.ensemble import Ensemble
    from wattshed.agent.fleet.demand.grid import Load
    from wattshed.agent.fleet.demand.measure import Demand
    from wattshed.agent.fleet.demand.series import LoadRecording
    from wattshed.agent.fleet.demand.spectrum import Spectrum
    from wattshed.agent.fleet.demand.transformer import Ageing, Transformer


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found about one load."""

    source: str
    recording: LoadRecording
    load: Load
    demand: Demand
    spectrum: Spectrum
    transformer: Transformer | None
    ageing: Ageing | None
    ensemble: Ensemble | None
    warnings: tuple[str, ...]
    where: Mapping[str, str]  # fleets were drawn, see `agent.fleet.demand.drawing`
