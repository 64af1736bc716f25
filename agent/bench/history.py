"""``wattshed bench history``: how fast a site's history takes jobs in, and how fast it answers."""

# Imported where they are used: the command line must start without rich.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.machine import machine
from wattshed.agent.bench.options import count
from wattshed.agent.errors import counted
from wattshed.agent.printing.paragraphs import print_parts, table
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse

SCHEMA = "wattshed.bench_history/1"


def add_parser(subparsers: Any) -> None:
    """Add ``bench history``."""
    parser = subparsers.add_parser(
        "history",
        help="a history of many jobs: taking them in, lists, one job, reports",
        description="Makes up a site's jobs, takes them in as a collector does, writes some as an agent does, and asks "
        "what users ask. In SQLite, in a temporary folder; with --database in PostgreSQL too, in a schema of its own "
        "that is dropped afterwards.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--jobs", type=count, default=100_000, metavar="N", help="jobs (default %(default)s)")
    parser.add_argument(
        "--hosts", type=count, default=100, metavar="N", help="hosts that they ran on (default %(default)s)"
    )
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="times that each is asked (default 5)")
    parser.add_argument("--database", metavar="URL", help="postgresql://... to measure beside SQLite")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 if every question was answered alike by all databases, else 1."""
    from wattshed.agent.bench.site_work import ask_all, fill, passing_schema, questions, same_answers, write_own

    with tempfile.TemporaryDirectory(prefix="wattshed-history-") as folder:
        places = {"SQLite": f"{folder}/site.db"}
        of_a_host = max(arguments.jobs // arguments.hosts, 1)
        with in_sight("writing jobs of an agent", of_a_host) as line:
            own = write_own(Path(folder), of_a_host, line.at)
        found: list[dict[str, Any]] = []
        with passing_schema(arguments.database) as url:
            if url:
                places["PostgreSQL"] = url
            for name, place in places.items():
                with in_sight(f"{name}: taking in jobs", arguments.jobs) as line:
                    taken = fill(place, arguments.jobs, arguments.hosts, line.at)
                with in_sight(f"{name}: asking", len(questions(arguments.jobs))) as line:
                    asked = ask_all(place, arguments.jobs, arguments.rounds, line.at)
                found.append(
                    {
                        "database": name,
                        "jobs": taken.parts,
                        "seconds": taken.seconds,
                        "jobs_per_s": taken.parts / taken.seconds,
                        "bytes_per_job": taken.bytes_used / taken.parts,
                        "questions": asked,
                    }
                )
    document = {
        "schema": SCHEMA,
        "machine": machine(),
        "hosts": arguments.hosts,
        "agent": own,
        "databases": found,
        "agree": same_answers([one["questions"] for one in found]),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(plain(document), indent=2) + "\n")
    else:
        print_table(document)
    return 0 if document["agree"] else 1


def print_table(document: dict[str, Any]) -> None:
    """Print a document of ``wattshed bench history``."""
    about, databases, own = document["machine"], document["databases"], document["agent"]
    jobs = databases[0]["jobs"]
    empty = [""] * (len(databases) - 1)
    rows = [
        ("taken in by a collector, jobs a second", *(f"{one['jobs_per_s']:,.0f}" for one in databases)),
        ("on the disk, bytes a job", *(f"{one['bytes_per_job']:,.0f}" for one in databases)),
        ("written by an agent, jobs a second", f"{own['jobs'] / own['seconds']:,.0f}", *empty),
    ]
    for number, asked in enumerate(databases[0]["questions"]):
        times = (f"{1e3 * one['questions'][number]['seconds']:,.1f} ms" for one in databases)
        rows.append((f"{asked['question']} ({counted(asked['rows'], 'row')})", *times))
    heading = f"{jobs:,} jobs of {document['hosts']} hosts; {about['processor']}, {about['cores']} cores"
    print_parts(printer_for(sys.stdout), [heading, "", table(("what", *(one["database"] for one in databases)), rows)])
    if not document["agree"]:
        sys.stderr.write("wattshed: the databases gave different answers\n")
