"""``wattshed bench kernels``, or without a word: kernels against memory bandwidth and against other tools."""

# Imported where they are used: the command line must start without numba, numpy, rich and matplotlib.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.machine import machine
from wattshed.agent.bench.options import count
from wattshed.agent.errors import InputError
from wattshed.agent.printing.paragraphs import TableRows, print_parts, table
from wattshed.agent.printing.pictures import check_target
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.kernels.load import Form

SCHEMA = "wattshed.bench/1"
RIVALS = ("numpy", "polars", "duckdb")
DESCRIPTION = (
    "Measures every kernel beside a probe of memory bandwidth and beside numpy, polars and duckdb "
    "on the same sorted samples; answers are compared before times are. Medians of interleaved runs. "
    "Needs the extra 'bench' for polars and duckdb; a rival that is not installed is left out."
)


def add_parser(subparsers: Any) -> None:
    """Add ``bench kernels`` to the words of ``bench``."""
    parser = subparsers.add_parser("kernels", help="what 'bench' alone measures", description=DESCRIPTION)
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser, dest: str = "") -> None:
    """Add the options; each is kept under its name behind ``dest``."""
    parser.add_argument("--json", dest=f"{dest}json", action="store_true", help="print one JSON document")
    numbers = (
        ("samples", 32_000_000, "samples (default %(default)s)"),
        ("gpus", 8, "GPUs that they come from (default %(default)s)"),
        ("rounds", 5, "interleaved rounds (default %(default)s)"),
    )
    for name, default, text in numbers:
        parser.add_argument(f"--{name}", dest=f"{dest}{name}", type=count, default=default, metavar="N", help=text)
    parser.add_argument(
        "--only", dest=f"{dest}only", metavar="WORD", default="", help="only the kernels whose name contains this"
    )
    parser.add_argument(
        "--no-rivals",
        dest=f"{dest}no_rivals",
        action="store_true",
        help="the kernels and the probe alone: seconds, not minutes",
    )
    parser.add_argument(
        "--forms",
        dest=f"{dest}forms",
        metavar="F,...",
        default="",
        help="also compare forms of the kernels: so, objects, numba, off; the same answers, and how long each takes",
    )
    parser.add_argument(
        "--plot", dest=f"{dest}plot", metavar="FILE", help="draw the result (SVG or PNG; needs the extra 'plot')"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 0 if all answers agree, 1 if any does not."""
    from wattshed.agent.bench import forms
    from wattshed.agent.bench.contests import contests
    from wattshed.kernels.threads import threads

    if arguments.plot:
        check_target(arguments.plot)
    compared = forms.names(arguments.forms) if arguments.forms else ()
    with in_sight("making the kernels ready") as line:
        form = _made_ready(line.say)
    rivals = () if arguments.no_rivals else RIVALS
    with in_sight("making samples", 1.0) as line:
        asked = arguments.samples, arguments.gpus, arguments.rounds
        results = list(contests(*asked, rivals=rivals, only=arguments.only, say=line.say, far=line.at))
    if not results and not compared:
        raise InputError(f"--only {arguments.only}: no kernel's name contains it")
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": {**machine(), "threads": threads()},
        "form": {"name": form.name, "cpu": form.cpu},
        "samples": arguments.samples,
        "gpus": arguments.gpus,
        "rounds": arguments.rounds,
        "contests": results,
    }
    if compared:
        with in_sight("comparing the forms of the kernels") as line:
            document["forms"] = forms.compare(compared, arguments.rounds, line.say)
    if arguments.plot:
        from wattshed.agent.bench.plot import plot

        plot(document, Path(arguments.plot))
    if arguments.json:
        print(json.dumps(plain(document), indent=2))  # noqa: T201 - the answer
    else:
        print_table(document)
    return 0 if all(result["agree"] for result in (*results, *document.get("forms", ()))) else 1


def _made_ready(say: Callable[[str], None]) -> Form:
    """Compile the kernels, if they are not; returns the form that is measured.

    Raises
    ------
    InputError
        They are plain Python, of which nothing is to be measured.
    """
    from wattshed.kernels import load
    from wattshed.kernels.warm import WarmError, warm_up

    why = ""
    try:
        warm_up(say)
    except WarmError as error:
        why = str(error)
    form = load.form()
    if form.name == "off":
        raise InputError(f"bench measures compiled kernels, but here they are plain Python ({why or form.reason})")
    return form


def print_table(document: dict[str, Any]) -> None:
    """Print the contests and, where it was measured, the scaling of a document of `wattshed bench`."""
    about, form = document["machine"], document["form"]
    heading = (
        f"{document['samples']:,} samples of {document['gpus']} GPUs; {about['processor']}, "
        f"{about['threads']} threads, "
        f"kernels {form['name']} {form['cpu']}; medians of {document['rounds']} interleaved rounds"
    )
    columns = ("kernel", "ms", "GB/s", "share", *(f"x {rival}" for rival in RIVALS), "x other", "answers")
    rows = []
    for result in document["contests"]:
        rivals = result["rivals"]
        rows.append(
            (
                result["kernel"],
                f"{result['seconds'] * 1e3:.1f}",
                _number(result.get("gigabytes_per_s"), ".1f")
                or _number(result.get("giga_adds_per_s"), ".1f", " Gadd/s"),
                _number(result.get("share_of_bandwidth"), ".0%"),
                *(_number(rivals.get(rival, {}).get("times_quicker"), ".1f") for rival in RIVALS),
                ", ".join(
                    f"{value['times_quicker']:.1f} {name}" for name, value in rivals.items() if name not in RIVALS
                ),
                "agree" if result["agree"] else "DIFFER",
            )
        )
    parts: list[str | TableRows] = [
        heading,
        "",
        table(columns, rows),
        "GB/s and share: against the bandwidth probe beside it. x: how many times as fast as the rival.",
    ]
    if compared := document.get("forms"):
        parts += ["", *_forms(compared)]
    print_parts(printer_for(sys.stdout), parts)


def _forms(compared: list[dict[str, Any]]) -> list[str | TableRows]:
    """Lay out what each form took, and why one is not here."""
    seconds: dict[str, None] = {name: None for one in compared for name in one["seconds"]}
    rows = [
        (
            one["question"],
            *(f"{1e3 * one['seconds'][name]:.3g}" for name in seconds),
            "agree" if one["agree"] else "DIFFER",
        )
        for one in compared
    ]
    absent = "; ".join(f"{name} is not here ({why})" for name, why in compared[-1]["absent"].items())
    heading = "Forms of the kernels, ms (shortest of all rounds)"
    return [heading, table(("question", *seconds, "answers"), rows), *([absent] if absent else [])]


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else format(value, form) + unit
