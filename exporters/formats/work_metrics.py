"""Metrics of the work of jobs, and of the servers that it is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from wattshed.exporters.formats.exposition import Rows
    from wattshed.exporters.snapshot import Snapshot


def _job_work(snapshot: Snapshot) -> Rows:
    return [((job.job, one.unit, one.source), one.count) for job in snapshot.jobs for one in job.work]


def _job_waiting(snapshot: Snapshot) -> Rows:
    return [((job.job,), job.waiting_hnj) for job in snapshot.jobs if job.waiting_hnj is not None]


WORK: tuple[Family, ...] = (
    Family(
        "wattshed_job_work_total",
        "counter",
        "Work of a job by unit: output_tokens, prompt_tokens, cached_tokens, prefill_tokens, requests, or its own. "
        "source is told by the job itself, or scraped from the page of its inference server. It comes with the energy "
        "of its time: the increase of wattshed_job_energy_joules_total by the increase of this is joules per unit.",
        ("job", "unit", "source"),
        _job_work,
    ),
    Family(
        "wattshed_job_waiting_energy_joules_total",
        "counter",
        "Energy in joules that a job used while none of its inference servers had a request: a part of "
        "wattshed_job_energy_joules_total. Absent where its servers do not tell how many requests are running.",
        ("job",),
        _job_waiting,
        per=HNJ_PER_JOULE,
    ),
    Family(
        "wattshed_work_server_up",
        "gauge",
        "1 if the page of an inference server of a job was read at the last attempt, 0 if not; kind is vllm, sglang, "
        "trtllm, tgi, llamacpp, lmdeploy, triton or nim, empty where it was never read.",
        ("job", "kind"),
        lambda s: [((job, kind), int(up)) for job, kind, up in s.work.servers],
    ),
    Family(
        "wattshed_work_resets_total",
        "counter",
        "Times that the counters of an inference server began anew.",
        (),
        lambda s: [((), s.work.resets)],
    ),
    Family(
        "wattshed_work_rejected_total",
        "counter",
        "Work that was not counted, by reason: pages of servers that cannot be read as work, and messages of jobs.",
        ("reason",),
        lambda s: [((reason,), count) for reason, count in s.work.rejected.items()],
    ),
)
