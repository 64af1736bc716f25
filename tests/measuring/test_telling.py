"""Work that a program tells: in sums, without waiting, once at most, and to whoever is there in the end."""

import time
from pathlib import Path
from types import SimpleNamespace

from tests.daemon.test_callers import ByPid, Noted, now_us
from wattshed.agent.daemon.callers.desk import CallersDesk
from wattshed.agent.daemon.callers.energies import JobEnergies
from wattshed.agent.daemon.callers.own_parts import OwnParts
from wattshed.agent.daemon.callers.senders import Senders
from wattshed.agent.daemon.callers.server import CallersServer
from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.measuring.process import WorkTeller


def test_sums_are_told_and_kept_until_an_agent_is_there(tmp_path):
    path = tmp_path / "agent.sock"
    teller = WorkTeller({"WATTSHED_SOCKET": str(path)})
    begun = time.perf_counter()
    for _ in range(1000):
        teller.tell("steps", 1)
    teller.tell("tokens", 5)
    assert time.perf_counter() - begun < 1
    teller.flush()
    work = Noted()
    desk = CallersDesk({}, JobEnergies(), OwnParts(Ancestry(Path("/proc"))), 0, work)
    senders = Senders(Processes(Path("/proc"), now_us, await_exits=False), now_us)
    server = CallersServer(str(path), desk, senders, now_us)
    for _ in range(12):
        teller.tell("steps", 1)
    teller.flush()
    teller.flush()
    desk.settle(ByPid(), SimpleNamespace(end_us=now_us() + 1))
    server.close()
    told = {}
    for _, unit, count in work.work:
        told[unit] = told.get(unit, 0) + count
    assert told == {"steps": 1012, "tokens": 5}
