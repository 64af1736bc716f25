"""Reports: what was used by whom or when, from sums of days, from parts, and from what is not stored yet."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.documents import used_of
from wattshed.agent.history.live import has_labels, is_of, seen_by
from wattshed.agent.history.part_rows import RECORD_COLUMNS, record_of
from wattshed.agent.history.query import FOREVER_US, Group, Used
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.history.steps import batched, parts_of_runs, pieces, row_at, stored_sums
from wattshed.agent.history.sums import DAY_US, NOT_A_JOB
from wattshed.agent.history.totals import BY, in_order, job_counts, stored_totals
from wattshed.agent.wire.parts import JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.history.documents import UsedPart
    from wattshed.agent.history.live import Live, LiveJob
    from wattshed.agent.history.query import Filter, FoundJob
    from wattshed.agent.history.sql import SqlDatabase


LABELS = ("workload", "queue")
"""Labels of jobs, in no sums of days, that a report can go by, job by job."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """What was used, by row and by step.

    Attributes
    ----------
    groups : list of Group
        The rows.
    fields : list of dict
        Of each row what else is said of it: who a job is.
    steps : list of (int, int, Used)
        Row, begin of the step (us), and what was used in it; in order.
    rows : list
        What each row is known by here: its name, or the number of a run.
    """

    groups: list[Group]
    fields: list[dict[str, Any]]
    steps: list[tuple[int, int, Used]]
    rows: list[Any]


def report_of(
    database: SqlDatabase, by: str, asked: Filter, step_s: int | None = None, live: Live | None = None
) -> ReportTable:
    """Add up what was used by one of `query.BY` or by ``job``, and by steps of UTC.

    Parameters
    ----------
    database : SqlDatabase
    by : str
    asked : Filter
    step_s : int or None, s
        Divides a day; None: no steps.
    live : Live, optional
        What is not in the database yet.

    Raises
    ------
    ValueError
        If ``by`` is something else.
    TooMuchError
        If there are too many rows or steps.
    """
    if by not in {*BY, *LABELS, "job"}:
        raise ValueError(f"by: {by!r} is not one of {', '.join((*BY, *LABELS, 'job'))}")
    if by in LABELS:
        return _by_label(report_of(database, "job", asked, step_s, live), by)
    step_us = step_s * 1_000_000 if step_s is not None else DAY_US if by in {"day", "month"} else FOREVER_US
    used: dict[tuple[Any, int], Used] = defaultdict(Used)
    if by == "job" or step_s is not None:
        used.update(stored_sums(database, by, asked, step_us))
    else:
        used.update({(name, -1): one for name, one in stored_totals(database, by, asked).items()})
    for row, step, one in _beyond(database, by, asked, step_us, live):
        used[row, step] = used[row, step].plus(one)
    whole: dict[Any, Used] = defaultdict(Used)
    for (row, _), one in used.items():
        whole[row] = whole[row].plus(one)
    rows, groups, fields = _jobs(database, whole, live) if by == "job" else _groups(database, by, asked, whole, live)
    places = {row: place for place, row in enumerate(rows)}
    told = [(places[row], step * step_us, one) for (row, step), one in used.items()] if step_s is not None else []
    return ReportTable(groups, fields, sorted(told, key=lambda one: one[:2]), rows)


def _by_label(table: ReportTable, by: str) -> ReportTable:
    """Add up a report by job by one of the jobs' labels."""
    used: dict[str, Used] = defaultdict(Used)
    jobs: Counter[str] = Counter()
    names = []
    for group, fields in zip(table.groups, table.fields, strict=True):
        name = group.name if group.jobs is None else fields.get(by, "")
        names.append(name)
        used[name] = used[name].plus(group.used)
        jobs[name] += group.jobs or 0
    found = [Group(name, None if name.startswith(NOT_A_JOB) else jobs[name], one) for name, one in used.items()]
    groups = in_order(by, found)
    places = {group.name: place for place, group in enumerate(groups)}
    steps: dict[tuple[int, int], Used] = defaultdict(Used)
    for row, at_us, one in table.steps:
        place = places[names[row]], at_us
        steps[place] = steps[place].plus(one)
    told = [(*place, one) for place, one in sorted(steps.items(), key=lambda step: step[0])]
    return ReportTable(groups, [{} for _ in groups], told, [group.name for group in groups])


def _beyond(
    database: SqlDatabase, by: str, asked: Filter, step_us: int, live: Live | None
) -> Iterator[tuple[Any, int, Used]]:
    """Yield what is not stored yet, and what is stored under labels that meanwhile are known better."""
    for job in live.jobs().values() if live is not None else ():
        row = _row_of(job, job.whole, by)
        wanted = _is_asked_for(job.uid, job.whole, asked)
        if wanted:
            yield from _in_steps(row, job.parts, by, asked, step_us)
        if job.stored is None or (job.stored.labels, job.stored_uid) == (job.whole.labels, job.uid):
            continue
        stored_row = _row_of(job, job.stored, by)
        was_wanted = _is_asked_for(job.stored_uid, job.stored, asked)
        if (was_wanted, stored_row) != (wanted, row):
            parts = parts_of_runs(database, [job.stored.number])
            if was_wanted:
                for of, step, one in _in_steps(stored_row, parts, by, asked, step_us):
                    yield of, step, Used().less(one)
            if wanted:
                yield from _in_steps(row, parts, by, asked, step_us)


def _is_asked_for(uid: int, job: FoundJob, asked: Filter) -> bool:
    """Tell whether what a job used is in a report, as `query.where_parts` does."""
    return (
        seen_by(uid, asked)
        and has_labels(job.labels, asked)
        and asked.host in {"", job.host}
        and asked.job in {"", job.key}
    )


def _in_steps(
    row: Any, parts: Iterable[UsedPart], by: str, asked: Filter, step_us: int
) -> Iterator[tuple[Any, int, Used]]:
    for one in parts:
        if asked.model in {"", one.model}:
            for step, piece in pieces(one.part, asked.since_us, asked.until_us, step_us):
                yield (one.model if by == "model" else row_at(by, row, step * step_us)), step, used_of(piece)


def _row_of(job: LiveJob, named: FoundJob, by: str) -> Any:
    """Return the row of a job, by the labels that it is known by."""
    if by == "host":
        return named.host
    if named.key.startswith(NOT_A_JOB):
        return named.key
    if by == "job":
        return str(job.stored.number) if job.stored is not None else (named.key, named.run_us)
    return named.labels.get(by, "")


def _groups(
    database: SqlDatabase, by: str, asked: Filter, whole: Mapping[str, Used], live: Live | None
) -> tuple[list[str], list[Group], list[dict[str, Any]]]:
    counts = job_counts(database, by, asked)
    if counts is not None and live is not None:
        more = Counter(counts)
        for job in live.jobs().values():
            if job.stored is not None and _is_counted(job.stored_uid, job.stored, asked):
                more[_row_of(job, job.stored, by)] -= 1
            if _is_counted(job.uid, job.whole, asked):
                more[_row_of(job, job.whole, by)] += 1
        counts = more
    groups = [Group(name, counts.get(name) if counts is not None else None, used) for name, used in whole.items()]
    groups = in_order(by, groups)
    return [group.name for group in groups], groups, [{} for _ in groups]


def _is_counted(uid: int, job: FoundJob, asked: Filter) -> bool:
    return not job.key.startswith(NOT_A_JOB) and seen_by(uid, asked) and is_of(job, asked)


def _jobs(
    database: SqlDatabase, whole: Mapping[Any, Used], live: Live | None
) -> tuple[list[Any], list[Group], list[dict[str, Any]]]:
    found: dict[Any, tuple[JobRecord, list[str]]] = {}
    numbers = []
    for row in whole:
        if isinstance(row, str) and row.startswith(NOT_A_JOB):
            found[row] = JobRecord(row, 0, 0), _hosts(database, row, live)
        elif isinstance(row, str):
            numbers.append(int(row))
    for some in batched(numbers):
        marks = ", ".join("?" * len(some))
        hosts: dict[int, list[str]] = {number: [] for number in some}
        for run, host in database.rows(f"SELECT DISTINCT run, host FROM job WHERE run IN ({marks})", some):
            hosts[run].append(host)
        columns = RECORD_COLUMNS.replace("job.", "run.")
        for number, *told in database.rows(f"SELECT run.id, {columns} FROM run WHERE run.id IN ({marks})", some):
            found[str(number)] = record_of(told), sorted(hosts[number])
    for job in live.jobs().values() if live is not None else ():
        one = job.whole
        if not one.key.startswith(NOT_A_JOB):
            record = JobRecord(one.key, one.run_us, one.start_us, one.end_us, job.uid, one.labels)
            found[_row_of(job, one, "job")] = record, list(one.hosts)

    def place(row: Any) -> tuple[bool, int, str, int, list[str]]:
        job, hosts = found[row]
        return job.key.startswith(NOT_A_JOB), -whole[row].energy_hnj, job.key, job.run_us, hosts

    order = sorted(whole, key=place)
    groups, fields = [], []
    for row in order:
        record, own = found[row]
        groups.append(Group(record.key, None if record.key.startswith(NOT_A_JOB) else 1, whole[row]))
        fields.append(_fields(record, own))
    return order, groups, fields


def _hosts(database: SqlDatabase, owner: str, live: Live | None) -> list[str]:
    hosts = {host for (host,) in database.rows("SELECT DISTINCT host FROM job WHERE key = ?", (owner,))}
    if live is not None:
        hosts |= {job.whole.host for (key, _), job in live.jobs().items() if key == owner}
    return sorted(hosts)


def _fields(job: JobRecord, hosts: Sequence[str]) -> dict[str, Any]:
    """Say who a job is, in a row of a report; the row's ``name`` is the job's key."""
    is_job = not job.key.startswith(NOT_A_JOB)
    return {
        "job": job.key,
        "run": str(job.run_us),
        "job_name": job.labels.get("name", ""),
        "hosts": list(hosts),
        "start_s": job.start_us / 1e6 if is_job else None,
        "end_s": job.end_us / 1e6 if is_job and job.end_us >= 0 else None,
        **{name: job.labels.get(name, "") for name in GROUPS},
        **{name: job.labels[name] for name in LABELS if name in job.labels},
    }
