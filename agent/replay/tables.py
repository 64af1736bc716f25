"""The answer of a replay as tables for people, as wide as the terminal."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.errors import counted
from wattshed.agent.printing.figures import SIGMAS, UNKNOWN, figures, printable
from wattshed.agent.printing.tables import EXTRA, Column, not_shown, print_notes, print_rows, printer_for
from wattshed.agent.printing.work import WORK_COLUMNS, work_row
from wattshed.agent.replay.boundaries import boundary_of
from wattshed.agent.replay.compare_watts import print_comparison
from wattshed.agent.replay.host_meters import METER_COLUMNS, NODE_COLUMNS, OVERLAP, meter_rows, node_row
from wattshed.agent.window import HISTORY_LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.printing.tables import Printer
    from wattshed.agent.replay.report import Joules

ROWS_SHOWN = 64
_LABELS_SHOWN = 6
_NOT_SHOWN = {"manager", "uid", *HISTORY_LABELS}
_COMPLETE = "--format csv has all"
_GPU_COLUMNS = (
    Column("host", leaves=1),
    Column("gpu"),
    Column("model", least=8, leaves=8),
    Column("energy J", right=True),
    Column("± J", right=True, leaves=2),
    Column("by", leaves=9),
    Column("mean W", right=True, leaves=3),
    Column("max W", right=True, leaves=5),
    Column("covered s", right=True, leaves=6),
    Column("gaps s", right=True, leaves=7),
    Column("flags", least=13, leaves=1, folds=True),
)
_OWNER_LEAVES = {"user": 1, "account": 2}
_JOB_COLUMNS = (
    Column("hosts", least=8, leaves=EXTRA + 1, folds=True),
    Column("GPUs", right=True, leaves=5),
    Column("energy J", right=True),
    Column("± J", right=True, leaves=3),
    Column("static J", right=True, leaves=6),
    Column("dynamic J", right=True, leaves=4),
    Column("GPU s", right=True, leaves=8),
    Column("mean W", right=True, leaves=7),
    Column("split", leaves=EXTRA + 2),
)


def print_tables(answer: Mapping[str, Any], labels: Sequence[str], out: TextIO, *, say_device: bool = False) -> None:
    """Print what a person wants to see first.

    Parameters
    ----------
    answer : mapping
        Of schema ``wattshed.replay/1``, its energies `Joules`.
    labels : sequence of str
        Names of what jobs have beside their numbers.
    out : TextIO
    say_device : bool
        Whether to say on which device sums were made, and why.
    """
    printer = printer_for(out)
    partial = " (partial: interrupted)" if answer.get("partial") else ""
    gpus, jobs = answer["gpus"], sorted(answer["jobs"], key=lambda job: -job["energy_j"].uj)
    printer.line((f"GPUs{partial}", "bold"))
    gone = print_rows(printer, _GPU_COLUMNS, [_gpu(gpu) for gpu in gpus[:ROWS_SHOWN]], gap=2)
    if len(gpus) > ROWS_SHOWN:
        printer.line(_more(len(gpus) - ROWS_SHOWN, "GPU"))
    if jobs:
        owners = [name for name in labels if name not in _NOT_SHOWN][:_LABELS_SHOWN]
        known = [Column(printable(name), least=6, leaves=_OWNER_LEAVES.get(name, EXTRA)) for name in owners]
        printer.line()
        printer.line((f"Jobs{partial}", "bold"))
        rows = [_owned(job, owners) | _job(job) for job in jobs[:ROWS_SHOWN]]
        gone += print_rows(printer, [Column("job"), *known, *_JOB_COLUMNS], rows, gap=2)
        if len(jobs) > ROWS_SHOWN:
            printer.line(_more(len(jobs) - ROWS_SHOWN, "job"))
    gone += _print_work(printer, jobs)
    gone += _print_host(printer, answer)
    if "compare_watts" in answer:
        gone += print_comparison(printer, answer["compare_watts"][:ROWS_SHOWN])
    printer.line()
    printer.folded(
        f"idle {_joules(answer['idle_j'])} J, unattributed {_joules(answer['unattributed_j'])} J, "
        f"total {_joules(answer['total_j'])} J{partial}"
    )
    notes = [boundary_of(answer["sources"]), *([OVERLAP] if answer.get("host_energy") else [])]
    if say_device:
        where = "the CUDA device" if answer["device"] == "cuda" else "the CPU"
        notes.append(f"Summed on {where}: {answer['device_reason']}.")
    print_notes(printer, notes + not_shown(printer, gone, _COMPLETE))


def _print_work(printer: Printer, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Print what jobs did, if any did; returns the columns that are left out."""
    rows = [work_row(one) | {"job": printable(job["job"])} for job in jobs for one in job["work"] or ()]
    if not rows:
        return []
    printer.line()
    printer.line(("Work", "bold"))
    gone = print_rows(printer, WORK_COLUMNS, rows[:ROWS_SHOWN], gap=2)
    if len(rows) > ROWS_SHOWN:
        printer.line(_more(len(rows) - ROWS_SHOWN, "row"))
    return gone


def _print_host(printer: Printer, answer: Mapping[str, Any]) -> list[str]:
    """Print what meters of hosts said, and the nodes by parts, if there are any; returns the columns left out."""
    gone: list[str] = []
    meters = list(meter_rows(answer.get("host_energy", []), _joules, _doubt))
    nodes = [node_row(one, _joules, _doubt) for one in answer.get("nodes", ())]
    for title, columns, rows in (("Meters of the hosts", METER_COLUMNS, meters), ("Nodes", NODE_COLUMNS, nodes)):
        if rows:
            printer.line()
            printer.line((title, "bold"))
            gone += print_rows(printer, columns, rows[:ROWS_SHOWN], gap=2)
            if len(rows) > ROWS_SHOWN:
                printer.line(_more(len(rows) - ROWS_SHOWN, "row"))
    return gone


def _more(count: int, what: str) -> str:
    return f"... and {counted(count, f'more {what}')} (--format csv lists all)"


def _gpu(gpu: Mapping[str, Any]) -> dict[str, str]:
    return {
        "host": printable(gpu["host"]),
        "gpu": printable(str(gpu["gpu"])),
        "model": printable(gpu["model"]),
        "energy J": _joules(gpu["energy_j"]),
        "± J": _doubt(gpu["sigma_j"]),
        "by": gpu["method"],
        "mean W": _one(gpu["power_w"]["mean"]),
        "max W": _one(gpu["power_w"]["max"]),
        "covered s": f"{gpu['covered_s']:,.1f}",
        "gaps s": f"{gpu['gap_s']:,.1f}",
        "flags": " ".join(gpu["flags"]),
    }


def _owned(job: Mapping[str, Any], owners: Sequence[str]) -> dict[str, str]:
    return {printable(name): printable(job.get(name, "")) for name in owners}


def _job(job: Mapping[str, Any]) -> dict[str, str]:
    return {
        "job": printable(job["job"]),
        "hosts": printable(" ".join(job["hosts"])),
        "GPUs": str(len(job["gpus"])),
        "energy J": _joules(job["energy_j"]),
        "± J": _doubt(job["sigma_j"]),
        "static J": _joules(job["static_j"]),
        "dynamic J": _joules(job["dynamic_j"]),
        "GPU s": f"{job['gpu_s']:,.1f}",
        "mean W": _one(job["mean_w"]),
        "split": job["method"],
    }


def _joules(energy: Joules) -> str:
    """Write an energy to the tenth whatever its doubt: columns, and what is below them, add up to the total."""
    return f"{energy.uj / 1e6:z,.1f}"


def _doubt(sigma_j: float) -> str:
    return figures(Decimal(0), Decimal(repr(sigma_j)) * SIGMAS)[1]


def _one(value: float | None) -> str:
    return UNKNOWN if value is None or math.isnan(value) else f"{value:,.1f}"
