"""One way to any tariff: a number, or a file that says what it is."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import name_of, read_bytes
from wattshed.agent.inputs.tariffs.documents import read_a44, read_watttime
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff
from wattshed.agent.inputs.tariffs.tables import BASES, read_steps
from wattshed.agent.inputs.text import decoded

if TYPE_CHECKING:
    from wattshed.agent.inputs.tariffs.tables import Asked


def read_tariff(text: str, asked: Asked) -> Tariff:
    """Read a price, a carbon intensity or a PUE: a number for all times, or a file.

    Parameters
    ----------
    text : str
        ``0.31`` (per kWh; grams per kWh; or a ratio), or the path or http(s) URL of a table that Electricity Maps or
        ENTSO-E exports, of an A44 document, of an answer of WattTime, or of a table of one's own.
    asked : Asked
        What it is, and which of what the file holds.

    Raises
    ------
    InputError
        Naming the file, the line and the column, if it cannot be used.
    """
    if asked.basis not in BASES:
        raise InputError(f"--basis: {asked.basis!r} is not known; use {' or '.join(BASES)}")
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is not None and not Path(text).exists():
        return _constant(number, text, asked)
    content, name = read_bytes(text), name_of(text)
    head = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        tariff = read_a44(decoded(content, name), name, asked)
    elif head.startswith(b"{"):
        tariff = read_watttime(decoded(content, name), name, asked)
    else:
        tariff = read_steps(text, asked)
    if asked.currency and tariff.currency and asked.currency != tariff.currency:
        message = f"prices are in {tariff.currency}, not {asked.currency}; nothing is converted: use --currency"
        raise InputError(f"{message} {tariff.currency}", name)
    return tariff


def _constant(number: Decimal, text: str, asked: Asked) -> Tariff:
    option = f"--{asked.quantity}"
    if not number.is_finite():
        raise InputError(f"{option}: {text!r} is not a finite number")
    if asked.quantity == PUE and number < 1:
        raise InputError(f"{option}: {text} is below 1; a PUE is all power over that of the computers")
    if asked.quantity == CARBON and number < 0:
        raise InputError(f"{option}: {text} is below 0")
    unit = CARBON_UNIT if asked.quantity == CARBON else ""
    if asked.quantity == PRICE and asked.currency:
        unit = f"{asked.currency}/kWh"
    return Tariff.constant(asked.quantity, number, unit)
