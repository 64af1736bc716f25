"""Laws of whole agents on random nodes with any two faults at random times, against the simulator's truth."""

import itertools
import math
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.depth import examples, few
from tests.laws.two_faults import BLIND, SECOND, drawn, live
from tests.laws.two_faults_found import FOUND
from tests.virtual import bills, sums

EXAMPLES = int(os.environ.get("WATTSHED_TWO_FAULTS", "0"))
"""How many examples, new ones each time; 0: the same few every time."""
GAIN = 0.04  # one sigma of a meter's gain, stated by `agent.window.Device`
END_S, SLOW_END_S = 1.5, 4.5
"""From when and until when a GPU's energy is known is told to a reading of its counter: one a second, or one every four
where calls take long."""
EDGE_S = 2.0
"""How late an owner that comes or goes is seen: lists of processes are read every second or two."""
AFTER_US = 65 * SECOND
"""How long after a fault its GPU may still be away: a new session is tried every minute."""


def peak_w(node, gpu):
    return max(segment.power_mw for segment in node.truth.timelines[gpu].segments) / 1e3


def end_s(lived):
    return (
        SLOW_END_S if {f.kind for f in lived.about.scenario.faults} & {"latency", "slow-counter", "slow-gpu"} else END_S
    )


def beside_gain(sigma_j, energy_j):
    """Return what is left of one sigma (J) without the gain of the meter, which the test knows."""
    return math.sqrt(max(0.0, sigma_j**2 - (GAIN * energy_j) ** 2))


def energies_are_within_sigma(lived):
    about, billed = lived.about.scenario, lived.billed()
    facts = {int(gpu.uuid[-12:]): gpu for gpu in lived.last.board.current().gpus}
    for gpu, (begun_us, end_us) in lived.spans.items():
        frozen = [f for f in about.faults if f.kind == "frozen-power" and f.gpu in {-1, gpu}]
        if gpu not in facts or (frozen and facts[gpu].energy_source != "counter"):
            continue  # nobody can tell a sensor that stands still from a load that does
        truth = lived.node.truth.gpu_nj(gpu, begun_us, end_us) / 1e9 * (1 + about.gpus[gpu].gain)
        energy, floor = billed[None, gpu], end_s(lived) * peak_w(lived.node, gpu)
        allowed = 3 * beside_gain(facts[gpu].sigma_j, energy) + floor
        assert abs(energy - truth) <= allowed, f"GPU {gpu}: {energy:.0f} J of {truth:.0f} J, allowed {allowed:.0f} J"


def spans_of(lived, job, gpu):
    """Return when a job held a GPU whose energy is known: (from, to), us, empty if never."""
    if gpu not in lived.spans:
        return 0, 0
    origin = lived.node.begun_us
    begun_us, end_us = lived.spans[gpu]
    return max(origin + job.start_us, begun_us), max(min(origin + job.end_us, end_us), begun_us)


def owner_of(key):
    return key.partition("/")[0] if key.startswith("k8s:") else key


def parties_of(jobs):
    """Group jobs that may be billed for each other: a container on a GPU that a job holds may be that job's.

    (`agent.jobs.holding`: of a container of root's engine nobody can say who started it.)
    """
    parties = []
    for job in jobs:
        mine = [
            party
            for party in parties
            if any(
                {one.manager, job.manager} == {"slurm", "docker"}
                and set(one.gpus) & set(job.gpus)
                and one.start_us < job.end_us
                and job.start_us < one.end_us
                for one in party
            )
        ]
        parties = [party for party in parties if party not in mine] + [[*itertools.chain(*mine), job]]
    return parties


def owners_are_billed_what_is_theirs(lived):
    about, billed = lived.about.scenario, lived.billed()
    sigmas = {owner_of(job.job): job.sigma_j for job in lived.last.board.current().jobs}
    by_owner = {}
    for (key, gpu), joules in billed.items():
        if key is not None:
            by_owner.setdefault(owner_of(key), {})[gpu] = joules
            assert joules <= billed[None, gpu] + 1e-6, key
    assert by_owner.keys() <= {owner_of(job.key(0)) for job in about.jobs}, "an owner that never was"
    for party in parties_of(about.jobs):
        names = " and ".join(owner_of(job.key(0)) for job in party)
        told = most = least = rest = floor = 0.0
        for job in party:
            bill, sigma = by_owner.get(owner_of(job.key(0)), {}), sigmas.get(owner_of(job.key(0))) or 0.0
            told += sum(bill.values())
            for gpu in job.gpus:
                start_us, end_us = spans_of(lived, job, gpu)
                gain = 1 + about.gpus[gpu].gain
                if end_us > start_us:
                    most += lived.node.truth.gpu_nj(gpu, start_us, end_us) / 1e9 * gain
                    parts = lived.node.truth.jobs_nj(start_us, end_us)
                    least += sum(parts.get((job.key(0), gpu), (0, 0))) / 1e9 * gain
                    if any(gpu in one.gpus and one.manager != job.manager for one in about.jobs):
                        # Who reserved the GPU has all of its idle power; to the simulator it is everybody's alike.
                        floor += sum(static for (_, where), (static, _) in parts.items() if where == gpu) / 1e9
                floor += (end_s(lived) + 2 * EDGE_S) * peak_w(lived.node, gpu)
            rest += 3 * beside_gain(sigma, sum(bill.values()))
        assert told <= most + rest + floor, (
            f"{names}: {told:.0f} J, its GPUs drew {most:.0f} J, {rest + floor:.0f} allowed"
        )
        if all(seen_throughout(lived, job) for job in party):
            assert abs(told - least) <= rest + floor, (
                f"{names}: {told:.0f} J of {least:.0f} J, {rest + floor:.0f} allowed"
            )


def seen_throughout(lived, job):
    """Tell whether no fault hides who is on a job's GPUs, or the moment at which somebody comes or goes there."""
    about, ends = lived.about.scenario, lived.about.ends
    if any(fault.kind in BLIND for fault in about.faults) or any(gpu.late_us for gpu in about.gpus):
        return False
    hidden = [(f.start_us, f.end_us + AFTER_US) for f in about.faults]
    hidden += [(end.at_us, end.at_us + end.away_us + 5 * SECOND) for end in ends]
    # Whoever comes or goes unseen on its GPUs may be billed to it, and it to them: nobody can know.
    beside = [one for one in about.jobs if set(one.gpus) & set(job.gpus) and not one.forever]
    edges = [edge for one in beside for edge in (one.start_us, one.end_us)]
    return not any(low - 3 * SECOND <= edge <= high for low, high in hidden for edge in edges)


def every_law_holds(about):
    with tempfile.TemporaryDirectory() as folder:
        lived = live(Path(folder), about)
        if lived.last is None:
            return
        whole, parts = sums(lived.last.accounts)
        assert whole == parts
        energies_are_within_sigma(lived)
        owners_are_billed_what_is_theirs(lived)
        assert bills(lived.replayed()) == bills(lived.last.accounts)


@settings(
    max_examples=EXAMPLES or min(examples(16), 4),
    derandomize=not EXAMPLES,
    phases=list(Phase) if EXAMPLES else [Phase.generate],  # making an example small takes minutes
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(drawn())
def test_every_law_holds_whatever_two_things_go_wrong(about):
    every_law_holds(about)


@pytest.mark.parametrize("found", few(list(FOUND), plain=2))
def test_what_random_faults_once_found_is_right(found):
    every_law_holds(FOUND[found])
