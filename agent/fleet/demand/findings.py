"""What an examination of one load found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.fleet.demand.ensemble import Ensemble
    from wattshed.agent.fleet.demand.figures import Figures
    from wattshed.agent.fleet.demand.grid import Load
    from wattshed.agent.fleet.demand.lines import SpectralLine
    from wattshed.agent.fleet.demand.measure import Demand
    from wattshed.agent.fleet.demand.series import LoadRecording
    from wattshed.agent.fleet.demand.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found about one load.

    Attributes
    ----------
    source : str
    recording : LoadRecording
    load : Load
        What the figures are of: the recording, or of simulated fleets the one whose peak is the median.
    of : str
        The same in words.
    shown : Figures
        Of ``load``.
    figures : Figures
        Of fleets the medians.
    high : Figures or None
        Of fleets the 95th percentiles.
    recorded : Demand or None
        Of fleets, what they were made of.
    lines : sequence of SpectralLine
        Of the recording.
    power : str
        What its power was read from.
    step_s : float, s
        Of the grid; that of ``figures.demand``, whose extremes are sought, may be longer.
    transformer : Transformer or None
    ensemble : Ensemble or None
    warnings : sequence of str
    where : mapping
        Fleets were drawn, see `agent.fleet.demand.drawing`.
    """

    source: str
    recording: LoadRecording
    load: Load
    of: str
    shown: Figures
    figures: Figures
    high: Figures | None
    recorded: Demand | None
    lines: tuple[SpectralLine, ...]
    power: str
    step_s: float
    transformer: Transformer | None
    ensemble: Ensemble | None
    warnings: tuple[str, ...]
    where: Mapping[str, str]

    @property
    def boundary(self) -> str:
        """Where the power was measured, as far as the recording tells."""
        return "gpu" if self.recording.kind == "gpu" else "as recorded"
