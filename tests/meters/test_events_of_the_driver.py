"""What a real driver does with events: a lost GPU ends every wait, MIG names instances, some calls need a session."""

from types import SimpleNamespace

import pytest

from wattshed.agent.meters.errors import MeterError
from wattshed.agent.meters.events import Deaf, DriverEvents, Xid
from wattshed.agent.meters.nvml import NO_INSTANCE, DriverEvent
from wattshed.agent.simulation import card

XID = '[[fault]]\nkind = "xid"\ngpu = {}\nvalue = {}\nat_s = {}\n'
LOST = '[[fault]]\nkind = "gpu-lost"\ngpu = 1\nat_s = 5\nfor_s = {}\n'


def heard(node):
    return [(event.gpu, event.detail) for event in node.events("xid")]


def test_the_others_are_heard_although_one_is_lost(rig, caplog):
    node = rig(LOST.format(1000) + XID.format(2, 31, 9) + XID.format(0, 43, 9.5), gpus=3)
    node.run(15)
    assert heard(node) == [(2, "31"), (0, "43")]
    assert node.sampler.faults["nvmlEventSetWait_v2"] >= 1
    lines = [record.getMessage() for record in caplog.records if "no XID error is heard" in record.getMessage()]
    assert lines == ["nvmlEventSetWait_v2: no XID error is heard: GPU is lost (15); continuing"]


def test_one_that_comes_back_is_heard_again(rig):
    node = rig(LOST.format(20) + XID.format(1, 31, 90), gpus=3)
    node.run(95)
    assert [event.gpu for event in node.events("back")] == [1]
    assert heard(node) == [(1, "31")]


def test_one_that_was_sick_at_the_start_is_heard_once_it_is_well(rig):
    fault = '[[fault]]\nkind = "slow-gpu"\nvalue = 7e6\nfor_s = 20\n'
    node = rig(fault + XID.format(0, 31, 120))
    node.run(130)
    assert [event.gpu for event in node.events("back")] == [0]
    assert heard(node) == [(0, "31")]


def test_where_the_drivers_own_events_need_a_session_they_are_asked_for_in_it(rig, monkeypatch):
    monkeypatch.setattr(card, "BEFORE_A_SESSION", ("nvmlInit",))
    node = rig('[[fault]]\nkind = "unbind"\ngpu = 1\nat_s = 5\nfor_s = 10\n', gpus=2)
    node.run(30)
    released = node.events("released")
    assert 1 in {event.gpu for event in released}
    assert all("unbound" in event.detail for event in released)


class Driver:
    """A driver that reports one event, or fails to."""

    def __init__(self, answer):
        self.answer, self.costs = answer, SimpleNamespace()

    def wait_event(self, events, timeout_ms):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def wait_system_event(self, events, timeout_ms):
        return 0

    @staticmethod
    def address(handle):
        return handle


@pytest.mark.parametrize(
    ("mig", "instance", "told"),
    [
        ("", (3, 0), "3/0"),
        ("", (NO_INSTANCE, NO_INSTANCE), ""),
        ("switched off", (0, 0), ""),
        ("", (3, NO_INSTANCE), ""),
    ],
)
def test_an_error_of_an_instance_names_it(mig, instance, told):
    events = DriverEvents(Driver(DriverEvent(7, 0x8, 31, instance)))
    events._filled = True
    handles = [SimpleNamespace(handle=h, device=SimpleNamespace(capabilities={"mig": mig})) for h in (6, 7)]
    assert events.wait(handles, 0) == Xid(1, 31, told)
    assert events.wait(handles[:1], 0) == Xid(-1, 31, ""), "of a GPU that we do not know"


@pytest.mark.parametrize(("code", "news"), [(15, True), (999, True), (2, True), (1, False), (9, False)])
def test_a_wait_that_fails_is_told_unless_the_driver_went(code, news):
    events = DriverEvents(Driver(MeterError("nvmlEventSetWait_v2", code)))
    events._filled = True
    assert isinstance(events.wait([], 0), Deaf) == news


def test_errors_of_instances_and_of_unknown_gpus_are_told_as_such(rig, caplog):
    node = rig("", gpus=2)
    recovery = node.sampler._poller.recovery
    for xid in (Xid(1, 31, "3/0"), Xid(1, 31, "2/0"), Xid(0, 31), Xid(-1, 79)):
        recovery.hear(xid)
    node.run(1)
    said = [record.getMessage() for record in caplog.records if "XID" in record.getMessage()]
    assert said == ["XID 31: GPU 0, 1 (MIG instance 2/0), 1 (MIG instance 3/0)", "XID 79: GPU unknown"]
    assert heard(node) == [(1, "31"), (1, "31"), (0, "31"), (-1, "79")]
