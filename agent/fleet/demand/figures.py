"""All figures of a load, and those of many loads: their quantiles, figure by figure."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.fleet.demand.fleets import over
from wattshed.agent.fleet.demand.grid import Load
from wattshed.agent.fleet.demand.measure import Demand, measure
from wattshed.agent.fleet.demand.spectrum import Spectrum, analyse
from wattshed.agent.fleet.demand.transformer import Ageing, Transformer, age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.series import LoadRecording

_CLOCK_US, _DAY_US = 100_000_000_000_000, 86_400_000_000
"""A load that begins before this has no clock: hour 0 of a table is its beginning."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found about one load, or a quantile of that over several."""

    demand: Demand
    spectrum: Spectrum
    ageing: Ageing | None

    def without_courses(self) -> Figures:
        """Leave out the arrays, which nobody looks at where there are many."""
        none = np.empty(0)
        ageing = None if self.ageing is None else replace(self.ageing, hot_spot_c=none, top_oil_c=none)
        return Figures(self.demand, replace(self.spectrum, frequency_hz=none, density=none), ageing)


@dataclass(frozen=True, slots=True)
class Gridded:
    """A recording on its grid.

    Attributes
    ----------
    recording : LoadRecording
    fine : Load
    load : Load
        The same in steps over which extremes are sought, ``steps`` of ``fine`` each.
    steps : int
    """

    recording: LoadRecording
    fine: Load
    load: Load
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Examination:
    """How a load is looked at.

    Attributes
    ----------
    transformer : Transformer or None
    meter_window_s : float, s
        Over which each reading is a mean; 0 if that is not known.
    """

    transformer: Transformer | None
    meter_window_s: float = 0.0

    def of(self, load: Load, fine: Load) -> Figures:
        """Figures of a load; its spectrum is that of the same load in finer steps."""
        with ThreadPoolExecutor(1, thread_name_prefix="spectrum") as beside:
            spectrum = beside.submit(
                analyse, fine.stretch, fine.step_s, meter_window_s=self.meter_window_s, mixing=fine.mixing
            )
            demand = measure(load)
        ageing = None
        if self.transformer is not None:
            begin_h = begin_hour(load.start_us + load.longest[0] * load.step_s * 1e6)
            ageing = age(load.stretch, load.step_s, self.transformer, begin_h=begin_h)
        return Figures(demand, spectrum.result(), ageing)


@dataclass(frozen=True, slots=True)
class FleetExamination:
    """How drawn fleets are looked at; without the recording, so that it can travel to the workers of a cluster.

    Attributes
    ----------
    examination : Examination
    load, fine : Load
        Grids without power, as in `Gridded`.
    steps : int
    """

    examination: Examination
    load: Load
    fine: Load
    steps: int

    @classmethod
    def like(cls, gridded: Gridded, examination: Examination) -> FleetExamination:
        """How fleets are looked at that are made of a recording."""
        load, fine = (
            Load(of.step_s, of.start_us, np.empty(0), of.kind, mixing=of.mixing) for of in (gridded.load, gridded.fine)
        )
        return cls(examination, load, fine, gridded.steps)

    def of(self, power_w: NDArray[np.float64]) -> Figures:
        """Figures of a fleet of which the power in fine steps is float64[n], W."""
        load = replace(self.load, power_w=over(power_w, self.steps))
        return self.examination.of(load, replace(self.fine, power_w=power_w))

    def numbers_of(self, power_w: NDArray[np.float64]) -> Figures:
        """Return the same as `of` without arrays, for one of many fleets."""
        return self.of(power_w).without_courses()


def begin_hour(start_us: float) -> float:
    """Hour of a table at which a load begins: of its day (UTC), or 0 where it has no clock."""
    return 0.0 if start_us < _CLOCK_US else start_us % _DAY_US / 3.6e9


def quantile(several: Sequence[Figures], share: float, transformer: Transformer | None) -> Figures:
    """Quantile of each figure over several loads; of headroom, what that quantile of the loading leaves."""
    found: Figures = _quantile(several, share)
    if found.ageing is None or transformer is None:
        return found
    t = transformer
    headroom_w = (t.limit - found.ageing.peak_loading) * t.power_factor * t.rated_va * t.units
    ageing = replace(found.ageing, headroom_w=headroom_w, units_needed=int(np.ceil(found.ageing.units_needed)))
    return replace(found, ageing=ageing)


def _quantile(values: Sequence[Any], share: float) -> Any:
    """Go down to the numbers; words, and what is None of one, are as of the first; arrays are not combined."""
    first = values[0]
    if isinstance(first, (int, float)):
        return float(np.quantile(np.asarray(values, np.float64), share))
    if isinstance(first, tuple):
        return tuple(_quantile(row, share) for row in zip(*values, strict=True))
    if isinstance(first, Mapping):
        return {key: _quantile([value[key] for value in values], share) for key in first}
    if is_dataclass(first) and not isinstance(first, type):
        return replace(
            first, **{f.name: _quantile([getattr(value, f.name) for value in values], share) for f in fields(first)}
        )
    return first
