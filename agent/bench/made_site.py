"""A site that nobody has: hosts with GPUs and jobs on them, as their agents tell a collector."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.wire.parts import END, Doubt, JobPart, JobRecord
from wattshed.agent.wire.parts_json import plain, plain_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEGIN_US = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z
HOUR_US = 3_600_000_000
YEAR_US = 8_760 * HOUR_US
USERS = 1_000
_ACCOUNTS = 40
_GPUS = 8
_PAGE = 1_000
_HNJ_PER_J = 2_000_000_000


class MadeHost(NamedTuple):
    """What one host's agent holds: parts in order of their numbers, the jobs that they belong to, models of GPUs."""

    name: str
    store_id: str
    parts: Sequence[JobPart]
    jobs: dict[tuple[str, int], JobRecord]
    models: dict[str, str]

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield the answers that a collector gets, page by page."""
        for begin in range(0, len(self.parts), _PAGE):
            parts = self.parts[begin : begin + _PAGE]
            places = {(part.job, part.run_us): None for part in parts}
            yield {
                "schema": "wattshed.parts/1",
                "store": self.store_id,
                "stores": [self.store_id],
                "host": self.name,
                "now_us": BEGIN_US + 2 * YEAR_US,
                "first_seq": 1,
                "next": len(self.parts) + 1,
                "parts": [plain(part) for part in parts],
                "jobs": [plain_record(self.jobs[place]) for place in places],
                "models": self.models,
                "cluster": "",
            }


def made_hosts(
    jobs: int, hosts: int, seed: int = 1, *, after_jobs: int = 0, after_hosts: int = 0
) -> Iterator[MadeHost]:
    """Make hosts with jobs dealt to them, of one GPU and one part each, spread over a year.

    Parameters
    ----------
    jobs, hosts : int
        A host without a job is left out.
    seed : int
    after_jobs, after_hosts : int
        So many there are already; these have other names and numbers.
    """
    for place in range(min(hosts, jobs)):
        number = after_hosts + place
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - made up, not secret
        name, model = f"node{number:05d}", ("H100", "H200", "A100", "L40S")[number % 4]
        parts: list[JobPart] = []
        records: dict[tuple[str, int], JobRecord] = {}
        numbers = range(place + 1, jobs + 1, hosts)
        for seq, job in enumerate(numbers, start=1):
            begin_us = BEGIN_US + YEAR_US * job // (jobs + 1) // 1_000_000 * 1_000_000
            end_us = begin_us + round(chance.lognormvariate(7.5, 1.2)) * 1_000_000 + 60_000_000
            key, user = f"slurm:{1_000_000 + after_jobs + job}", chance.randrange(USERS)
            labels = {
                "manager": "slurm", "user": f"user{user:04d}", "account": f"account{user % _ACCOUNTS:02d}",
                "partition": ("gpu", "long", "debug")[user % 3], "name": f"train-{job % 97}",
            }  # fmt: skip
            record = records[key, begin_us] = JobRecord(key, begin_us, begin_us, end_us, 10_000 + user, labels)
            parts.append(_part(seq, record, f"GPU-{name}-{job % _GPUS}", chance))
        models = {f"GPU-{name}-{gpu}": model for gpu in range(_GPUS)}
        yield MadeHost(name, f"store-of-{name}", parts, records, models)


def _part(seq: int, record: JobRecord, gpu: str, chance: random.Random) -> JobPart:
    begin_us, end_us = record.start_us, record.end_us
    length_us = end_us - begin_us
    active_us = round(length_us * chance.random())
    peak_mw = chance.randrange(150_000, 700_000)
    static_hnj = (length_us - active_us) * 70 * 2_000
    dynamic_hnj = active_us * peak_mw * 2
    doubt = Doubt(gain_j=0.04 * dynamic_hnj / _HNJ_PER_J, squares_j2=1.0)
    return JobPart(
        seq, record.key, record.run_us, gpu, begin_us, end_us, static_hnj, dynamic_hnj, active_us,
        length_us - active_us, peak_mw, 2, 1, doubt, END,
    )  # fmt: skip
