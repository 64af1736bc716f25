"""What a load does to a transformer: hot spot, ageing, loss of life, and how many units it takes.

IEEE Std C57.91-2011, clause 7: top-oil rise over ambient dTO = dTO_R ((K^2 R + 1) / (R + 1))^n with the oil's time
constant, winding rise over top oil dH = dH_R K^(2m) with the winding's (about five minutes), hot spot = ambient +
dTO + dH. Ageing F_AA = exp(15000/383 - 15000/(hot spot + 273)) is 1 at 110 C; normal life is 180,000 h. The ambient
temperature may change by the hour: the mean of a year ages less than its hot afternoons. Swings of 0.2-3 Hz are far
faster than either time constant: they do not age a transformer, and are reported as ramps and bands; what loads it is
the root mean square over the winding's time constant (the standard's equivalent load).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.hourly import read_hours
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_LIFE_H = 180_000.0
REFERENCE_HOT_SPOT_C = 110.0
HIGHEST_HOT_SPOT_C = 120.0
"""Above it no loading is one of normal life expectancy (C57.91-2011, clause 8.2)."""
_ABOVE, _MOST = {"ambient_c": -273}, {"power_factor": 1}
_GROWTH = 8.0  # e to it is what weights grow by within a block


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
    hourly_c : float64[h] or None, C
        Ambient temperature hour by hour, again and again; then ``ambient_c`` does not count.
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
    hourly_c: NDArray[np.float64] | None = None

    def ambient(self, n: int, step_s: float, begin_h: float) -> NDArray[np.float64] | float:
        """Ambient temperature of ``n`` steps from an hour on, C."""
        if self.hourly_c is None:
            return self.ambient_c
        hour = np.floor(begin_h + (np.arange(n) + 0.5) * step_s / 3600.0).astype(np.int64)
        return np.asarray(self.hourly_c[hour % self.hourly_c.size])


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
        Largest root mean square over the winding's time constant, of nameplate; of a shorter load that of all of it.
    headroom_w : float, W
        From that peak to the planned limit; negative is overload.
    hot_spot_max_c, hot_spot_final_c, top_oil_max_c, top_oil_final_c : float, C
    units_needed : int
        Units that carry the load and one spare: see `units_needed`.
    """

    hot_spot_c: NDArray[np.float64]
    top_oil_c: NDArray[np.float64]
    loss_of_life_h: float
    loss_of_life_share: float
    equivalent_ageing: float
    peak_loading: float
    headroom_w: float
    hot_spot_max_c: float
    hot_spot_final_c: float
    top_oil_max_c: float
    top_oil_final_c: float
    units_needed: int


def ageing_factor(hot_spot_c: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Ageing at a hot-spot temperature over that at 110 C, where it is exactly 1."""
    scale = 15_000.0
    return np.asarray(np.exp(scale / (REFERENCE_HOT_SPOT_C + 273.0) - scale / (np.asarray(hot_spot_c) + 273.0)))


def ultimate_rises(loading: NDArray[np.float64], t: Transformer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Top-oil and winding rise that a loading (of nameplate) leads to in the end: float64[n] each, K."""
    square = loading**2
    oil = t.top_oil_rise_c * ((square * t.loss_ratio + 1.0) / (t.loss_ratio + 1.0)) ** t.oil_exponent
    return oil, t.hot_spot_rise_c * square**t.winding_exponent


def age(
    power_w: NDArray[np.float64], step_s: float, t: Transformer, *, cold: bool = False, begin_h: float = 0.0
) -> Ageing:
    """Temperatures and loss of life under a load that is constant over each step, and the units that it takes.

    Parameters
    ----------
    power_w : float64[n], W
        Without holes.
    step_s : float, s
    t : Transformer
    cold : bool
        Begin at no load, instead of in balance with the load's root mean square.
    begin_h : float, h
        Hour of ``t.hourly_c`` in which the load begins.
    """
    ambient = t.ambient(power_w.size, step_s, begin_h)
    loading = power_w / (t.power_factor * t.rated_va * t.units)
    oil, winding = _rises(loading, step_s, t, cold=cold)
    top_oil = ambient + oil
    hot_spot = top_oil + winding
    factor = ageing_factor(hot_spot)
    hours = float(factor.sum()) * step_s / 3600.0
    peak = peak_loading(loading, step_s, t)
    return Ageing(
        hot_spot,
        top_oil,
        hours,
        hours / NORMAL_LIFE_H,
        float(factor.mean()),
        peak,
        (t.limit - peak) * t.power_factor * t.rated_va * t.units,
        float(hot_spot.max()),
        float(hot_spot[-1]),
        float(top_oil.max()),
        float(top_oil[-1]),
        units_needed(power_w, step_s, t, ambient),
    )


def peak_loading(loading: NDArray[np.float64], step_s: float, t: Transformer) -> float:
    """Largest root mean square of a loading over the winding's time constant."""
    steps = min(max(round(t.winding_time_constant_min * 60.0 / step_s), 1), loading.size)
    square = np.concatenate(([0.0], np.cumsum(np.square(loading))))
    return math.sqrt(float((square[steps:] - square[:-steps]).max()) / steps)


def units_needed(
    power_w: NDArray[np.float64],
    step_s: float,
    t: Transformer,
    ambient_c: NDArray[np.float64] | float | None = None,
    *,
    spares: int = 1,
) -> int:
    """Fewest units that carry a load by the standard's rating, and ``spares`` more (N+1).

    They are not loaded above the planned limit over the winding's time constant, their hot spot stays at or below
    120 C, and they age no faster than normal. A spike that is shorter than that heats nothing and takes no unit.
    """
    ambient = t.ambient_c if ambient_c is None else ambient_c
    whole = power_w / (t.power_factor * t.rated_va)
    units = max(math.ceil(peak_loading(whole, step_s, t) / t.limit - 1e-9), 1)
    least = float(np.max(ambient + _rises(np.zeros(1), step_s, t, cold=True)[0]))
    while least < REFERENCE_HOT_SPOT_C:  # else no number of units is cool enough
        oil, winding = _rises(whole / units, step_s, t)
        hot_spot = ambient + oil + winding
        if hot_spot.max() <= HIGHEST_HOT_SPOT_C and float(ageing_factor(hot_spot).mean()) <= 1.0:
            break
        units += 1
    return units + spares


def _rises(
    loading: NDArray[np.float64], step_s: float, t: Transformer, *, cold: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rise of top oil over ambient and of the winding over it at the end of each step: float64[n] each, K."""
    oil_end, winding_end = ultimate_rises(loading, t)
    start = np.array([0.0 if cold else math.sqrt(float(np.mean(loading**2)))])
    oil_start, winding_start = (float(r[0]) for r in ultimate_rises(start, t))
    return (
        _approach(oil_end, oil_start, step_s / (t.oil_time_constant_h * 3600.0)),
        _approach(winding_end, winding_start, step_s / (t.winding_time_constant_min * 60.0)),
    )


def _approach(ends: NDArray[np.float64], start: float, steps: float) -> NDArray[np.float64]:
    """First-order approach to a new end in each step, exact for ends that are constant over it.

    Block by block in closed form, none so long that its growing weights lose digits.
    """
    block = max(1, min(ends.size, int(_GROWTH / steps)))
    left = np.exp(-steps * np.arange(1, block + 1))
    came = -math.expm1(-steps)
    values = np.empty(ends.size)
    now = start
    for begin in range(0, ends.size, block):
        part = ends[begin : begin + block]
        stay = left[: part.size]
        values[begin : begin + block] = now + came * stay * np.cumsum((part - now) / stay)
        now = float(values[begin + part.size - 1])
    return values


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
    keys = [f.name for f in fields(Transformer) if f.name != "hourly_c"]
    table.only([*keys, "hourly"], {"transformer": "transformer"})
    words = ("units", "hourly")
    numbers = {
        name: table.number(name, above=_ABOVE.get(name, 0), high=_MOST.get(name)) for name in table if name not in words
    }
    if "rated_va" not in table:
        table.fail("needs rated_va, the nameplate in VA")
    hourly = None
    if "hourly" in table:
        if "ambient_c" in table:
            table.fail("has ambient_c beside hourly, and one would be ignored; leave one out", "ambient_c")
        hourly = read_ambient(Path(path).parent / table.text("hourly"))
    return Transformer(**numbers, units=table.count("units", 1, low=1), hourly_c=hourly)


def read_ambient(path: Path) -> NDArray[np.float64]:
    """Read ``outdoor_c`` of an hourly table as those of sites are (:func:`agent.fleet.boundary.hourly.read_hours`).

    Returns
    -------
    float64[h], C

    Raises
    ------
    InputError
        If there is no such column, an hour is missing, or a cell is not a temperature.
    """
    outdoor_c = read_hours(path).outdoor_c
    if outdoor_c is None:
        raise InputError("has no column 'outdoor_c', the temperature of each hour; add it", str(path), 1)
    return outdoor_c
