"""What has been used since the last cut, as if it were cut now: nothing is changed by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.accounts.used import Cut, used_by, used_by_nobody
from wattshed.agent.window import IDLE, UNATTRIBUTED
from wattshed.agent.wire.parts import Doubt, JobPart, JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.cuts import Cuts
    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.accounts.used import AmountUsed
    from wattshed.agent.window import JobKey


def uncut_parts(
    cuts: Cuts, jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount], since_us: int, now_us: int
) -> Iterator[JobPart]:
    """Yield what every open account used since it was cut last; with the parts that were cut, that is all of it.

    Parameters
    ----------
    cuts : Cuts
    jobs : mapping of key to JobAccount
        All that are open.
    gpus : mapping of GpuKey to GpuAccount
    since_us, now_us : int, us
        When these accounts began, and the end of the window.
    """
    for gpu, account in gpus.items():
        for owner in (IDLE, UNATTRIBUTED):
            used = used_by_nobody(owner, account)
            before = cuts.cuts.get((owner, gpu)) or Cut(min(max(since_us, account.here_since_us), now_us))
            part = used.less(before.used)
            if not (part.is_nothing or part.is_less):
                yield _part(owner, 0, gpu, before.at_us, now_us, part)
    for job in jobs.values():
        began_us = job.start_us if job.start_us >= 0 else now_us
        run_us = cuts.runs.get(job.key, began_us)
        for gpu, line in job.lines.items():
            before = cuts.cuts.get((job.key, gpu)) or Cut(min(began_us, now_us))
            part = used_by(job, gpu, gpus[gpu]).less(before.used)
            if not part.is_less and not (part.is_nothing and part.doubt == Doubt()):
                until_us = min(job.end_us, now_us)
                watts_mw = cuts.watts.of(job.key, gpu)
                yield _part(job.key, run_us, gpu, before.at_us, until_us, part, line.cut_peak_mw, job.method, watts_mw)


def open_records(
    cuts: Cuts, jobs: Mapping[JobKey, JobAccount], ended_before_us: int, now_us: int
) -> dict[tuple[str, int], JobRecord]:
    """Say who the jobs are whose accounts are open; what was not seen since ``ended_before_us`` has ended."""
    found: dict[tuple[str, int], JobRecord] = {}
    for job in jobs.values():
        began_us = job.start_us if job.start_us >= 0 else now_us
        run_us = cuts.runs.get(job.key, began_us)
        power = cuts.power.get(job.key, "")
        end_us = job.end_us if job.end_us < ended_before_us else -1
        work = job.work.done().text() if job.work is not None else ""
        who = job.key, run_us, job.start_us, end_us, job.uid, dict(job.labels)
        found[job.key, run_us] = JobRecord(*who, power, work)
    return found


def _part(  # noqa: PLR0917 - the columns of a part
    owner: str,
    run_us: int,
    gpu: GpuKey,
    from_us: int,
    to_us: int,
    used: AmountUsed,
    peak_mw: int = 0,
    method: int = 0,
    watts_mw: tuple[int, int] | None = None,
) -> JobPart:
    return JobPart(
        0, owner, run_us, gpu.gpu, from_us, max(to_us, from_us), used.static_hnj, used.dynamic_hnj, used.active_us,
        used.held_us, peak_mw, used.edges, method, used.doubt, 0, used.covered_us, watts_mw,
    )  # fmt: skip
