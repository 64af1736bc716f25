"""Every shipped scenario against hand arithmetic; verdicts; the user's own file."""

import math

import pytest

from tests.fleet import naive_fleet as naive
from wattshed.agent.fleet.boundary.ranges import Range, combine
from wattshed.agent.fleet.boundary.reference import find, gpus
from wattshed.agent.fleet.claims.formula import Formula, FormulaError, evaluator
from wattshed.agent.fleet.claims.scenario import BOUNDARIES, load, shipped
from wattshed.agent.fleet.claims.verdict import judge


def figure(name, which):
    return next(f.range for f in load(name).figures if f.name == which)


def near(expected, rel=1e-9):
    return pytest.approx(expected, rel=rel)


# scenario, figure, arithmetic by hand
BY_HAND = [
    ("tesla-austin", "gpu", 50_000 * 700 + 20_000 * 160),
    ("tesla-austin", "it_average", 50_000 * 912.5 + 3.2e6),
    ("tesla-austin", "it_maximum", 50_000 * 1050 + 3.2e6),
    ("tesla-austin", "it_nameplate", 50_000 * 1275 + 3.2e6),
    ("tesla-austin", "facility_average", 48.825e6 * 1.2),
    ("tesla-austin", "facility_nameplate", 66.95e6 * 1.2),
    ("tesla-austin", "energy_gwh", 58.59e6 * 8760 / 1e9),
    ("xai-memphis", "gpu", 300e6),
    ("xai-memphis", "it_nameplate", 300_000 * 14_300 / 8),
    ("xai-memphis", "facility", 542.1e6),
    ("xai-memphis", "gpus_at_150_mw", 150e6 / 1807),
    ("xai-memphis", "gpus_at_300_mw", 300e6 / 1807),
    ("chatgpt", "wh_per_request", 2.5),
    ("chatgpt", "facility", 500e6 / 24),
    ("chatgpt", "households_us", 182.5e6 / 10_715),
    ("chatgpt", "households_de", 182.5e6 / 3208),
    ("chatgpt", "households_cn", 182.5e6 / 2733),
    ("air-cooled", "implied_pue", 2.5),
    ("air-cooled", "cooling_share", 0.58 / 1.58),
    ("water-cooled", "implied_pue", 1 / 0.6),
    ("water-cooled", "cooling_cost_share", 0.24),
    ("ai-pc", "twh_a_day_claimed", 24.0),
    ("ai-pc", "node_claimed", 1e12),
    ("ai-pc", "world_share_claimed", 24 * 365 / 24_398),
    ("earth-moon", "gpus", 1e12 / 1807),
    ("earth-moon", "earth_share", 1e12 / (24_398e12 / 8760)),
    ("earth-moon", "moon_multiple", 1e15 / (24_398e12 / 8760)),
    ("earth-moon", "moon_share", 1000 / 12_906),
    ("idle-cars", "compute", 50e9),
    ("idle-cars", "grid", 50e9 / 0.9),
    ("idle-cars", "kwh_a_day", 12 / 0.9),
    ("idle-cars", "pole_share", 5000 / 0.9 / 25_000),
    ("ai-servers-2027", "twh_low", 85.41),
    ("ai-servers-2027", "twh_high", 134.028),
    ("ai-servers-2027", "twh_facility", 1.5e6 * 8350 * 0.716 * 1.39 * 8760 / 1e12),
    ("h100-household", "kwh_full", 6132.0),
    ("h100-household", "kwh", 6132 * 0.61),
    ("h100-household", "kwh_all_in", 912.5 * 1.39 * 8.76),
    ("image-phone", "charges_worst", 11.49 / 12),
    ("image-phone", "charges_average", 2.9 / 12),
    ("growth", "world_w", 24_398e12 / 8760),
    ("growth", "months", 6 * math.log10(24_398e12 / 8760 / 4.3e9)),
    ("transformers", "units", math.ceil(542.1 / 76) + 1),
]


@pytest.mark.parametrize(("name", "which", "expected"), BY_HAND)
def test_figures_match_hand_arithmetic(name, which, expected):
    assert figure(name, which).value == near(expected)


def test_intervals_match_hand_arithmetic():
    # 50,000 H100 within 820 to 1005 W and 20,000 units within 75 to 300 W, each moved alone, added as independent.
    found = figure("tesla-austin", "it_average")
    assert found.low == near(48.825e6 - naive.root_sum(50_000 * 92.5, 20_000 * 85))
    assert found.high == near(48.825e6 + naive.root_sum(50_000 * 92.5, 20_000 * 140))
    found = figure("xai-memphis", "gpus_at_150_mw")
    assert (found.low, found.high) == (near(150e6 / 1988), near(150e6 / 1626))
    found = figure("h100-household", "kwh")
    assert (found.low, found.high) == (near(6132 * 0.56), near(6132 * 0.66))


def test_siting_by_hand():
    s = load("siting")
    table = {g.name: g.value for g in s.given}
    home = [10e6 * p for p in table["home_pue"]]
    away = [10e6 * p for p in table["away_pue"]]
    assert figure("siting", "facility_home").value == near(sum(home) / 24)
    assert figure("siting", "mwh_home").value == near(sum(home) * 365 / 1e6)
    assert figure("siting", "tonnes_away").value == near(
        sum(w * c for w, c in zip(away, table["away_carbon"], strict=True)) * 365 / 1e9
    )
    assert figure("siting", "cost_home").value == near(
        sum(w * c for w, c in zip(home, table["home_price"], strict=True)) * 365 / 1e6
    )
    assert figure("siting", "clean_home").value == near(
        sum(min(w, c) for w, c in zip(home, table["home_clean_w"], strict=True)) / sum(home)
    )


VERDICTS = {
    "ai-pc": ["supported", "contradicted"],
    "ai-servers-2027": ["supported", "supported", "undetermined", "undetermined"],
    "air-cooled": ["contradicted"],
    "chatgpt": ["supported", "contradicted"],
    "earth-moon": ["supported", "supported"],
    "growth": ["contradicted"],
    "h100-household": ["contradicted", "supported", "supported", "undetermined"],
    "idle-cars": ["undetermined", "supported", "contradicted"],
    "image-phone": ["supported", "contradicted"],
    "siting": ["supported", "undetermined", "supported"],
    "tesla-austin": ["contradicted"],
    "transformers": ["supported"],
    "water-cooled": ["contradicted"],
    "xai-memphis": ["contradicted", "contradicted"],
}


def test_every_scenario_is_judged():
    assert {name: [str(c.verdict) for c in load(name).claims] for name in shipped()} == VERDICTS


@pytest.mark.parametrize("name", shipped())
def test_every_number_has_a_source_and_every_power_a_boundary(name):
    s = load(name)
    assert all(len(g.source) > 5 and g.unit for g in s.given)
    assert s.boundaries
    for b in s.boundaries:
        assert b.boundary in BOUNDARIES
        assert b.range.low <= b.range.value <= b.range.high
    assert any(not b.range.is_exact for b in s.boundaries)
    assert all(c.reason.endswith(".") and c.reason.count(". ") == 0 for c in s.claims)


@pytest.mark.parametrize("name", shipped())
def test_the_contract(fleet, name):
    found = fleet("scenario", name, "--json").json
    assert found["schema"] == "wattshed.scenario/1"
    assert found["name"] == name
    assert found["source"]
    assert found["energy_kwh_per_year"] > 0
    for b in found["boundaries"]:
        assert b["lower_w"] <= b["mean_w"] <= b["upper_w"]
    for c in found["claims"]:
        assert set(c) >= {"text", "claimed", "computed", "lower", "upper", "unit", "verdict", "reason"}
        assert c["lower"] <= c["computed"] <= c["upper"]
    assert name in fleet("scenario", name, "--explain").out


def test_the_list(fleet):
    assert all(name in fleet("scenario").out for name in shipped())
    assert {s["name"] for s in fleet("scenario", "--json").json["scenarios"]} == set(shipped())


@pytest.mark.parametrize(
    ("relation", "claimed", "computed", "verdict"),
    [
        ("about", 100, Range(100, 95, 105), "supported"),
        ("about", 100, Range(100, 80, 105), "undetermined"),
        ("about", 100, Range(50, 40, 60), "contradicted"),
        ("about", 100, Range(200, 150, 260), "contradicted"),
        ("about", 100, Range.exact(110.0), "supported"),
        ("at least", 100, Range(150, 100, 200), "supported"),
        ("at least", 100, Range(150, 99, 200), "undetermined"),
        ("at least", 100, Range(50, 40, 99), "contradicted"),
        ("at most", 100, Range(50, 0, 100), "supported"),
        ("at most", 100, Range(90, 80, 101), "undetermined"),
        ("at most", 100, Range(200, 101, 300), "contradicted"),
    ],
)
def test_verdicts_follow_one_rule(relation, claimed, computed, verdict):
    assert judge(claimed, relation, 0.1, computed, "W")[0] == verdict


ALLOWED = "use + - * / ** and sum, mean, min, max, smallest, largest, sqrt, log10, exp, ceil"
OWN = """\
title = "mine"
source = "me"
[given.n]
value = 10
low = 8
high = 12
unit = "GPUs"
source = "counted"
[given.hours]
value = [1, 2, 3]
unit = "W"
source = "read"
[formula.p]
is = "n * 100 + sum(hours)"
unit = "W"
[[boundary]]
boundary = "gpu"
power = "p"
[energy]
of = "p"
[[claim]]
text = "a kilowatt"
claimed = 1000
unit = "W"
computed = "p"
"""


def test_the_users_own_file(fleet, files):
    found = fleet("scenario", files(mine_toml=OWN), "--json").json
    assert found["name"] == "mine"
    assert found["boundaries"][0] == {
        "boundary": "gpu",
        "basis": "",
        "mean_w": 1006.0,
        "lower_w": 806.0,
        "upper_w": 1206.0,
    }
    assert found["energy_kwh_per_year"] == near(1.006 * 8760)
    assert found["claims"][0]["verdict"] == "undetermined"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("value = 10\n", "", "3:8: given.n: needs value, a number"),
        ("value = 10\n", "value = true\n", "4:1: given.n.value: must be a number, not true"),
        ("value = 10\n", "value = nan\n", "4:1: given.n.value: must be a finite number, not nan"),
        ("low = 8", "low = 11", "5:1: given.n.low: must be at most 10, not 11"),
        ('source = "counted"', "", "3:8: given.n: needs source, a string"),
        (
            'source = "counted"',
            'source = "counted"\ncolour = 1',
            "9:1: given.n.colour: unknown key; known here: value, low, high, spread, unit, source",
        ),
        ("n * 100", "m * 100", "14:1: formula.p.is: there is nothing named 'm'; add [given.m] or [formula.m]"),
        ("n * 100", "p * 100", "14:1: formula.p.is: 'p * 100 + sum(hours)': 'p' is computed from itself"),
        (
            "n * 100",
            "n.real",
            f"14:1: formula.p.is: 'n.real + sum(hours)': 'n.real' is not allowed; {ALLOWED}",
        ),
        (
            "n * 100",
            "__import__('os')",
            f"14:1: formula.p.is: \"__import__('os') + sum(hours)\": \"__import__('os')\" is not allowed; {ALLOWED}",
        ),
        ("n * 100", "(n *", "14:1: formula.p.is: '(n * + sum(hours)' is not arithmetic"),
        ("n * 100", "n / 0", "14:1: formula.p.is: 'n / 0 + sum(hours)' cannot be computed (float division by zero)"),
        ("sum(hours)", "hours", "14:1: formula.p.is: 'p' gives a list; a figure must be one finite number"),
        (
            'boundary = "gpu"',
            'boundary = "rack"',
            "17:1: boundary.boundary: must be one of gpu, node, it, facility, grid, not 'rack'",
        ),
        (
            'computed = "p"',
            'computed = "q"',
            "25:1: claim.computed: there is nothing named 'q'; add [given.q] or [formula.q]",
        ),
        (
            'computed = "p"',
            'computed = "p"\nrelation = "like"',
            "26:1: claim.relation: must be one of about, at least, at most, not 'like'",
        ),
        ("[energy]\nof", "[energy]\nfrom", "20:1: energy.from: unknown key; known here: of"),
        ('title = "mine"', "title = 3", "1:1: title: must be a string, not 3"),
        ('title = "mine"', 'titel = "mine"', "1:1: titel: unknown key; did you mean title?"),
        ('title = "mine"', 'title = "mine', "1:14: is not TOML: Illegal character '\\n'"),
    ],
)
def test_bad_scenarios_are_one_line_with_their_place(fleet, files, old, new, said):
    assert old in OWN
    path = files(mine_toml=OWN.replace(old, new, 1))
    found = fleet("scenario", path, "--json")
    assert found.code == 2
    assert found.err == f"wattshed: {path}:{said}\n"


def test_unknown_scenarios(fleet, tmp_path):
    assert "choose one of" in fleet("scenario", "nope").err
    assert "No such file" in fleet("scenario", tmp_path / "nope.toml").err


def test_combining_is_one_at_a_time():
    found = combine(lambda x: x["a"] * x["b"], {"a": Range(2, 1, 4), "b": Range(10, 8, 12)})
    assert (found.value, found.low, found.high) == (
        20,
        near(20 - naive.root_sum(10, 4)),
        near(20 + naive.root_sum(20, 4)),
    )
    falling = combine(lambda x: 1 / x["a"], {"a": Range(2, 1, 4)})
    assert (falling.low, falling.high) == (0.25, 1.0)


def test_formulas_compute_lists_and_refuse_the_rest():
    lookup = evaluator({}, {"a": 3.0})
    assert Formula("-a ** 2 + sqrt(16) * 1e3 / 4")(lookup) == -9 + 1000
    for text in ("a < 3", "a if a else 1", "[a]", "'x'", "a.b", "lambda: 1", "min(a, key=3)", "print(a)", "True"):
        with pytest.raises(FormulaError):
            Formula(text)(lookup)
    with pytest.raises(FormulaError):
        Formula("10 ** 10 ** 10")(lookup)


def test_the_reference_table():
    assert find("NVIDIA H100 80GB HBM3").tdp_w == 700
    assert find("NVIDIA H100 PCIe").tdp_w == 350
    assert find("NVIDIA L4").tdp_w == 72
    assert find("NVIDIA L40S").tdp_w == 350
    assert find("Tesla T4").tdp_w == 70
    assert find("NVIDIA A100-SXM4-80GB").tdp_w == 400
    assert find("NVIDIA GB200").tdp_w == 1200
    assert find("NVIDIA GeForce GT 710") is None
    for gpu in gpus():
        assert gpu.typical.low < gpu.typical.value < gpu.typical.high
        assert gpu.source
