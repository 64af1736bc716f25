"""Units in column names: ``Day-ahead Price (EUR/MWh)``, ``price_eur_per_kwh``, ``Carbon intensity gCO2eq/kWh``."""

from __future__ import annotations

import re
from decimal import Decimal

from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE

_KWH = {"kwh": Decimal(1), "mwh": Decimal(1000), "gwh": Decimal(1_000_000)}
_GRAMS = {"g": Decimal(1), "kg": Decimal(1000), "t": Decimal(1_000_000), "lb": Decimal("453.59237")}
"""The international avoirdupois pound is exactly 453.59237 g (NIST Special Publication 811)."""
_SIGNS = {"€": "EUR", "£": "GBP", "$": "USD"}
_HUNDREDTHS = {"ct": "EUR", "cent": "EUR", "cents": "EUR", "c": "", "p": "GBP", "pence": "GBP"}
_PER = r"\s*(?:/|_?per_?|\bper\b)\s*(?P<energy>[kmg]wh)\b"
_MASS = re.compile(r"(?<![a-z])(?P<mass>kg|g|t|lbs?)[\s_]*(?:co(?:2|₂)[\s_]*(?:e|eq)?)?" + _PER, re.IGNORECASE)
_MONEY = re.compile(r"(?<![a-z])(?P<money>[a-z]{1,5}|[€£$])" + _PER, re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Za-z]{3}")


def unit_in(name: str, quantity: str) -> tuple[Decimal, str] | None:
    """Find the unit in a column's name.

    Parameters
    ----------
    name : str
    quantity : str
        ``"price"`` or ``"carbon"``.

    Returns
    -------
    (Decimal, str) or None
        What a value of the column is to be multiplied by, and the unit that it then has (per kWh); None without a unit
        that can be read.
    """
    name = name.replace("_", " ")
    if quantity == CARBON:
        if (match := _MASS.search(name)) is None:
            return None
        grams = _GRAMS[match["mass"].lower().removesuffix("s")]
        return grams / _KWH[match["energy"].lower()], CARBON_UNIT
    if quantity != PRICE or (match := _MONEY.search(name)) is None:
        return None
    money, energy = match["money"], _KWH[match["energy"].lower()]
    if money.lower() in _HUNDREDTHS:
        currency = _HUNDREDTHS[money.lower()]
        return (1 / (100 * energy), f"{currency}/kWh") if currency else None
    currency = _SIGNS.get(money, money.upper() if _CURRENCY.fullmatch(money) else "")
    return (1 / energy, f"{currency}/kWh") if currency else None
