"""What a live view of a running agent shows: its /api/v1/snapshot in rows of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattshed.agent.wire.agents import DocumentServer

TIMEOUT_S = 2.0
BAR = 12


@dataclass(frozen=True, slots=True)
class View:
    """What one refresh shows: a title, and a row of cells per GPU and per job."""

    title: str
    gpus: list[tuple[str, ...]]
    jobs: list[tuple[str, ...]]


# What matters most comes first: a terminal of 80 columns shows no more than its left part.
GPU_COLUMNS = ("gpu", "model", "power", "", "energy", "data", "limit", "peak 1 s")
JOB_COLUMNS = ("job", "power", "energy", "who", "name", "± 1 sigma", "dynamic", "GPU time")


def fetch(agent: DocumentServer) -> dict[str, Any]:
    """Read the snapshot of an agent.

    Raises
    ------
    NoDocumentError
        If it does not answer, or not with a snapshot; the message names the address.
    """
    from wattshed.agent.wire.agents import NoDocumentError  # noqa: PLC0415 - only this command asks

    document = agent.ask("/api/v1/snapshot", timeout_s=TIMEOUT_S)
    if document.get("schema") != "wattshed.snapshot/1":
        raise NoDocumentError(f"{agent.address.url} is not an agent's", 200)
    return document


def view(document: dict[str, Any]) -> View:
    """Lay a snapshot out in rows; jobs by power, the largest first."""
    watts = {job: line[-1] if line else None for job, line in _lines(document).items()}  # None: nothing was covered
    title = f"{document['host']}  {document['meter']}"
    if document["simulated"]:
        title += "  SIMULATED: these watts are invented"
    if not document["ready"]:
        title += (
            f"  NOT METERING: {document['unmetered']}" if document["unmetered"] else "  waiting for the first window"
        )
    jobs = sorted(
        document["jobs"], key=lambda job: (-(watts.get(job["job"]) or 0.0), -(job["energy_j"] or 0.0), job["job"])
    )
    gpu_rows = [_gpu(gpu) for gpu in document["gpus"]]
    job_rows = [_job(job, watts.get(job["job"])) for job in jobs]
    ended = sum(gpu.get("ended_jobs_j") or 0.0 for gpu in document["gpus"])
    if ended > 0:
        job_rows.append(("ended jobs", "", quantity(ended, "J"), "no longer listed one by one", "", "", "", ""))
    return View(
        _printable(title),
        [tuple(map(_printable, row)) for row in gpu_rows],
        [tuple(map(_printable, row)) for row in job_rows],
    )


def _printable(text: str) -> str:
    # names are user text: no control sequence of theirs may reach a terminal
    return "".join(char if char.isprintable() else "?" for char in text)


def _lines(document: dict[str, Any]) -> dict[str, list[float | None]]:
    lines: dict[str, list[float | None]] = document["history"]["jobs"]
    return lines


def _gpu(gpu: dict[str, Any]) -> tuple[str, ...]:
    power = gpu["power_w"].get("average", gpu["power_w"].get("instant"))
    limit = gpu["limits_w"].get("enforced")
    filled = round(BAR * min(power / limit, 1)) if power is not None and limit else 0
    unknown = "cannot be metered" if gpu["energy_source"] == "none" else ""
    state = "lost" if not gpu["up"] else unknown or ", ".join(gpu["flags"]) or "good"
    return (
        str(gpu["gpu"]),
        gpu["model"],
        quantity(power, "W"),
        "█" * filled + "░" * (BAR - filled),
        quantity(gpu["energy_j"], "J"),
        state,
        quantity(limit, "W"),
        quantity(gpu["peak_w"].get("1s"), "W"),
    )


def _job(job: dict[str, Any], watts: float | None) -> tuple[str, ...]:
    labels, energy = job["labels"], job["energy_j"]
    who = labels.get("user") or labels.get("namespace") or labels.get("unit") or ""
    seconds = None if job["active_s"] is None else job["active_s"] + job["held_s"]
    return (
        job["job"],
        quantity(watts, "W") if job["ended_s"] is None else "ended",
        quantity(energy, "J"),
        who,
        labels.get("name") or labels.get("pod") or "",
        quantity(job["sigma_j"], "J"),
        f"{job['dynamic_j'] / energy:.0%}" if energy else "",
        "" if seconds is None else f"{seconds / 3600:.2f} h",
    )


def quantity(value: float | None, unit: str) -> str:
    """Write a number with an SI prefix, ``1.23 MJ``; nothing for None."""
    if value is None:
        return ""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.2f} {prefix}{unit}"
    return f"{value:.1f} {unit}"


def text(shown: View) -> str:
    """Write a view as plain text."""
    parts = [shown.title, ""]
    for columns, rows in ((GPU_COLUMNS, shown.gpus), (JOB_COLUMNS, shown.jobs)):
        widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
        parts += [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (columns, *rows)
        ]
        parts.append("")
    return "\n".join(parts)
