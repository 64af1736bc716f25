"""``wattshed bench agent``: the agent beside other exporters on one simulated driver library, and what each costs."""

# Imported where they are used: the command line must start without rich and http.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.machine import machine
from wattshed.agent.bench.options import count, some_seconds
from wattshed.agent.printing.paragraphs import print_parts, table
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SCHEMA = "wattshed.bench_agent/2"
DRIVER = "SIMULATED: a driver of this process, with eight GPUs, below NVIDIA's own Python binding"
_SLOW_S = 180.0
_COLUMNS = {
    "core_percent": "% of a core, never asked",
    "scraped_core_percent": "% scraped",
    "scrape_cpu_ms": "a scrape, ms of processor",
    "resident_mib": "resident, MiB",
    "calls_per_s": "driver calls/s",
    "readings_per_s": "power readings/s",
    "late_p99_ms": "late (p99), ms",
    "scrape_ms": "a scrape, ms of waiting",
    "series": "series",
}


def add_parser(subparsers: Any) -> None:
    """Add ``bench agent``."""
    parser = subparsers.add_parser(
        "agent",
        help="the agent beside other exporters: processor time, memory, driver calls, lateness, scrapes",
        description="Runs the agent, and the exporters in Python that are installed, one after the other, each in a "
        "process of its own on a SIMULATED driver with eight GPUs: first nobody asks them anything, then they are "
        "scraped. The processor time that the simulated driver takes for its answers is left out. One row is the agent "
        "while it is scraped, asked for reports of its history and beside a build of its kernels, all at once.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--seconds", type=count, default=10, metavar="S", help="how long each, twice (default %(default)s)"
    )
    parser.add_argument(
        "--scrape-every",
        type=some_seconds,
        default=1.0,
        metavar="S",
        help="seconds between two scrapes (default %(default)s: more often than monitoring asks, so that a short run "
        "has enough of them; what one costs is told apart)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 if every exporter could be, else 1."""
    from wattshed.agent.bench.exporting import NOBODY, names

    found, exporters = [], names()
    with in_sight("measuring", len(exporters)) as line:
        for number, name in enumerate(exporters):
            line.at(number, f"measuring {name}")
            found.append({"name": name, **_measured(name, arguments.seconds, arguments.scrape_every)})
    # What keeps the simulated node's time runs in each process.
    node = next(one for one in found if one["name"] == NOBODY).get("core_percent", 0.0)
    for one in found:
        for key in ("core_percent", "scraped_core_percent"):
            if one["name"] != NOBODY and one.get(key) is not None:
                one[key] = round(max(one[key] - node, 0.0), 3)
    document = {"schema": SCHEMA, "machine": machine(), "driver": DRIVER, "seconds": arguments.seconds}
    document["scrape_every_s"] = arguments.scrape_every
    document["exporters"] = found
    if arguments.json:
        sys.stdout.write(json.dumps(plain(document), indent=2) + "\n")
    else:
        print_table(document)
    return 1 if any("failed" in one for one in found) else 0


def _measured(name: str, seconds: int, every_s: float) -> dict[str, Any]:
    """Run one exporter: first let it be, then scrape it."""
    scrapes: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="wattshed-exporter-") as folder:
        command = [sys.executable, "-m", "wattshed.agent.bench.exporting", name, str(seconds), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - it is a pipe
                begun = json.loads(process.stdout.readline() or "{}")
                end_s = time.monotonic() + seconds
                while begun.get("port") and time.monotonic() < end_s - 0.5:
                    next_s = time.monotonic() + every_s
                    scrapes.append(_scraped(begun["port"]))
                    if begun["jobs"]:
                        _reported(begun["jobs"])
                    time.sleep(max(0.0, min(next_s, end_s) - time.monotonic()))
                answer: dict[str, Any] = json.loads(process.stdout.readline())
                process.communicate(timeout=_SLOW_S)
            except (ValueError, OSError, subprocess.TimeoutExpired) as error:
                ended = process.poll() is not None
                process.kill()
                lines = (process.communicate()[1] or "").strip().splitlines()
                return {"failed": lines[-1] if lines and ended else str(error)}
    return {**answer, **costs(begun["alone"].get("core_percent"), answer["core_percent"], scrapes, seconds)}


def costs(
    alone: float | None, scraped: float, scrapes: Sequence[tuple[float, int]], seconds: float
) -> dict[str, float | None]:
    """Take apart what an exporter costs and what its scrapes cost.

    Parameters
    ----------
    alone, scraped : float, % of a core
        Over ``seconds`` without scrapes (None: there was no such time), and with them.
    scrapes : sequence of (float, int)
        How long each took, ms, and how many series it had; empty: nobody can be scraped.
    """
    if not scrapes:
        return {
            "core_percent": alone,
            **dict.fromkeys(("scraped_core_percent", "scrape_cpu_ms", "scrape_ms", "series")),
        }
    took_ms, series = sorted(scrapes)[len(scrapes) // 2]
    each_ms = None if alone is None else round(max(scraped - alone, 0.0) * 10 * seconds / len(scrapes), 2)
    return {
        "core_percent": alone,
        "scraped_core_percent": scraped,
        "scrape_cpu_ms": each_ms,
        "scrape_ms": took_ms,
        "series": series,
    }


def _reported(jobs_socket: str) -> None:
    """Ask for a report of what was used by user."""
    from wattshed.agent.wire.agents import DocumentServer, NoDocumentError

    try:
        DocumentServer.of(f"unix:{jobs_socket}").ask("/api/v1/report", {"by": "user"})
    except NoDocumentError as error:
        raise OSError(str(error)) from None


def _scraped(port: int) -> tuple[float, int]:
    """Scrape once: milliseconds, and how many series there were."""
    import urllib.request

    begun_s = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page: bytes = answer.read()
    took_ms = round((time.perf_counter() - begun_s) * 1e3, 2)
    return took_ms, sum(not line.startswith(b"#") for line in page.splitlines())


def print_table(document: dict[str, Any]) -> None:
    """Print a document of ``wattshed bench agent``."""
    about, rows, failed = document["machine"], [], []
    for one in document["exporters"]:
        if "failed" in one:
            failed.append(f"{one['name']} failed: {one['failed']}")
        else:
            rows.append((one["name"], *("-" if one.get(key) is None else f"{one[key]:g}" for key in _COLUMNS)))
    heading = (
        f"{document['seconds']} s each, on a SIMULATED driver with eight GPUs; {about['processor']}, "
        f"{about['cores']} cores; without the simulated driver's own processor time"
    )
    print_parts(printer_for(sys.stdout), [heading, "", table(("exporter", *_COLUMNS.values()), rows), *failed])
