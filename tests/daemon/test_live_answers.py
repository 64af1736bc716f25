"""What an agent answers while parts move from its accounts into its history: nothing twice, nothing missing."""

import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.test_cuts import T0, lives, seconds
from tests.daemon.test_history_feed import Life, S
from tests.depth import examples
from wattshed.agent.daemon import history_feed
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.query import Filter
from wattshed.agent.wire.parts import hnj_of

EVERYTHING = Filter()


def answers(folder, life):
    return Answers(open_or_empty(folder / "history.db"), "h", life.feed.view, clock=lambda: (T0 + 3600 * S) / 1e6)


def listed(asked, limit=1000):
    """All jobs, over all pages."""
    found, cursor = [], ""
    while True:
        page = asked.jobs(EVERYTHING, limit, cursor)
        found += page["jobs"]
        if not (cursor := page["cursor"]):
            return found


def question(folder, life, opening=None):
    """Asks as a server does: the file is opened for each question."""
    path = folder / "history.db"

    def ask(place, params):
        one = Question(
            opening or (lambda: open_or_empty(path)), "h", life.feed.view, clock=lambda: (T0 + 3600 * S) / 1e6
        )
        status, document = one.answer(f"/api/v1/{place}", params, None)
        assert status == 200, document
        return document

    return ask


def booked(life):
    return sum(account.energy_hnj for account in life.accounts.gpus.values())


def total(asked, by, **more):
    return hnj_of(asked.report(by, EVERYTHING, **more)["total"]["energy_j"])


@settings(max_examples=examples(15), deadline=None)
@given(lives(), st.integers(0, 3), st.data())
def test_an_answer_is_the_accounts_at_any_moment(tmp_path_factory, schedule, wait, data):
    """Whether or not the writer has come to it, and whether or not the agent knows that it has."""
    folder = tmp_path_factory.mktemp("life")
    life = Life(folder)
    for n, window in enumerate(seconds(schedule)):
        life.feed._next_view_s = 0.0
        life.take(window)
        if data.draw(st.integers(0, 3)) <= wait:
            life.written()
        if n < 6 or data.draw(st.integers(0, 9)):
            continue
        asked = answers(folder, life)
        by = data.draw(st.sampled_from(["user", "host", "model", "day", "job"]))
        assert total(asked, by) == total(asked, by, step_s=3600) == booked(life)
        jobs = listed(asked, data.draw(st.integers(1, 4)))
        places = [(job["job"], job["run"]) for job in jobs]
        assert len(places) == len(set(places))
        rows = {(row["job"], row["run"]): row for row in asked.report("job", EVERYTHING)["rows"]}
        assert {place for place in rows if place[0][0] != "_"} <= set(places)
        for job in jobs:
            assert rows.get((job["job"], job["run"]), {"energy_j": "0"})["energy_j"] == job["energy_j"]
            (whole,) = [
                one
                for found in [asked.job(job["job"], EVERYTHING)]
                for one in [found["job"], *found["earlier"]]
                if one["run"] == job["run"]
            ]
            # Floats add up in another order once the writer has come to a part between two answers.
            sigma_j = pytest.approx(job["sigma_j"], rel=1e-9)
            assert {name: whole[name] for name in job} == job | {"sigma_j": sigma_j}
            if whole.get("by_gpu"):
                assert sum(hnj_of(gpu["energy_j"]) for gpu in whole["by_gpu"]) == hnj_of(job["energy_j"])
                assert len(whole["by_gpu"]) == job["gpus"]
    life.die()


def test_nobody_sees_a_job_twice_or_loses_one_while_it_is_written(tmp_path, monkeypatch):
    """Readers ask without a pause while the agent books, cuts and writes at its fastest."""
    monkeypatch.setattr(history_feed, "VIEW_SHARE", 1e9)
    schedule = [(f"j{n}", n % 2, n, n + 3 + n % 4) for n in range(60)]
    life = Life(tmp_path)
    windows = list(seconds(schedule))
    life.take(windows[0])
    been, wrong, over, asked_for = {booked(life)}, [], threading.Event(), Counter()
    ask_of = question(tmp_path, life)

    def ask():
        before = {}
        while not over.is_set():
            try:
                energy = hnj_of(ask_of("report", {"by": "user"})["total"]["energy_j"])
                if energy not in been:
                    wrong.append(f"{energy} was never all there was")
                now, jobs, cursor = Counter(), {}, ""
                while True:
                    page = ask_of("jobs", {"limit": "7", "cursor": cursor})
                    for job in page["jobs"]:
                        now[job["job"], job["run"]] += 1
                        jobs[job["job"], job["run"]] = hnj_of(job["energy_j"])
                    if not (cursor := page["cursor"]):
                        break
                wrong.extend(f"{place} came {count} times" for place, count in now.items() if count > 1)
                wrong.extend(f"{place} was lost" for place in before if place not in jobs)
                wrong.extend(f"{place} fell" for place, hnj in before.items() if jobs.get(place, hnj) < hnj)
                before = jobs
                asked_for["questions"] += 1
            except Exception as error:
                wrong.append(repr(error))

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    for window in windows[1:]:
        life.accounts.add(window)
        been.add(booked(life))
        for job in life.accounts.ledger.jobs.values():
            job.shown_hnj = job.energy_hnj
        life.feed.follow(life.accounts, life.accounts.retire(window.end_us, 2 * S), window.end_us)
        life.feed.show(life.accounts, window.end_us)
        life.feed.saved(life.accounts, window.end_us)
        time.sleep(0.01)
    over.set()
    for reader in readers:
        reader.join(30)
    life.written()
    life.die()
    assert wrong == []
    assert asked_for["questions"] > 4


def test_a_history_that_is_begun_while_a_question_opens_it_hides_nothing(tmp_path, monkeypatch):
    """There was no file yet; before the question reads a view, parts were written and left the agent's memory."""
    monkeypatch.setattr(history_feed, "VIEW_SHARE", 1e9)
    windows = iter(seconds([("a", 0, 0, 20), ("b", 1, 0, 20)]))
    life = Life(tmp_path)
    for _ in range(4):
        life.take(next(windows))
    before = hnj_of(question(tmp_path, life)("report", {"by": "job"})["total"]["energy_j"])
    assert not (tmp_path / "history.db").exists()

    def opening():
        empty = open_or_empty(tmp_path / "history.db")
        for _ in range(12):
            life.take(next(windows))
            life.written()
        assert (tmp_path / "history.db").exists()
        return empty

    document = question(tmp_path, life, opening)("report", {"by": "job"})
    assert hnj_of(document["total"]["energy_j"]) >= before > 0
    assert {row["job"] for row in document["rows"]} >= {"a", "b"}
    life.die()


def test_an_agent_that_starts_again_hides_no_job_that_it_showed(tmp_path):
    """Until it has read its state, it knows no more than the file: nothing of what was not cut before it died."""
    life = Life(tmp_path)
    for window, _ in zip(seconds([("a", 0, 0, 9)]), range(3), strict=False):
        life.take(window)
    shown = question(tmp_path, life)("jobs", {})["jobs"]
    life.die()
    starting = Question(lambda: open_or_empty(tmp_path / "history.db"), "h", lambda: None)
    status, document = starting.answer("/api/v1/jobs", {}, None)
    assert (status, document["error"].split(":")[0]) == (503, "no totals yet")
    again = Life(tmp_path)
    again.feed.show(again.accounts, again.feed.cuts.slot_us)
    assert [job["job"] for job in question(tmp_path, again)("jobs", {})["jobs"]] == [job["job"] for job in shown]
    again.die()


def test_answers_say_that_a_meter_is_simulated_before_and_after_anything_is_written(tmp_path):
    """So does what a collector is handed; of one store whose meter is simulated among others, too."""
    life = Life(tmp_path, simulated=True)
    asked = question(tmp_path, life)
    for n, window in enumerate(seconds([("a", 0, 0, 9)])):
        life.take(window)
        if n == 2:
            assert not (tmp_path / "history.db").exists()
            assert asked("jobs", {})["simulated"] is True
    life.written()
    life.die()
    for place, params in (("jobs", {}), ("jobs/a", {}), ("report", {"by": "user"}), ("parts", {})):
        kept = Question(lambda: open_or_empty(tmp_path / "history.db"), "h")
        status, document = kept.answer(f"/api/v1/{place}", params, None)
        assert (status, document["simulated"]) == (200, True)
    other = Life(tmp_path / "real")
    other.take(next(seconds([("a", 0, 0, 9)])))
    assert question(tmp_path / "real", other)("jobs", {})["simulated"] is False
    other.die()


def test_views_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    """Of very many jobs a view is not made every window, unless parts were cut: a reader must find those in it."""
    now_s = 0.0
    monkeypatch.setattr(history_feed, "time", SimpleNamespace(monotonic=lambda: now_s))
    life, made = Life(tmp_path), []
    real = history_feed.uncut_parts

    def slow(*args):
        nonlocal now_s
        now_s += 0.05  # as with ten thousand jobs
        made.append(now_s)
        return real(*args)

    monkeypatch.setattr(history_feed, "uncut_parts", slow)
    monkeypatch.setattr(life.feed.cuts, "slot_us", 30 * S)
    for window in seconds([("a", 0, 0, 60)]):
        now_s += 1.0
        life.take(window)
        assert life.feed.view().next_seq == life.feed.cuts.next_seq
    assert len(made) <= 17
    life.die()
    with pytest.raises(AttributeError):
        life.feed.view().at_us = 0
