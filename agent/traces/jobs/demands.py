"""From a jobs table that only counts GPUs to one that names them, as well as the trace shows them.

`agent.traces.jobs.wants.Edges` says between which times the trace is to be looked at, `name_gpus` uses what was seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.traces.jobs.by_host import JobsByHost
from wattshed.agent.traces.jobs.evidence import Evidence
from wattshed.agent.traces.jobs.jobs_file import ALWAYS, JobRow
from wattshed.agent.traces.jobs.placement import COUNTED, EXCHANGEABLE, GUESSED, INFERRED, LEVELS, Placed, Placement
from wattshed.agent.traces.jobs.wants import natural, wants_of
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.traces.jobs.survey import Survey, SurveyedHost
    from wattshed.agent.traces.jobs.wants import Want

_PPM = 1_000_000
_SHOWN = 5
_NOTES = {
    INFERRED: "which GPUs they had is inferred from power and utilisation",
    EXCHANGEABLE: "several GPUs or jobs fit equally well, and are shared among these",
    COUNTED: "nothing shows which GPUs they had; k of a node's n are billed k/n of it at most, "
    "the rest belongs to no job",
    GUESSED: "a guess: fewer GPUs were busy than these jobs had; the first to start is taken to be busy",
}


def name_gpus(rows: Sequence[JobRow], survey: Survey, idle_mw: int = MISSING) -> tuple[list[JobRow], list[str]]:
    """Name the GPUs of rows that only count them; what a recording knows by itself is left to it.

    Parameters
    ----------
    rows : sequence of JobRow
    survey : Survey
        Of all hosts of the trace, made with `Edges` of the same rows.
    idle_mw : int, mW
        Idle power of every GPU; -1 unknown.

    Returns
    -------
    (list of JobRow, list of str)
        And what the user should know about it.
    """
    rows = _fitted(rows, survey)
    by_host = JobsByHost(rows)
    somewhere = sum(len(host.gpus) for host in survey.hosts.values())
    aliases = {name: _known(by_host.of(name), host) for name, host in sorted(survey.hosts.items())}
    known = {job: key for alias in aliases.values() for job, key in alias.items()}
    named = [row for row in rows if not row.counted and not row.host and row.job not in known]
    levels: dict[str, set[str]] = defaultdict(set)
    seen_rows = {id(row) for row in named}
    for name, alias in aliases.items():
        host = survey.hosts[name]
        mine = by_host.of(name)
        seen_rows |= {id(row) for row in mine}
        named += [
            replace(row, job=alias[row.job], gpus=(), count=MISSING, parts=(), shards=0)
            for row in mine
            if row.job in alias
        ]
        mine = [row for row in mine if row.job not in alias]
        named += [row for row in mine if not row.counted and row.host]
        for row, level in _placed(name, host, mine, idle_mw, somewhere if len(survey.hosts) > 1 else 0):
            levels[row.job].add(level)
            named.append(row)
    named += [row for row in rows if id(row) not in seen_rows]
    how = {job: max(found, key=LEVELS.index) for job, found in levels.items()}
    named = [replace(row, labels={**row.labels, "placement": how[row.job]}) if row.job in how else row for row in named]
    return named, _notes(how, set(known.values()))


def _fitted(rows: Sequence[JobRow], survey: Survey) -> Sequence[JobRow]:
    """Give a job that had as many GPUs as its nodes have together all of each, however many these are."""
    by_host = JobsByHost(rows)
    sizes = {id(row): len(host.gpus) for name, host in survey.hosts.items() for row in by_host.of(name) if row.host}
    dealt: dict[tuple[str, int], list[JobRow]] = defaultdict(list)
    for row in rows:
        if row.dealt:
            dealt[row.job, row.line].append(row)
    full = {
        id(row)
        for mine in dealt.values()
        if sum(sizes.get(id(row), 0) for row in mine) == mine[0].dealt and all(id(row) in sizes for row in mine)
        for row in mine
    }
    return [replace(row, count=sizes[id(row)], parts=()) if id(row) in full else row for row in rows]


def _known(rows: Iterable[JobRow], host: SurveyedHost) -> dict[str, str]:
    """Find which jobs of the table the recording knows, and by what key: its own, or one that says the same."""
    jobs = {row.job: row.labels for row in rows}
    bare = Counter(job.partition("@")[0] for job in jobs)
    found = {}
    for job, labels in jobs.items():
        plain = job.partition("@")[0]
        named = labels.get("array", "") if job == f"slurm:{labels.get('array')}" else labels.get("sluid", "")
        if job in host.known:
            found[job] = job
        elif plain in host.known and bare[plain] == 1:
            found[job] = plain
        elif named and named in host.other_names:
            found[job] = host.other_names[named]
    return found


def _placed(
    name: str, host: SurveyedHost, rows: list[JobRow], idle_mw: int, everywhere: int
) -> Iterable[tuple[JobRow, str]]:
    """Place a host's counted rows; those of no host in particular have k of all GPUs of the trace."""
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row.start_us, row.end_us, sorted(row.labels.items()))):
        labels[row.job].update(row.labels)
    wants = wants_of(rows)
    seen = list(host.gpus.values())
    if not wants or not seen:
        return
    names = [one.device.uuid or str(one.device.index) for one in seen]
    if everywhere:
        for want in (want for want in wants if not want.host):
            size = want.count * _PPM + sum(want.parts) + want.shards * _PPM
            share = Placed(0, min(size // everywhere, _PPM), at_most=True)
            yield _row(want, name, labels, tuple(names), share), COUNTED
        wants = [want for want in wants if want.host]
    placed = [
        replace(
            want,
            first=int(np.searchsorted(host.edges_us, want.start_us, "right")) if want.start_us > ALWAYS else 0,
            last=int(np.searchsorted(host.edges_us, want.end_us, "left")) + 1,
        )
        for want in wants
    ]
    for want, (found, level) in zip(wants, Placement(placed, Evidence(seen, idle_mw)).place(), strict=True):
        alike: dict[Placed, list[str]] = defaultdict(list)
        for one in found:
            alike[replace(one, gpu=0)].append(names[one.gpu])
        for one, gpus in alike.items():
            yield _row(want, name, labels, tuple(gpus), one), level


def _row(want: Want, host: str, labels: dict[str, dict[str, str]], gpus: tuple[str, ...], one: Placed) -> JobRow:
    whole = one.share_ppm >= _PPM and not one.at_most
    return JobRow(
        want.job, host, gpus, want.start_us, want.end_us, share_ppm=MISSING if whole else one.share_ppm,
        labels=labels[want.job], at_most=one.at_most, doubt_mw=one.doubt_mw,
    )  # fmt: skip


def _notes(how: dict[str, str], known: set[str]) -> list[str]:
    """Say in a line for each kind of knowledge how many jobs are known so, and the first of them."""
    lines = []
    if known:
        lines.append(f"known to the recording, which takes precedence over the jobs file: {_some(known)}")
    for level, text in _NOTES.items():
        jobs = {job for job, found in how.items() if found == level}
        if jobs:
            lines.append(f"the jobs file only counts the GPUs of {_some(jobs)}: {text}")
    return lines


def _some(jobs: Iterable[str]) -> str:
    ordered = sorted(jobs, key=natural)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
