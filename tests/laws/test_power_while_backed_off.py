"""The page's watts of a whole agent in virtual time, while reading costs so much that it is done ever more rarely."""

import pytest

from tests.depth import few
from tests.virtual import agent, simulated
from wattshed.exporters.web.history import History

STEADY = """
gpus = 2
cycle_s = 600
[[gpu]]
idle_w = 70
[[job]]
name = "7"
gpus = [0]
load = [[10.0, 514.0, 80]]
[[job]]
name = "8"
gpus = [1]
start_s = 100.0
end_s = 320.0
load = [[10.0, 300.0, 50]]
[[fault]]
kind = "latency"
at_s = 30.0
for_s = 400.0
value = 9000
[[fault]]
kind = "gpu-lost"
gpu = 1
at_s = 480.0
for_s = 70.0
"""


def readings(windows, from_s, to_s):
    """Return how many readings a second there were then."""
    begun_us = windows[0].start_us
    found = [w.readings.power_mw.size for w in windows if from_s * 1e6 <= w.start_us - begun_us < to_s * 1e6]
    return sum(found) / (to_s - from_s)


@pytest.mark.parametrize("counter", few(["true", "false"]))
def test_a_steady_board_reads_its_watts_and_jobs_add_up(tmp_path, counter):
    script = tmp_path / "steady.toml"
    script.write_text(STEADY.replace("idle_w = 70", f"idle_w = 70\ncounter = {counter}"))
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=700, keep_us=60_000_000)
    history, show = History(), one.board.show

    def watch(snapshot):
        show(snapshot)
        history.observe(snapshot)

    one.board.show = watch
    one.daemon.run()
    one.close()
    at_first, slow = (readings(one.windows, *times) for times in ((5, 25), (100, 400)))
    assert slow <= at_first / 4  # it was backed off
    columns = history.columns()
    steady, other = (columns["gpus"][device.uuid] for device in one.windows[0].devices)
    assert len(steady) > 40
    assert [watts for watts in steady[1:] if watts is not None] == pytest.approx(
        [584] * (len(steady) - 1 - steady[1:].count(None)), rel=0.01
    )
    assert None not in steady[1:]
    assert max(watts for watts in other if watts is not None) < 370 * 1.02  # nor is there a spike after the hole
    assert columns["jobs"]["slurm:8"][-1] is None  # it ended, and its series went
    for i, whole in enumerate(zip(steady, other, strict=True)):
        parts = sum(line[i] or 0 for line in columns["jobs"].values())
        assert parts == pytest.approx(sum(watts or 0 for watts in whole), abs=0.05)
