"""The dossier: each verdict against a load whose ramps and swings are known, and files that other programs read."""

import csv
import json
import math

import pytest

from wattshed.agent.fleet.decide.limits import read_limits

LIMITS = """name = "operator"
[applies]
site_w_at_least = 75e6
electronic_share_at_least = 0.5
source = "rule 1"
[[ramp]]
window_s = 60
up_w = 3e6
down_w = 1e5
source = "rule 2"
[[ramp]]
window_s = 0.1
up_w = 1e6
source = "rule 3"
[[ramp]]
window_s = 900
down_w = 1e6
source = "rule 4"
[[band]]
low_hz = 0.05
high_hz = 0.2
rms_w = 60e3
source = "rule 5"
[[band]]
low_hz = 0.05
high_hz = 20
share_of_peak_rms = 0.5
source = "rule 6"
[[step]]
seconds = 1
watts = 50e3
source = "rule 7"
[[voltage]]
points = [[0.0, 0.02], [0.7, 0.5], [0.9, "always"]]
source = "rule 8"
[[frequency]]
rocof_hz_per_s = 1.0
over_s = 0.5
recover_to = 0.9
source = "rule 9"
"""


@pytest.fixture
def trace(files):
    """Two hosts for 600 s: a step of 1 kW up at 300 s, and a sine of 0.1 Hz with an amplitude of 100 W."""
    watts = [1500 + 1000 * (s >= 300) + 100 * math.cos(2 * math.pi * s / 10) for s in range(600)]
    rows = "".join(f"{1_767_225_600 + s},{h},{w:.3f}\n" for s, w in enumerate(watts) for h in "ab")
    return files(t_csv="time,host,power\n" + rows)


def test_each_verdict(fleet, trace, files):
    words = ("dossier", trace, "--limits", files(l_toml=LIMITS), "--hosts", 1000, "--job-hosts", 64)
    found = fleet(*words, "--json").json
    by_source = {}
    for r in found["requirements"]:
        by_source.setdefault(r["source"], []).append((r["what"], r["verdict"], r["found_w"]))
    top = 100 * (1 + math.cos(math.pi / 5))  # within a minute the sine adds its own whole height at both ends
    assert by_source["rule 2"] == [
        ("rise within 60 s", "meets", pytest.approx(1.2e6, rel=0.01)),
        ("fall within 60 s", "exceeds", pytest.approx(2e5, rel=0.01)),
    ]
    assert by_source["rule 3"] == [("rise within 0.1 s", "not observable", None)]
    assert by_source["rule 4"] == [("fall within 900 s", "not observable", None)]
    # The sine is a line at 0.1 Hz; the step spreads over all frequencies, some of it into the band.
    what, verdict, rms = by_source["rule 5"][0]
    assert (what, verdict) == ("swing in 0.05-0.2 Hz, rms", "exceeds")
    step = sum((2e6 / math.pi / k) ** 2 / 2 for k in range(31, 121, 2))  # a square wave whose period is the recording
    assert rms == pytest.approx(math.sqrt(1e5**2 / 2 + step), rel=0.02)
    assert by_source["rule 6"][0][1] == "not observable"  # what is shown is within it; above 0.5 Hz nothing is
    fall = 64 * 100 * 2 * math.sin(math.pi / 10) * math.sin(3 * math.pi / 10)
    assert by_source["rule 7"][0] == ("largest job lost, fall within 1 s", "meets", pytest.approx(fall, rel=0.3))
    assert {by_source[f"rule {i}"][0][1] for i in (1, 8, 9)} == {"declare"}
    # A single frequency is told apart from the step, within 5 %; by even stamps not from its mirror image.
    line = found["lines"][0]
    assert (line["hz"], line["or_hz"]) == (pytest.approx(0.1, rel=1e-3), pytest.approx(0.9, rel=1e-3))
    assert line["rms_w"] == pytest.approx(1e5 / math.sqrt(2), rel=0.05)
    assert line["in_step"] == pytest.approx(1.0, abs=0.01)
    assert found["applies"] is False
    assert found["synchrony"] == pytest.approx(1.0)
    assert found["max_w"] < 1000 * (2500 + top)
    assert found["answer"].startswith(
        "Of 10 limits of operator, 2 exceeded (fall within 60 s; swing in 0.05-0.2 Hz, rms)"
    )
    assert any(w.startswith("the limits apply from 75 MW on (rule 1)") for w in found["warnings"])


def test_an_interval_that_reaches_over_the_limit_exceeds_it(fleet, files):
    rows = "".join(f"{s},{g},{100 + 300 * (s >= 60) + s % 7}\n" for s in range(120) for g in (0, 1))
    trace = files(g_csv="time,gpu,power\n" + rows)
    node = files(n_toml="node = { level_w = 200, slope = { value = 1.2, low = 1.0, high = 1.5 }, pivot_w = 0 }\n")
    limits = files(l_toml='[[ramp]]\nwindow_s = 10\nup_w = 800\ndown_w = 500\nsource = "x"\n')
    up, down = fleet("dossier", trace, "--limits", limits, "--node", node, "--json").json["requirements"]
    assert up["lower_w"] < up["found_w"] < 800 < up["upper_w"]
    assert (up["verdict"], up["why"]) == ("exceeds", "only at the upper end of the interval")
    assert (down["verdict"], down["limit_w"]) == ("meets", 500.0)


def test_what_is_written(fleet, trace, files, tmp_path):
    limits = files(l_toml='[[ramp]]\nwindow_s = 60\nup_w = 10e6\nsource = "x"\n')
    out, plot = tmp_path / "grid", tmp_path / "d.svg"
    words = ("dossier", trace, "--limits", limits, "--out", out, "--export", "pypsa,gridlabd,psse")
    document = fleet(*words, "--plot", plot, "--json").json
    assert json.loads((out / "dossier.json").read_text()) == document
    assert (out / "dossier.txt").read_text().startswith(document["answer"][:60])
    with (out / "pypsa" / "loads-p_set.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[0]["snapshot"], rows[-1]["snapshot"]) == (600, "2026-01-01 00:00:00", "2026-01-01 00:09:59")
    assert sum(float(r["site"]) for r in rows) * 1e6 / 600 == pytest.approx(document["mean_w"])
    with (out / "pypsa" / "snapshots.csv").open() as file:
        hours = [float(r["objective"]) for r in csv.DictReader(file)]
    assert sum(hours) == pytest.approx(600 / 3600)
    player = (out / "load.player").read_text().splitlines()
    assert player[0].startswith("2026-01-01 00:00:00 GMT,")
    assert float(player[0].split(",")[1]) == pytest.approx(float(rows[0]["site"]) * 1e6)
    record = (out / "load.raw").read_text().split(",")
    assert len(record) == 14  # as PSS/E 33.5 writes them: I, ID, STATUS, AREA, ZONE, PL, QL, IP, IQ, YP, YQ, OWNER, ...
    assert float(record[5]) == pytest.approx(document["max_w"] / 1e6, abs=1e-5)
    assert "found over limit" in plot.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--job-hosts", "9", "--export", "pypsa"), "--export needs --out"),
        (("--job-hosts", "9", "--out", "o", "--export", "pypsy"), "did you mean pypsa?"),
    ],
)
def test_what_is_refused(fleet, trace, files, words, said):
    found = fleet("dossier", trace, "--limits", files(l_toml=LIMITS), *words)
    assert (found.code, found.out) == (2, "")
    assert said in found.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("up_w = 3e6", "upw = 3e6", "8:1: ramp.upw: unknown key; did you mean ramp.up_w?"),
        ('down_w = 1e5\nsource = "rule 2"', "down_w = 1e5", "ramp: needs source, a string"),
        ("rms_w = 60e3", "", "needs rms_w or share_of_peak_rms, one of them"),
        ("high_hz = 0.2", "high_hz = 0.01", "band.high_hz: must be above 0.05"),
        ('[0.9, "always"]', '[0.9, "ever"]', "voltage.points: must be a list of [per unit, seconds]"),
        ("[0.7, 0.5]", "[0.7, -1]", "voltage.points: must be a list of [per unit, seconds], both 0 or more"),
        ("recover_to = 0.9", "recover_to = 9", "frequency.recover_to: must be above 0 and at most 1, not 9"),
    ],
)
def test_where_limits_are_wrong(fleet, trace, files, old, new, said):
    path = files(l_toml=LIMITS.replace(old, new, 1))
    found = fleet("dossier", trace, "--limits", path, "--job-hosts", 9)
    assert found.err.startswith(f"wattshed: {path}:")
    assert said in found.err


def test_a_step_without_the_size_of_a_job_is_not_observable(fleet, trace, files):
    rows = fleet("dossier", trace, "--limits", files(l_toml=LIMITS), "--json").json["requirements"]
    (row,) = [row for row in rows if row["what"].startswith("largest job lost")]
    assert (row["verdict"], row["found_w"]) == ("not observable", None)
    assert "give --job-hosts" in row["why"]


def test_a_file_without_limits_is_none(fleet, trace, files):
    path = files(l_toml='name = "x"\n')
    assert "has no limit; add a [[ramp]]" in fleet("dossier", trace, "--limits", path).err
    told = read_limits(files(m_toml=LIMITS)).declared
    assert [d.limit for d in told] == [
        "at least 50%", "0 pu 0.02 s, 0.7 pu 0.5 s, 0.9 pu always", "1 Hz/s over 0.5 s, back to 90%",
    ]  # fmt: skip
