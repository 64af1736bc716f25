"""What an inventory leaves open is assumed widely, and said; a fleet that draws nothing has figures all the same."""

import re

import numpy as np
import pytest

from tests.fleet.example_fleet import FLEET
from wattshed.agent.fleet.demand.ensemble import resample, simulate
from wattshed.agent.fleet.demand.grid import Load
from wattshed.agent.fleet.estimate.node_model import assumed
from wattshed.agent.fleet.live.inventory import METER_GAIN_SIGMA, read_inventory

LINES = {
    "PUE": "pue = { value = 1.2, low = 1.1, high = 1.3 }\n",
    "other_it": "other_it = 0.05\n",
    "grid_loss": "grid_loss = 0.02\n",
}
ASSUMED = re.compile(r"site 'east' has no (\w+)[:] ([\d.]+) within ([\d.]+) to ([\d.]+) is assumed")


@pytest.mark.parametrize("left_out", [(), ("PUE",), ("other_it",), ("grid_loss",), tuple(LINES)])
def test_what_a_site_leaves_out_is_assumed_as_it_is_said(files, left_out):
    text = FLEET
    for key in left_out:
        assert LINES[key] in text
        text = text.replace(LINES[key], "")
    (site,) = read_inventory(files(FLEET_toml=text)).sites
    used = {"PUE": site.pue.pue, "other_it": site.other_it, "grid_loss": site.grid_loss}
    told = {
        key: [float(x) for x in numbers] for key, *numbers in (ASSUMED.fullmatch(a).groups() for a in site.assumptions)
    }
    assert told == {key: [used[key].value, used[key].low, used[key].high] for key in left_out}
    for key, one in used.items():
        assert one.low <= one.value <= one.high
        if key in left_out:
            assert one.low < one.value < one.high


def test_what_is_given_is_taken_as_it_is(files):
    text = FLEET.replace("other_it = 0.05", "other_it = { value = 0.06, low = 0.02, high = 0.3 }\nother_it_w = 1234")
    text = text.replace("slope = 1.2, fitted = true", "slope = { value = 1.2, low = 1.1, high = 1.5 }, pivot_w = 77")
    inventory = read_inventory(files(FLEET_toml=text))
    site, (train, serve) = inventory.sites[0], inventory.strata
    assert (inventory.name, inventory.meter_gain_sigma) == ("example", 0.02)
    assert (site.other_it.value, site.other_it.low, site.other_it.high, site.other_it_w) == (0.06, 0.02, 0.3, 1234)
    assert (site.supply_limit_w, site.price_per_kwh, site.carbon_g_per_kwh) == (20e6, 0.1, 400)
    assert (site.pue.pue.value, site.pue.pue.low, site.pue.pue.high) == (1.2, 1.1, 1.3)
    assert (train.hosts, train.gpus_per_host, train.model, train.site) == (100, 8, "H100 SXM", "east")
    assert (serve.hosts, serve.gpus_per_host, serve.model, serve.match) == (50, 4, "L4", "")
    assert (train.node.level_w.value, train.node.pivot_w, train.node.fitted) == (900, 77, True)
    assert (train.node.slope.value, train.node.slope.low, train.node.slope.high) == (1.2, 1.1, 1.5)
    assert inventory.population.hosts.tolist() == [100, 50]
    assert inventory.population.strata == ("train", "serve")
    assert site.assumptions == ()


@pytest.mark.parametrize(
    ("node", "level", "slope", "fitted"),
    [
        ("", None, None, False),
        ("node = { level_w = 800 }", 800, None, False),
        ("node = { slope = 1.3 }", None, 1.3, False),
        ("node = { level_w = 800, slope = 1.3 }", 800, 1.3, True),
        ("node = { level_w = 800, slope = 1.3, fitted = false }", 800, 1.3, False),
        ("node = { slope = 1.3, fitted = true }", None, 1.3, True),
    ],
)
def test_a_node_model_of_which_a_part_is_given(files, node, level, slope, fitted):
    text = FLEET.replace("node = { level_w = 200, slope = 1.1, fitted = true }", node)
    found = read_inventory(files(FLEET_toml=text)).strata[1].node
    guess = assumed(4)
    assert (found.level_w.value, found.slope.value) == (level or guess.level_w.value, slope or guess.slope.value)
    assert (found.level_w.is_exact, found.slope.is_exact) == (level is not None, slope is not None)
    assert (found.fitted, found.pivot_w) == (fitted, 0)


def test_a_file_without_a_fleet_table(files):
    text = FLEET[FLEET.index("[[site]]") :]
    inventory = read_inventory(files(mine_toml=text))
    assert (inventory.name, inventory.meter_gain_sigma) == ("mine", METER_GAIN_SIGMA)


def test_a_load_of_nothing_peaks_all_at_once():
    nothing = np.zeros(40)
    load = Load(1.0, 0, nothing, "job", units={"a": nothing, "b": nothing})
    for found in (simulate(load, 10, replicates=5, limit_w=1.0), resample(load, replicates=5, limit_w=1.0)):
        assert (found.mean_w, found.sd_w, found.coincidence) == (0, 0, 1.0)
        assert found.peaks_w.tolist() == [0] * 5
        assert found.exceedance.probability == 0
