"""Power over time of a job, from its account to an answer: while it runs, after it ended, over a restart."""

import pytest

from tests.accounts.test_cuts import seconds
from tests.daemon.test_history_feed import Life
from tests.daemon.test_live_answers import EVERYTHING, answers
from wattshed.agent.wire.parts import hnj_of

J = 2_000_000_000


def asked(folder, life, job="a"):
    return answers(folder, life).job(job, EVERYTHING)["job"]


def joules(power):
    return sum((end - begin) * watts for begin, end, watts in power if watts is not None)


def test_a_job_that_runs_and_one_that_ended_tell_when_they_drew_what(tmp_path):
    life = Life(tmp_path)
    windows = list(seconds([("a", 0, 0, 40), ("b", 1, 20, 62)]))
    for window in windows[:41]:
        life.feed._next_view_s = 0.0
        life.take(window)
    runs = asked(tmp_path, life, "b")
    assert runs["state"] == "running"
    assert [watts for *_, watts in runs["power"]][1:-1] == pytest.approx([200.0] * (len(runs["power"]) - 2), abs=0.1)
    assert 0 <= hnj_of(runs["energy_j"]) / J - joules(runs["power"]) < 200 * 7  # up to a step is to come
    for window in windows[41:]:
        life.feed._next_view_s = 0.0
        life.take(window)
    life.written()
    life.die()
    ended = asked(tmp_path, life)
    assert ended["state"] == "complete"
    assert joules(ended["power"]) == pytest.approx(hnj_of(ended["energy_j"]) / J, rel=1e-6)
    assert [end - begin for begin, end, _ in ended["power"]] == pytest.approx([5.0] * 8)
    assert [watts for *_, watts in ended["power"]] == pytest.approx([300.0] * 8, abs=1.0)


def test_a_job_that_is_not_stored_yet_tells_the_same(tmp_path, monkeypatch):
    found = []
    for late in (False, True):
        life = Life(tmp_path / str(late))
        for n, window in enumerate(list(seconds([("a", 0, 0, 40), ("b", 1, 20, 62)]))[:41]):
            if late and n == 10:
                life.written()  # nobody's rows are stored, and nothing later is
                monkeypatch.setattr(life.writer, "offer", lambda _: None)
            life.feed._next_view_s = 0.0
            life.take(window)
        found.append(asked(tmp_path / str(late), life, "b")["power"])
        life.die()
    assert found[0] == found[1]


def test_a_kill_loses_nothing_of_it(tmp_path):
    life = Life(tmp_path)
    windows = list(seconds([("a", 0, 0, 60)]))
    for n, window in enumerate(windows):
        life.feed._next_view_s = 0.0
        life.take(window)
        if n in {13, 37}:
            life.die()
            life = Life(tmp_path)
    life.written()
    life.die()
    told = asked(tmp_path, life)
    assert joules(told["power"]) == pytest.approx(hnj_of(told["energy_j"]) / J, rel=1e-6)
    assert [watts for *_, watts in told["power"]] == pytest.approx([300.0] * 12, abs=1.0)
