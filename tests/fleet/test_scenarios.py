"""Every shipped scenario against hand arithmetic, its verdicts, and the user's own file."""

import math

import pytest

from tests.fleet import naive_fleet as naive
from wattshed.agent.fleet.boundary.reference import find, gpus
from wattshed.agent.fleet.claims.scenario import BOUNDARIES, load, shipped


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
    ("air-cooled", "cooling_share", 0.6 / 1.6),
    ("cooling", "cooling_share", 0.58 / 1.58),
    ("water-cooled", "implied_pue", 1 / 0.6),
    ("water-cooled", "cooling_share", 0.4 / 1.4),
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
    ("image-phone", "charges_worst", 11.49 / 19),
    ("image-phone", "charges_average", 2.9 / 19),
    ("growth", "world_w", 24_398e12 / 8760),
    ("growth", "months", 6 * math.log10(24_398e12 / 8760 / 4.3e9)),
    ("growth", "half_year", math.sqrt(3.3)),
    ("growth", "half_year_nvidia", math.sqrt(2.3)),
    ("transformers", "units", math.ceil(542.1 / 76) + 1),
    ("helium-3", "joules_per_kg", 18.35 * 1.602176634e-13 / (3.0160293 * 1.66053907e-27)),
    ("fourteen-earths", "fourteen_w", 14 * 24_398e12 / 8760),
    ("data-centre-growth", "world_now_w", 415e12 / 8760),
    ("china-solar", "china_mean_w", 315.07e9 * 0.14),
    ("chips-and-power", "needed_2025_w", 10.5e9),
    ("training-and-use", "use_w", 500e6 / 24),
    ("xai-memphis", "gpus_at_150_mw", 150e6 / 1807),
    ("h100-household", "occupants", 6132 * 0.61 * 2.51 / 10_715),
    ("siting", "mwh", 11e6 * 8760 / 1e6),
]

# scenario, figure, and what was worked out of it apart from this project, to four digits: number, lower and upper end
APART = [
    ("growth", "half_year", 1.817, 1.643, 2.025),
    ("transformers", "wait_ratio", 1.231, 0.8134, 2.692),
    ("transformers", "wait_ratio_memphis", 7.356, 3.175, 12.07),
    ("chips-and-power", "ratio_2025", 0.7753, 0.3421, 1.168),
    ("chips-and-power", "ratio_2026", 1.146, 0.5264, 1.791),
    ("chips-and-power", "us_growth", 0.03448, 0.03448, 0.03448),
    ("china-solar", "times", 8.752, 7.293, 9.846),
    ("china-solar", "share_of_additions", 0.5835, 0.5729, 0.5945),
    ("china-solar", "tariff_share", 0.09081, 0.04642, 0.1477),
    ("china-solar", "capacity_ratio", 2.992, 2.881, 3.163),
    ("helium-3", "years", 12.28, 5.357, 28.03),
    ("helium-3", "rock_t_a_year", 4.48e12, 2.855e12, 1.811e13),
    ("chatgpt", "households_us", 17_030, 16_910, 17_380),
    ("chatgpt", "energy_kwh", 500_000, 60_000, 580_000),
    ("training-and-use", "times_gpt3", 141.8, 17.02, 164.5),
    ("training-and-use", "times_gpt4", 3.65, 0.3294, 5.32),
    ("image-phone", "charges_worst", 0.6047, 0.5223, 0.9575),
    ("image-phone", "charges_average", 0.1526, 0.06844, 0.2417),
    ("cooling", "cooling_share", 0.3671, 0.3548, 0.3711),
    ("air-cooled", "cooling_share", 0.375, 0.2308, 0.5652),
    ("water-cooled", "cooling_share", 0.2857, 0.09091, 0.5),
    ("data-centre-growth", "world_times", 2.107, 2.024, 2.348),
    ("data-centre-growth", "us_times", 3.034, 3.034, 3.034),
    ("tesla-austin", "facility_nameplate", 80.34e6, 72.05e6, 87.83e6),
    ("xai-memphis", "gpus_at_300_mw", 166_000, 150_900, 184_500),
    ("h100-household", "kwh", 3741, 3434, 4047),
    ("idle-cars", "compute", 50e9, 20e9, 90e9),
]


@pytest.mark.parametrize(("name", "which", "expected"), BY_HAND)
def test_figures_match_hand_arithmetic(name, which, expected):
    assert figure(name, which).value == near(expected)


@pytest.mark.parametrize(("name", "which", "value", "low", "high"), APART)
def test_figures_and_intervals_match_those_worked_out_apart(name, which, value, low, high):
    found = figure(name, which)
    assert (found.value, found.low, found.high) == tuple(near(end, 1e-3) for end in (value, low, high))


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
    table = {g.name: g.value for g in load("siting").given}
    watts = 10e6 * 1.1
    assert figure("siting", "tonnes_away").value == near(sum(watts * c for c in table["away_carbon"]) * 365 / 1e9)
    assert figure("siting", "clean_home").value == near(sum(table["home_clean"]) / 24)
    ratio = figure("siting", "carbon_ratio")
    assert ratio.value == near(sum(table["away_carbon"]) / sum(table["home_carbon"]))
    assert ratio.high == near(ratio.value * (1 + naive.root_sum(0.212, 1 / 0.929 - 1)))  # the PUE cancels


SUPPORTED, PARTLY, CONTRADICTED = "supported", "supported for part of it", "contradicted"
UNDETERMINED, APPLES, NO_NUMBER = "undetermined", "not comparable", "not computable"
VERDICTS = {
    "ai-pc": [SUPPORTED, CONTRADICTED],
    "ai-servers-2027": [SUPPORTED, SUPPORTED, UNDETERMINED, UNDETERMINED],
    "air-cooled": [CONTRADICTED],
    "chatgpt": [SUPPORTED, UNDETERMINED, SUPPORTED, APPLES, APPLES],
    "china-solar": [SUPPORTED, CONTRADICTED, SUPPORTED, UNDETERMINED, SUPPORTED],
    "chips-and-power": [UNDETERMINED, UNDETERMINED, SUPPORTED, NO_NUMBER, NO_NUMBER, NO_NUMBER],
    "cooling": [CONTRADICTED],
    "data-centre-growth": [CONTRADICTED, CONTRADICTED],
    "earth-moon": [SUPPORTED, SUPPORTED],
    "fourteen-earths": [NO_NUMBER],
    "growth": [CONTRADICTED],
    "h100-household": [UNDETERMINED, CONTRADICTED, SUPPORTED, SUPPORTED, UNDETERMINED],
    "helium-3": [CONTRADICTED, CONTRADICTED],
    "idle-cars": [UNDETERMINED, SUPPORTED, CONTRADICTED],
    "image-phone": [UNDETERMINED, CONTRADICTED],
    "siting": [SUPPORTED, SUPPORTED, NO_NUMBER, NO_NUMBER],
    "tesla-austin": [CONTRADICTED, NO_NUMBER],
    "training-and-use": [SUPPORTED, UNDETERMINED],
    "transformers": [SUPPORTED, UNDETERMINED, SUPPORTED],
    "water-cooled": [UNDETERMINED],
    "xai-memphis": [CONTRADICTED, CONTRADICTED, CONTRADICTED, PARTLY],
}


def test_every_scenario_is_judged():
    assert {name: [str(c.verdict) for c in load(name).claims] for name in shipped()} == VERDICTS


@pytest.mark.parametrize("name", shipped())
def test_every_number_has_a_source_and_every_power_a_boundary(name):
    s = load(name)
    assert all(len(g.source) > 5 and g.unit and len(g.label) <= 42 for g in s.given)
    assert all(c.source and c.verdict for c in s.claims)
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
        if c["verdict"] == NO_NUMBER:
            assert {c[key] for key in ("claimed", "computed", "lower", "upper", "unit", "relation")} == {None}
        else:
            assert c["lower"] <= c["computed"] <= c["upper"]
    assert name in fleet("scenario", name, "--explain").out


def test_the_list(fleet):
    listed = fleet("scenario").out
    assert all(f"\n{name} " in listed for name in shipped())
    assert {s["name"] for s in fleet("scenario", "--json").json["scenarios"]} == set(shipped())


ALLOWED = "use + - * / ** and sum, mean, min, max, smallest, largest, sqrt, log10, exp, ceil"
PLAIN = "is wanted here: numbers are not converted"
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
        ('= 1000\nunit = "W"', '= 1\nunit = "kW"', f"25:1: claim.computed: 'p' is in W, and kW {PLAIN}"),
        ('sum(hours)"\nunit = "W"', 'sum(hours)"\nunit = "kW"', f"18:1: boundary.power: 'p' is in kW, and W {PLAIN}"),
        ("value = 10\n", "value = true\n", "4:1: given.n.value: must be a number, not true"),
        ("value = 10\n", "value = nan\n", "4:1: given.n.value: must be a finite number, not nan"),
        ("low = 8", "low = 11", "5:1: given.n.low: must be at most 10, not 11"),
        ('source = "counted"', "", "3:8: given.n: needs source, a string"),
        (
            'source = "counted"',
            'source = "counted"\ncolour = 1',
            "9:1: given.n.colour: unknown key; known here: value, low, high, spread, unit, source, as_of, boundary",
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
        (
            'computed = "p"',
            'computed = "p"\nas_of = "June"',
            "26:1: claim.as_of: must be a year, a month or a day, such as 2025-06, or two with a slash between",
        ),
        (
            'computed = "p"',
            'computed = "p"\nboundary = "chip"',
            "26:1: claim.boundary: must be one of gpu, node, it, facility, grid, not 'chip'",
        ),
        (
            'computed = "p"',
            'not_computable = "why"',
            "23:1: claim.claimed: unknown key; known here: text, source, article, as_of, boundary, not_computable",
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
