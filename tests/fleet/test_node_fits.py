"""Node models that are fitted live: the line of the minutes, or why there is none; metered hosts are measured."""

import numpy as np
import pytest

from tests.fleet.query_server import server, vector
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.node_fits import (
    GPU_RULE,
    LAGS_S,
    METER_SIGMA,
    NODE_RULE,
    MinuteSums,
    NodeFits,
    line,
    queries,
)
from wattshed.agent.fleet.live.rules import fits_of, survey
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.wire.query import Prometheus

FLEET = """
[[site]]
name = "east"
pue = 1.2
other_it = 0.0
grid_loss = 0.0
[[stratum]]
name = "train"
site = "east"
hosts = 10
gpus_per_host = 8
model = "H100"
node = "live"
[[stratum]]
name = "serve"
site = "east"
hosts = 1
gpus_per_host = 8
model = "H100"
"""


def minutes(fixed=1500.0, slope=1.1, spread=0.4, n=1440, noise=0.0, seed=1):
    rng = np.random.default_rng(seed)
    x = 4000.0 * (1 + spread * np.sin(np.arange(n) / 90))
    y = fixed + slope * x + noise * rng.standard_normal(n)
    return MinuteSums(n, x.sum(), y.sum(), (x * x).sum(), (x * y).sum(), (y * y).sum())


def test_the_line_of_the_minutes_of_all_hosts():
    model = line([minutes(noise=50.0), minutes(noise=50.0, seed=2)])
    assert model.slope.value == pytest.approx(1.1, rel=0.01)
    assert model.fixed_w == pytest.approx(1500, rel=0.02)
    assert model.residual_w == pytest.approx(50, rel=0.05)
    assert (model.fitted, model.samples) == (True, 2880)
    assert model.level_w.high - model.level_w.value >= 1.95 * METER_SIGMA * model.level_w.value


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ([], "no host"),
        ([minutes(n=1000)], "no host"),
        ([minutes(spread=0.15)], "changed by less than 15%"),  # sd of a sine: 0.106
    ],
)
def test_what_allows_no_line_is_told(hosts, why):
    assert why in line(hosts)


def host(name, stratum="train"):
    return {"instance": name, "stratum": stratum}


def answers(nodes=3, gpu_w=4000.0, node_w=6000.0, lag_s=0, **more):
    """Five hosts answer; of the first some have a meter of their node, which is that late."""
    found = {GPU_RULE: vector(*((host(f"t{i}"), gpu_w + 10 * i) for i in range(5)), (host("s0", "serve"), 2000.0))}
    found[NODE_RULE] = vector(*((host(f"t{i}"), node_w) for i in range(nodes)), (host("s0", "serve"), 9000.0))
    for lag in LAGS_S:
        sums = minutes(**(more if lag == lag_s else {"noise": 100.0, "slope": 0.9} | more))
        found |= {query: vector((host("t0"), getattr(sums, name))) for name, query in queries(lag).items()}
    return found


def node_power(tmp_path, found):
    path = tmp_path / "FLEET.toml"
    path.write_text(FLEET)
    inventory = read_inventory(path)
    with server(found) as (url, seen):
        prometheus = Prometheus(url)
        fits = fits_of(prometheus, inventory)
        estimates = [extrapolate(inventory, survey(prometheus, inventory, fits)) for _ in range(2)]
    asked = [query for _, query, _ in seen]
    assert asked.count(NODE_RULE) == 2
    assert all(asked.count(queries(lag)["xy"]) == 1 for lag in LAGS_S)  # every ten minutes
    estimate = estimates[-1]
    return {one.boundary: one for one in estimate.boundaries}["node"], estimate.warnings


def test_metered_hosts_are_measured_and_the_others_modelled(tmp_path):
    node, warnings = node_power(tmp_path, answers())
    serve = 890 + 1.25 * 2000  # this stratum is not live: its meter is not read
    gpu_w = 4020.0
    others = 7 * 1500 + 1.1 * (10 * gpu_w - (4000 + 4010 + 4020))
    assert node.mean_w == pytest.approx(serve + 3 * 6000 + others, rel=1e-6)
    assert node.lower_w < node.mean_w < node.upper_w
    assert not any("no node model" in one for one in warnings)


def test_the_line_is_of_the_lag_that_leaves_least_unexplained_and_is_looked_for_once_a_day(tmp_path):
    path = tmp_path / "FLEET.toml"
    path.write_text(FLEET)
    inventory, now = read_inventory(path), [0.0]
    with server(answers(lag_s=20)) as (url, seen):
        fits = NodeFits(Prometheus(url), lambda label, _: label, clock=lambda: now[0])
        for now[0] in (0.0, 700.0, 90_000.0):
            model = fits.ask(["train"]).models["train"]
            assert model.slope.value == pytest.approx(1.1, rel=1e-6)
    asked = [query for _, query, _ in seen]
    assert [asked.count(queries(lag)["xy"]) for lag in LAGS_S] == [2, 2, 3, 2]
    assert inventory.strata[0].live


def test_without_a_fit_the_model_is_the_assumed_one_and_it_is_said(tmp_path):
    node, warnings = node_power(tmp_path, answers(spread=0.05))
    others = 7 * 890 + 1.25 * (10 * 4020 - (4000 + 4010 + 4020))
    assert node.mean_w == pytest.approx(890 + 1.25 * 2000 + 3 * 6000 + others, rel=1e-6)
    assert any("'train': no node model is fitted (GPU power changed" in one for one in warnings)


@pytest.mark.parametrize("node_w", [3000.0, 1e9])
def test_a_meter_that_shows_less_than_the_gpus_or_garbage_measures_nothing(tmp_path, node_w):
    node, _ = node_power(tmp_path, answers(node_w=node_w))
    assert node.mean_w == pytest.approx(890 + 1.25 * 2000 + 10 * 1500 + 1.1 * 10 * 4020, rel=1e-6)


def test_an_error_that_meters_share_widens_with_the_hosts_they_measure(tmp_path):
    few, _ = node_power(tmp_path, answers(nodes=1))
    many, _ = node_power(tmp_path, answers(nodes=5))
    assert many.upper_w - many.mean_w != few.upper_w - few.mean_w
    gain = Range.relative(1.0, 1.96 * METER_SIGMA)
    assert many.upper_w - many.mean_w > 5 * 6000 * (gain.high - 1) * 0.9


def test_a_server_that_does_not_answer_is_said_and_keeps_the_models():
    fits = NodeFits(Prometheus("http://127.0.0.1:9"), lambda *_: "train")
    found = fits.ask(["train"])
    assert (found.power_w, found.models) == ({}, {})
    assert "node meters were not read" in found.warnings[0]
