"""Parts and jobs, read from the rows of their tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wattshed.agent.wire.parts import Doubt, JobPart, JobRecord, join_hnj

if TYPE_CHECKING:
    from collections.abc import Sequence

PART_COLUMNS = (
    "part.seq, job.key, job.run_us, gpu.uuid, part.from_us, part.to_us, part.active_us, part.held_us, part.peak_mw, "
    "part.edges, part.method, part.flags, part.static_j, part.static_r, part.dynamic_j, part.dynamic_r, part.gain_j, "
    "part.split_j, part.idle_j, part.unread_j, part.squares_j2, part.covered_us, "
    "part.watts_mw, part.watts_sigma_mw"
)
"""What `part_of` reads, of ``part`` joined with its ``job`` and ``gpu``."""


def part_of(row: Sequence[Any]) -> JobPart:
    """Make a part of a row of `PART_COLUMNS`."""
    seq, job, run, gpu, begin, end, active, held, peak, edges, method, flags, *rest = row
    return JobPart(
        seq=seq, job=job, run_us=run, gpu=gpu, from_us=begin, to_us=end, static_hnj=join_hnj(rest[0], rest[1]),
        dynamic_hnj=join_hnj(rest[2], rest[3]), active_us=active, held_us=held, peak_mw=peak, edges=edges,
        method=method, doubt=Doubt(*rest[4:9]), flags=flags, covered_us=rest[9],
        watts_mw=None if rest[10] is None else (rest[10], rest[11]),
    )  # fmt: skip


RECORD_COLUMNS = "job.key, job.run_us, job.start_us, job.end_us, job.uid, job.labels"
"""What `record_of` reads; ``job.power`` and ``job.work`` may follow."""


def record_of(row: Sequence[Any]) -> JobRecord:
    """Say who a job is, by a row of `RECORD_COLUMNS`."""
    key, run_us, start_us, end_us, uid, labels, *texts = row
    return JobRecord(key, run_us, start_us, end_us, uid, json.loads(labels), *texts)
