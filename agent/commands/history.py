"""``wattshed jobs`` and ``wattshed job ID``: what jobs used, those that run and those that ended."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from wattshed.agent.reports.flags import add_filter_flags, add_source_flags, params_of
from wattshed.agent.reports.tariff_flags import add_tariff_flags, tariffs_of
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.reports.sources import JobSource

NEWEST = 100
"""How many jobs are listed where nothing says which."""
_PAGE = 1000
_CHOOSING = ("since", "until", "job", "running")  # whoever gives one of these means all that match
_JOBS_EXAMPLES = """examples:
  wattshed jobs                                 the newest jobs of this host
  wattshed jobs --user ada --since 7d           what ada's used in the last week
  wattshed jobs --running --url http://n1:9961  what runs on another host
  wattshed jobs --since 2026-03-01 --csv        all fields, for a spreadsheet
  wattshed jobs -P | cut -d'|' -f1,16           for scripts, as sacct -P does
"""
_JOB_EXAMPLES = """examples:
  wattshed job 1843009                 a job of this host, by its Slurm id
  wattshed job slurm:1843009 --json    the same, for programs
  wattshed job 1843009 --price 0.21 --currency EUR --carbon 350 --pue 1.3
  wattshed job k8s:demo/train-0 --url http://n1:9961
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands ``jobs`` and ``job``."""
    several = commands.add_parser(
        "jobs",
        help="what jobs used, running and ended, one line each",
        description="List jobs with the energy that they used, those that run first, then from the newest end.",
        epilog=_JOBS_EXAMPLES,
    )
    add_filter_flags(several)
    several.add_argument(
        "--limit",
        type=_count,
        metavar="N",
        help=f"the newest N; 0: all (default {NEWEST}, but all with --{', --'.join(_CHOOSING[:-1])} or --running)",
    )
    style = several.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="print the document of the HTTP API")
    style.add_argument("--csv", action="store_true", help="print a table for spreadsheets, times in UTC")
    style.add_argument("-P", "--parsable", action="store_true", help="print every field with | between, times in UTC")
    add_source_flags(several)
    several.set_defaults(run=run_jobs)
    one = commands.add_parser(
        "job",
        help="one job: its energy, per GPU and over time",
        description="Show all that is known of one job, running or ended: its newest run, and what earlier ones used.",
        epilog=_JOB_EXAMPLES,
    )
    one.add_argument("id", metavar="ID", help="as jobs lists it, or without what stands before the colon")
    one.add_argument(
        "--json", action="store_true", help="print the document of the HTTP API, with amounts if asked for"
    )
    add_tariff_flags(one)
    add_source_flags(one)
    one.set_defaults(run=run_job)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs")
    return int(text)


def run_jobs(args: argparse.Namespace) -> int:
    """List jobs.

    Raises
    ------
    InputError
        If a flag cannot be used.
    UnansweredError
        If there is nobody to be asked, or no answer.
    """
    from wattshed.agent.printing.progress import in_sight  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.reports import listing  # noqa: PLC0415
    from wattshed.agent.reports.sources import open_source  # noqa: PLC0415

    params = params_of(args)
    limit = args.limit if args.limit is not None else 0 if any(name in params for name in _CHOOSING) else NEWEST
    source = open_source(args)
    pages = _Pages(source, params, limit)
    if args.csv or args.parsable:
        (listing.write_csv if args.csv else listing.write_parsable)(pages.jobs(), sys.stdout)
        _tell(pages.how_many_more())
        return 0
    with in_sight("reading jobs"):
        jobs = list(pages.jobs())
        more = pages.how_many_more()
    document = {**pages.last, "jobs": jobs}
    if args.json:
        sys.stdout.write(json.dumps(plain(document)) + "\n")
        _tell(more)
    else:
        listing.print_jobs(document, sys.stdout, note=more)
    return 0


def _tell(note: str) -> None:
    if note:
        print(f"wattshed: {note}", file=sys.stderr)  # noqa: T201 - this is the command line


class _Pages:
    """Asks for jobs page by page, at most so many (0: all); ``last`` is the last page that was answered."""

    def __init__(self, source: JobSource, params: Mapping[str, str], limit: int) -> None:
        self._source, self._params, self._limit = source, params, limit
        self._count = 0
        self.last: dict[str, Any] = {}

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield them, the newest first; one that ends between two pages is in both, and yielded once."""
        running: set[tuple[str, ...]] = set()
        while not self.last or (self.last["cursor"] and (not self._limit or self._count < self._limit)):
            self.last = self._ask(min(self._limit - self._count, _PAGE) if self._limit else _PAGE)
            for job in self.last["jobs"]:
                place = job["cluster"], job["job"], job["run"]
                if place in running:
                    continue
                if job["end_s"] is None:
                    running.add(place)
                self._count += 1
                yield job

    def how_many_more(self) -> str:
        """Say how many jobs follow those that are listed, if any; no more than a page of them is counted."""
        if not self.last["cursor"]:
            return ""
        page = self._ask(_PAGE)
        more = f"more than {_PAGE:,}" if page["cursor"] else f"{len(page['jobs']):,}"
        these = "This is the newest job" if self._count == 1 else f"These are the newest {self._count:,} jobs"
        others = "is 1 older one" if more == "1" else f"are {more} older ones"
        return f"{these}; there {others} (--limit 0 lists all)."

    def _ask(self, limit: int) -> dict[str, Any]:
        cursor = {"cursor": self.last["cursor"]} if self.last else {}
        return self._source.ask("jobs", {**self._params, "limit": str(limit), **cursor})


def run_job(args: argparse.Namespace) -> int:
    """Show one job.

    Raises
    ------
    InputError
        If a flag cannot be used.
    UnansweredError
        If there is nobody to be asked, or no such job.
    """
    from wattshed.agent.reports import job_amounts  # noqa: PLC0415
    from wattshed.agent.reports.one_job import print_job  # noqa: PLC0415
    from wattshed.agent.reports.sources import open_source  # noqa: PLC0415

    tariffs = tariffs_of(args)
    source = open_source(args)
    document = source.ask(f"jobs/{args.id}", {})
    priced = job_amounts.amounts_of(source, document["job"], tariffs) if tariffs.by_amount() else None
    if args.json:
        amounts = {"amounts": job_amounts.document_of(priced)} if priced else {}
        sys.stdout.write(json.dumps(plain(document | amounts)) + "\n")
    elif priced:
        facts, notes = job_amounts.facts_of(priced), job_amounts.notes_on(priced)
        print_job(document, sys.stdout, amounts=facts, notes=notes)
    else:
        print_job(document, sys.stdout)
    return 0
