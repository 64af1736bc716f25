"""Power over a range: steps that join exactly, what was stored before, and nobody named who is not on the page."""

import asyncio
import dataclasses
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exporters import snapshots
from tests.exporters.test_history import shown
from tests.exporters.wire import get
from wattshed.exporters.snapshot import JobFacts
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.history import History
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access
from wattshed.exporters.web.power_api import MOST_STEPS, PowerApi
from wattshed.exporters.web.power_steps import PowerStep, coarsened, columns, energies, named

S = 1_000_000
GPU = snapshots.UUIDS[0]


def step(begin_s, end_s, watts=100, jobs=("a",), covered_s=None):
    """One GPU at a power that its jobs share evenly; whole seconds, whole watts."""
    us = round((end_s - begin_s if covered_s is None else covered_s) * S)
    hnj = watts * us // S * HNJ_PER_JOULE
    each = {(job, GPU): hnj // len(jobs) for job in jobs}
    each[jobs[0], GPU] += hnj - sum(each.values())
    return PowerStep(snapshots.T0 + begin_s * S, snapshots.T0 + end_s * S, {GPU: (hnj, us)}, each)


class Stored:
    """What a history would tell."""

    def __init__(self, steps=(), why=""):
        self.steps, self.why, self.asked = steps, why, []

    async def power(self, since_us, until_us, step_us):
        self.asked.append((since_us, until_us, step_us))
        return self.steps, self.why


def ask(api, span="hour", method="GET"):
    return asyncio.run(api.answer(method, f"/api/v1/power?range={span}", {}))


def document(api, span="hour"):
    answer = ask(api, span)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def published(time_s, jobs=("a",)):
    facts = tuple(JobFacts(job, {}, 0, 0, None, 0) for job in jobs)
    return dataclasses.replace(shown(time_s, {0: (0, 0)}), jobs=facts)


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 700), st.booleans()), min_size=1, max_size=60))
def test_longer_steps_hold_what_the_shorter_ones_do_and_end_at_a_hole(lengths):
    steps, at = [], 0
    for seconds, watts, hole in lengths:
        at += 100 * hole
        steps.append(step(at, at + seconds, watts, jobs=("a", "_idle")))
        at += seconds
    longer = coarsened(steps, 1800 * S)
    assert energies(longer) == energies(steps)
    assert sum(one.to_us - one.from_us for one in longer) == sum(one.to_us - one.from_us for one in steps)
    assert all(one.to_us - one.from_us <= 1800 * S + 900 * S for one in longer)


def test_where_nothing_was_covered_power_is_unknown_and_a_part_that_was_counts_by_its_own_time():
    told = columns([step(0, 100, 300), step(100, 200, 300, covered_s=10), step(200, 300, 300, covered_s=0)])
    assert told["gpus"][GPU] == [300, 300, None]
    assert told["jobs"]["a"] == [300, 300, None]


def test_many_jobs_are_the_largest_by_name_and_the_rest_and_all_of_the_energy():
    jobs = tuple(f"j{n:02}" for n in range(60))
    steps = [step(0, 1000, 600, jobs)]
    kept = named(steps, set(jobs[:40]))
    owners = energies(kept)["jobs"]
    assert len(owners) == 26
    assert owners["_ended"] == pytest.approx(600_000 * 20 / 60)
    assert sum(owners.values()) == energies(steps)["gpus"][GPU] == 600_000


def test_the_hour_is_what_the_agent_saw_and_the_day_goes_on_into_what_is_stored():
    history = History()
    for t in range(0, 130, 10):
        history.observe(shown(t, {0: (300 * t, t)}, [("a", 0, 300 * t)]))
    stored = Stored([step(-7200, -3600, 150), step(-3600, -100, 200, covered_s=1000)])
    api = PowerApi(lambda: published(120), history, stored, clock=lambda: 0.0)
    told = document(api, "day")
    assert told["gpus"][GPU] == [150, 200, 300]
    assert told["from_s"] == [snapshots.T0 / 1e6 + t for t in (-7200, -3600, 0)]
    assert told["to_s"] == [snapshots.T0 / 1e6 + t for t in (-3600, -100, 120)]
    assert told["covered_s"] == {GPU: [3600, 1000, 120]}  # of the second step most was not measured
    assert told["energy_j"]["gpus"][GPU] == 150 * 3600 + 200 * 1000 + 300 * 120
    assert told["energy_j"]["jobs"]["a"] == told["energy_j"]["gpus"][GPU]
    assert document(api, "day") == told
    assert stored.asked == [(snapshots.T0 - 86_280 * S, snapshots.T0, 900 * S)]


def test_who_is_not_on_the_page_any_more_is_nobody():
    stored = Stored([step(-7200, -3600, 150, jobs=("slurm:secret", "a", "_idle"))])
    jobs = ["a"]
    now = [0.0]
    api = PowerApi(lambda: published(120, jobs), History(), stored, clock=lambda: now[0])
    assert document(api, "week")["jobs"].keys() == {"a", "_idle", "_ended"}
    jobs.clear()
    now[0] = 5.0
    answer = ask(api, "week")
    assert json.loads(answer.body)["jobs"].keys() == {"_idle", "_ended"}
    assert b"secret" not in answer.body


def test_a_long_time_has_few_steps_and_no_joule_less():
    hours = [step(n * 3600, (n + 1) * 3600, 100 + n % 7) for n in range(5000)]
    api = PowerApi(lambda: published(5000 * 3600), History(), Stored(hours), clock=lambda: 0.0)
    told = document(api, "start")
    assert 200 <= len(told["from_s"]) <= MOST_STEPS + 1
    assert told["energy_j"]["gpus"][GPU] == sum((100 + n % 7) * 3600 for n in range(5000))
    assert told["since_s"] is None


def test_what_cannot_be_read_is_said_and_asked_for_again():
    now, stored = [0.0], Stored(why="too many questions at a time; ask again")
    api = PowerApi(lambda: published(120), History(), stored, clock=lambda: now[0])
    assert document(api, "day")["missing"] == stored.why
    now[0], stored.why = 60.0, ""
    assert document(api, "day")["missing"] == ""
    assert len(stored.asked) == 2


@pytest.mark.parametrize("query", ["range=year", "range=day&user=ada", "user=ada", "range="])
def test_another_question_is_refused(query):
    api = PowerApi(lambda: published(0), History())
    assert asyncio.run(api.answer("GET", f"/api/v1/power?{query}", {})).status == 400
    assert ask(api, method="POST").status == 405


def test_over_tcp_everybody_who_sees_the_page_gets_power_and_nobody_a_job_that_ended(serve):
    class Slow:
        def __init__(self):
            self.over = False

        def power(self, since_us, until_us, step_us):
            while not self.over:
                time.sleep(0.002)
            return [], "interrupted"

        def interrupt(self):
            self.over = True

    jobs = JobsApi(Access(frozenset({0})), limit_s=0.2)
    jobs.open(lambda: None, Slow)
    _, port = serve(jobs=jobs)
    status, _, body = get(port, "/api/v1/power?range=week")
    assert status == 200
    assert json.loads(body)["missing"] == "the question took more than 0.2 s"
    assert get(port, "/api/v1/jobs")[0] == 403
    now = json.loads(get(port, "/api/v1/snapshot?history=none")[2])
    assert now["history"] == {"step_s": 10.0, "time_s": [], "gpus": {}, "jobs": {}, "names": {}}
    assert now["prices"] is None
