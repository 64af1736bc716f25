"""One view as text: whole where it is piped, as wide as the terminal where there is one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from wattshed.agent.terminal.choices import SPANS_S
from wattshed.agent.terminal.fitting import wrapped
from wattshed.agent.terminal.following import AgentWatch
from wattshed.agent.terminal.gpus import gpu_table
from wattshed.agent.terminal.head import SIMULATED, alerts, energy_j, limits_w, models, total_lines, total_w
from wattshed.agent.terminal.jobs import arranged, job_table
from wattshed.agent.terminal.numbers import kwh, moment, percent, watts
from wattshed.agent.terminal.pages import elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.terminal.drawing import TextLine
    from wattshed.agent.terminal.fitting import FittedTable
    from wattshed.agent.terminal.following import AgentView

_WHOLE = 10_000


def lines_once(document: Mapping[str, Any], width: int | None) -> list[TextLine]:
    """Write one view.

    Parameters
    ----------
    document : mapping
        A snapshot.
    width : int or None
        Cells of the terminal; None: nothing is left out, and every name is whole.
    """
    follow = AgentWatch()
    known = follow.take(document, time.time())
    shown, wide = known.scene, _WHOLE if width is None else width
    said = [shown.host, *([SIMULATED] if shown.simulated else []), f"wattshed {shown.version}", moment(shown.time_s)]
    if not shown.is_node:
        return [*wrapped("  ".join(said), wide), *elsewhere(shown, width or 100)]
    lines = [*wrapped("  ".join([*said, models(shown)]), wide), *_stripped(alerts(follow, wide, shown.time_s))]
    if width is None:
        lines += _totals(known)
    else:
        lines += total_lines(known, width, SPANS_S[1])
    jobs = arranged(shown, known.job_w, "power", reverse=False, needle="")
    tables = [gpu_table(known, width, SPANS_S[1])] if shown.gpus else []
    tables += [job_table(jobs, known, width, SPANS_S[1])] if jobs else []
    for table in tables:
        lines += [*wrapped("", wide), *_rows(table)]
    return lines


def _totals(known: AgentView) -> list[TextLine]:
    shown = known.scene
    power, unknown = total_w(shown)
    of, limit = limits_w(shown)
    energy = f"{kwh(energy_j(shown))} kWh since {moment(shown.since_s)}"
    said = f"{watts(power)}, {percent(of, limit)} of {watts(limit)}, {energy}"
    said += f", {unknown} of {len(shown.gpus)} GPUs unknown" if unknown and power is not None else ""
    return wrapped(said, _WHOLE)


def _rows(table: FittedTable) -> list[TextLine]:
    return [table.titles(), *(table.line(i) for i in range(len(table.rows)))]


def _stripped(lines: list[TextLine]) -> list[TextLine]:
    return [found for line in lines for found in wrapped(line.text.rstrip(), _WHOLE)]
