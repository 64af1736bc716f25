"""Invented joules stay marked through every reader and writer of recordings."""

import pytest

from tests.virtual import agent, simulated
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

DCGM = """\
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1",Hostname="h"{mark}}} 100 1700000000000
DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-1",Hostname="h"{mark}}} 100 1700000001000
"""


def devices(path):
    """All devices of a trace, as its windows tell of them."""
    (chain,) = find([str(path)], Options())
    return [device for window in chain.windows(Options()) for device in window.devices]


@pytest.mark.parametrize(("mark", "expected"), [(',simulated="1"', True), ("", False), (',simulated="0"', False)])
def test_a_scrape_of_a_simulated_node_is_read_as_one(tmp_path, mark, expected):
    (tmp_path / "scrape.prom").write_text(DCGM.format(mark=mark))
    assert {device.simulated for device in devices(tmp_path / "scrape.prom")} == {expected}


def test_a_recording_its_backfill_and_what_is_read_of_that_are_marked(tmp_path, wattshed):
    node, clock = simulated(tmp_path)
    recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
    one = agent(node, clock, seconds=40, recorder=recorder)
    one.daemon.run()
    one.close()
    recorder.close()
    assert {device.simulated for device in devices(tmp_path / "recording")} == {True}
    text = tmp_path / "backfill.prom"
    code, _, err = wattshed("replay", tmp_path / "recording", "--openmetrics", text)
    assert code == 0, err
    series = [line for line in text.read_text().splitlines() if not line.startswith("#")]
    assert series
    assert all('simulated="1"' in line for line in series)
    assert {device.simulated for device in devices(text)} == {True}
