"""Labels that the resolver adds to an owner: the user's name by uid, and what is left out when names are not wanted."""

import pytest

from tests.jobs.fake_proc import FakeProc
from tests.jobs.test_resolve import DEVICES, SECOND, T0, Clock, seen
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
