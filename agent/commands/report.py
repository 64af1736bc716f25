"""``wattshed report``: what users, accounts, days and the like used, cost and emitted."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.reports.flags import add_filter_flags, add_source_flags, params_of
from wattshed.agent.reports.tariff_flags import add_tariff_flags, tariffs_of
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.inputs.opencost import Allocation
    from wattshed.agent.reports.amounts import Tariffs
    from wattshed.agent.reports.focus import FocusNames
    from wattshed.agent.reports.sources import JobSource

BY = ("user", "account", "partition", "namespace", "qos", "host", "model", "day", "month", "workload", "queue")
"""What a report goes by."""
_FOCUS_NAMES = ("provider", "publisher", "issuer", "account", "region")
_EXAMPLES = """examples:
  wattshed report --by user --since 30d
      energy of the last 30 days by user
  wattshed report --by account --since 2026-03-01 --until 2026-04-01 \\
      --price 0.21 --currency EUR --pue 1.3
      what a month cost, at the wall
  wattshed report --by day --since 7d --price day-ahead.csv --sequence 1 \\
      --carbon DE_2026_hourly.csv
      cost and carbon by the values of each hour
  wattshed report --by user --since 7d --gpu-hour H100=2.50 \\
      --gpu-hour L40S=0.90 --currency EUR
      what the GPU hours cost
  wattshed report --by namespace --since 7d --price 0.21 --html week.html
      also a page with plots
  wattshed report --by account --since 7d --price 0.21 --currency EUR \\
      --focus week.csv
      also FOCUS, for cost management
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "report",
        help="energy, cost and carbon by user, account, host, day ...",
        description="Add up what jobs used by user, account, partition, namespace, host, day and so "
        "on, with what it cost and emitted.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--by", choices=BY, required=True, metavar="WHAT", help=f"what the rows are: {', '.join(BY[:-1])} or {BY[-1]}"
    )
    add_filter_flags(parser, running=False)
    money = add_tariff_flags(parser)
    money.add_argument(
        "--gpu-hour", metavar="MODEL=RATE", action="append", default=[],
        help="what an hour of a GPU of this model costs (repeatable); MODEL is a part of its name",
    )  # fmt: skip
    money.add_argument(
        "--opencost", metavar="F", help="an answer of OpenCost's /allocation: its cost of GPUs beside (--by namespace)"
    )
    group = parser.add_argument_group("the answer")
    style = group.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="print a document, with exact amounts")
    style.add_argument("--csv", action="store_true", help="print a table for spreadsheets")
    style.add_argument("-P", "--parsable", action="store_true", help="print every field with | between")
    group.add_argument(
        "--idle", choices=("rows", "spread"), default="rows",
        help="what nobody used: rows of its own (default), or spread over the others in proportion to their energy",
    )  # fmt: skip
    group.add_argument("--html", metavar="FILE", help="also write a page with plots: one file without scripts")
    group.add_argument("--focus", metavar="FILE", help="also write FOCUS, a CSV with a row for each job and day")
    group.add_argument("--focus-version", choices=("1.2", "1.4"), default="1.2", help="of FOCUS (default 1.2)")
    group.add_argument(
        "--focus-names", metavar="k=v,...", default="",
        help=f"who provides the GPUs and bills: {', '.join(_FOCUS_NAMES)} (default provider=site)",
    )  # fmt: skip
    add_source_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a report, and write the files that are asked for.

    Raises
    ------
    InputError
        If a flag or a file cannot be used.
    UnansweredError
        If there is nobody to be asked, or no answer.
    """
    from wattshed.agent.printing.progress import in_sight  # noqa: PLC0415
    from wattshed.agent.reports.amounts import priced, with_gpu_hours, with_opencost  # noqa: PLC0415 - when it runs
    from wattshed.agent.reports.notes import notes_of  # noqa: PLC0415
    from wattshed.agent.reports.questions import DAY_S, day_by_day, report_of  # noqa: PLC0415
    from wattshed.agent.reports.sheet import print_sheet, sheet_of  # noqa: PLC0415
    from wattshed.agent.reports.sources import open_source  # noqa: PLC0415

    tariffs = tariffs_of(args)
    rates = [_rate(text) for text in args.gpu_hour]
    allocations = _allocations(args)
    focus = _focus_names(args, tariffs)
    params = params_of(args)
    source = open_source(args)
    now_s = time.time()
    with in_sight("adding up the jobs"):
        found = report_of(source, params, args.by, tariffs.step_s() or (DAY_S if args.html else None), now_s=now_s)
    spread = args.idle == "spread"
    document = priced(found, tariffs, spread=spread)
    if rates:
        document = with_gpu_hours(document, _rated(source, params, args.by, rates))
    if allocations is not None:
        document = with_opencost(document, allocations)
    if args.html:
        from wattshed.agent.reports.html import write_page  # noqa: PLC0415

        write_page(Path(args.html), document, found)
    if args.focus:
        _write_focus(args, day_by_day(source, params, tariffs.step_s() or DAY_S, now_s), tariffs, focus)
    if args.json:
        sys.stdout.write(json.dumps(plain({**document, "notes": notes_of(document)})) + "\n")
    elif args.csv or args.parsable:
        _write_fields(document, parsable=args.parsable)
    else:
        print_sheet(sheet_of(document), sys.stdout)
    return 0


def _allocations(args: argparse.Namespace) -> list[Allocation] | None:
    if args.opencost is None:
        return None
    from wattshed.agent.inputs.opencost import read_allocations  # noqa: PLC0415

    if args.by != "namespace":
        raise InputError("--opencost: is joined by namespace; use --by namespace")
    return read_allocations(args.opencost)


def _rate(text: str) -> tuple[str, Decimal]:
    model, equals, rate = text.rpartition("=")
    try:
        value = Decimal(rate)
    except InvalidOperation:
        value = Decimal("NaN")
    if not (equals and model and value.is_finite() and value >= 0):
        raise InputError(f"--gpu-hour: {text!r} is not MODEL=RATE, such as H100=2.50")
    return model, value


def _rated(
    source: JobSource, params: Mapping[str, str], by: str, rates: Sequence[tuple[str, Decimal]]
) -> list[tuple[Decimal, dict[str, Any]]]:
    """Ask for the report of each model that has a rate."""
    from wattshed.agent.reports.questions import report_of  # noqa: PLC0415

    models = [row["name"] for row in report_of(source, params, "model", None, now_s=0.0)["rows"]]
    chosen: dict[str, Decimal] = {}
    for wanted, rate in rates:
        fits = [one for one in models if one == wanted] or [one for one in models if wanted.lower() in one.lower()]
        if not fits:
            has = ", ".join(one or "unknown" for one in models) or "none"
            print(f"wattshed: --gpu-hour: no model in this report is a {wanted!r} (it has {has})", file=sys.stderr)  # noqa: T201
        for model in fits:
            if chosen.setdefault(model, rate) != rate:
                raise InputError(f"--gpu-hour: {model!r} has two rates; write more of the models' names")
    return [
        (rate, report_of(source, {**params, "model": model}, by, None, now_s=0.0)) for model, rate in chosen.items()
    ]


def _focus_names(args: argparse.Namespace, tariffs: Tariffs) -> FocusNames | None:
    """Read who bills, and whether there is something to be billed by; None if no file of FOCUS is asked for."""
    from wattshed.agent.reports.focus import FocusNames  # noqa: PLC0415

    if not args.focus:
        return None
    if tariffs.price is None:
        raise InputError("--focus: is a file of costs; give --price too")
    if not tariffs.currency:
        raise InputError("--focus: the currency is unknown; give --currency too")
    names: dict[str, str] = {}
    for part in filter(None, args.focus_names.split(",")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not value or key not in _FOCUS_NAMES or key in names:
            raise InputError(
                f"--focus-names: {part!r} is not one of {', '.join(_FOCUS_NAMES)} with =, a name, and once"
            )
        names[key] = value
    return FocusNames(**names)


def _write_focus(
    args: argparse.Namespace, documents: Iterable[dict[str, Any]], tariffs: Tariffs, names: FocusNames | None
) -> None:
    from wattshed.agent.reports.amounts import kwh  # noqa: PLC0415
    from wattshed.agent.reports.focus import focus_rows, write_focus  # noqa: PLC0415
    from wattshed.agent.wire.parts import joules  # noqa: PLC0415

    if names is None:
        return
    rows: list[Mapping[str, str]] = []
    unpriced_hnj = 0
    for document in documents:
        found = focus_rows(document, tariffs, names, version=args.focus_version, spread=args.idle == "spread")
        rows += found.rows
        unpriced_hnj += found.unpriced_hnj
    out = io.StringIO()
    write_focus(rows, args.focus_version, out)
    _write(args.focus, out.getvalue())
    if unpriced_hnj:
        lost = f"{kwh(joules(unpriced_hnj)):,.3f} kWh on days without a price are in no row"
        print(f"wattshed: {args.focus}: {lost}", file=sys.stderr)  # noqa: T201


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path) from error


def _write_fields(document: Mapping[str, Any], *, parsable: bool) -> None:
    """Write every field of every row, for spreadsheets or as ``sacct -P`` does."""
    from wattshed.agent.printing.figures import printable  # noqa: PLC0415
    from wattshed.agent.reports.listing import guarded  # noqa: PLC0415
    from wattshed.agent.reports.work_fields import with_work_fields  # noqa: PLC0415

    document = plain(with_work_fields(document))
    fields = [name for name in document["total"] if name != "jobs"]
    lines = [
        [row["name"], *("" if (value := row.get(name)) is None else str(value) for name in ("jobs", *fields))]
        for row in document["rows"]
    ]
    head = [document["by"], "jobs", *fields]
    if parsable:
        shown = [[printable(name).replace("|", r"\x7c"), *rest] for name, *rest in lines]
        sys.stdout.writelines("|".join(line) + "\n" for line in (head, *shown))
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([guarded(name), *rest] for name, *rest in lines)
