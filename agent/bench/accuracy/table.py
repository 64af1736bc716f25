"""The answers as tables: for the terminal, and in Markdown for docs/accuracy.md."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.paragraphs import print_parts, table
from wattshed.agent.printing.tables import printer_for

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from wattshed.agent.printing.paragraphs import TableRows
    from wattshed.agent.printing.tables import Printer

INSTALL = "pip install 'wattshed[peers]'"
SAID = "SIMULATED driver: the joules that really flowed are known."


def errors(joules: Mapping[str, float | str], true: Mapping[str, float]) -> list[float]:
    """Errors in percent of the truth, of those jobs that have an answer."""
    return [100 * (said / true[job] - 1) for job, said in joules.items() if not isinstance(said, str)]


def silent(joules: Mapping[str, float | str]) -> str:
    """Say that jobs have no answer; empty: all have one."""
    count = sum(isinstance(said, str) for said in joules.values())
    return "" if not count else "no answer" if len(joules) == 1 else f"no answer for {count} of {len(joules)}"


def within(document: Mapping[str, Any], tool: str, sigmas: int) -> tuple[int, int]:
    """Count the jobs whose truth lies within so many of a tool's own sigmas, and those for which it says one."""
    held = said = 0
    for row in document["scenarios"].values():
        found = row["tools"][tool]
        for job, sigma in found["sigma_j"].items():
            said += 1
            held += abs(found["joules"][job] - row["true_j"][job]) <= sigmas * sigma
    return held, said


def stating(document: Mapping[str, Any]) -> list[str]:
    """Names of the tools that state a sigma."""
    return [tool for tool in document["versions"] if within(document, tool, 1)[1]]


def markdown(document: Mapping[str, Any]) -> str:
    """Tables of errors and of cost, with the versions above."""
    tools = list(document["versions"])
    own = stating(document)
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items() if name != "wattshed")
    columns = ["scenario", "true J"] + [
        cell for tool in tools for cell in ([tool, "its sigma"] if tool in own else [tool])
    ]
    lines = [
        f"Versions: {versions}. Errors and sigma in percent of each job's true joules.",
        "",
        f"| {' | '.join(columns)} |",
        f"|---|{'--:|' * (len(columns) - 1)}",
    ]
    for row in document["scenarios"].values():
        true = row["true_j"]
        cells = [row["title"], _several(true.values(), "{:,.0f}")]
        for tool in tools:
            found = row["tools"][tool]
            cells.append(silent(found["joules"]) or _several(errors(found["joules"], true), "{:+,.2f}"))
            if tool in own:
                cells.append(_several([100 * s / true[job] for job, s in found["sigma_j"].items()], "{:.1f}"))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(_held(document, tool) for tool in own)]
    return "\n".join(lines + _cost_lines(document))


def _held(document: Mapping[str, Any], tool: str) -> str:
    (one, said), (two, _) = within(document, tool, 1), within(document, tool, 2)
    return f"The truth lies within {tool}'s sigma for {one} of {said} jobs, and within two sigma for {two}."


def _cost_lines(document: Mapping[str, Any]) -> list[str]:
    if "cost" not in document:
        return []
    cost = document["cost"]
    where = f"{cost['gpus']} busy GPUs ({cost['machine']['processor']})"
    lines = [
        "",
        f"Cost in real time, {cost['seconds']:g} s of {where}; the simulated driver's own processor time is left out:",
        "",
        "| | % of a core | peak memory, MiB | driver calls a second |",
        "|---|--:|--:|--:|",
    ]
    return lines + [
        f"| {name} | {found['core_percent']:.2f} | {found['peak_mib']:.0f} | {found['calls_per_s']:.0f} |"
        for name, found in cost["tools"].items()
    ]


def _several(values: Collection[float], form: str) -> str:
    """One or two as they are; of more, the least and the greatest."""
    if len(values) <= 2:
        return " / ".join(form.format(value) for value in values)
    least, greatest = form.format(min(values)), form.format(max(values))
    return least if least == greatest else f"{least} to {greatest}"


def generated(page: str, document: Mapping[str, Any]) -> str:
    """Return a page with its tables renewed, between the marks."""
    return re.sub(
        r"(<!-- peers: [^\n]*-->\n).*?(<!-- end of peers -->)",
        lambda found: f"{found[1]}\n{markdown(document)}\n\n{found[2]}",
        page,
        count=1,
        flags=re.DOTALL,
    )


def show(document: Mapping[str, Any], printer: Printer | None = None) -> None:
    """Print the tables for a terminal: of several jobs, the error that is worst."""
    own, tools, rows = stating(document), list(document["versions"]), []
    sigmas = {tool: f"{tool} 1s" for tool in own}
    for row in document["scenarios"].values():
        cells = [row["title"]]
        for tool in tools:
            found, true = row["tools"][tool], row["true_j"]
            cells.append("-" if silent(found["joules"]) else f"{max(errors(found['joules'], true), key=abs):+,.2f}")
            if tool in own:
                cells.append(f"{max((100 * s / true[job] for job, s in found['sigma_j'].items()), default=0):.1f}")
        rows.append(cells)
    head = ("scenario", *(cell for tool in tools for cell in ([tool, sigmas[tool]] if tool in own else [tool])))
    parts: list[str | TableRows] = [
        SAID,
        "Error in % of a job's true joules; of several jobs, the worst. 1s: its own sigma.",
        "",
        table(head, rows),
        "",
        *(_held(document, tool) for tool in own),
    ]
    if "cost" in document:
        cost = document["cost"]
        parts += [
            "",
            f"Cost of {cost['gpus']} busy GPUs, {cost['seconds']:g} s in real time, without the driver's",
            table(
                ("tool", "% of a core", "peak MiB", "driver calls/s"),
                [
                    (name, f"{found['core_percent']:.2f}", f"{found['peak_mib']:.0f}", f"{found['calls_per_s']:.0f}")
                    for name, found in cost["tools"].items()
                ],
            ),
            "",
        ]
    parts.append("Versions: " + ", ".join(f"{name} {number or '?'}" for name, number in document["versions"].items()))
    if document["absent"]:
        parts.append(f"Not installed, left out: {', '.join(document['absent'])}; {INSTALL}")
    print_parts(printer or printer_for(sys.stdout), parts)
