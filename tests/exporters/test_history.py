"""The last hour: mean power over the time that joules cover, and jobs that add up to their GPUs whatever happens."""

import dataclasses
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.exporters import snapshots
from wattshed.exporters.snapshot import EnergyShare, JobFacts
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.history import History
from wattshed.exporters.web.power_steps import MAX_JOBS

S = 1_000_000


def shown(time_s, gpus, jobs=(), **more):
    """A snapshot at a time: GPUs as {index: (J, covered s)}, shares as (job, index, J)."""
    facts = tuple(
        snapshots.gpu(i, round(j * HNJ_PER_JOULE), covered_us=round(s * S), **more) for i, (j, s) in gpus.items()
    )
    shares = tuple(EnergyShare(job, snapshots.UUIDS[i], 0, round(j * HNJ_PER_JOULE)) for job, i, j in jobs)
    time_us = snapshots.T0 + round(time_s * S)
    return dataclasses.replace(snapshots.empty(), seq=1, time_us=time_us, gpus=facts, energy=shares)


def lines(history):
    columns = history.columns()
    return {int(uuid[11]): watts for uuid, watts in columns["gpus"].items()}, columns["jobs"]


def test_history_is_mean_power_and_jobs_add_up_to_gpus():
    history = History(span_s=60, step_s=10)
    for step in range(9):
        history.observe(snapshots.rich(seq=step + 1, seconds=100 + step * 10))
        history.observe(snapshots.rich(seq=step + 1, seconds=100 + step * 10))
    columns = history.columns()
    assert len(columns["time_s"]) == 6
    gpus, jobs = (Counter(), Counter())
    for uuid, watts in columns["gpus"].items():
        gpus.update(dict(enumerate(watts)))
        facts = snapshots.rich(seconds=10).gpus[int(uuid[11])]
        assert watts[0] == pytest.approx((facts.energy_hnj - facts.ended_hnj) / HNJ_PER_JOULE / 10)
    for watts in columns["jobs"].values():
        jobs.update(dict(enumerate(watts)))
    assert jobs == pytest.approx(gpus)


def test_a_step_is_divided_by_what_its_joules_cover_not_by_its_length():
    """Read every 4 s, a steady board of 584 W is one of 584 W, whatever number of readings a step has."""
    history = History()
    for t in range(200):
        covered = t // 4 * 4
        history.observe(shown(t, {0: (584 * covered, covered)}, [("a", 0, 584 * covered)]))
    gpus, jobs = lines(history)
    assert len(gpus[0]) >= 18
    assert gpus[0] == pytest.approx([584] * len(gpus[0]), rel=1e-9)
    assert jobs["a"] == pytest.approx(gpus[0])


def test_sampling_slower_than_the_steps_makes_longer_steps():
    history = History()
    for t in range(0, 200, 2):
        covered = t // 16 * 16
        history.observe(shown(t, {0: (584 * covered, covered), 1: (100 * t, t)}))
    gpus, _ = lines(history)
    assert gpus[0] == pytest.approx([584] * len(gpus[0]))
    assert gpus[1] == pytest.approx([100] * len(gpus[0]))
    assert len(gpus[0]) >= 10


def test_where_nothing_was_covered_power_is_unknown_and_not_zero():
    history = History()
    for t in range(0, 120, 10):
        covered = min(t, 40) if t < 90 else t - 50
        history.observe(shown(t, {0: (300 * covered, covered), 1: (100 * t, t)}, [("a", 0, 300 * covered)]))
    gpus, jobs = lines(history)
    assert len(gpus[1]) == len(gpus[0]) == len(jobs["a"])
    assert None in gpus[0]
    assert {w for w in gpus[0] if w is not None} == {300.0}
    assert [w is None for w in jobs["a"]] == [w is None for w in gpus[0]]
    assert set(gpus[1]) == {100.0}


def test_a_hole_that_the_counter_bridged_is_no_spike():
    history = History()
    for t in (0, 10, 20, 3620, 3630):
        history.observe(shown(t, {0: (300 * t, t)}))
    assert set(lines(history)[0][0]) == {300.0}
    assert history.columns()["time_s"] == [snapshots.T0 / 1e6 + t for t in (3620, 3630)], "no more than the last hour"


def test_an_ended_job_keeps_its_history_and_leaves_no_spike():
    history = History()
    for t in range(0, 200, 10):
        jobs = [("a", 0, 500 * min(t, 100))] if t < 150 else []  # its series go; its joules are in ended_hnj
        jobs.append(("_idle", 0, 70 * max(t - 100, 0)))
        history.observe(shown(t, {0: (500 * min(t, 100) + 70 * max(t - 100, 0), t)}, jobs))
    gpus, jobs = lines(history)
    assert jobs.keys() == {"a", "_idle"}
    assert jobs["a"] == [500.0] * 10 + [0.0] * 4 + [None] * 5
    assert max(jobs["_idle"]) == 70
    for i, whole in enumerate(gpus[0]):
        assert sum(line[i] or 0 for line in jobs.values()) == pytest.approx(whole)


def test_a_job_that_comes_back_begins_at_zero():
    history = History()
    for t, joules in ((0, 0), (10, 5000), (20, 1000)):
        history.observe(shown(t, {0: (5000 + 1000 * (t == 20), t)}, [("a", 0, joules)]))
    assert lines(history)[1]["a"] == [500.0, 100.0]


def test_history_names_the_largest_jobs_and_sums_the_rest():
    history = History(step_s=1)
    first = snapshots.large(100)
    later = tuple(dataclasses.replace(gpu, covered_us=gpu.covered_us + S) for gpu in first.gpus)
    history.observe(dataclasses.replace(first, energy=()))
    history.observe(dataclasses.replace(first, time_us=first.time_us + S, gpus=later))
    jobs = history.columns()["jobs"]
    assert len(jobs) == 25
    assert "_other" not in jobs  # that is an owner, and this a sum for the eye
    whole = sum(s.static_hnj + s.dynamic_hnj for s in first.energy) / HNJ_PER_JOULE
    assert sum(watts[0] for watts in jobs.values()) == pytest.approx(whole)


def test_history_of_many_short_jobs_stays_small():
    history = History(step_s=10)
    whole = 0
    for n in range(100):
        whole += 2 * n
        history.observe(shown(n * 10, {0: (whole, n * 10)}, [(f"slurm:{n}", 0, n), ("_idle", 0, n), ("_other", 0, n)]))
    jobs = history.columns()["jobs"]
    assert len(jobs) == 27
    assert {"_idle", "_other", "_rest", "slurm:99"} <= jobs.keys()
    assert sum(w or 0 for line in jobs.values() for w in line) == pytest.approx(sum(range(100)) / 10 + 2 * 99 / 10)


@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_lines_of_jobs_add_up_to_their_gpus_whatever_is_covered(data):
    """Two GPUs, each read when it likes; every line lies within the watts that were drawn."""
    history = History()
    energy, covered, bills = [0, 0], [0, 0], {}
    for t in range(0, data.draw(st.integers(20, 200)), 5):
        for gpu in range(2):
            if data.draw(st.booleans()):
                watts, job = data.draw(st.integers(70, 700)), data.draw(st.sampled_from("abc_"))
                seconds = t - covered[gpu]
                covered[gpu] = t
                energy[gpu] += watts * seconds
                bills[job, gpu] = bills.get((job, gpu), 0) + watts * seconds
        jobs = [(job, gpu, joules) for (job, gpu), joules in bills.items()]
        history.observe(shown(t, {gpu: (energy[gpu], covered[gpu]) for gpu in range(2)}, jobs))
    gpus, jobs = lines(history)
    times = history.columns()["time_s"]
    first_s = snapshots.T0 / 1e6
    # No step is shorter than the rest of the page takes it to be, and none is waited for longer than its patience.
    steps = [b - a for a, b in pairwise([first_s, *times, first_s + t])]
    assert all(10 <= step <= 30 for step in steps[:-1])
    assert steps[-1] < 30
    for i in range(len(times)):
        drawn = [line[i] for line in gpus.values() if line[i] is not None]
        assert all(70 <= watts <= 700 for watts in drawn)
        assert sum(line[i] or 0 for line in jobs.values()) == pytest.approx(sum(drawn), abs=0.01)


def test_the_last_step_is_known_of_every_owner():
    """Also of the jobs that are too many to be drawn by name."""
    history, count = History(), MAX_JOBS + 10
    for t in (0, 10, 20):
        jobs = [(f"j{i}", 0, (i + 1) * t) for i in range(count)]
        history.observe(shown(t, {0: (sum(j for _, _, j in jobs), t)}, jobs))
    assert history.last_w == pytest.approx({f"j{i}": i + 1 for i in range(count)})
    assert len(history.columns()["jobs"]) == MAX_JOBS + 1


def test_jobs_that_ended_within_the_hour_keep_their_names():
    """A name lasts as long as its job's line does, and what has no name has none."""
    history = History(span_s=60, step_s=10)

    def observe(t, jobs, labels):
        facts = tuple(JobFacts(job, labels.get(job, {}), 0, 0, 0.0, 0, None, "alone") for job in jobs)
        told = shown(t, {0: (100 * t, t)}, [(job, 0, 100 * t if t < 40 else 4000) for job in jobs])
        history.observe(dataclasses.replace(told, jobs=facts))

    for t in range(0, 40, 10):
        observe(t, ("slurm:1", "slurm:2"), {"slurm:1": {"name": "train"}})
    for t in range(40, 60, 10):
        observe(t, (), {})
    assert history.columns()["names"] == {"slurm:1": "train"}
    for t in range(60, 200, 10):
        observe(t, (), {})
    assert history.columns()["names"] == {}
