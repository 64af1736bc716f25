"""What one daemon says about its fleet: the power of its GPUs over the time that their joules cover."""

import dataclasses
from itertools import pairwise

import pytest

from tests.exporters import snapshots
from wattshed.agent.fleet.live.one_host import OneHost
from wattshed.exporters.units import HNJ_PER_JOULE

FLEET = """
[[site]]
name = "east"
[[stratum]]
name = "all"
site = "east"
hosts = 10
gpus_per_host = 2
model = "NVIDIA H100 80GB HBM3"
match = "node.*"
"""


def shown(watts, covered_s):
    return [
        snapshots.gpu(i, round(w * s * HNJ_PER_JOULE), covered_us=round(s * 1e6))
        for i, (w, s) in enumerate(zip(watts, covered_s, strict=True))
    ]


@pytest.mark.parametrize("every_s", [1, 4, 16])
def test_rare_readings_change_no_power(tmp_path, every_s):
    (tmp_path / "fleet.toml").write_text(FLEET)
    one, seen = OneHost(str(tmp_path / "fleet.toml"), "node1"), []
    for t in range(0, 400, 2):
        covered = t // every_s * every_s
        facts = one.facts(t * 1_000_000, shown((584, 300), (covered, t)))
        if facts is not None:
            seen.append(facts.power_w["gpu", "mean"])
    assert len(seen) > 100
    assert seen[1:] == pytest.approx([8840] * (len(seen) - 1))


def test_a_hole_that_is_told_late_is_no_peak(tmp_path):
    (tmp_path / "fleet.toml").write_text(FLEET)
    one, seen = OneHost(str(tmp_path / "fleet.toml"), "node1"), []
    times = [*range(0, 100, 2), *range(1000, 1100, 2)]
    for before, t in pairwise(times):
        covered = before if t == 1000 else t  # the first window after it has no reading of GPU 0 yet
        facts = one.facts(t * 1_000_000, shown((584, 300), (covered, t)))
        if facts is not None:
            seen.append(facts.power_w["gpu", "mean"])
    assert seen
    assert max(seen) == pytest.approx(8840)


def test_a_module_is_no_board(tmp_path):
    """A superchip whose energy is known with its CPU's only is left out, and does not raise the boards' power."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    one, alone = (OneHost(str(tmp_path / "fleet.toml"), "node1") for _ in range(2))
    for t in range(0, 100, 2):
        board, module = shown((300, 900), (t, t))
        module = dataclasses.replace(module, boundary="module")
        facts = one.facts(t * 1_000_000, [board, module])
        assert alone.facts(t * 1_000_000, [module]) is None
    assert facts.power_w["gpu", "mean"] == pytest.approx(3000)


@pytest.mark.parametrize(("up", "source"), [(False, "counter"), (True, "none")])
def test_a_gpu_that_will_not_be_read_is_not_waited_for(tmp_path, up, source):
    """One that went, and one that reports no energy: the power of the others is as new as without it."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    one = OneHost(str(tmp_path / "fleet.toml"), "node1")
    for t in (0, 10):
        here, silent = shown((100 * t, 300), (t, 0))
        facts = one.facts(t * 1_000_000, [here, dataclasses.replace(silent, up=up, energy_source=source)])
    assert facts is not None


def test_a_gpu_that_is_late_is_waited_for_three_times_as_long_and_no_longer(tmp_path):
    (tmp_path / "fleet.toml").write_text(FLEET)
    one = OneHost(str(tmp_path / "fleet.toml"), "node1")
    told = [one.facts(t * 1_000_000, shown((300, 300), (t, 0))) is not None for t in (0, 10, 20, 29, 30)]
    assert told == [False, False, False, False, True]
