"""What jobs told and pages said, until the window of its time takes it along."""

import json
from dataclasses import replace

from tests.traces.windows_made_up import plain_window
from wattshed.agent.window import JobKey, Owner
from wattshed.agent.work_units.inbox import KEPT_US, MOST_UNITS, WorkInbox
from wattshed.agent.work_units.page import read_page

JOB = Owner(JobKey("slurm:7"), {"user": "ada"})


class Clock:
    """Says what it is set to."""

    def __init__(self, at):
        self.at = at

    def __call__(self):
        return self.at


def page(tokens, running=1, started=None):
    text = f"vllm:generation_tokens_total {tokens}\nvllm:num_requests_running {running}\n"
    text += f"process_start_time_seconds {started}\n" if started is not None else ""
    return read_page(text.encode())


def window(i, owners=()):
    return replace(plain_window(i), owners=tuple(owners))


def test_work_goes_with_the_window_of_its_time_and_its_owner_with_it():
    first, second = window(0), window(1)
    clock, baselines = Clock(first.end_us - 1000), {}
    inbox = WorkInbox(clock)
    inbox.take("a server", JOB, page(100))
    clock.at = second.end_us - 1000
    inbox.take("a server", JOB, page(160))
    seen = inbox.into(first, baselines)
    assert [(row.unit, row.count) for row in seen.work] == [("output_tokens", 0)]
    assert seen.work[0].begins
    assert seen.owners == (JOB,)
    assert baselines == {}  # the newest page is not of this window
    seen = inbox.into(second, baselines)
    assert [(row.unit, row.count) for row in seen.work] == [("output_tokens", 60)]
    assert json.loads(json.dumps(baselines))["a server"]["time_us"] == clock.at


def test_counting_goes_on_from_what_was_saved():
    one, baselines = window(0), {}
    clock = Clock(one.end_us)
    before = WorkInbox(clock)
    before.take("a server", JOB, page(100))
    before.into(one, baselines)
    after = WorkInbox(clock)
    after.restore({**baselines, "spoilt": {"owner": 3}, "spoilt too": {"values": []}})
    assert after.take("a server", JOB, page(130)).counts == {"output_tokens": 30}


def test_a_server_that_began_under_a_job_counts_from_nothing():
    one = window(0, [JOB])
    inbox = WorkInbox(Clock(one.end_us + 5_000_000))
    inbox.into(one, {})
    began_s = one.end_us / 1e6
    done = inbox.take("a server", JOB, page(40, started=began_s))
    assert done.counts == {"output_tokens": 40}
    assert done.start_us == round(began_s * 1e6)
    assert inbox.take("another", JOB, page(40, started=began_s - 60)).counts == {"output_tokens": 0}


def test_what_is_told_between_two_windows_is_one_row_a_unit_and_units_are_few():
    one = window(0)
    inbox = WorkInbox(Clock(one.end_us))
    for k in range(100):
        assert inbox.add(JOB, "steps", 2, one.start_us + k) == ""
    seen = inbox.into(one, {})
    assert [(row.unit, row.count, row.source) for row in seen.work] == [("steps", 200, "told")]
    assert seen.work[0].end_us == one.start_us + 99
    refused = [inbox.add(JOB, f"unit{k}", 1, one.end_us) for k in range(MOST_UNITS + 1)]
    assert refused.count("") == MOST_UNITS - 1
    assert inbox.status({"no_job": 1}).rejected == {"units_of_a_job": 2, "no_job": 1}


def test_what_is_told_a_little_late_is_of_the_window_that_takes_it():
    one = window(1)
    inbox = WorkInbox(Clock(one.end_us))
    inbox.add(JOB, "steps", 2, one.start_us - 500)
    inbox.add(JOB, "images", 2, one.end_us + 500)
    assert {(row.unit, row.end_us) for row in inbox.into(one, {}).work} == {
        ("steps", one.start_us),
        ("images", one.end_us),
    }


def test_a_server_that_is_not_read_any_more_is_forgotten_after_a_day():
    first, second = window(0), window(1)
    clock, baselines = Clock(first.end_us), {}
    inbox = WorkInbox(clock)
    inbox.take("gone", JOB, page(100))
    inbox.into(first, baselines)
    later = replace(second, start_us=second.start_us + KEPT_US, end_us=second.end_us + KEPT_US)
    clock.at = later.end_us
    inbox.take("read", JOB, page(100))
    inbox.into(later, baselines)
    assert list(baselines) == ["read"]


def test_servers_are_told_of():
    inbox = WorkInbox(Clock(0))
    inbox.take("a", JOB, page(1))
    inbox.failed("b", "no_answer", "slurm:8")
    assert inbox.status({}).servers == (("slurm:7", "vllm", True), ("slurm:8", "", False))
    inbox.failed("a", "no_answer")
    assert inbox.status({}).servers == (("slurm:7", "vllm", False), ("slurm:8", "", False))
    inbox.gone("a")
    assert inbox.status({}).servers == (("slurm:8", "", False),)
    assert inbox.status({}).rejected == {"no_answer": 2}
