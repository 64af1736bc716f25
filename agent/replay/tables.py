"""The answer of a replay as tables for people, as wide as the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.window import HISTORY_LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from wattshed.agent.replay.report import Joules

ROWS_SHOWN = 64
_LABELS_SHOWN = 6
_NOT_SHOWN = {"manager", "uid", *HISTORY_LABELS}
_FILE_WIDTH = 200  # columns where it goes to a file or a pipe
# What a terminal that is too narrow does without: a column that is empty first, then these from the left.
_GPUS_LESS = ("gaps s", "by", "covered s", "max W", "model", "± J")
_JOBS_LESS = ("split", "hosts", "GPU s", "mean W", "GPUs", "static J", "dynamic J", "± J")


def print_tables(answer: dict[str, Any], labels: Sequence[str], out: TextIO) -> None:
    """Print what a person wants to see first; ``labels`` are the names that jobs have beside their numbers."""
    from rich.console import Console  # noqa: PLC0415 - JSON and CSV need no tables

    console = Console(file=out, width=None if out.isatty() else _FILE_WIDTH, highlight=False, markup=False)
    partial = " (partial: interrupted)" if answer.get("partial") else ""
    gpus, jobs = answer["gpus"], sorted(answer["jobs"], key=lambda job: -job["energy_j"].uj)
    less = _table(console, f"GPUs{partial}", [_gpu(gpu) for gpu in gpus[:ROWS_SHOWN]], _GPUS_LESS)
    if len(gpus) > ROWS_SHOWN:
        console.print(f"... and {len(gpus) - ROWS_SHOWN} more GPUs (--format csv lists all)")
    if jobs:
        less += _table(console, f"Jobs{partial}", [_job(job) for job in jobs[:ROWS_SHOWN]], _JOBS_LESS)
        if len(jobs) > ROWS_SHOWN:
            console.print(f"... and {len(jobs) - ROWS_SHOWN} more jobs (--format csv lists all)")
    shown = [name for name in labels if name not in _NOT_SHOWN][:_LABELS_SHOWN]
    if shown:
        rows = [{name: _printable(job.get(name, "")) for name in ("job", *shown)} for job in jobs[:ROWS_SHOWN]]
        _table(console, f"Whose{partial}", rows, ())
    if less:
        names = ", ".join(dict.fromkeys(less))
        console.print(f"not shown in {console.width} columns: {names} (--format csv has all)", soft_wrap=True)
    console.print(
        f"idle {_thousands(answer['idle_j'])} J, unattributed {_thousands(answer['unattributed_j'])} J, "
        f"total {_thousands(answer['total_j'])} J{partial}"
    )
    if "device" in answer:
        name = "the CUDA device" if answer["device"] == "cuda" else "the CPU"
        console.print(f"summed on {name}: {answer['device_reason']}", soft_wrap=True)


def _table(console: Console, title: str, rows: list[dict[str, str]], less: Sequence[str]) -> list[str]:
    """Print rows of alike keys with as many columns as fit; returns the names of those that did not, if not empty."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    widths = {name: max(cell_len(text) for text in (name, *(row[name] for row in rows))) for name in (rows or [{}])[0]}
    empty = [name for name in widths if not any(row[name] for row in rows)]
    gone: list[str] = []
    for name in (*empty, *less):
        if sum(widths.values()) + 3 * len(widths) + 1 <= console.width:
            break
        if widths.pop(name, None) is not None and name not in empty:
            gone.append(name)
    table = Table(title=title, title_justify="left")
    for name in widths:
        number = name == "GPUs" or name.endswith((" J", " W", " s"))
        table.add_column(Text(_printable(name)), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in widths))
    console.print(table)
    return gone


def _gpu(gpu: dict[str, Any]) -> dict[str, str]:
    return {
        "host": gpu["host"],
        "gpu": str(gpu["gpu"]),
        "model": gpu["model"],
        "energy J": _thousands(gpu["energy_j"]),
        "± J": f"{gpu['sigma_j']:,.0f}",
        "by": gpu["method"],
        "mean W": _one(gpu["power_w"]["mean"]),
        "max W": _one(gpu["power_w"]["max"]),
        "covered s": f"{gpu['covered_s']:,.1f}",
        "gaps s": f"{gpu['gap_s']:,.1f}",
        "flags": " ".join(gpu["flags"]),
    }


def _job(job: dict[str, Any]) -> dict[str, str]:
    return {
        "job": _printable(job["job"]),
        "hosts": " ".join(job["hosts"]),
        "GPUs": str(len(job["gpus"])),
        "energy J": _thousands(job["energy_j"]),
        "± J": f"{job['sigma_j']:,.0f}",
        "static J": _thousands(job["static_j"]),
        "dynamic J": _thousands(job["dynamic_j"]),
        "GPU s": f"{job['gpu_s']:,.1f}",
        "mean W": _one(job["mean_w"]),
        "split": job["method"],
    }


def _printable(text: str) -> str:
    """Show control characters, for users name their jobs and accounts what they like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _thousands(energy: Joules) -> str:
    return f"{energy.uj / 1e6:,.1f}"


def _one(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:,.1f}"
