"""Snapshots as an agent answers with them: of any number of GPUs and jobs, and with whatever may be unknown."""

import json
from dataclasses import replace

from hypothesis import strategies as st

from tests.exporters import snapshots
from wattshed.exporters.snapshot import EnergyShare, InstanceFacts, JobFacts, ProcessFacts, Snapshot, Tenancy
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.api import document
from wattshed.exporters.web.history import History

T0 = snapshots.T0
S = 1_000_000


def answer(snapshot, history=None):
    """What a server would answer."""
    past = history or History()
    return json.loads(document(snapshot, past.columns(), past.last_w))


def uuid(i):
    return f"GPU-{i:08x}-1111-2222-3333-444455556666"


def node(gpus=8, jobs=5, seconds=600, *, per_job=1, **more):
    """A node whose job ``i`` has drawn 100 W + i on its GPUs for all this time; the rest of each GPU is idle."""
    shares, energy = [], dict.fromkeys(range(gpus), 0)
    for i in range(jobs if gpus else 0):
        for gpu in {(i * per_job + k) % gpus for k in range(per_job)}:
            hnj = (100 + i) * seconds * HNJ_PER_JOULE
            shares.append(EnergyShare(f"slurm:{1000 + i}", uuid(gpu), hnj // 4, hnj - hnj // 4))
            energy[gpu] += hnj
    for gpu in range(gpus):
        shares.append(EnergyShare("_idle", uuid(gpu), 70 * seconds * HNJ_PER_JOULE, 0))
        shares.append(EnergyShare("_unattributed", uuid(gpu), 0, 0))
        energy[gpu] += 70 * seconds * HNJ_PER_JOULE
    facts = tuple(
        replace(snapshots.gpu(0, energy[i]), uuid=uuid(i), index=i, covered_us=seconds * S) for i in range(gpus)
    )
    named = tuple(
        JobFacts(
            f"slurm:{1000 + i}",
            {"user": f"user{i % 7}", "name": f"job number {i}", "account": "physics"},
            seconds * S,
            0,
            12.5,
            T0,
            method="alone",
        )
        for i in range(jobs)
    )
    there = tuple(ProcessFacts(f"slurm:{1000 + i}", 4000 + i, uuid(i % gpus)) for i in range(jobs if gpus else 0))
    whole = Snapshot(
        "node1", "0.1.0", "nvml", "lib", seconds, T0 + seconds * S, T0, facts, tuple(shares), named,
        tenancy=Tenancy(there, (InstanceFacts("MIG-1", uuid(0), "3", 0.25),) if gpus else ()),
    )  # fmt: skip
    return replace(whole, **more)


_numbers = st.one_of(
    st.floats(0, 1e4), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 999.96, 1e15])
)
_names = st.one_of(st.text(max_size=40), st.sampled_from(["训练任务" * 8, "a" * 200, "x\x1b[31m", "e\u0301" * 30, ""]))


@st.composite
def any_snapshots(draw):
    """A snapshot in which everything that may be odd or missing may be so."""
    made = node(draw(st.integers(0, 10)), draw(st.integers(0, 8)), draw(st.integers(1, 10**7)))

    def some(*names):
        return {name: draw(_numbers) for name in names if draw(st.booleans())}

    gpus = tuple(
        replace(
            gpu,
            up=draw(st.booleans()),
            model=draw(_names),
            energy_source=draw(st.sampled_from(["counter", "power", "none"])),
            power_w=some("average", "instant"),
            limits_w=some("enforced"),
            peak_w=some("1s", "10s"),
            gauges=some("temperature_c", "gpu_util", "fb_used_mib", "fb_free_mib", "fb_total_mib", "sm_clock_mhz"),
            flags=tuple(draw(st.sets(st.sampled_from(["frozen_sensor", "disagreement", "counter_reset", "new_one"])))),
            last_xid=draw(st.one_of(st.none(), st.integers(1, 200))),
            status=draw(st.sampled_from(["ok", "stale", "sick", "lost", "released", "asleep", "unmeterable"])),
            why=draw(_names),
            recovery_action=draw(st.sampled_from([None, "none", "gpu_reset", "a_new_one"])),
        )
        for gpu in made.gpus
    )
    jobs = tuple(
        replace(
            job,
            labels={"user": draw(_names), "name": draw(_names)},
            ended_us=draw(st.one_of(st.none(), st.just(T0 + S))),
            sigma_j=draw(st.one_of(st.none(), _numbers)),
            held_us=draw(st.integers(0, 10**15)),
        )
        for job in made.jobs
    )
    return replace(
        made,
        gpus=gpus,
        jobs=jobs,
        host=draw(_names),
        meter=draw(st.sampled_from(["nvml", "simulated", "trace"])),
        unmetered=draw(st.sampled_from(["", "no GPU answers; see the log and `nvidia-smi`"])),
        notes=tuple(draw(st.lists(_names, max_size=2))),
    )
