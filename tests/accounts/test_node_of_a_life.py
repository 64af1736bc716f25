"""A simulated node whose meters are late and wrap: its parts are the truth's, live and replayed alike."""

import pytest

from tests.accounts.test_modules import book
from tests.virtual import agent, simulated
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

SCRIPT = """
gpus = 4
cycle_s = 600
[[job]]
name = "7"
gpus = [0, 1]
start_s = 20
end_s = 90
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
[host]
cpu = [95, 0.04]
rest = [420, 0.12]
[[host_meter]]
source = "rapl"
[[host_meter]]
source = "ipmi"
domain = "node"
lag_s = 4
"""


def test_parts_of_a_simulated_node(tmp_path):
    (tmp_path / "s.toml").write_text(SCRIPT)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    recorder = Recorder(tmp_path / "recording", "sim")
    one = agent(node, clock, seconds=120, beside=True, recorder=recorder)
    one.daemon.run()
    one.close()
    recorder.close()
    books = one.accounts.beside["sim"]
    begin, end = one.windows[0].start_us, one.windows[0].start_us + books.node.covered_us
    gpus_j = [node.truth.gpu_nj(gpu, begin, end) / 1e9 for gpu in range(4)]
    beyond_idle_j = sum(gpus_j) - 4 * 70 * (end - begin) / 1e6
    parts = {part: hnj / 2e9 for part, hnj in books.node.parts_hnj.items()}
    assert parts["gpu"] == pytest.approx(sum(gpus_j), rel=0.01)
    assert parts["cpu"] == pytest.approx(2 * 95 * (end - begin) / 1e6 + 0.04 * beyond_idle_j, rel=0.01)
    assert parts["rest"] == pytest.approx(420 * (end - begin) / 1e6 + 0.12 * beyond_idle_j, rel=0.03)
    assert one.board.current().node.meter == "ipmi/node"
    (source,) = find([str(tmp_path / "recording")], Options())
    again = book(source.windows(Options())).beside["sim"]
    assert again.plain() == books.plain()
    assert again.node.plain() == books.node.plain()
