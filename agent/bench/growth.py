"""``wattshed bench growth``: time and memory against samples, GPUs, jobs and hosts, each point in a fresh process."""

# Imported where they are used: the command line must start without rich and matplotlib.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.machine import machine
from wattshed.agent.bench.options import count
from wattshed.agent.errors import InputError
from wattshed.agent.printing.paragraphs import print_parts, table
from wattshed.agent.printing.pictures import check_target
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse

SCHEMA = "wattshed.growth/1"
_READY_S = 600.0
AXES = ("samples", "GPUs", "jobs", "hosts")


def add_parser(subparsers: Any) -> None:
    """Add ``bench growth``."""
    parser = subparsers.add_parser(
        "growth",
        help="time and memory against samples, GPUs, jobs and hosts",
        description="Does what users do with ever more samples, GPUs, jobs and hosts, each point in a process of its "
        "own: seconds, and the peak of that process' memory. A slope is that of the last tenfold step of size: 1 is "
        "linear. A series ends, and says why, where its next point would take longer than the limit, or more memory "
        "or disk than there is.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds, not minutes")
    parser.add_argument(
        "--limit",
        type=count,
        default=60,
        metavar="S",
        help="a point, or what it needs beforehand, that would take longer is left out (default %(default)s)",
    )
    parser.add_argument("--only", metavar="WORD", default="", help="only series whose name or axis contains this")
    parser.add_argument("--plot", metavar="FILE", help="draw the result (SVG or PNG; needs the extra 'plot')")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 if every series has a point, 1 if one failed at its first."""
    from wattshed.agent.bench.growth_points import grow
    from wattshed.agent.bench.growth_series import SERIES

    chosen = [one for one in SERIES if arguments.only in one.name or arguments.only == one.axis]
    if not chosen:
        raise InputError(f"--only {arguments.only}: no series has that in its name; there are "
                         f"{', '.join(one.name for one in SERIES)} and the axes {', '.join(AXES)}")  # fmt: skip
    if arguments.plot:
        check_target(arguments.plot)
    points = sum(len(one.quick if arguments.quick else one.sizes) for one in chosen)
    with in_sight("making the kernels ready", points) as line:
        if not arguments.quick:
            _make_ready()
        grown = grow(chosen, quick=arguments.quick, limit_s=float(arguments.limit), say=line.say, far=line.at)
    document = {
        "schema": SCHEMA,
        "machine": machine(),
        "limit_s": arguments.limit,
        "quick": arguments.quick,
        "series": grown,
    }
    if arguments.plot:
        from wattshed.agent.bench.growth_plot import plot

        plot(document, Path(arguments.plot))
    if arguments.json:
        sys.stdout.write(json.dumps(plain(document), indent=2) + "\n")
    else:
        print_table(document)
    return 0 if all(one["points"] for one in grown) else 1


def _make_ready() -> None:
    """Let kernels be compiled that are not yet, or the first point would have to wait for it."""
    from wattshed.agent.bench.process import ProcessFailedError, measured

    try:
        measured((sys.executable, "-m", "wattshed", "warm"), limit_s=_READY_S)
    except ProcessFailedError as error:
        sys.stderr.write(f"wattshed: wattshed warm {error}; the first points may hold the time of compiling\n")


def print_table(document: dict[str, Any]) -> None:
    """Print a document of ``wattshed bench growth``."""
    about, rows = document["machine"], []
    for one in document["series"]:
        slopes = one["slope"]
        for number, point in enumerate(one["points"]):
            last = number == len(one["points"]) - 1
            slope = f"time {slopes['seconds']:z.2f}, memory {slopes['peak_mib']:z.2f}" if last and slopes else ""
            rows.append(
                (
                    one["what"] if not number else "", f"{point['size']:,} {one['axis']}", f"{point['seconds']:.3g}",
                    f"{point['peak_mib']:.0f}", slope,
                )
            )  # fmt: skip
        if one["stopped"]:
            rows.append(("" if one["points"] else one["what"], one["stopped"], "", "", ""))
    heading = f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB"
    laid_out = table(("what", "size", "s", "peak MiB", "slope"), rows)
    print_parts(printer_for(sys.stdout), [heading, "", laid_out])
