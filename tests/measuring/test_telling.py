"""Work that a program tells: in sums, without waiting, once at most, and to whoever is there in the end."""

import time

from tests.daemon.callers import listening
from wattshed.agent.measuring.process import WorkTeller


def _tell(teller, agent):
    for _ in range(12):
        teller.tell("steps", 1)
    teller.flush()
    teller.flush()
    agent.settle()


def test_sums_are_told_and_kept_until_an_agent_is_there(tmp_path):
    path = tmp_path / "agent.sock"
    teller = WorkTeller({"WATTSHED_SOCKET": str(path)})
    begun = time.perf_counter()
    for _ in range(1000):
        teller.tell("steps", 1)
    teller.tell("tokens", 5)
    assert time.perf_counter() - begun < 1
    teller.flush()
    with listening(tmp_path) as agent:
        _tell(teller, agent)
    told = {}
    for _, unit, count in agent.work.work:
        told[unit] = told.get(unit, 0) + count
    assert told == {"steps": 1012, "tokens": 5}
