"""Hosts that do not answer: what stands for them, what does not, and that the interval covers them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.depth import examples
from tests.fleet.example_fleet import FLEET
from tests.fleet.query_server import server, vector
from tests.fleet.simulated_states import CASES, coverage, one_stratum
from wattshed.agent.fleet.live.draws import beta_binomial
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.responses import sort_hosts
from wattshed.agent.fleet.live.rules import POWER_RULE, Measured
from wattshed.agent.fleet.live.serve import FleetPublisher
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.fleet.live.states import STATES, HostState
from wattshed.exporters.formats.prometheus import families


def known(**counts):
    """So many hosts of each state: busy=3 -> busy0, busy1, busy2."""
    return {f"{state}{i}": HostState(state, "a") for state, n in counts.items() for i in range(n)}


def estimated(hosts, powers, states, **more):
    return extrapolate(one_stratum(hosts), Measured({"a": powers}, (), states), **more)


BUSY = {f"busy{i}": 5000.0 + 100.0 * i for i in range(10)}
IDLE = {f"idle{i}": 800.0 + 10.0 * i for i in range(6)}


def test_answers_stand_for_their_own_state():
    found = estimated(40, BUSY | IDLE, known(busy=20, idle=10, off=6, drained=4))
    by_hand = 20 * np.mean([*BUSY.values()]) + (10 + 4) * np.mean([*IDLE.values()])
    wrong = 4 * 0.5 / (50 + 6) + 4 * 0.5 / (50 + 6)  # of eight silent hosts that should be idle, at 1 in 100
    expected = by_hand + wrong * (np.mean([*BUSY.values()]) - np.mean([*IDLE.values()]))
    assert found.estimate.total == pytest.approx(expected)
    assert found.estimate.method == "poststratified"
    assert found.states == {
        **dict.fromkeys(STATES, 0),
        "busy": 20,
        "idle": 10,
        "off": 6,
        "drained": 4,
        "contradicted": 0,
    }
    node = found.boundaries[1].mean_w
    assert node == pytest.approx(34 * 1000.0 + 1.2 * expected)  # the six that are off have no fans on
    assert "hosts that do not answer, taken to draw what others in the same state draw: 18" in found.warnings[0]


def test_hosts_that_are_down_draw_between_nothing_and_idle():
    base = estimated(16, BUSY | IDLE, known(busy=10, idle=6))
    found = estimated(26, BUSY | IDLE, known(busy=10, idle=6, down=10))
    idle = np.mean([*IDLE.values()])
    assert found.estimate.total == pytest.approx(base.estimate.total + 10 * idle / 2)
    assert found.estimate.lower <= base.estimate.total
    assert found.estimate.upper >= base.estimate.total + 10 * idle
    assert found.boundaries[1].lower_w <= base.boundaries[1].lower_w
    assert found.boundaries[1].upper_w >= base.boundaries[1].upper_w + 10 * (1000 + 1.2 * idle) * 0.99
    on = {f"down{i}": HostState("down", "a", on=True, node_w=900.0) for i in range(10)}
    read = estimated(26, BUSY | IDLE, known(busy=10, idle=6) | on)
    assert read.boundaries[1].mean_w == pytest.approx(base.boundaries[1].mean_w + 10 * 900.0)
    assert read.boundaries[1].upper_w - read.boundaries[1].lower_w < 1.0  # their own meters say so


def test_the_power_of_an_idle_gpu_may_be_given(files):
    text = FLEET.replace('model = "H100 SXM"', 'model = "H100 SXM"\ngpu_idle_w = { value = 60, low = 50, high = 75 }')
    inventory = read_inventory(files(FLEET_toml=text))
    down = {f"t{i}": HostState("down", "train") for i in range(100)}
    found = extrapolate(inventory, Measured({"serve": {f"s{i}": 0.0 for i in range(50)}}, (), down))
    assert found.boundaries[0].mean_w == pytest.approx(100 * 8 * 75 / 2)


def test_a_host_of_which_nobody_knows_may_be_off_or_run_a_job():
    found = estimated(20, BUSY, known(busy=10))
    assert found.states["unknown"] == 10
    assert found.estimate.lower <= sum(BUSY.values()) + 1.0
    assert found.estimate.upper >= sum(BUSY.values()) + 10 * 8 * 700.0
    told = estimated(20, BUSY, {f"x{i}": HostState("unknown", "a") for i in range(10)})
    assert told.estimate.upper == pytest.approx(found.estimate.upper)


def test_only_who_does_not_answer_is_known():
    """By the scrapes: hosts that are no target are as those that answer, the sample being drawn that way."""
    silent = {f"x{i}": HostState("unknown", "a") for i in range(10)}
    found = estimated(40, BUSY, silent)
    assert found.states["unknown"] == 10
    assert found.estimate.strata[0].hosts == 40
    assert found.estimate.lower < 30 * np.mean([*BUSY.values()]) < found.estimate.upper
    assert "10 of 30 hosts report in stratum 'a': the interval takes them for a random sample of it" in found.warnings


def test_contradicted_hosts_are_counted_by_themselves_and_named():
    states = known(busy=10, idle=6) | {
        "x0": HostState("idle", "a"),
        "x1": HostState("off", "a"),
        "x2": HostState("down"),
    }
    found = estimated(19, BUSY | IDLE | {"x0": 5000.0, "x1": 100.0, "x2": 700.0}, states)
    assert found.contradicted == ("x0", "x1")
    assert found.states["contradicted"] == 2
    assert found.states["idle"] == 6
    assert found.estimate.total == pytest.approx(sum([*BUSY.values(), *IDLE.values()]) + 5800.0)
    assert found.warnings[0] == "hosts that draw more than their state allows: 2 (x0 (idle, 5 kW), x1 (off, 100 W))"


def test_fewer_than_five_answers_merge_or_give_no_interval():
    few = {k: IDLE[k] for k in ("idle0", "idle1")}
    drained = {f"drained{i}": 790.0 + i for i in range(5)}
    merged = estimated(40, BUSY | few | drained, known(busy=10, idle=20, drained=10))
    assert merged.estimate.lower is not None
    assert (
        len(
            {
                g.key
                for g in sort_hosts(
                    one_stratum(40), Measured({"a": BUSY | few | drained}, (), known(busy=10, idle=20, drained=10))
                ).groups
            }
        )
        == 2
    )
    three = {k: BUSY[k] for k in ("busy0", "busy1", "busy2")}
    found = estimated(26, three | IDLE, known(busy=20, idle=6))
    assert (found.estimate.lower, found.estimate.upper) == (None, None)
    assert "3 of 20 busy hosts of stratum 'a' answer, fewer than 5: no interval can be given" in found.warnings
    whole = estimated(9, three | IDLE, known(busy=3, idle=6))  # all of them answer
    assert whole.estimate.upper == pytest.approx(whole.estimate.total)


def test_hosts_without_a_stratum_are_named():
    found = estimated(16, BUSY | IDLE, known(busy=10, idle=6) | {"cpu1": HostState("busy")})
    assert "1 host with a state are in no stratum" in " ".join(found.warnings) or "such as 'cpu1'" in " ".join(
        found.warnings
    )


@settings(max_examples=examples(60), deadline=None)
@given(st.dictionaries(st.sampled_from(STATES), st.integers(0, 12)), st.integers(0, 5), st.data())
def test_every_host_is_counted_once(counts, rest, data):
    """Whatever answers: states add up to the hosts, and so do the groups and those for which nobody stands."""
    states = known(**counts)
    powers = (
        {h: data.draw(st.floats(0.0, 6000.0)) for h in data.draw(st.sets(st.sampled_from(sorted(states))))}
        if states
        else {}
    )
    hosts = len(states) + rest
    sorted_hosts = sort_hosts(one_stratum(hosts), Measured({"a": powers}, (), states))
    apart = sum(s.off + len(s.down) + len(s.unknown) for s in sorted_hosts.silent)
    assert sum(g.hosts for g in sorted_hosts.groups) + apart == hosts
    if any(counts.get(state) for state in ("busy", "idle", "drained")):
        assert sum(sorted_hosts.counts.values()) == hosts
    total = estimated(hosts, powers, states).estimate
    assert total.total >= sum(powers.values()) * (1 - 1e-9)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 400), st.floats(0.5, 40), st.floats(5, 900), st.sampled_from([0.5, 0.95, 0.99]))
def test_wrong_states_follow_the_beta_binomial(count, wrong, right, confidence):
    found = beta_binomial(count, wrong, right, confidence)
    theirs = stats.betabinom(count, wrong, right)
    assert found.value == pytest.approx(theirs.mean())
    tail = (1 - confidence) / 2
    for end, p in ((found.low, tail), (found.high, 1 - tail)):
        if (end != found.value) and abs(theirs.cdf(end) - p) > 1e-9:
            assert theirs.cdf(end) >= p
            assert theirs.cdf(end - 1) < p


@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[6], CASES[8]], ids=lambda case: case.name)
def test_the_interval_covers(case):
    """Right and wrong states; docs/fleet.md has more cases and more samples."""
    share, width = coverage(replace(case, hosts=300), 40)
    assert share >= 0.85
    assert width < 0.2


def test_before_it_covered_never():
    assert coverage(replace(CASES[0], hosts=300), 20)[0] < 0.2


def test_states_are_published():
    found = estimated(20, BUSY, known(busy=12, off=4, idle=4))
    publisher = FleetPublisher(one_stratum(20), lambda: found)
    publisher.update()
    (hosts,) = (f for f in families(publisher.snapshot) if f.name == "wattshed_fleet_hosts")
    values = {labels[0]: value for labels, value in hosts.rows(publisher.snapshot)}
    assert values["known"] == 20
    assert values["reporting"] == 10
    assert {state: values[state] for state in ("busy", "off", "down", "contradicted")} == {
        "busy": 12, "off": 4, "down": 0, "contradicted": 0,
    }  # fmt: skip


def test_a_fleet_with_states_in_text_and_json(fleet, files):
    table = "host,state,stratum\n" + "".join(f"t{i},{'busy' if i < 30 else 'off'},train\n" for i in range(100))
    _, inventory = files(states_csv=table, FLEET_toml=f'{FLEET}\n[states]\nfile = "states.csv"\n')
    powers = [({"stratum": "train", "instance": f"t{i}:9961"}, 5000 + 10 * i) for i in range(20)]
    powers += [({"stratum": "serve", "instance": f"s{i}"}, 200 + i) for i in range(50)]
    with server({POWER_RULE: vector(*powers)}) as (url, _):
        words = ("estimate", "--prometheus", url, "--inventory", inventory)
        found, text = fleet(*words, "--json").json, fleet(*words).out
    assert found["states"]["off"] == 70
    assert found["hosts"] == {"known": 150, "reporting": 70}
    assert found["total"] == pytest.approx(30 * 5095 + sum(200 + i for i in range(50)), rel=0.001)
    assert [b["boundary"] for b in found["sites"]["east"]] == ["gpu", "node", "it", "facility", "grid"]
    assert "30 busy, 70 off" in text


@pytest.mark.parametrize(("hosts", "sampled"), [(1000, 30), (1000, 100)])
def test_intervals_of_skewed_fleets_cover(hosts, sampled):
    """Power of hosts that varies by 100 %, lognormal: Student's t covers 92 % of samples of thirty."""
    draw = np.random.default_rng(3)
    held = []
    for _ in range(300):
        fleet = 1000.0 * draw.lognormal(0.0, np.sqrt(np.log(2.0)), hosts)
        measured = {f"n{i}": fleet[i] for i in draw.choice(hosts, sampled, replace=False)}
        found = estimated(hosts, measured, {}).estimate
        assert not any("skewed" in said for said in found.warnings)
        held.append(found.lower <= fleet.sum() <= found.upper)
    assert np.mean(held) >= 0.95
