"""Labels that the resolver adds to an owner: the user's name by uid, and what is left out when names are not wanted."""

import threading
import time
from types import SimpleNamespace

import pytest

from tests.jobs.fake_proc import FakeProc
from tests.jobs.test_resolve import DEVICES, SECOND, T0, Clock, seen
from wattshed.agent.jobs import users
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (lambda uid: f"user{uid}", {"uid": "1000", "user": "user1000"}),
        (lambda uid: "", {"uid": "1000"}),
    ],
)
def test_the_user_of_a_uid_is_named_where_there_is_a_name(tmp_path, name, labels):
    proc = FakeProc(tmp_path)
    proc.start(10, "/", uid=1000)
    processes = Processes(proc.root, Clock())
    processes.user = name
    owners, _ = JobResolver(processes).resolve([seen(10)], DEVICES, T0, T0 + SECOND)
    found = owners[0].labels
    assert {key: found[key] for key in ("uid", "user") if key in found} == labels


def test_a_name_service_that_hangs_is_waited_for_by_nobody(monkeypatch):
    answers, asked = threading.Event(), []

    def getpwuid(uid):
        asked.append(uid)
        answers.wait(30)
        if uid == 8:
            raise KeyError(uid)
        return SimpleNamespace(pw_name=f"user{uid}")

    monkeypatch.setattr(users.pwd, "getpwuid", getpwuid)
    names = users.UserNames()
    assert [names.name(uid) for uid in (7, 8, 9, 7)] == [""] * 4
    answers.set()
    until = time.monotonic() + 10
    while names.name(9) != "user9":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert [names.name(uid) for uid in (7, 8, 9)] == ["user7", "", "user9"]
    assert asked == [7, 8, 9]


def test_so_many_users_are_named_and_no_more(monkeypatch):
    monkeypatch.setattr(users, "_MOST", 2)
    asked = []
    monkeypatch.setattr(users.pwd, "getpwuid", lambda uid: asked.append(uid) or SimpleNamespace(pw_name=f"user{uid}"))
    names = users.UserNames()
    until = time.monotonic() + 10
    while not (names.name(7) and names.name(8)):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert names.name(9) == ""
    assert set(names._names) == {7, 8}
    assert asked == [7, 8]
