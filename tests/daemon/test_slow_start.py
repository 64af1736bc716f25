"""A host that is busy while the agent starts: windows without a reading are no finding about its GPUs."""

import logging
from dataclasses import replace

import pytest

from tests.virtual import agent, simulated
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.window import Readings


class Starved:
    """Windows whose first few have no reading."""

    def __init__(self, sampler, count):
        self._sampler, self._left = sampler, count

    def __getattr__(self, name):
        return getattr(self._sampler, name)

    def next(self):
        window, seen = self._sampler.next()
        if self._left:
            self._left -= 1
            window = replace(window, readings=Readings.empty(len(window.devices)))
        return window, seen


READY = ["ready: metering 8 GPUs"]
UNREAD = "not metering: no GPU reports energy or power; `wattshed check` says why and what to do"


@pytest.mark.parametrize(
    ("starved", "again", "said"),
    [(0, False, READY), (3, False, READY), (3, True, READY), (7, False, [UNREAD, "metering 8 GPUs again"])],
)
def test_what_is_told_of_windows_without_readings(tmp_path, caplog, starved, again, said):
    logging.getLogger("wattshed").propagate = True
    node, clock = simulated(tmp_path)
    if again:
        before = agent(node, clock, state=tmp_path / "state", seconds=3)
        before.daemon.run()
        before.close()
    caplog.set_level(logging.INFO, logger="wattshed.agent.daemon.loop")
    caplog.clear()
    one = agent(node, clock, state=tmp_path / "state", rates=Rates(learn_us=0), seconds=10)
    one.daemon._windows = Starved(one.sampler, starved)
    one.daemon.restore()
    one.daemon.run()
    one.close()
    assert [record.message for record in caplog.records if "resumed" not in record.message] == said


@pytest.mark.parametrize("starved", [0, 3])
def test_the_time_to_run_counts_from_ready(tmp_path, starved):
    node, clock = simulated(tmp_path)
    one = agent(node, clock, rates=Rates(learn_us=0), seconds=5)
    one.daemon._windows = Starved(one.sampler, starved)
    one.daemon.run()
    one.close()
    first, *_, last, _shutdown = one.windows
    assert last.end_us - first.end_us == 5_000_000, "the first window was shown at its end"
