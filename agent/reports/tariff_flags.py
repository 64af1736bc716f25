"""Flags of the commands that say what energy costs and emits: numbers, or files of values over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from wattshed.agent.reports.amounts import Tariffs


def add_tariff_flags(parser: argparse.ArgumentParser, *, columns: str = "--columns") -> argparse._ArgumentGroup:
    """Add the flags that `tariffs_of` reads; returns their group.

    Parameters
    ----------
    parser : ArgumentParser
    columns : str
        What the flag for columns of tariff files is called, where ``--columns`` is another one.
    """
    group = parser.add_argument_group("money and carbon: a number, or a file of values over time")
    group.add_argument("--price", metavar="P", help="of a kWh: 0.21, or a file (ENTSO-E, or start,end,price)")
    group.add_argument("--currency", metavar="C", help="of prices and rates, such as EUR; a file's must be the same")
    group.add_argument("--carbon", metavar="G", help="g of CO2e a kWh: 350, or a file (Electricity Maps, WattTime)")
    group.add_argument("--pue", metavar="P", help="energy at the wall over that of the boards: 1.3, or a file")
    group.add_argument(
        "--basis", choices=("lifecycle", "direct"), default="lifecycle", help="of carbon (default lifecycle)"
    )
    group.add_argument("--sequence", metavar="N", default="", help="which auction of a file of day-ahead prices")
    group.add_argument("--area", metavar="A", default="", help="which bidding zone of such a file")
    group.add_argument(
        columns, dest="tariff_columns", metavar="k=v,...",
        help="columns of another table: time=ts,price=price_eur_per_mwh",
    )  # fmt: skip
    parser.set_defaults(tariff_columns_flag=columns)
    return group


def tariffs_of(args: argparse.Namespace) -> Tariffs:
    """Read what the flags of money and carbon say, see `tariffs_from`.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """
    names = ("price", "currency", "carbon", "pue", "basis", "sequence", "area")
    said = {name: getattr(args, name) for name in names}
    return tariffs_from(columns=args.tariff_columns, columns_flag=args.tariff_columns_flag, **said)


def tariffs_from(
    *,
    price: float | str | None = None,
    currency: str | None = None,
    carbon: float | str | None = None,
    pue: float | str | None = None,
    basis: str = "lifecycle",
    sequence: str = "",
    area: str = "",
    columns: str | Mapping[str, str] | None = None,
    columns_flag: str = "--tariff-columns",
) -> Tariffs:
    """Read what is said about money and carbon.

    Parameters
    ----------
    price, carbon, pue : float or str, optional
        Of a kWh; g of CO2e a kWh; energy at the wall over that of the boards: a number, or the path of a file of values
        over time.
    currency : str, optional
        Three capitals.
    basis : {"lifecycle", "direct"}
        Of carbon.
    sequence, area : str
        Which auction, and which bidding zone, of a file of day-ahead prices.
    columns : str or mapping, optional
        Of other tables.
    columns_flag : str
        What these are called in messages.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """
    from wattshed.agent.reports.amounts import Tariffs  # noqa: PLC0415

    currency = currency or ""
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise InputError(f"--currency: {currency!r} is not a currency's code; write three capitals such as EUR")
    given = {"price": price, "carbon": carbon, "pue": pue}
    if not columns and all(value is None for value in given.values()):
        return Tariffs(currency=currency)
    from wattshed.agent.inputs.columns import parse_spec  # noqa: PLC0415 - what reads tables is slow to load
    from wattshed.agent.inputs.tariffs.reading import read_tariff  # noqa: PLC0415
    from wattshed.agent.inputs.tariffs.tables import Asked  # noqa: PLC0415

    spec = parse_spec(columns, ("time", "end", *given)) if columns else {}
    named = {key: f"{name}:{unit}" if unit else name for key, (name, unit) in spec.items()}
    if named and not any(key in named and given[key] for key in given):
        raise InputError(f"{columns_flag}: names no column of a price, carbon or pue file that is given")
    found = {}
    for quantity, value in given.items():
        if value is None:
            continue
        own = {key: named[key] for key in ("time", "end", quantity) if quantity in named and key in named}
        found[quantity] = read_tariff(str(value), Asked(quantity, basis, sequence, area, currency, own))
    return Tariffs(**found, currency=found["price"].currency if "price" in found else currency)
