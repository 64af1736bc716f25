"""A report as a notebook shows it: plain HTML that takes its colours from the page around it, light or dark."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import counted
from wattshed.agent.printing.figures import elapsed, energy, printable, watts
from wattshed.agent.replay.boundaries import boundary_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

ROWS_SHOWN = 20
_OWNERS = ("user", "account")
_STYLE = """
.wattshed-report { overflow-x: auto; font-variant-numeric: tabular-nums; line-height: 1.4; }
.wattshed-report table { border-collapse: collapse; margin: 0.6em 0; border: none; font-size: inherit; }
.wattshed-report caption {
  caption-side: top; text-align: left; font-weight: 600; padding: 0 0.6em 0.2em 0; color: inherit;
}
.wattshed-report th, .wattshed-report td {
  text-align: right; padding: 0.2em 0.8em 0.2em 0; white-space: nowrap; border: none;
  border-top: 1px solid rgba(128, 128, 128, 0.35); background: none; color: inherit;
}
.wattshed-report tbody tr { background: none; }
.wattshed-report th { font-weight: 600; opacity: 0.75; border-top: none; }
.wattshed-report th.wattshed-text, .wattshed-report td.wattshed-text { text-align: left; }
.wattshed-report td.wattshed-long { max-width: 24em; overflow: hidden; text-overflow: ellipsis; }
.wattshed-report .wattshed-bar {
  display: inline-block; width: 5em; height: 0.7em; background: rgba(128, 128, 128, 0.2);
}
.wattshed-report .wattshed-bar span { display: block; height: 100%; background: #4477aa; }
.wattshed-report .wattshed-total { font-size: 1.25em; font-weight: 600; }
.wattshed-report p { margin: 0.3em 0; }
.wattshed-report .wattshed-note { opacity: 0.75; font-size: 0.92em; }
"""


def html_of(answer: Row, total: str) -> str:
    """Lay an answer out in HTML, without any script.

    Parameters
    ----------
    answer : mapping
        Of schema ``wattshed.replay/1``, its energies `agent.replay.report.Joules`.
    total : str
        Energy of all GPUs with its doubt.
    """
    jobs = sorted(answer["jobs"], key=lambda job: -job["energy_j"].uj)
    partial = " (partial: interrupted)" if answer.get("partial") else ""
    facts = [counted(len(answer["gpus"]), "GPU"), counted(len(jobs), "job"), *_times(answer)]
    most_j = max((job["energy_j"].uj for job in jobs), default=0)
    owners = [name for name in _OWNERS if any(name in job for job in jobs)]
    nobody = [(name, answer[f"{name}_j"]) for name in ("idle", "unattributed")]
    left = ", ".join(f"{name} {escape(energy(str(joules), None))}" for name, joules in nobody)
    notes = [boundary_of(answer["sources"]), *answer.get("notes", ())]
    return "\n".join(
        (
            f'<div class="wattshed-report"><style>{_STYLE}</style>',
            f'<p><span class="wattshed-total">{_text(total)}</span> {_text(", ".join(facts) + partial)}</p>',
            *_table("Jobs", [_job(job, owners, most_j) for job in jobs[:ROWS_SHOWN]], len(jobs), "job"),
            *_table("GPUs", [_gpu(gpu) for gpu in answer["gpus"][:ROWS_SHOWN]], len(answer["gpus"]), "GPU"),
            f"<p>Of no job: {left}.</p>",
            *(f'<p class="wattshed-note">{_text(note)}</p>' for note in notes),
            "</div>",
        )
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _times(answer: Row) -> list[str]:
    """Return from when to when, if that is known."""
    if answer["start_s"] is None or answer["end_s"] is None:
        return []
    first, last = (datetime.fromtimestamp(answer[name], UTC) for name in ("start_s", "end_s"))
    form = "%H:%M:%S" if first.date() == last.date() else "%Y-%m-%d %H:%M:%S"
    return [f"{first:%Y-%m-%d %H:%M:%S} to {last.strftime(form)} UTC"]


def _job(job: Row, owners: Sequence[str], most_uj: int) -> dict[str, str]:
    part = max(job["energy_j"].uj, 0) / most_uj if most_uj > 0 else 0.0
    return {
        "job": _text(job["job"]),
        "energy": _text(energy(str(job["energy_j"]), job["sigma_j"])),
        "": f'<span class="wattshed-bar"><span style="width: {part:.1%}"></span></span>',
        **{name: _text(job.get(name, "")) for name in owners},
        "mean W": _text(watts(job["mean_w"])),
        "GPUs": str(len(job["gpus"])),
        "GPU time": elapsed(job["gpu_s"]),
    }


def _gpu(gpu: Row) -> dict[str, str]:
    span_s = gpu["span_s"]
    return {
        "host": _text(gpu["host"]),
        "gpu": _text(str(gpu["gpu"])),
        "model": _text(gpu["model"]),
        "energy": _text(energy(str(gpu["energy_j"]), gpu["sigma_j"])),
        "by": _text(gpu["method"]),
        "mean W": _text(watts(gpu["power_w"]["mean"])),
        "max W": _text(watts(gpu["power_w"]["max"])),
        "covered": f"{min(gpu['covered_s'] / span_s, 1.0):.1%}" if span_s > 0 else "",
        "flags": _text(" ".join(gpu["flags"])),
    }


_TEXTS = {"job", "host", "model", "by", "flags", "", *_OWNERS}


def _table(caption: str, rows: Sequence[Mapping[str, str]], number: int, noun: str) -> Iterable[str]:
    """Yield a table; columns that are empty in all rows are left out, and rows that are left out are counted."""
    if not rows:
        return
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    classes = {name: ' class="wattshed-text wattshed-long"' if name in _TEXTS else "" for name in names}
    yield f"<table><caption>{caption}</caption><thead><tr>"
    yield "".join(f"<th{classes[name]}>{name}</th>" for name in names) + "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td{classes[name]}>{row[name]}</td>" for name in names) + "</tr>"
    yield "</tbody></table>"
    if number > len(rows):
        yield f'<p class="wattshed-note">and {counted(number - len(rows), f"more {noun}")}: see .{noun.lower()}s</p>'
