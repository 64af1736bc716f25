"""Numbers with their units, as Grafana writes those that the boards use; another unit is an error."""

import math

PREFIXES = ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P")
SCALED = {"watt": "W", "watth": "Wh", "joule": "J", "hertz": "Hz", "s": "s"}


def shown(value, unit, decimals=None):
    """One number as text."""
    if value is None or math.isnan(value):
        return "unknown"
    if unit == "percentunit":
        return f"{_digits(value * 100, 1 if decimals is None else decimals)}%"
    if unit == "kwatth":
        return f"{_digits(value, decimals)} kWh"
    if unit == "celsius":
        return f"{_digits(value, decimals)} °C"
    if unit in ("none", "short"):
        return _digits(value, decimals)
    symbol = unit.removeprefix("si:") if unit.startswith("si:") else SCALED.get(unit)
    if symbol is None:
        raise ValueError(f"the unit {unit} is not known")
    place = PREFIXES.index("")
    while abs(value) >= 1000 and place < len(PREFIXES) - 1:
        value, place = value / 1000, place + 1
    while 0 < abs(value) < 1 and unit == "s" and place > 0:
        value, place = value * 1000, place - 1
    return f"{_digits(value, decimals)} {PREFIXES[place]}{symbol}"


def _digits(value, decimals=None):
    """Three figures unless told otherwise, and no zeros behind them."""
    if decimals is None:
        decimals = 0 if abs(value) >= 100 or value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(decimals, 4)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{int(decimals)}f}"


def ticks(low, high, count=5):
    """Round numbers between two, for an axis."""
    rough = (high - low) / count or 1
    power = 10 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
