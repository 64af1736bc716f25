"""What a survey shows of a node's GPUs, and whose that makes them: against the same reading by reading."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.jobs.demands import name_gpus
from wattshed.agent.traces.jobs.evidence import Evidence
from wattshed.agent.traces.jobs.jobs_file import JobRow
from wattshed.agent.traces.jobs.survey import Survey, SurveyedGpu
from wattshed.agent.window import Device, Readings, Window

SECOND = 1_000_000
CEILING = 900_000
EDGES = (10, 20, 40)


@st.composite
def readings(draw):
    """One GPU's readings over a minute: (second, mW or -1, mJ or -1), the counter rising or of nothing."""
    times = sorted(draw(st.sets(st.integers(0, 60), max_size=14)))
    counts = draw(st.booleans())
    rows, counter = [], draw(st.integers(0, 10**6))
    for t in times:
        counter += draw(st.integers(0, 10**6))
        power = draw(st.sampled_from([-1, 0, 50_000, 60_001, 300_000, CEILING, CEILING + 1]))
        rows.append((t, power, counter if counts else -1))
    return rows


def survey_of(gpus, busy_s=None):
    """A survey of one window of a minute with edges between stretches; ``gpus``: rows GPU by GPU."""
    devices = tuple(Device("n1", i, f"GPU-{i}", ceiling_mw=CEILING) for i in range(len(gpus)))
    flat = [row for rows in gpus for row in rows]
    offsets = np.cumsum([0, *map(len, gpus)])
    t, p, c = (np.array([row[i] for row in flat], np.int64) for i in range(3))
    busy = np.full(len(gpus), -1) if busy_s is None else np.array(busy_s, np.int64) * SECOND
    survey = Survey(lambda _: np.array(EDGES, np.int64) * SECOND)
    survey._window(Window("n1", 0, 0, 60 * SECOND, devices, Readings(offsets, t * SECOND, p.astype(np.int32), c), busy))
    return survey


def stretches(rows):
    """The rows of each stretch; one that falls on an edge belongs to what ends there."""
    bounds = [-1, *EDGES, 60]
    return [[row for row in rows if a < row[0] <= b] for a, b in itertools.pairwise(bounds)]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(readings(), min_size=1, max_size=3), st.data())
def test_a_stretch_is_what_was_read_in_it(gpus, data):
    busy_s = data.draw(st.lists(st.sampled_from([-1, 0, 30, 60, 90]), min_size=len(gpus), max_size=len(gpus)))
    busy_s = [s if s >= 0 else -1 for s in busy_s]
    survey = survey_of(gpus, busy_s)
    if not any(gpus):
        return
    for gpu, (rows, busy) in enumerate(zip(gpus, busy_s, strict=True)):
        seen = survey.hosts["n1"].gpus[gpu, f"GPU-{gpu}"]
        for i, mine in enumerate(stretches(rows)):
            good = [p for _, p, _ in mine if 0 < p <= CEILING]
            counts = [(t, c) for t, p, c in mine if c >= 0]
            real = [t for t, p, c in mine if c >= 0 or 0 < p <= CEILING]
            assert seen.samples[i] == len(real)
            assert seen.observed_us()[i] == ((max(real) - min(real)) * SECOND if real else 0)
            if good:
                assert seen.mean_mw()[i] == sum(good) // len(good)
            elif len(counts) > 1 and counts[-1][1] > counts[0][1]:
                mean_mw = (counts[-1][1] - counts[0][1]) / (counts[-1][0] - counts[0][0])
                assert seen.mean_mw()[i] == (int(mean_mw) if mean_mw <= CEILING else -1)
            else:
                assert seen.mean_mw()[i] == -1
            # Of a window's utilisation every reading tells the same.
            assert seen.mean_ppm()[i] == (min(busy * 1_000_000 // 60, 1_000_000) if busy >= 0 and mine else -1)


def seen_of(powers, watched_s, *, model="H100", utils=None, owned=None, samples=5):
    """A GPU whose stretches are given: mW (-1 unknown), and how long each was watched."""
    n = len(powers)
    one = SurveyedGpu.nothing(Device("n1", 0, "", model), n)
    one.samples[:] = samples
    one.powers[:] = [4 if p > 0 else 0 for p in powers]
    one.power_mw[:] = [4 * max(p, 0) for p in powers]
    one.first_us[:] = 0
    one.last_us[:] = np.array(watched_s) * SECOND
    if utils is not None:
        one.utils[:], one.util_ppm[:] = 2, 2 * np.array(utils)
    if owned is not None:
        one.owned[:] = owned
    return one


POWERS = st.sampled_from([-1, 60_000, 70_000, 90_000, 94_000, 95_000, 110_000, 200_000, 600_000])


@st.composite
def nodes(draw):
    n = draw(st.integers(1, 5))
    gpus = draw(st.integers(1, 4))
    return [
        (draw(st.lists(POWERS, min_size=n, max_size=n)), draw(st.lists(st.integers(1, 100), min_size=n, max_size=n)))
        for _ in range(gpus)
    ]


@settings(max_examples=examples(200), deadline=None)
@given(nodes(), st.sampled_from([-1, 65_000]))
def test_what_is_well_above_idle_is_busy(node, idle_mw):
    """1.3 times a card's own idle power and 15 W more; where nothing idle was seen, power tells nothing."""
    found = Evidence([seen_of(*one) for one in node], idle_mw)
    known = [p for powers, _ in node for p in powers if p > 0]
    nothing_idle = not known or (idle_mw < 0 and min(known) > max(known) / 2)
    for gpu, (powers, _) in enumerate(node):
        own = min((p for p in powers if p > 0), default=0)
        least = (idle_mw if idle_mw > 0 else min(known)) if known else 0
        reference = own if own <= 2 * least else least
        for t, power in enumerate(powers):
            assert found.power_mw[gpu, t] == power
            assert found.busy[gpu, t] == (not nothing_idle and power > reference * 1.3 + 15_000)


def test_models_are_judged_apart():
    """A small card at full load draws what a large one idles at."""
    small, large = seen_of([16_000, 72_000], [60, 60], model="L4"), seen_of([72_000, 72_000], [60, 60])
    assert Evidence([small, large], -1).busy.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(
    ("utils", "busy"),
    [
        ([[0, 49_999, 50_000], [0, 1_000_000, 0]], [[0, 0, 1], [0, 1, 0]]),
        ([[0, 10_000, 499], [0, 0, 500]], [[0, 1, 0], [0, 0, 1]]),  # never above 1 %: 1 was meant for all of it
        ([[0, 10_001, 499], [0, 0, 500]], [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_utilisation_makes_busy_too(utils, busy):
    node = [seen_of([60_000] * 3, [60] * 3, utils=one) for one in utils]
    assert Evidence(node, -1).busy.astype(int).tolist() == busy


def test_what_is_owned_or_was_hardly_read_is_not_busy():
    owned = seen_of([60_000, 600_000], [60, 60], owned=[False, True])
    once = seen_of([60_000, 600_000], [60, 60], samples=1)
    twice = seen_of([60_000, 600_000], [60, 60], samples=2)
    assert Evidence([owned, once, twice], -1).busy.tolist() == [[False, False], [False, False], [False, True]]


@settings(max_examples=examples(200), deadline=None)
@given(nodes(), st.data())
def test_how_well_a_gpu_fits_is_the_part_of_the_time_that_it_was_busy(node, data):
    found = Evidence([seen_of(*one) for one in node], 65_000)
    n = len(node[0][0])
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first + 1, n))
    for gpu, (_, watched) in enumerate(node):
        busy = sum(watched[t] for t in range(first, last) if found.busy[gpu, t])
        assert found.fit(gpu, first, last) == pytest.approx(busy / sum(watched[first:last]))
    means = []
    for powers, watched in node:
        known = [(p, w) for p, w in zip(powers[first:last], watched[first:last], strict=True) if p > 0]
        if known:
            means.append(sum(p * w for p, w in known) / sum(w for _, w in known))
    spread = round(float(np.std(means))) if means else 0
    assert found.spread_mw(range(len(node)), first, last) == pytest.approx(spread, abs=1)


@settings(max_examples=examples(200), deadline=None)
@given(nodes(), st.data())
def test_use_by_strangers_reaches_as_far_as_the_gpu_stays_busy(node, data):
    """From every stretch of half a minute without a job in which a GPU is busy, both ways, until it is idle."""
    found = Evidence([seen_of(*one) for one in node], 65_000)
    n = len(node[0][0])
    capacity = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    foreign, explained = found.foreign(np.array(capacity))
    for gpu, (_, watched) in enumerate(node):
        wanted = [bool(found.busy[gpu, t]) and capacity[t] == 0 and watched[t] >= 30 for t in range(n)]
        for t in [t for t in range(n) if wanted[t]]:
            for way in (1, -1):
                at = t + way
                while 0 <= at < n and found.busy[gpu, at]:
                    wanted[at] = True
                    at += way
        assert foreign[gpu].tolist() == wanted
    others = [sum(bool(found.busy[g, t]) and not foreign[g, t] for g in range(len(node))) for t in range(n)]
    assert explained == [count <= most for count, most in zip(others, capacity, strict=True)]


# Whose they are

MINUTE = 60 * SECOND
LENGTH = 60


def lived(power):
    """Survey of a node whose GPUs' power (mW) is given minute by minute, and jobs between the edges of ``rows``."""

    def survey(rows):
        from wattshed.agent.traces.jobs.wants import Edges

        made = Survey(Edges(rows))
        n, gpus = power.shape[1], len(power)
        devices = tuple(Device("n1", gpu, f"GPU-{gpu}") for gpu in range(gpus))
        times = np.tile((np.arange(n) + 1) * MINUTE, gpus)
        rest = np.full(power.size, -1)
        readings = Readings(np.arange(gpus + 1) * n, times, power.ravel().astype(np.int32), rest)
        made._window(Window("n1", 0, 0, n * MINUTE, devices, readings, np.full(gpus, -1)))
        return made

    return survey


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_a_gpu_that_works_with_one_job_alone_is_that_jobs_whoever_else_is_there(data):
    """Strangers, too many to be accounted for, work over the jobs' edges, but begin and end with none."""
    ends = sorted(data.draw(st.sets(st.integers(2, LENGTH // 2 - 1), min_size=4, max_size=8)))
    ends = [2 * end for end in ends[: len(ends) // 2 * 2]]
    # In sums over what lies between edges a stranger's own first and last minutes may look like a step.
    blurred = {*ends[:2], *ends[-2:]}
    spans = []
    while ends:
        first = ends.pop(0)
        spans.append((first, ends.pop(data.draw(st.integers(0, len(ends) - 1)))))
    strangers = data.draw(st.integers(0, 2))
    power = np.full((len(spans) + strangers + 2, LENGTH + 4), 70_000)
    for gpu, (first, last) in enumerate(spans):
        power[gpu, first:last] = 400_000
    least, most = min(first for first, _ in spans), max(last for _, last in spans)
    for gpu in range(len(spans), len(spans) + strangers):
        power[gpu, least + 1 : most - 1] = 300_000
    order = data.draw(st.permutations(range(len(power))))
    rows = [JobRow(f"slurm:{i}", "n1", ("*",), a * MINUTE, b * MINUTE, count=1) for i, (a, b) in enumerate(spans)]
    named, _ = name_gpus(rows, lived(power[order])(rows))
    clear = [(a, b) for a, b in spans if not {a, b} <= blurred]  # else the strangers fit as well
    for row in named:
        number = int(row.job.split(":")[1])
        if spans[number] in clear or not strangers:
            assert row.gpus == (f"GPU-{order.index(number)}",)
            assert row.labels["placement"] == "inferred"
            assert (row.share_ppm, row.at_most) == (-1, False)
    assert {row.job for row in named} == {row.job for row in rows}
