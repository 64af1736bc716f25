"""What jobs were last known to draw at full activity, above idle power: an estimate of each job on each GPU.

Watts of parts do not add up: what counts is the newest part of a job on a GPU that tells of any.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from wattshed.exporters.split_facts import mean_watts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.history.documents import UsedPart
    from wattshed.agent.history.sql import SqlDatabase

NO_WATTS = {"watts": None, "watts_sigma": None}


class WattsAt(NamedTuple):
    """What a job was known to draw on one GPU, and one sigma of that, when a part ended (us)."""

    host: str
    gpu: str
    to_us: int
    watts_mw: int
    sigma_mw: int


def told_by(parts: Iterable[UsedPart]) -> list[WattsAt]:
    """Return what parts tell."""
    return [
        WattsAt(one.host, one.part.gpu, one.part.to_us, *one.part.watts_mw)
        for one in parts
        if one.part.watts_mw is not None
    ]


def stored(database: SqlDatabase, numbers: Sequence[int]) -> dict[int, list[WattsAt]]:
    """Read what the newest parts of runs tell that tell of any, by the numbers of the runs.

    Raises
    ------
    DatabaseError
    """
    found = defaultdict(list)
    asked = ", ".join("?" * len(numbers))
    rows = database.rows(
        "SELECT job.run, gpu.host, gpu.uuid, part.to_us, part.watts_mw, part.watts_sigma_mw FROM ("
        "SELECT part.job AS job, part.gpu AS gpu, max(part.to_us) AS to_us FROM part JOIN job ON job.id = part.job "
        f"WHERE job.run IN ({asked}) AND part.watts_mw IS NOT NULL GROUP BY part.job, part.gpu) AS last "
        "JOIN part ON part.job = last.job AND part.gpu = last.gpu AND part.to_us = last.to_us "
        "JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu WHERE part.watts_mw IS NOT NULL ORDER BY part.seq",
        numbers,
    )
    for run, *told in rows:
        found[run].append(WattsAt(*told))
    return found


def by_place(told: Iterable[WattsAt]) -> dict[tuple[str, str], dict[str, float]]:
    """Return ``watts`` and ``watts_sigma``, W, by host and GPU; of equally new ones the later counts."""
    newest: dict[tuple[str, str], WattsAt] = {}
    for one in told:
        place = one.host, one.gpu
        if place not in newest or one.to_us >= newest[place].to_us:
            newest[place] = one
    return {place: {"watts": one.watts_mw / 1e3, "watts_sigma": one.sigma_mw / 1e3} for place, one in newest.items()}


def of_job(told: Iterable[WattsAt]) -> dict[str, float] | dict[str, None]:
    """Return a job's mean over its GPUs of which it is known; `NO_WATTS` where it is of none."""
    known = by_place(told).values()
    return mean_watts((one["watts"], one["watts_sigma"]) for one in known) if known else NO_WATTS
