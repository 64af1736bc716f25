"""From the pages of one server to what was done between them: differences, over restarts of server and agent.

The first page is where counting begins. Later a series counts by its difference; one that began anew, or has fallen,
counts from zero. So differences sum to the last value minus the first, wherever pages are missing in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.window import SCRAPED, WorkRow
from wattshed.agent.work_units.kinds import OUTPUT, PREFILL, PROMPT, REQUESTS, completed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.window import JobKey
    from wattshed.agent.work_units.page import ServerPage


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last page of a server, as far as the next one needs it.

    Attributes
    ----------
    owner : str
        The job that the server belonged to.
    time_us : int, us
        When the page was read.
    started : float or None
    running : int or None
    values : mapping of str to (int, float or None)
        Of each series its value, and when it began.
    last : mapping of str to int
        What the last pages differed by, by unit.
    """

    owner: str
    time_us: int
    started: float | None = None
    running: int | None = None
    values: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)
    last: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        return {
            "owner": self.owner,
            "time_us": self.time_us,
            "started": self.started,
            "running": self.running,
            "values": {name: [value, created] for name, (value, created) in self.values.items()},
            "last": dict(self.last),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Baseline:
        """Read what `plain` laid out.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is another thing.
        """
        values = {
            str(name): (int(value), None if created is None else float(created))
            for name, (value, created) in plain["values"].items()
        }
        last = {str(unit): int(count) for unit, count in plain["last"].items()}
        started, running = plain["started"], plain["running"]
        return cls(
            str(plain["owner"]),
            int(plain["time_us"]),
            None if started is None else float(started),
            None if running is None else int(running),
            values,
            last,
        )


class Done(NamedTuple):
    """What was done between two pages.

    Attributes
    ----------
    start_us, end_us : int, us
        The same at the first page.
    counts : dict of str to int
        By unit.
    in_flight : dict of str to int
        By unit, what requests that are running at the end may have done and is not counted: of kinds that count at
        the end of a request.
    lost : dict of str to int
        By unit, how much a server that began anew may have done since the page before; empty where none did.
    waited : bool
        No request was running at either page, and nothing was done between them.
    """

    start_us: int
    end_us: int
    counts: dict[str, int]
    in_flight: dict[str, int]
    lost: dict[str, int]
    waited: bool


def count(page: ServerPage, before: Baseline | None, owner: str, now_us: int) -> tuple[Done, Baseline]:
    """Count what was done since the page before.

    Parameters
    ----------
    page : ServerPage
    before : Baseline or None
        None, or another owner's: counting begins here.
    owner : str
    now_us : int, us

    Returns
    -------
    (Done, Baseline)
    """
    units = dict.fromkeys((one.unit for one in page.series.values()), 0)
    values = {name: (one.value, one.created) for name, one in page.series.items()}
    if before is None or before.owner != owner:
        units = completed(units)
        in_flight = _in_flight(page, units)
        now = Baseline(owner, now_us, page.started, page.running, values)
        return Done(now_us, now_us, units, in_flight, {}, waited=False), now
    anew = _moved(before.started, page.started)
    counts, began_anew = dict(units), anew
    metrics = {name.split(" ", 2)[1]: name.split(" ", 1)[0] for name in before.values}
    for name, one in page.series.items():
        if metrics.get(one.unit, name.split(" ", 1)[0]) != name.split(" ", 1)[0]:
            continue  # it counts by another metric from now on
        was, created = before.values.get(name, (0, None))
        fresh = anew or one.value < was or _moved(created, one.created)
        began_anew |= fresh
        counts[one.unit] += one.value - (0 if fresh else was)
    counts = completed(counts)
    lost = {unit: before.last.get(unit, 0) for unit in counts} if began_anew else {}
    waited = before.running == page.running == 0 and not any(counts.values()) and not began_anew
    kept = counts if any(counts.values()) else before.last
    # A series that is not on this page may come back; of a server that began anew it counts from zero.
    values = values if began_anew else {**before.values, **values}
    now = Baseline(owner, now_us, page.started, page.running, values, dict(kept))
    return Done(before.time_us, now_us, counts, _in_flight(page, counts), lost, waited), now


def baseline_at_birth(owner: JobKey, page: ServerPage, since_us: int | None, now_us: int) -> Baseline | None:
    """Return a baseline of zeros for a process that began under a job that was there by then; else None.

    Parameters
    ----------
    owner : JobKey
    page : ServerPage
        Its first one.
    since_us : int or None, us
        When the job began, as far as that is known.
    now_us : int, us
    """
    if page.started is None or since_us is None or page.started * 1e6 < since_us:
        return None
    return Baseline(owner, min(round(page.started * 1e6), now_us), page.started)


def work_rows(owner: JobKey, done: Done) -> list[WorkRow]:
    """Write what was done between two pages as rows; what a server lost that began anew stays in doubt."""
    rows = [
        WorkRow(owner, unit, 0, SCRAPED, done.end_us, done.end_us, lost) for unit, lost in done.lost.items() if lost
    ]
    for unit, number in done.counts.items():
        rows.append(WorkRow(owner, unit, number, SCRAPED, done.start_us, done.end_us, done.in_flight.get(unit, 0)))
    return rows


def _moved(before: float | None, now: float | None) -> bool:
    return before is not None and now is not None and before != now


def _in_flight(page: ServerPage, counts: Mapping[str, int]) -> dict[str, int]:
    """Return what requests that are running may have done: each as much as those that ended, on average."""
    found = dict.fromkeys(counts, 0)
    if not page.running:
        return found
    totals = page.totals()
    requests = totals.get(REQUESTS, 0)
    for unit in {one.unit for one in page.series.values() if one.at_end}:
        if unit == REQUESTS:
            found[unit] = page.running
        elif requests:
            found[unit] = page.running * -(-totals[unit] // requests)
        else:  # it does not count requests: those that run have done no more than was done between two pages
            found[unit] = min(totals[unit], max(counts.get(OUTPUT, 0), counts[unit]))
    if PREFILL in found and not found[PREFILL]:
        found[PREFILL] = found.get(PROMPT, 0)
    return found
