"""Seven GPUs beside an eighth whose calls take seconds are billed as the same seven alone are, to the integer."""

import pytest

from tests.virtual import agent, bills, simulated
from wattshed.agent.meters.schedule import Rates

COUNTED_S = 210
NODE = """
gpus = {gpus}
cycle_s = 600
[[job]]
name = "70"
gpus = [0, 1, 2, 3]
load = [[1.3, 400.0, 80], [0.7, 90.0, 20]]
[[job]]
name = "80"
gpus = [4, 5, 6]
load = [[2.0, 300.0, 60]]
"""
SLOW = '[[fault]]\nkind = "slow-gpu"\ngpu = 7\nvalue = {us}\ncode = {code}\nat_s = {at_s}\nfor_s = {for_s}\n'


def billed(folder, text):
    """What the books say of the first seven GPUs after so many seconds, and who is up then."""
    folder.mkdir()
    (folder / "s.toml").write_text(text)
    node, clock = simulated(folder, str(folder / "s.toml"))
    one = agent(node, clock, rates=Rates(burst_us=0, learn_us=0))
    begun_us = one.sampler.start_us
    while one.sampler.start_us < begun_us + COUNTED_S * 1_000_000:
        one.daemon.step()
    one.daemon.close()
    gpus, jobs = bills(one.accounts)
    mine = [card.uuid for card in node.cards[:7]]
    up = [gpu.status for gpu in one.board.current().gpus]
    return [gpus[uuid] for uuid in mine], {key: both for key, both in jobs.items() if key[1] in mine}, up, one


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    gpus, jobs, up, _ = billed(tmp_path_factory.mktemp("alone") / "seven", NODE.format(gpus=7))
    assert up == ["ok"] * 7
    return gpus, jobs


@pytest.mark.parametrize(
    ("seconds", "code", "for_s", "status"),
    [(4.5, 10, 20, "ok"), (45, 0, 1000, "sick")],
)
def test_the_seven_are_billed_as_if_alone(tmp_path, alone, seconds, code, for_s, status):
    fault = SLOW.format(us=round(seconds * 1e6), code=code, at_s=20, for_s=for_s)
    gpus, jobs, up, one = billed(tmp_path / "eight", NODE.format(gpus=8) + fault)
    assert up == ["ok"] * 7 + [status]
    assert dict(one.board.current().faults)["slow_call"] == 1
    assert gpus == alone[0]
    assert jobs == alone[1]
