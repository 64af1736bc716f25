"""The laws of looking for GPUs that a jobs table only counts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.jobs.assignment import Assignment
from wattshed.agent.traces.jobs.demands import name_gpus
from wattshed.agent.traces.jobs.jobs_file import FOREVER, JobRow
from wattshed.agent.traces.jobs.survey import Survey
from wattshed.agent.traces.jobs.wants import Edges, wants_of
from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window

MINUTE = 60_000_000
LENGTH = 40  # minutes of a trace
STEP = MINUTE // 4
IDLE = 70_000


@st.composite
def nodes(draw):
    """A node and its truth: who had which GPU from when to when, and what each GPU drew (mW) every quarter minute."""
    gpus = draw(st.integers(1, 4))
    power = np.full((gpus, LENGTH * 4), IDLE, np.int64)
    truth = []
    for gpu in range(gpus):
        at = draw(st.integers(0, 12))
        while at < LENGTH and len(truth) < 6:
            end = min(at + draw(st.integers(4, 30)), LENGTH)
            watts = draw(st.sampled_from([IDLE, 300_000, 450_000, 600_000]))
            named = draw(st.booleans()) or draw(st.booleans())  # some users of the node are not in the table
            power[gpu, at * 4 : end * 4] = watts
            truth.append((f"slurm:{10 + len(truth)}", gpu, at, end, named))
            at = end + draw(st.integers(0, 12))
    return power, truth


def rows_of(truth):
    return [
        JobRow(job, "n1", ("*",), at * MINUTE, end * MINUTE, count=1)
        for job, _, at, end, named in truth
        if named and end > at
    ]


def survey_of(power, rows):
    survey = Survey(Edges(rows))
    devices = tuple(Device("n1", gpu, f"GPU-{gpu}") for gpu in range(len(power)))
    times = np.tile((np.arange(power.shape[1]) + 1) * STEP, len(power))
    readings = Readings(
        np.arange(len(power) + 1) * power.shape[1], times, power.ravel().astype(np.int32), np.full(power.size, -1)
    )
    survey._window(Window("n1", 0, 0, LENGTH * MINUTE, devices, readings, np.full(len(power), -1)))
    return survey


def placed(power, rows):
    return name_gpus(rows, survey_of(power, rows))[0]


def bills(power, rows):
    """Sum share x power over time, job by job, in mW x minutes."""
    found = {}
    for row in rows:
        span = slice(max(row.start_us, 0) // STEP, min(row.end_us, LENGTH * MINUTE) // STEP)
        share = row.share_ppm if row.share_ppm >= 0 else 1_000_000
        energy = sum(int(power[int(gpu[4:]), span].sum()) for gpu in row.gpus) * share / 4e6
        found[row.job] = found.get(row.job, 0) + energy
    return found


def truly(power, truth):
    return {job: int(power[gpu, at * 4 : end * 4].sum()) / 4 for job, gpu, at, end, named in truth if named}


@settings(max_examples=examples(150), deadline=None)
@given(nodes())
def test_never_more_than_its_part_unless_it_is_known(node):
    power, truth = node
    rows = rows_of(truth)
    named = placed(power, rows)
    bill = bills(power, named)
    for row in rows:
        mine = [found for found in named if found.job == row.job]
        level = {found.labels["placement"] for found in mine}
        share = sum(len(f.gpus) * (f.share_ppm if f.share_ppm >= 0 else 1_000_000) for f in mine)
        assert share <= 1_000_000  # it had one GPU
        if level == {"counted"}:
            node_mw = int(power[:, row.start_us // STEP : row.end_us // STEP].sum()) / 4
            assert bill.get(row.job, 0) <= node_mw / len(power) * (1 + 1e-4) + 1


@settings(max_examples=examples(150), deadline=None)
@given(nodes())
def test_no_gpu_is_given_to_more_than_one(node):
    power, truth = node
    for gpu in range(len(power)):
        spans = [row for row in placed(power, rows_of(truth)) if f"GPU-{gpu}" in row.gpus]
        for row in spans:
            there = [r for r in spans if r.start_us <= row.start_us < r.end_us]
            whole = [r for r in there if not r.at_most]
            assert len(whole) <= 1
            if whole:
                assert len(there) == 1


def two_that_fit_alike():
    """A job that begins with one of two GPUs; the other is used from a minute later on by somebody else."""
    power = np.full((3, LENGTH * 4), IDLE, np.int64)
    power[1, 4 * 4 : 26 * 4] = power[2, 5 * 4 : 26 * 4] = 300_000
    truth = [("slurm:11", 0, 18, 32, True), ("slurm:12", 1, 4, 26, True), ("slurm:13", 1, 26, 30, True)]
    return power, [*truth, ("slurm:14", 2, 0, 4, True), ("slurm:15", 2, 5, 26, False)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_gpus_that_fit_alike_their_numbers_do_not_decide(order):
    power, truth = two_that_fit_alike()
    rows = rows_of(truth)
    found = bills(power[list(order)], placed(power[list(order)], rows))
    assert found == pytest.approx(bills(power, placed(power, rows)), rel=2e-5)
    assert found["slurm:12"] == 22 * 300_000


@settings(max_examples=examples(150), deadline=None)
@given(nodes(), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_the_numbers_of_gpus_matter(node, rng):
    power, truth = node
    rows = rows_of(truth)
    before = bills(power, placed(power, rows))
    shuffled = rng.sample(rows, len(rows))
    assert bills(power, placed(power, shuffled)) == pytest.approx(before, rel=1e-9)
    order = rng.sample(range(len(power)), len(power))
    assert bills(power[order], placed(power[order], rows)) == pytest.approx(before, rel=2e-5)


def test_a_gpu_that_fits_no_better_than_another_is_not_chosen_by_its_number():
    """Two GPUs begin with a job; one stops before it, which in sums over its stretches cannot be told from idling."""
    power = np.full((3, LENGTH * 4), IDLE, np.int64)
    power[1, 16:112] = power[2, 16:48] = 300_000
    rows = rows_of([("slurm:10", 0, 0, 5, True), ("slurm:13", 1, 4, 28, True)])
    for order in itertools.permutations(range(3)):
        bill = bills(power[list(order)], placed(power[list(order)], rows))
        assert bill["slurm:13"] == 24 * 300_000


@settings(max_examples=examples(150), deadline=None)
@given(nodes(), st.data())
def test_a_row_in_two_is_the_same_job(node, data):
    _, truth = node
    rows = rows_of(truth)
    if not rows:
        return
    at = data.draw(st.integers(0, len(rows) - 1))
    cut = data.draw(st.integers(rows[at].start_us, rows[at].end_us))
    halves = [replace(rows[at], end_us=cut), replace(rows[at], start_us=cut)]
    assert wants_of([*rows[:at], *halves, *rows[at + 1 :]]) == wants_of(rows)
    twice = [*rows, rows[at]]  # ``sacct -D`` may say a thing twice
    assert wants_of(twice) == wants_of(rows)


@settings(max_examples=examples(150), deadline=None)
@given(nodes())
def test_what_is_told_for_known_is_right_where_the_table_is_whole(node):
    """Jobs that are all in the table, each busy for all of its time at a power of its own."""
    power, truth = node
    truth = [(job, gpu, at, end, True) for job, gpu, at, end, _ in truth]
    power = np.full_like(power, IDLE)
    for number, (_, gpu, at, end, _) in enumerate(truth):
        power[gpu, at * 4 : end * 4] = 200_000 + 70_000 * number
    named = placed(power, rows_of(truth))
    right = truly(power, truth)
    bill = bills(power, named)
    for row in named:
        if row.labels["placement"] == "inferred":
            assert bill[row.job] == pytest.approx(right[row.job], rel=1e-5)


@settings(max_examples=examples(100), deadline=None)
@given(nodes(), st.integers(1, LENGTH * 4 - 1))
def test_surveys_of_parts_add_up(node, cut):
    power, truth = node
    rows = rows_of(truth)
    whole, parts = survey_of(power, rows), Survey(Edges(rows))
    window_of = {}
    for first, last in ((0, cut), (cut, power.shape[1])):
        devices = tuple(Device("n1", gpu, f"GPU-{gpu}") for gpu in range(len(power)))
        block = power[:, first:last]
        times = np.tile((np.arange(first, last) + 1) * STEP, len(power))
        readings = Readings(
            np.arange(len(power) + 1) * (last - first), times, block.ravel().astype(np.int32), np.full(block.size, -1)
        )
        one = Survey(Edges(rows))
        one._window(Window("n1", 0, first * STEP, last * STEP, devices, readings, np.full(len(power), -1)))
        window_of[first] = one
    for one in reversed(window_of.values()):
        parts.merge(one)
    assert name_gpus(rows, parts) == name_gpus(rows, whole)


def test_jobs_of_a_busy_minute_are_told_apart_by_their_ends():
    """Three jobs of one start, three GPUs, three ends."""
    power = np.full((4, LENGTH * 4), IDLE)
    ends = {0: 10, 1: 20, 2: 30}
    for gpu, end in ends.items():
        power[gpu, : end * 4] = 400_000
    rows = [JobRow(f"slurm:{end}", "n1", ("*",), 0, end * MINUTE, count=1) for end in ends.values()]
    named = {row.job: row.gpus for row in placed(power, rows)}
    assert named == {f"slurm:{end}": (f"GPU-{gpu}",) for gpu, end in ends.items()}


def test_a_job_of_no_host_has_its_part_of_all_gpus_of_the_trace():
    rows = [JobRow("a", "", ("*",), 0, FOREVER, count=2)]
    survey = Survey(Edges(rows))
    for host in ("n1", "n2"):
        devices = tuple(Device(host, gpu, f"GPU-{host}{gpu}") for gpu in range(4))
        readings = Readings(np.arange(5) * 3, np.tile([1, 2, 3], 4), np.full(12, IDLE, np.int32), np.full(12, -1))
        survey._window(Window(host, 0, 0, 4, devices, readings, np.full(4, -1)))
    named, _ = name_gpus(rows, survey)
    assert sum(len(row.gpus) * row.share_ppm for row in named) == 2_000_000
    assert {row.host for row in named} == {"n1", "n2"}


def test_every_part_of_a_trace_is_assigned_the_same():
    """Windows cut anywhere: the same owners, stretch by stretch."""
    rows = [JobRow("a", "n1", ("0",), 10, 20), JobRow("b", "n1", ("GPU-0",), 15, 30, share_ppm=250_000, at_most=True)]
    device = (Device("n1", 0, "GPU-0"),)

    def usage(edges):
        found = []
        assignment = Assignment(rows)
        for start, end in itertools.pairwise(edges):
            window = assignment.apply(Window("n1", 0, start, end, device, Readings.empty(1), np.full(1, -1)))
            for owner, first, last, live in zip(
                window.usage.owner, window.usage.start_us, window.usage.end_us, window.usage.live, strict=True
            ):
                found += [(window.owners[owner].key, t, int(live)) for t in range(first, last)]
        return sorted(found), dict(assignment.less_time)

    whole = usage([0, 40])
    assert whole[1] == {"b": 15 * 750_000}
    for cut in range(1, 40):
        assert usage([0, cut, 40]) == whole


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 90), st.integers(1, 30)), max_size=12),
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=3),
)
def test_a_look_at_owners_alone_knows_the_same_jobs(used, counted):
    """A recording that knows some of its jobs, one of them by the array's name and one by its SLUID too."""
    rows = [JobRow(f"slurm:{n}", "n1", ("*",), at, at + length, count=1) for n, (at, length) in enumerate(counted)]
    devices = tuple(Device("n1", gpu, f"GPU-{gpu}") for gpu in range(3))
    owners = (
        Owner(JobKey("slurm:7"), {"array": "5_1"}), Owner(JobKey("pid:11")), Owner(JobKey("slurm:8"), {"sluid": "s1"})
    )  # fmt: skip
    numbers = np.array(used, np.int64).reshape(-1, 4)
    usage = Usage(
        numbers[:, 0].astype(np.int32), numbers[:, 1].astype(np.int32), numbers[:, 2], numbers[:, 2] + numbers[:, 3],
        np.full(len(used), -1), np.full(len(used), -1, np.int32), np.ones(len(used), np.int8),
    )  # fmt: skip
    window = Window("n1", 0, 0, 120, devices, Readings.empty(3), np.full(3, -1), owners, usage)
    looks = [Survey(Edges(rows), readings=readings) for readings in (True, False)]
    for look in looks:
        look._window(window)
    named = {owners[row[1]].key for row in used} - {"pid:11"}
    other = {name: key for name, key in {"5_1": "slurm:7", "s1": "slurm:8"}.items() if key in named}
    for look in looks:
        host = look.hosts.get("n1")
        assert (set(), {}) if host is None else (host.known, host.other_names) == (named, other)
    whole = looks[0].hosts.get("n1")
    for (gpu, _), seen in (whole.gpus if whole else {}).items():
        bounds = [-(10**9), *whole.edges_us.tolist(), 10**9]
        for i, (begin, end) in enumerate(itertools.pairwise(bounds)):
            mine = [row for row in used if row[0] == gpu and row[1] != 1]
            assert seen.owned[i] == any(at < end and at + length > begin for _, _, at, length in mine)
