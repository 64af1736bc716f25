"""What is published of the host's meters and its node: what was never read has no energy, and parts add up."""

import pytest

from tests.accounts.made import S
from tests.accounts.test_node import METERS, T0, J, booked, told
from wattshed.agent.accounts.host_facts import DOUBTED, host_energy, node_facts
from wattshed.exporters.snapshot import GpuFacts


def facts(accounts, now_us):
    gpus = [
        GpuFacts("GPU-0", 0, "", "", "", "", simulated=False, up=True, energy_source="power",
                 energy_hnj=sum(one.energy_hnj for one in accounts.gpus.values()), sigma_j=50.0)
    ]  # fmt: skip
    found = host_energy(accounts, "h", [one.device for one in accounts.gpus.values()], now_us)
    return {f"{one.source}/{one.domain}": one for one in found}, node_facts(accounts, "h", gpus)


def test_meters_and_node_after_a_minute():
    accounts, _ = booked(told(s, 700_000) for s in range(61))
    meters, node = facts(accounts, T0 + 61 * S)
    assert list(meters) == [one.name for one in METERS]
    package = meters["rapl/package-0"]
    assert (package.energy_hnj, package.power_w, package.gap_us) == (6000 * J, 100.0, 0)
    assert package.sigma_j == pytest.approx(300)
    assert (package.boundary, package.kind, package.part_of) == ("cpu", "counter", "")
    assert sum(node.parts_hnj.values()) == node.node_hnj == 42_000 * J
    assert node.sigma_j["gpu"] == pytest.approx(50)
    assert node.sigma_j["rest"] == pytest.approx((50**2 + 300**2 + 60**2 + 2100**2) ** 0.5)
    assert (node.meter, node.flags) == ("ipmi/node", ())


def test_what_is_silent_shows_no_power_and_an_open_gap():
    accounts, _ = booked(told(s, 700_000) for s in range(3))
    meters, _ = facts(accounts, T0 + 63 * S)
    assert meters["ipmi/node"].power_w is None
    assert meters["ipmi/node"].gap_us == 61 * S
    assert meters["rapl/package-0"].gap_us == 0  # it may still bridge that


def test_what_was_read_once_has_no_energy_and_no_meter_no_node():
    accounts, _ = booked([told(0, 700_000)])
    meters, node = facts(accounts, T0 + S)
    assert [one.energy_hnj for one in meters.values()] == [None, None, None]
    assert node is None


def test_parts_without_a_meter_are_left_out_and_doubt_is_told():
    accounts, _ = booked(told(s, 250_000, meters=METERS[:1]) for s in range(1500))
    _, node = facts(accounts, T0 + 1500 * S)
    assert list(node.parts_hnj) == list(node.sigma_j) == ["gpu", "rest"]
    assert node.flags == (DOUBTED,)
    assert node.disagreement == {"parts": pytest.approx(0.2)}
