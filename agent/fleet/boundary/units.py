"""Numbers as people read them, with four digits and a prefix; JSON keeps the plain SI number."""

from __future__ import annotations

import re

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_PREFIXED = ("W", "Wh", "J", "VA")
_TOO_LONG = 1e11  # to be read with all of its digits
_SINGULAR = re.compile(r"(?<=[a-rt-zU])s\b")  # of the first word: charges, times the next, GPUs


def shown(value: float, unit: str) -> str:
    """``value`` with its unit: ``58.6 MW``, ``17,030 households``, ``1 charge``, ``36.7 %`` (from 0.367 of unit ``%``).

    Powers and energies get a prefix; a unit of kWh, MWh or TWh stays what it is. Of 1 a plural becomes a singular.
    """
    if unit == "%":
        return f"{value * 100:.4g} %"
    if unit in _PREFIXED:
        scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * 0.9995), (1.0, ""))
        return f"{value / scale:.4g} {prefix}{unit}"
    if abs(value) >= _TOO_LONG:
        number = f"{value:.4g}".replace("e+", "e")
    else:
        number = f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:.4g}"
    return f"{number} {_SINGULAR.sub('', unit, 1) if number == '1' else unit}".strip()


def between(low: float, high: float, unit: str) -> str:
    """``low`` to ``high``, with the unit said once where both have the same: ``41 to 70.1 MW``."""
    first, last = shown(low, unit), shown(high, unit)
    head, _, tail = first.partition(" ")
    return f"{head if last.partition(' ')[2] == tail else first} to {last}"


def percent(share: float) -> str:
    """Write a share of which every digit counts, such as a confidence: ``95%``, ``97.5%``, ``99.99%``."""
    return f"{100.0 * share:.10g}%"
