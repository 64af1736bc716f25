"""Headroom: its inverse gives back the probability of fleets drawn by exact phases, and so does what it prints."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.decide.crossing import (
    Crossings,
    circular_means,
    in_lockstep,
    most_hosts,
    over_horizon,
    phase_fleet_peaks,
    swing_of,
)
from wattshed.agent.fleet.demand.ensemble import exceedance

FEED_W = 1e6


def skewed(n, seed, step_s=0.1):
    """Power of a host that is low and at times high, as recorded ones are: third moment above 0."""
    random = np.random.default_rng(seed)
    steps = max(1, round(2.0 / step_s))
    slow = np.convolve(random.exponential(1.0, n + steps), np.ones(steps) / steps, "valid")[:n]
    return 5000.0 + 1500.0 * slow


@pytest.mark.parametrize(("job_hosts", "kinds"), [(1, 1), (8, 1), (24, 1), (8, 3)])
def test_the_inverse_gives_back_the_probability(job_hosts, kinds):
    powers = np.array([skewed(1500, seed) + 400.0 * seed for seed in range(kinds)])
    span = 150.0
    swing = swing_of(powers, 0.1)
    most = most_hosts(swing, job_hosts, FEED_W, 0.1, span)
    fleets = Crossings(swing, job_hosts, most + 1)
    formula = fleets.exceeding(most, FEED_W, span)
    assert formula <= 0.1 < fleets.exceeding(most + 1, FEED_W, span)
    peaks = phase_fleet_peaks(powers, most, job_hosts, 500, 5)
    seen = exceedance(peaks, FEED_W)
    assert seen.lower * 0.6 <= formula <= seen.upper * 1.4


def test_a_gaussian_density_would_have_been_wrong():
    powers = skewed(1500, 1)[None]
    swing = swing_of(powers, 0.1)
    most = most_hosts(swing, 24, FEED_W, 0.01, 150.0)
    z = (FEED_W - most * swing.mean_w[0]) / (swing.within_w * math.sqrt(most * 24))
    assert swing.crossings_hz * 150.0 * math.exp(-0.5 * z * z) < 0.005


def test_many_jobs_follow_rices_formula():
    powers = skewed(4000, 2)[None]
    swing = swing_of(powers, 0.1)
    feed, hosts = 2e9, 290_000.0
    z = 4.0
    feed = hosts * swing.mean_w[0] + z * swing.within_w * math.sqrt(hosts)
    rice = swing.crossings_hz * 400.0 * math.exp(-0.5 * z * z)
    assert Crossings(swing, 1, hosts).exceeding(hosts, feed, 400.0) == pytest.approx(rice, rel=0.05)
    # The number by the closed form N mu + z s sqrt(N M) <= F, z^2 = 2 ln(nu0 H / -ln(1-p)).
    z = math.sqrt(2.0 * math.log(swing.crossings_hz * 3e7 / -math.log(0.99)))
    root = (-z * swing.within_w + math.sqrt((z * swing.within_w) ** 2 + 4 * swing.mean_w[0] * feed)) / (
        2 * swing.mean_w[0]
    )
    assert most_hosts(swing, 1, feed, 0.01, 3e7) == pytest.approx(root**2, rel=1e-5)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.integers(100, 9000), min_size=8, max_size=40),
    st.integers(1, 300),
    st.floats(1e-6, 0.5),
    st.floats(1.0, 1e8),
)
def test_never_below_all_at_their_peaks(watts, job_hosts, exceed, horizon_s):
    powers = np.array(watts, float)[None]
    swing = swing_of(powers, 1.0)
    most = most_hosts(swing, job_hosts, FEED_W, exceed, horizon_s)
    assert most >= in_lockstep(swing, FEED_W) == math.floor(FEED_W / powers.max())
    assert most * powers.mean() <= FEED_W * (1 + 1e-9)
    # More risk, more hosts; a longer time, fewer.
    assert most <= most_hosts(swing, job_hosts, FEED_W, min(exceed * 2, 0.9), horizon_s)
    assert most >= most_hosts(swing, job_hosts, FEED_W, exceed, horizon_s * 10)


def test_a_swing_is_scaled_and_loses_kinds_as_its_power_does():
    powers = np.array([skewed(400, seed) + 100.0 * seed for seed in range(5)])
    swing = swing_of(powers, 0.1)
    for other, again in (
        (swing.times(1.3, -500.0), swing_of(1.3 * powers - 500.0, 0.1)),
        (swing.without(np.array([1, 3])), swing_of(powers[[0, 2, 4]], 0.1)),
    ):
        assert other.within_w == pytest.approx(again.within_w)
        assert other.between_w == pytest.approx(again.between_w)
        assert other.crossings_hz == pytest.approx(again.crossings_hz)
        found = [most_hosts(of, 4, FEED_W, 0.01, 1e6) for of in (other, again)]
        assert found[0] == pytest.approx(found[1], abs=1)


def test_the_jobs_of_a_smaller_fleet_are_the_first_of_a_larger_one():
    """Kinds counted job by job, and a job in part; another seed draws other jobs."""
    powers = np.array([np.full(8, w) + np.arange(8) % 2 for w in (100.0, 200.0, 400.0)])
    swing = swing_of(powers, 1.0)
    found = Crossings(swing, 2.0, 40.0, 7).exceeding(9.0, 2500.0, 1e-9)
    drawn = np.random.default_rng(7).integers(3, size=(2000, 21))
    jobs_w = 2.0 * powers.mean(axis=1)[drawn]
    assert found == pytest.approx(np.mean(jobs_w[:, :4].sum(axis=1) + 0.5 * jobs_w[:, 4] > 2500.0), abs=0.01)
    assert found != Crossings(swing, 2.0, 40.0, 8).exceeding(9.0, 2500.0, 1e-9)


def test_a_thousand_kinds_take_little_memory():
    swing = swing_of(np.random.default_rng(1).uniform(1e3, 2e3, (1000, 16)), 1.0)
    tracemalloc.start()
    try:
        Crossings(swing, 1.0, 250.0).exceeding(200.0, 3.3e5, 1e3)
        assert tracemalloc.get_traced_memory()[1] < 150e6  # 2,000 fleets of 251 jobs of 1,000 kinds are 4 GB
    finally:
        tracemalloc.stop()


def test_a_constant_load_fills_the_feed():
    swing = swing_of(np.full((1, 50), 700.0), 1.0)
    assert most_hosts(swing, 4, FEED_W, 0.01, 3600.0) == 1428


def test_means_are_taken_round():
    powers = np.arange(6.0)[None]
    assert circular_means(powers, 3)[0] == pytest.approx([1, 2, 3, 4, 3, 2])
    assert circular_means(powers, 1) is powers


def test_jobs_that_are_drawn_anew_meet_the_feed_more_often():
    assert over_horizon(0.01, 10.0, 1000.0) == pytest.approx(1 - 0.99**100)
    assert over_horizon(0.01, 10.0, 10.0) == pytest.approx(0.01)
    assert over_horizon(1.0, 1.0, 2.0) == 1.0


@pytest.fixture
def trace(files):
    watts = np.rint(skewed(600, 3, 0.5)).astype(int)
    rows = [f"{i / 2},{host},{w + 50 * k}\n" for i, w in enumerate(watts) for k, host in enumerate("ab")]
    return files(t_csv="time,host,power\n" + "".join(rows))


@pytest.fixture
def gpus(files):
    watts = np.rint(skewed(600, 3, 0.5) / 10).astype(int)
    return files(g_csv="time,gpu,power\n" + "".join(f"{i / 2},{g},{w}\n" for i, w in enumerate(watts) for g in (0, 1)))


def test_what_is_answered(fleet, trace):
    words = ("headroom", trace, "--feed", "1MW", "--job-hosts", 8, "--nameplate", "10.2kW", "--horizon", "5m")
    found = fleet(*words, "--json").json
    assert found["schema"] == "wattshed.headroom/1"
    assert (found["feed_w"], found["horizon_s"], found["nameplate_hosts"]) == (1e6, 300.0, 98)
    assert {w["window"]: w["hosts"] is None for w in found["windows"]} == {"1s": False, "1m": False, "15m": True}
    assert "fewer than two such windows" in found["windows"][2]["reason"]
    assert found["windows"][0]["hosts"] == found["hosts"] <= found["windows"][1]["hosts"]
    assert found["interval"]["df"] == 1.0
    assert found["hosts_interval"][0] < found["hosts"] < found["hosts_interval"][1]
    assert (found["boundary"], found["gpus"]) == ("as recorded", None)
    assert found["check"]["lower"] * 0.6 <= found["check"]["formula"] <= found["check"]["upper"] * 1.4
    text = fleet(*words).out
    assert text.startswith(found["answer"])
    assert f"1 MW carry {found['hosts']} hosts" in found["answer"]
    assert all(f"  {assumed}" in text for assumed in found["assumptions"])


def test_ten_megawatts_of_nameplate_are_980_dgx(fleet, trace):
    found = fleet("headroom", trace, "--feed", "10MW", "--nameplate", "10.2kW", "--one-job", "--json").json
    assert found["nameplate_hosts"] == 980
    assert found["hosts_interval"] is None
    assert "one recorded job" in found["interval"]["method"]
    assert any("300 s of recording stand for 1 year" in w for w in found["warnings"])


def test_a_seed_draws_the_jobs_and_these_last_for_the_horizon_at_most(fleet, trace):
    words = ("headroom", trace, "--feed", "1MW", "--job-hosts", 8, "--horizon", "5m", "--json")
    found = fleet(*words).json
    assert fleet(*words, "--seed", 1, "--jobs-last", "1d").json == found
    other = fleet(*words, "--seed", 2).json["check"]
    assert other["hosts"] != found["check"]["hosts"] or other["formula"] != found["check"]["formula"]
    assert fleet(*words, "--jobs-last", "1m").json["jobs_last_s"] == 60.0


def test_caps_carry_more_gpus_a_megawatt(fleet, gpus, files, tmp_path):
    node = files(n_toml="node = { level_w = 200, slope = 1.2, pivot_w = 0 }\n")
    plot = tmp_path / "h.svg"
    found = fleet(
        "headroom", gpus, "--feed", "1MW", "--cap", "600,400W", "--node", node, "--plot", plot, "--json"
    ).json  # fmt: skip
    caps = found["caps"]
    assert [c["cap_w"] for c in caps] == [None, 600.0, 400.0]
    assert caps[0]["gpus_per_mw"] < caps[1]["gpus_per_mw"] < caps[2]["gpus_per_mw"]
    # Below the least reading both GPUs draw the cap always: 200 + 1.2 * 800 W a host of two.
    assert caps[2]["hosts"] == math.floor(1e6 / 1160)
    assert caps[2]["lockstep_gpus_per_mw"] == 2 * caps[2]["hosts"]
    assert found["boundary"] == "node"
    assert found["warnings"] == [w for w in found["warnings"] if "node's model" not in w]
    assert "hosts of a job" in plot.read_text()


def test_files_of_different_times_are_kinds(fleet, files):
    a, b = (
        files(**{f"{name}_csv": "time,power\n" + "".join(f"{t0 + i},{w}\n" for i, w in enumerate(skewed(200, t0)))})
        for name, t0 in (("a", 1), ("b", 9000))
    )
    found = fleet("headroom", f"{a}@a", f"{b}@b", "--feed", "1MW", "--json").json
    assert found["interval"]["df"] == 1.0
    assert found["span_s"] == 200.0
    assert "the files were recorded at different times" in found["warnings"]
    # The largest power of a sample has no upper end: a jackknife of it would say that it is exact.
    peaks = fleet("headroom", f"{a}@a", f"{b}@b", "--feed", "1MW", "--job-hosts", 5000, "--json").json
    assert peaks["hosts"] == peaks["windows"][0]["lockstep_hosts"]
    assert peaks["hosts_interval"] is None
    assert peaks["interval"]["method"].startswith("none: the answer rests on the largest recorded power")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--feed", "10mw"), "unknown unit 'mw'; did you mean MW?"),
        (("--feed", "ten"), "is not a power, such as 10MW"),
        (("--feed=-1MW",), "is not above 0"),
        (("--feed", "1MW", "--horizon", "1 parsec"), "unknown unit 'parsec'"),
        (("--feed", "1MW", "--cap", "500"), "--cap needs the power of GPUs"),
        (("--feed", "1MW", "--node", "N.toml"), "N.toml: cannot be read"),
        (("--feed", "1MW", "--window", "1ms"), "do not show means over 0.001 s"),
        (("--feed", "1MW", "--plot", "x.pdf"), "must end in .png or .svg"),
    ],
)
def test_what_is_refused(fleet, trace, words, said):
    found = fleet("headroom", trace, *words)
    assert (found.code, found.out) == (2, "")
    assert said in found.err


def test_tables_of_jobs(fleet, trace, files):
    jobs = files(j_csv="job,hosts\na,8\nb,2\n")
    found = fleet("headroom", trace, "--feed", "1MW", "--jobs", jobs, "--json").json
    assert found["job_hosts"] == pytest.approx(68 / 10)
    bad = files(k_csv="job,hosts\na,8\nb,x\n")
    assert fleet("headroom", trace, "--feed", "1MW", "--jobs", bad).err.startswith(f"wattshed: {bad}:3:2: hosts:")
    typo = files(n_toml="[node]\nlevel_w = 1\nslop = 2\n")
    gpu = files(g_csv="time,gpu,power\n0,0,300\n1,0,310\n2,0,300\n3,0,320\n")
    found = fleet("headroom", gpu, "--feed", "1MW", "--window", "1s", "--node", typo)
    assert f"{typo}:3:1: node.slop: unknown key; did you mean node.slope?" in found.err


def test_a_fleet_smaller_than_one_job_has_peaks():
    """A feed may carry fewer hosts than a job has: they are all of one job."""
    powers = np.array([[100.0, 300.0, 200.0, 150.0]])
    assert phase_fleet_peaks(powers, 5, 64, 3).tolist() == pytest.approx([1500.0] * 3)
