"""``wattshed bench split``: how far bills on a shared GPU are from what each job drew, by either watts."""

# Imported where they are used: the command line must start without numpy.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.options import count
from wattshed.agent.errors import InputError
from wattshed.agent.printing.progress import in_sight
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from wattshed.agent.bench.split.patterns import SharedGpu
    from wattshed.agent.bench.split.running import SplitBill

SCHEMA = "wattshed.bench_split/1"
RATIOS = (1.0, 2.0, 4.0)


def add_parser(subparsers: Any) -> None:
    """Add ``bench split``."""
    parser = subparsers.add_parser(
        "split",
        help="bills on a shared GPU beside what each job drew: common watts and learned ones",
        description="Bills made-up jobs that share a GPU by common and by learned watts per activity, and compares "
        "each job's dynamic energy with its share of what was drawn: median, mean and 95th percentile of the error, "
        "how often the 95 % interval of the split holds, overall and in the worst pattern, and the median sigma.",
    )
    parser.add_argument("--seconds", type=count, default=600, metavar="S", help="length of a recording (default 600)")
    parser.add_argument("--seeds", type=count, default=5, metavar="N", help="recordings of each pattern (default 5)")
    parser.add_argument("--only", metavar="WORD", default="", help="only patterns whose name contains this")
    parser.add_argument(
        "--cost",
        action="store_true",
        help="instead, what learning costs the accounts of eight GPUs with two jobs each",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.bench.split.running import billed

    if arguments.cost:
        _tell_cost(as_json=arguments.json)
        return 0
    kinds = _kinds(arguments.only, arguments.seeds, arguments.seconds)
    rows, done, whole = [], 0, 2 * sum(len(made) for those in kinds.values() for made in those.values())
    with in_sight("billing", 1.0) as line:
        for kind, patterns in kinds.items():
            for learned in (False, True):
                found: dict[str, list[SplitBill]] = {}
                for name, recordings in patterns.items():
                    for make in recordings:
                        found.setdefault(name, []).extend(billed(name, make(), SplitRule(learned=learned)))
                        done += 1
                        line.at(done / whole)
                rows.append({"of": kind, "split": "learned" if learned else "common", **summary(found)})
    if arguments.json:
        document = {"schema": SCHEMA, "seconds": arguments.seconds, "seeds": arguments.seeds, "rows": rows}
        sys.stdout.write(json.dumps(plain(document), indent=1) + "\n")
    else:
        _print(rows)
    return 0


def _kinds(word: str, seeds: int, seconds: int) -> dict[str, dict[str, list[Callable[[], SharedGpu]]]]:
    """Return what makes the recordings, by kind and pattern."""
    from wattshed.agent.bench.split.patterns import PATTERNS, SLICES, told, told_of_instances

    kinds: dict[str, dict[str, list[Callable[[], SharedGpu]]]] = {
        f"watts 1:{ratio:.0f}": {
            name: [partial(told, name, ratio, seed, seconds) for seed in range(seeds)]
            for name in PATTERNS
            if word in name
        }
        for ratio in RATIOS
    }
    kinds["MIG"] = {
        name: [partial(told_of_instances, name, seed, seconds) for seed in range(seeds)]
        for name in SLICES
        if word in name
    }
    found = {kind: patterns for kind, patterns in kinds.items() if patterns}
    if not found:
        raise InputError(f"no pattern's name contains {word!r}; there are {', '.join((*PATTERNS, *SLICES))}")
    return found


def summary(bills: dict[str, list[SplitBill]]) -> dict[str, Any]:
    """Sum up bills, all and by pattern: errors and sigma relative to what was drawn, intervals as parts that hold."""
    found = _summed([bill for those in bills.values() for bill in those])
    patterns = {name: _summed(those) for name, those in bills.items()}
    return {**found, "held_worst": min(one["held"] for one in patterns.values()), "patterns": patterns}


def _summed(bills: Sequence[SplitBill]) -> dict[str, Any]:
    import numpy as np

    errors = np.array([abs(bill.error) for bill in bills])
    return {
        "median": float(np.median(errors)),
        "mean": float(errors.mean()),
        "p95": float(np.quantile(errors, 0.95)),
        "held": float(np.mean([bill.held for bill in bills])),
        "sigma": float(np.median([bill.sigma_j / bill.drawn_j for bill in bills])),
        "jobs": len(bills),
    }


def _tell_cost(*, as_json: bool) -> None:
    from wattshed.agent.bench.split.cost import measure
    from wattshed.agent.printing.tables import Column, print_rows, printer_for

    costs = measure()
    if as_json:
        document = {"schema": SCHEMA, "cost": [one._asdict() for one in costs]}
        sys.stdout.write(json.dumps(plain(document), indent=1) + "\n")
        return
    columns = (
        Column("accounts of which"),
        Column("a window, us", right=True),
        Column("a GPU and slot of 5 s, us", right=True),
        Column("times", right=True),
    )
    rows = [
        {
            "accounts of which": one.what,
            "a window, us": f"{one.window_us:.0f}",
            "a GPU and slot of 5 s, us": f"{one.slot_us:.1f}",
            "times": f"{one.times:.3f}",
        }
        for one in costs
    ]
    print_rows(printer_for(sys.stdout), columns, rows, gap=2)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from wattshed.agent.printing.tables import Column, print_rows, printer_for

    numbers = ("median", "mean", "p95", "held", "worst", "sigma")
    columns = (Column("jobs of"), Column("split"), *(Column(name, right=True) for name in (*numbers, "jobs")))
    shown = [
        {"jobs of": row["of"], "split": row["split"], "jobs": str(row["jobs"])}
        | {name: f"{row['held_worst' if name == 'worst' else name]:.1%}" for name in numbers}
        for row in rows
    ]
    printer = printer_for(sys.stdout)
    print_rows(printer, columns, shown, gap=2)
    printer.line()
    printer.folded("SIMULATED. Errors are of each job's part of the dynamic energy; held: 95 % intervals that hold.")
