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
from wattshed.agent.bench.options import count, say

if TYPE_CHECKING:
    import argparse

SCHEMA = "wattshed.bench_agent/1"
DRIVER = "SIMULATED: a driver of this process, with eight GPUs, below NVIDIA's own Python binding"
_SLOW_S = 180.0
_COLUMNS = {
    "core_percent": "% of a core",
    "resident_mib": "resident, MiB",
    "calls_per_s": "driver calls/s",
    "readings_per_s": "power readings/s",
    "late_p99_ms": "late (p99), ms",
    "scrape_ms": "scrape, ms",
    "series": "series",
}


def add_parser(subparsers: Any) -> None:
    """Add ``bench agent``."""
    parser = subparsers.add_parser(
        "agent",
        help="the agent beside other exporters: processor time, memory, driver calls, lateness, scrapes",
        description="Runs the agent, and the exporters in Python that are installed, one after the other, each in a "
        "process of its own on a SIMULATED driver with eight GPUs, and scrapes each once a second. The processor time "
        "that the simulated driver takes for its answers is left out.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seconds", type=count, default=10, metavar="S", help="how long each (default %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure; 0 if every exporter could be, else 1."""
    from wattshed.agent.bench.exporting import NOBODY, names

    found = []
    for name in names():
        say(f"{name}: {arguments.seconds} s")
        found.append({"name": name, **_measured(name, arguments.seconds)})
    say("")
    node = next(one for one in found if one["name"] == NOBODY)
    for one in found:
        if one is not node and "core_percent" in one and "core_percent" in node:
            # What keeps the simulated node's time runs in each process.
            one["core_percent"] = round(max(one["core_percent"] - node["core_percent"], 0.0), 3)
    document = {"schema": SCHEMA, "machine": machine(), "driver": DRIVER, "seconds": arguments.seconds}
    document["exporters"] = found
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        print_table(document)
    return 1 if any("failed" in one for one in found) else 0


def _measured(name: str, seconds: int) -> dict[str, Any]:
    """Run one exporter, and scrape it meanwhile."""
    scrapes: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="wattshed-exporter-") as folder:
        command = [sys.executable, "-m", "wattshed.agent.bench.exporting", name, str(seconds), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - it is a pipe
                port = json.loads(process.stdout.readline() or "{}").get("port", 0)
                end_s = time.monotonic() + seconds
                while port and (left_s := end_s - time.monotonic()) > 0.5:
                    scrapes.append(_scraped(port))
                    time.sleep(min(1.0, left_s))
                said, errors = process.communicate(timeout=_SLOW_S)
                answer: dict[str, Any] = json.loads(said)
            except (ValueError, OSError, subprocess.TimeoutExpired) as error:
                process.kill()
                errors = process.communicate()[1]
                lines = (errors or "").strip().splitlines()
                return {"failed": lines[-1] if lines else str(error)}
    scrapes.sort()
    scrape_ms, series = scrapes[len(scrapes) // 2] if scrapes else (None, None)
    return {**answer, "scrape_ms": scrape_ms, "series": series}


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
    from rich.console import Console
    from rich.table import Table

    about = document["machine"]
    table = Table(
        title=f"{document['seconds']} s each, on a SIMULATED driver with eight GPUs; {about['processor']}, "
        f"{about['cores']} cores",
        caption="without the simulated driver's own processor time",
    )
    table.add_column("exporter")
    for title in _COLUMNS.values():
        table.add_column(title, justify="right")
    for one in document["exporters"]:
        if "failed" in one:
            table.add_row(one["name"], f"failed: {one['failed']}")
        else:
            table.add_row(one["name"], *("-" if one[key] is None else f"{one[key]:g}" for key in _COLUMNS))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
