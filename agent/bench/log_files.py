"""``wattshed bench files``: how fast files of each kind are read, as whole processes, beside other tools."""

# Imported where they are used: the command line must start without numpy, rich and matplotlib.
# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from wattshed.agent.bench.machine import machine
from wattshed.agent.bench.options import count
from wattshed.agent.errors import InputError
from wattshed.agent.printing.paragraphs import print_parts, table
from wattshed.agent.printing.pictures import check_target
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

SCHEMA = "wattshed.bench_files/1"


def add_parser(subparsers: Any) -> None:
    """Add ``bench files``."""
    parser = subparsers.add_parser(
        "files",
        help="reading files of each kind, beside polars, duckdb and pyarrow",
        description="Writes made-up files of each kind into a temporary folder and reads them, each time in a process "
        "of its own: seconds from its start to its end, what of it is reading (less what a tiny file takes), MB and "
        "rows a second, and the peak of its memory. polars and duckdb integrate the same files, and pyarrow decodes "
        "the same columns, in turns with it. All energies are compared with what was written before anything is timed.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--mb", type=_megabytes, default=8.0, metavar="N", help="MB of each file (default 8)")
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="interleaved rounds (default %(default)s)")
    parser.add_argument("--seed", type=count, default=1, metavar="N", help="of the made-up powers (default 1)")
    parser.add_argument("--only", metavar="WORD", default="", help="only kinds whose name contains this")
    parser.add_argument("--no-rivals", action="store_true", help="measure wattshed alone")
    parser.add_argument("--plot", metavar="FILE", help="draw the result (SVG or PNG; needs the extra 'plot')")
    parser.set_defaults(run=run)


def _megabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of MB above 0")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 if all energies were those that were written, else 1."""
    from wattshed.agent.bench.log_contests import measure
    from wattshed.agent.bench.log_kinds import KINDS
    from wattshed.agent.bench.process import ProcessFailedError

    chosen = [kind for kind in KINDS if arguments.only in kind.name]
    if not chosen:
        names = ", ".join(kind.name for kind in KINDS)
        raise InputError(f"--only {arguments.only}: no kind has that in its name; there are {names}")
    if arguments.plot:
        check_target(arguments.plot)
    found: list[dict[str, Any]] = []
    with in_sight("files", len(chosen)) as line:
        for over, kind in enumerate(chosen, start=1):
            with tempfile.TemporaryDirectory(prefix="wattshed-files-") as folder:
                asked = {"mb": arguments.mb, "rounds": arguments.rounds, "seed": arguments.seed}
                try:
                    found.append(measure(kind, Path(folder), line.say, **asked, rivals=not arguments.no_rivals))
                except ProcessFailedError as error:
                    raise InputError(f"bench files, {kind.name}: {error}") from None
            line.at(over)
    document = {
        "schema": SCHEMA,
        "machine": machine(),
        "form": _form(),
        "seed": arguments.seed,
        "rounds": arguments.rounds,
        "kinds": found,
    }
    if arguments.plot:
        from wattshed.agent.bench.log_plot import plot

        plot(document, Path(arguments.plot))
    if arguments.json:
        sys.stdout.write(json.dumps(plain(document), indent=2) + "\n")
    else:
        print_table(document)
    return 0 if all(one["agree"] and all(rival["agree"] for rival in one["rivals"].values()) for one in found) else 1


def _form() -> str:
    """Return in which form kernels run."""
    from wattshed.kernels import load

    return load.form().name


def print_table(document: dict[str, Any]) -> None:
    """Print a document of ``wattshed bench files``."""
    about, rows = document["machine"], []
    for one in document["kinds"]:
        beside = ", ".join(
            f"{rival['times_quicker']:.2f} {name}{'' if rival['agree'] else ' (DIFFERS)'}"
            for name, rival in one["rivals"].items()
        )
        rows.append(
            (
                one["kind"] + ("" if one["agree"] else " (DIFFERS)"), f"{one['bytes'] / 1e6:.0f}",
                f"{one['rows'] / 1e6:.2f}", f"{one['seconds']:.2f}", f"{one['reading_s']:.2f}",
                f"{one['reading_mb_per_s']:.0f}", f"{one['rows'] / one['reading_s'] / 1e6:.2f}",
                f"{one['peak_mib']:.0f}", beside,
            )
        )  # fmt: skip
    heading = f"{about['processor']}, {about['cores']} cores; medians of {document['rounds']} rounds"
    names = ("kind", "MB", "M rows", "s", "reading s", "MB/s", "M rows/s", "peak MiB", "times as fast as")
    print_parts(printer_for(sys.stdout), [heading, "", table(names, rows)])
