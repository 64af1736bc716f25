"""What a load does to a transformer: hot spot, ageing, loss of life, and how many units it takes.

IEEE Std C57.91-2011, clause 7: top-oil rise over ambient dTO = dTO_R ((K^2 R + 1) / (R + 1))^n with the oil's time
constant, winding rise over top oil dH = dH_R K^(2m) with the winding's (about five minutes), hot spot = ambient +
dTO + dH. Ageing F_AA = exp(15000/383 - 15000/(hot spot + 273)) is 1 at 110 C; normal life is 180,000 h. Swings of
0.2-3 Hz are far faster than either time constant: they do not age a transformer, and are reported as ramps and bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NORMAL_LIFE_H = 180_000.0
REFERENCE_HOT_SPOT_C = 110.0
_ABOVE, _MOST = {"ambient_c": -273}, {"power_factor": 1}


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformer's nameplate and thermal constants; defaults are usual for a large oil-filled unit (ONAF).

    Attributes
    ----------
    rated_va : float, VA
    power_factor : float
        W per VA of the load.
    top_oil_rise_c, hot_spot_rise_c : float, K
        At rated load: top oil over ambient, hot spot over top oil (their sum is 80 for 65 C insulation).
    loss_ratio : float
        R: load losses over no-load losses at rated load.
    oil_time_constant_h, winding_time_constant_min : float
    oil_exponent, winding_exponent : float
        n and m.
    ambient_c : float, C
    limit : float
        Planned loading of nameplate, for the headroom and the number of units.
    units : int
        Units that share the load.
    """

    rated_va: float
    power_factor: float = 0.95
    top_oil_rise_c: float = 55.0
    hot_spot_rise_c: float = 25.0
    loss_ratio: float = 4.87
    oil_time_constant_h: float = 3.5
    winding_time_constant_min: float = 5.0
    oil_exponent: float = 0.9
    winding_exponent: float = 0.8
    ambient_c: float = 30.0
    limit: float = 0.8
    units: int = 1


@dataclass(frozen=True, slots=True)
class Ageing:
    """What the load does to it.

    Attributes
    ----------
    hot_spot_c, top_oil_c : float64[n], C
        At the end of each step.
    loss_of_life_h : float, h
        Hours of normal life used: the integral of the ageing factor.
    loss_of_life_share : float
        Of 180,000 h.
    equivalent_ageing : float
        Mean ageing factor: 1 is normal life.
    peak_loading : float
        Largest mean of a step over nameplate.
    headroom_w : float, W
        From that peak to the planned limit; negative is overload.
    """

    hot_spot_c: NDArray[np.float64]
    top_oil_c: NDArray[np.float64]
    loss_of_life_h: float
    loss_of_life_share: float
    equivalent_ageing: float
    peak_loading: float
    headroom_w: float


def ageing_factor(hot_spot_c: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Ageing at a hot-spot temperature over that at 110 C, where it is exactly 1."""
    scale = 15_000.0
    return np.asarray(np.exp(scale / (REFERENCE_HOT_SPOT_C + 273.0) - scale / (np.asarray(hot_spot_c) + 273.0)))


def ultimate_rises(loading: NDArray[np.float64], t: Transformer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Top-oil and winding rise that a loading (of nameplate) leads to in the end: float64[n] each, K."""
    square = loading**2
    oil = t.top_oil_rise_c * ((square * t.loss_ratio + 1.0) / (t.loss_ratio + 1.0)) ** t.oil_exponent
    return oil, t.hot_spot_rise_c * square**t.winding_exponent


def age(power_w: NDArray[np.float64], step_s: float, t: Transformer, *, cold: bool = False) -> Ageing:
    """Temperatures and loss of life under a load that is constant over each step.

    Parameters
    ----------
    power_w : float64[n], W
        Without holes.
    step_s : float, s
    t : Transformer
    cold : bool
        Begin at no load, instead of in balance with the load's root mean square.
    """
    loading = power_w / (t.power_factor * t.rated_va * t.units)
    oil_end, winding_end = ultimate_rises(loading, t)
    start = np.array([0.0 if cold else math.sqrt(float(np.mean(loading**2)))])
    oil_start, winding_start = (float(r[0]) for r in ultimate_rises(start, t))
    oil = _approach(oil_end, oil_start, step_s / (t.oil_time_constant_h * 3600.0))
    winding = _approach(winding_end, winding_start, step_s / (t.winding_time_constant_min * 60.0))
    hot_spot = t.ambient_c + oil + winding
    factor = ageing_factor(hot_spot)
    hours = float(factor.sum()) * step_s / 3600.0
    peak = float(loading.max())
    return Ageing(
        hot_spot,
        t.ambient_c + oil,
        hours,
        hours / NORMAL_LIFE_H,
        float(factor.mean()),
        peak,
        (t.limit - peak) * t.power_factor * t.rated_va * t.units,
    )


def _approach(ends: NDArray[np.float64], start: float, steps: float) -> NDArray[np.float64]:
    """First-order approach to a new end in each step, exact for ends that are constant over it."""
    stay = math.exp(-steps)
    values = np.empty(ends.size)
    now = start
    for i, end in enumerate(ends.tolist()):
        now = end + (now - end) * stay
        values[i] = now
    return values


def units_needed(
    peak_w: float, rated_va: float, *, loading: float = 0.8, power_factor: float = 0.95, spares: int = 1
) -> int:
    """Units that carry a peak at a planned loading, and ``spares`` more (N+1)."""
    carrying = peak_w / (rated_va * loading * power_factor)
    return math.ceil(carrying - 1e-9) + spares


def read_transformer(path: str | Path) -> Transformer:
    """Read a ``[transformer]`` table, or its keys at the top of the file.

    Raises
    ------
    InputError
        For a key that is unknown, or a number out of range; it names the line.
    """
    table = Document(path).root
    if "transformer" in table:
        table = table.only(("transformer",)).table("transformer")
    table.only([f.name for f in fields(Transformer)], {"transformer": "transformer"})
    numbers = {
        name: table.number(name, above=_ABOVE.get(name, 0), high=_MOST.get(name)) for name in table if name != "units"
    }
    if "rated_va" not in table:
        table.fail("needs rated_va, the nameplate in VA")
    return Transformer(**numbers, units=table.count("units", 1, low=1))
