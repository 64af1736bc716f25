"""Jobs in a list: one line each for people, every field for spreadsheets and scripts."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.printing.figures import (
    BOUNDARY,
    JOULES_PER_KWH,
    SIMULATED,
    UNKNOWN,
    elapsed,
    energy,
    moment,
    printable,
    watts,
)
from wattshed.agent.printing.tables import EXTRA, Column, not_shown, print_notes, print_rows, printer_for
from wattshed.agent.printing.work import each, main_unit, waiting_share
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo


LOWER_BOUND = "lower_bound"
WHOLE = 0.995
"""From this share of its GPU time on a job counts as measured all the time."""
NEWEST_S = 5.0
"""Seconds of each GPU that may lack: the newest are not read yet, and a job that began a moment ago has no others."""
# Which job and whose it is stays longest; of the rest, text goes before numbers.
_COLUMNS = (
    Column("job", least=14, middle=True),
    Column("name", least=8, leaves=EXTRA + 1),
    Column("user", least=6, leaves=1),
    Column("namespace", least=8, leaves=EXTRA),
    Column("account", least=5, leaves=7),
    Column("partition", leaves=EXTRA + 4),
    Column("qos", leaves=EXTRA + 5),
    Column("cluster", leaves=9),
    Column("hosts", least=6, leaves=EXTRA + 3),
    Column("state", leaves=6),
    Column("start", leaves=EXTRA + 6),
    Column("end", leaves=8),
    Column("elapsed", right=True, leaves=5),
    Column("GPUs", right=True, leaves=2),
    Column("energy", right=True),
    Column("mean W", right=True, leaves=3),
    Column("peak W", right=True, leaves=EXTRA + 2),
    Column("idle", right=True, leaves=4),
    Column("work", right=True, leaves=EXTRA + 1),
    Column("J per unit", right=True, leaves=6),
    Column("waiting", right=True, leaves=EXTRA + 1),
    Column("split", leaves=EXTRA + 7),
    Column("flags", leaves=EXTRA + 7),
)
_TEXTS = ("job", "name", "user", "account", "partition", "namespace", "qos", "cluster")
_NUMBERS = ("energy_j", "static_j", "dynamic_j", "sigma_j", "active_s", "held_s", "held_idle", "mean_w", "peak_w")
_COVERED = ("covered_s", "coverage")
_WATTS = ("watts", "watts_sigma")
_MAY_LACK = (*_NUMBERS, *_COVERED, *_WATTS)
_WORK = ("work_unit", "work_source", "work_count", "joules_per_unit", "unit_sigma_j")
"""Of the unit that a line is about; ``work`` has all, as JSON."""
FIELDS = (
    *_TEXTS, "hosts", "hosts_expected", "state", "start", "end", "elapsed_s", "gpus", "energy_kwh", *_NUMBERS,
    "method", "flags", "boundary", "run", *_COVERED, *_WORK, "waiting_j", "work", *_WATTS,
)  # fmt: skip
"""Columns of a table for machines; times are ISO 8601, UTC."""


def print_jobs(
    document: Mapping[str, Any], out: TextIO, *, note: str = "", zone: tzinfo | None = None, now_s: float | None = None
) -> None:
    """Print a line for each job, and what must be known to read them.

    Parameters
    ----------
    document : mapping
        Of schema ``wattshed.jobs/1``.
    out : TextIO
    note : str
        What else is to be said, such as that there are more.
    zone : tzinfo, optional
        Of the times; that of this machine by default.
    now_s : float, s
    """
    printer = printer_for(out)
    jobs = document["jobs"]
    own = document.get("scope") == "own"
    if not jobs:
        printer.line("No job of yours matches." if own else "No job matches.")
        return
    now_s = time.time() if now_s is None else now_s
    year = datetime.fromtimestamp(now_s, zone).year if out.isatty() else 0
    show_cluster = len({job["cluster"] for job in jobs}) > 1
    rows = [_line(job, zone, year, show_cluster=show_cluster) for job in jobs]
    gone = print_rows(printer, _COLUMNS, rows)
    notes = [note] if note else []
    zone_name = datetime.fromtimestamp(jobs[0]["start_s"], zone).astimezone(zone).tzname() or "local time"
    notes.append(f"{BOUNDARY} Times: {zone_name}.")
    if document.get("simulated"):
        notes.append(SIMULATED)
    if any(is_lower_bound(job) for job in jobs):
        notes.append("≥: parts of some hosts are missing yet, the total is at least that.")
    notes += _measured(jobs)
    if any(job.get("work") for job in jobs):
        notes.append("J per unit: of the unit that is named, ± two sigma; waiting: share of energy without a request.")
    if own:
        notes.append("Only your own jobs are shown.")
    print_notes(printer, notes + not_shown(printer, gone, "--csv and --json have all"))


def _measured(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of which jobs not all time was measured, or nobody knows how much."""
    unknown = sum(job.get("coverage") is None for job in jobs)  # an older agent does not tell
    partly = sum(map(measured_in_part, jobs))
    found = []
    if partly:
        them, part = ("1 job was", "that part") if partly == 1 else (f"{partly:,} jobs were", "those parts")
        found.append(f"{them} measured for part of the time; mean W is over {part}.")
    if unknown:
        them = "1 job was" if unknown == 1 else f"{unknown:,} jobs were"
        found.append(f"How long {them} measured is unknown; mean W is over all of the time.")
    return found


def measured_in_part(one: Mapping[str, Any]) -> bool:
    """Tell whether time of a job, or of one of its GPUs, was not measured, beyond the newest seconds."""
    share, covered_s, gpus = one.get("coverage"), one.get("covered_s"), one.get("gpus")
    if share is None or covered_s is None or share >= WHOLE:
        return False
    count = len(gpus) if isinstance(gpus, list) else gpus or 1  # one job's document lists them, a GPU's has none
    newest_s = NEWEST_S * count
    return bool(share <= 0 or covered_s / share - covered_s > newest_s)


def is_lower_bound(job: Mapping[str, Any]) -> bool:
    """Tell whether parts of a job's energy are missing."""
    return LOWER_BOUND in job["flags"] or job["state"] in {"waiting", "incomplete"}


def state(job: Mapping[str, Any]) -> str:
    """Name the state of a job, and of how many hosts it is known if not of all."""
    if job["state"] in {"waiting", "incomplete"} and job["hosts_expected"]:
        return f"{job['state']} {len(job['hosts'])}/{job['hosts_expected']}"
    return printable(job["state"])


def _line(job: Mapping[str, Any], zone: tzinfo | None, year: int, *, show_cluster: bool) -> dict[str, str]:
    share, did = job["held_idle"], main_unit(job.get("work"))  # an older agent does not tell
    return {
        **{name: printable(job[name]) for name in _TEXTS},
        "cluster": printable(job["cluster"]) if show_cluster else "",
        "hosts": printable(",".join(job["hosts"])),
        "state": state(job),
        "start": moment(job["start_s"], zone, year=year),
        "end": moment(job["end_s"], zone, year=year),
        "elapsed": elapsed(job["elapsed_s"]),
        "GPUs": UNKNOWN if job["gpus"] is None else str(job["gpus"]),
        "energy": ("≥" if is_lower_bound(job) else "") + energy(job["energy_j"], job["sigma_j"]),
        "mean W": watts(job["mean_w"]),
        "peak W": watts(job["peak_w"]),
        "idle": UNKNOWN if share is None else f"{share:.0%}",
        "work": "" if did is None else f"{did['count']:,}",
        "J per unit": each(did),
        "waiting": waiting_share(_waiting(job)),
        "split": printable(job["method"]),
        "flags": printable(" ".join(job["flags"])),
    }


def _waiting(job: Mapping[str, Any]) -> float | None:
    waiting_j, whole_j = job.get("waiting_j"), float(job["energy_j"])
    return None if waiting_j is None or whole_j <= 0 else float(waiting_j) / whole_j


def write_csv(jobs: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    """Write every field of every job for spreadsheets; what would be a formula there begins with an apostrophe."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(_fields(jobs, guarded))


def write_parsable(jobs: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    r"""Write every field of every job with ``|`` between, as ``sacct -P`` does; a ``|`` in a name is ``\x7c``."""
    rows = _fields(jobs, lambda text: printable(text).replace("|", r"\x7c"))
    out.writelines("|".join(row) + "\n" for row in (FIELDS, *rows))


def guarded(text: str) -> str:
    """Make a stranger's text harmless: no control characters, and no formula for a spreadsheet.

    Texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line's end are formulas to some spreadsheets.
    """
    return ("'" if text[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} else "") + printable(text)


def _fields(jobs: Iterable[Mapping[str, Any]], text: Callable[[str], str]) -> Iterator[list[str]]:
    """Yield the fields of each job; ``text`` is what is done to those that users write."""
    for job in jobs:
        fields = {
            **{name: text(job[name]) for name in _TEXTS},
            **{name: "" if job.get(name) is None else str(plain(job[name])) for name in _MAY_LACK},
            "hosts": text(",".join(job["hosts"])),
            "hosts_expected": "" if job["hosts_expected"] is None else str(job["hosts_expected"]),
            "state": job["state"],
            "start": _iso(job["start_s"]),
            "end": _iso(job["end_s"]),
            "elapsed_s": str(plain(job["elapsed_s"])),
            "gpus": "" if job["gpus"] is None else str(job["gpus"]),
            "energy_kwh": f"{Decimal(job['energy_j']) / JOULES_PER_KWH:.9f}",
            "method": job["method"],
            "flags": " ".join(job["flags"]),
            "boundary": job["boundary"],
            "run": job["run"],
            **_work_fields(job),
        }
        yield [fields[name] for name in FIELDS]


def _work_fields(job: Mapping[str, Any]) -> dict[str, str]:
    work, waiting_j = job.get("work"), job.get("waiting_j")
    one = main_unit(work) or {}
    values = [one.get(name) for name in ("unit", "source", "count", "joules_per_unit", "sigma_j")]
    return {
        **{name: "" if value is None else str(plain(value)) for name, value in zip(_WORK, values, strict=True)},
        "waiting_j": "" if waiting_j is None else str(plain(waiting_j)),
        "work": json.dumps(plain(work), separators=(",", ":")) if work else "",
    }


def _iso(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
