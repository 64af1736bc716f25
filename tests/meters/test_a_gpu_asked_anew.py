"""What the watch over a GPU's processes remembers when the GPU is asked anew what it can: what is still true of it."""

from types import SimpleNamespace

import pytest

from wattshed.agent.meters.processes import Instance, ProcessWatch

INSTANCES = [Instance("handle", 1, 0, 142_857, "MIG-1", 0)]


def board(**capabilities):
    able = {"accounting": "", "mig": "", "processes": "", **capabilities}
    return SimpleNamespace(handle=None, device=SimpleNamespace(capabilities=able))


def watch_of(**capabilities):
    watch = ProcessWatch(SimpleNamespace(), board(**capabilities))
    watch.instances, watch._accounted = list(INSTANCES), {7}
    return watch


@pytest.mark.parametrize(
    ("now", "instances", "accounted"),
    [
        ({}, INSTANCES, {7}),
        ({"mig": "switched off"}, [], {7}),
        ({"accounting": "switched off"}, INSTANCES, None),
        ({"mig": "off", "accounting": "off"}, [], None),
    ],
)
def test_what_a_switch_makes_untrue_is_forgotten(now, instances, accounted):
    watch = watch_of()
    other = board(**now)
    watch.follow(other)
    assert watch.gpu_handle is other
    assert (watch.instances, watch._accounted) == (instances, accounted)
    # Asked once more, with the same answer, nothing else goes; switched back, it goes again.
    watch.instances, watch._accounted = list(INSTANCES), {8}
    watch.follow(board(**now))
    assert (watch.instances, watch._accounted) == (INSTANCES, {8})
    watch.follow(board())
    assert (watch.instances, watch._accounted) == (instances, {8} if accounted else None)


def test_samples_of_another_session_are_compared_with_nothing():
    watch = watch_of()
    before = watch._profile
    watch.follow(board())
    assert watch._profile is not before
    assert watch._profile._samples == {}


@pytest.mark.parametrize(("reason", "able"), [("", True), ("refused", False), (None, False)])
def test_a_capability_without_a_reason_against_it_is_there(reason, able):
    watch = ProcessWatch(SimpleNamespace(), board(gpm=reason) if reason is not None else board())
    assert watch.able("gpm") == able


def test_a_board_that_told_what_it_can_says_so_and_one_that_fell_sick_keeps_it(rig):
    """Over a driver session: what readings told of it stays, and what it can is asked for anew."""
    node = rig(gpus=2)
    older, fresh = node.meter.gpu_handles
    assert (older.sick, older.probed) == ("", True)
    older.note("gpu_scope", "told by readings")
    older.publish({"energy": 20_000, "instant": 100_000})
    assert older.device.publication_us["energy"] == 20_000
    able = fresh.device.capabilities
    fresh.inherit(older)
    assert (fresh.device.uuid, fresh.device.index) == (older.device.uuid, older.device.index)
    assert fresh.device.capabilities == {**able, "gpu_scope": "told by readings"}
    assert fresh.device.publication_us["energy"] == 20_000
    fresh.unnumber()
    assert (fresh.device.index, fresh.device.minor) == (-1, -1)
    fresh.give_up("sick: slow")
    assert (fresh.sick, set(fresh.device.capabilities.values())) == ("sick: slow", {"sick: slow"})
    fresh.inherit(older, keep_index=False)
    assert fresh.device.capabilities == older.device.capabilities
    assert fresh.device.index == 1
