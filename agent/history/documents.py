"""The documents that a history answers with, the same for a program, a command and a page.

Energies are decimal strings of joules, exact; times are seconds; what is not known is None, never 0.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed.agent.history import last_watts
from wattshed.agent.history.query import Used
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.wire.parts import FLAGS, joules, method_name, sum_if_known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.history.last_watts import WattsAt
    from wattshed.agent.history.query import FoundJob, Group
    from wattshed.agent.wire.parts import JobPart

BOUNDARY = "board"
TOLD_WITHIN_US = 900_000_000
"""A host tells of a job within this time after its end, or knows nothing of it."""
_SHOWN = (*GROUPS, "name")
_HNJ_PER_US_W = 2_000
"""1 W is 2,000 hnj in each microsecond."""


@dataclass(frozen=True, slots=True)
class UsedPart:
    """A part with where its GPU is, and what kind it is."""

    part: JobPart
    host: str
    model: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the parts of a job tell beside its sums.

    Attributes
    ----------
    gpus : int or None
    until_us : int, us
        Up to when its energy is known.
    covered_us : int or None, us
        How much of the time that it was on its GPUs was measured; None: not known, of one part or more.
    watts : sequence of WattsAt
        What is known of the watts that it draws.
    """

    gpus: int | None
    until_us: int
    covered_us: int | None = None
    watts: Sequence[WattsAt] = ()


def used_of(part: JobPart) -> Used:
    """Return what a part used."""
    return Used(part.static_hnj, part.dynamic_hnj, part.active_us, part.held_us, part.doubt)


def energies(used: Used) -> dict[str, Any]:
    """Lay out an energy with what is known of it."""
    return {
        "energy_j": joules(used.energy_hnj),
        "static_j": joules(used.static_hnj),
        "dynamic_j": joules(used.dynamic_hnj),
        "sigma_j": used.doubt.sigma_j,
        "active_s": used.active_us / 1e6,
        "held_s": used.held_us / 1e6,
    }


def node_estimate(parts_hnj: Mapping[str, int]) -> dict[str, Any]:
    """Lay out what of an agent's node beyond its GPUs may be a job's: an estimate, beside the bill and never in it."""
    parts_j = {part: joules(hnj) for part, hnj in sorted(parts_hnj.items())}
    return {"node_energy_estimate": {"energy_j": joules(sum(parts_hnj.values())), "parts_j": parts_j}}


def job_document(job: FoundJob, seen: Seen, now_us: int, collected_us: int | None = None) -> dict[str, Any]:
    """Lay out one run of a job.

    Parameters
    ----------
    job : FoundJob
    seen : Seen
    now_us : int, us
    collected_us : int or None, us
        See `query.collected_us`.
    """
    used, running = job.used, job.end_us < 0
    labels = dict(job.labels)
    until_us = max(seen.until_us, job.start_us) if running else job.end_us
    there_us = used.active_us + used.held_us
    share = coverage(seen.covered_us, there_us)
    missing = job.expected is not None and len(job.hosts) < job.expected
    flags = [name for bit, name in FLAGS.items() if job.flags & bit]
    return {
        "job": job.key,
        "run": str(job.run_us),
        "hosts": list(job.hosts),
        "hosts_expected": job.expected,
        "state": _state(job, collected_us if missing else None),
        "start_s": job.start_us / 1e6,
        "end_s": None if running else job.end_us / 1e6,
        "elapsed_s": max(0, (now_us if running else job.end_us) - job.start_us) / 1e6,
        **{name: labels.pop(name, "") for name in _SHOWN},
        "labels": labels,
        "gpus": seen.gpus,
        **energies(used),
        "boundary": BOUNDARY,
        "mean_w": _mean_w(used.energy_hnj, until_us - job.start_us, share),
        "covered_s": seconds_of(seen.covered_us),
        "coverage": share,
        "peak_w": job.peak_mw / 1e3 if job.peak_mw > 0 else None,
        "held_idle": used.held_us / there_us if there_us > 0 else None,
        **last_watts.of_job(seen.watts),
        "method": method_name(job.method),
        "flags": [*flags, "lower_bound"] if missing and not running else flags,
    }


def _state(job: FoundJob, collected_us: int | None) -> str:
    """Say how far a job is: of one that ended and has hosts missing, whether one may still tell of it."""
    if job.end_us < 0:
        return "running"
    if collected_us is None:
        return "complete"
    return "waiting" if collected_us < job.end_us + TOLD_WITHIN_US else "incomplete"


def total(used: Iterable[Used]) -> Used:
    """Add up."""
    whole = Used()
    for one in used:
        whole = whole.plus(one)
    return whole


def by_gpu(parts: Iterable[UsedPart]) -> list[dict[str, Any]]:
    """Lay out what a job used on each GPU."""
    parts = list(parts)
    watts = last_watts.by_place(last_watts.told_by(parts))
    used: dict[tuple[str, str, str], Used] = defaultdict(Used)
    peaks: dict[tuple[str, str, str], int] = defaultdict(int)
    covered: dict[tuple[str, str, str], int | None] = {}
    for one in parts:
        place = one.host, one.part.gpu, one.model
        covered[place] = sum_if_known(covered.get(place, 0), one.part.covered_us)
        used[place] = used[place].plus(used_of(one.part))
        peaks[place] = max(peaks[place], one.part.peak_mw)
    return [
        {
            **dict(zip(("host", "gpu", "model"), place, strict=True)),
            **energies(used[place]),
            **_on_one_gpu(used[place], covered[place]),
            "peak_w": peaks[place] / 1e3 or None,
            **watts.get(place[:2], last_watts.NO_WATTS),
        }
        for place in sorted(used)
    ]


def _on_one_gpu(used: Used, covered_us: int | None) -> dict[str, float | None]:
    there_us = used.active_us + used.held_us
    share = coverage(covered_us, there_us)
    mean_w = _mean_w(used.energy_hnj, there_us, share)
    return {"mean_w": mean_w, "covered_s": seconds_of(covered_us), "coverage": share}


def coverage(covered_us: int | None, there_us: int) -> float | None:
    """Return which share of its GPU time somebody's energy was measured in; None where that is not known."""
    return None if covered_us is None or there_us <= 0 else min(covered_us / there_us, 1.0)


def seconds_of(time_us: int | None) -> float | None:
    """Return a time in seconds, where it is known."""
    return None if time_us is None else time_us / 1e6


def power(parts: Iterable[UsedPart]) -> list[list[float | None]]:
    """Lay out the mean power of a job between each two edges of its parts; None where it has none."""
    change_w: dict[int, float] = defaultdict(float)
    present: dict[int, int] = defaultdict(int)
    for part in (one.part for one in parts):
        share = coverage(part.covered_us, part.active_us + part.held_us)
        mean_w = _mean_w(part.energy_hnj, part.to_us - part.from_us, share)
        if mean_w is not None:
            change_w[part.from_us] += mean_w
            change_w[part.to_us] -= mean_w
            present[part.from_us] += 1
            present[part.to_us] -= 1
    found: list[list[float | None]] = []
    edges, now_w, there = sorted(change_w), 0.0, 0
    for begin, end in itertools.pairwise(edges):
        now_w, there = now_w + change_w[begin], there + present[begin]
        found.append([begin / 1e6, end / 1e6, round(now_w, 6) if there else None])
    return found


def report_document(groups: Sequence[Group], by: str, fields: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Lay out the rows of a report and their sum.

    Parameters
    ----------
    groups : sequence of Group
    by : str
    fields : sequence of mapping, optional
        What else is said of each row, in the same order.
    """
    counts = [group.jobs for group in groups]
    known = [count for count in counts if count is not None]
    rows = [{"name": group.name, "jobs": group.jobs, **energies(group.used)} for group in groups]
    for row, further in zip(rows, fields, strict=False):
        row.update(further)
    return {
        "by": by,
        "boundary": BOUNDARY,
        "rows": rows,
        "total": {
            "jobs": sum(known) if known or not counts else None,
            **energies(total(group.used for group in groups)),
        },
    }


def _mean_w(energy_hnj: int, time_us: int, share: float | None) -> float | None:
    """Return mean power over the share of a time that was measured; over all of it where the share is not known."""
    measured_us = time_us * (1.0 if share is None else share)
    return energy_hnj / measured_us / _HNJ_PER_US_W if measured_us > 0 else None
