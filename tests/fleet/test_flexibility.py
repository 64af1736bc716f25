"""Flexibility: its sums, its interval, past events, and grids, each against a closed form."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.decide.flexibility import flexible
from wattshed.agent.fleet.decide.flexible_classes import HostClass, read_classes
from wattshed.agent.fleet.decide.past_event import event_of, new_load, spared
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.traces.opening import OpenedTrace
from wattshed.agent.traces.options import Options

NODE = "node = { level_w = 5223, slope = 1.34, pivot_w = 3215 }\n"


def host_class(hosts, power_w, less_w, mode="pause", **more):
    given = {"share": 1.0, "notice_s": 0.0, "least_s": 0.0, "most_s": 1e9, "rebound": 1.0, **more}
    return HostClass("c", hosts, mode, power_w=np.array(power_w), less_w=np.array(less_w), boundary="node",
                     span_s=60.0, said=(), **given)  # fmt: skip


@settings(max_examples=examples(50), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.floats(100, 9000), st.floats(0, 1), st.floats(0.1, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_what_classes_spare_adds_up(rows):
    classes = tuple(host_class(n, [p], [p * f], share=share) for n, p, f, share in rows)
    found = flexible(classes, 3600.0)
    assert found.less_w == pytest.approx(sum(n * share * p * f for n, p, f, share in rows))
    assert found.base_w == pytest.approx(sum(n * p for n, p, _, _ in rows))
    assert found.rebound_j == pytest.approx(found.less_w * 3600.0)
    assert sum(part.less_w for part in found.parts) == pytest.approx(found.less_w)
    assert found.interval is None


def test_the_document_s_fleet():
    """500 hosts of training, 300 of batch jobs, 200 that stay: watts of each, and of each paused."""
    classes = (host_class(500, [6785.0], [4948.0]), host_class(300, [3142.0], [1305.0]),
               host_class(200, [5397.0], [0.0], "firm", rebound=0.0))  # fmt: skip
    found = flexible(classes, 3 * 3600.0)
    assert found.base_w == pytest.approx(5.41e6, rel=1e-3)
    assert [p.less_w / found.base_w for p in found.parts] == pytest.approx([0.457, 0.072, 0.0], abs=1e-3)
    assert 0.25 / found.share == pytest.approx(0.47, abs=0.005)  # of them pause for 25 %


def test_the_interval_is_that_of_a_ratio():
    power, less = [5000.0, 6000.0, 7000.0, 6200.0], [2000.0, 2600.0, 3000.0, 2500.0]
    found = flexible((host_class(40, power, less),), 3600.0)
    ratio = sum(less) / sum(power)
    rest = np.array(less) - ratio * np.array(power)
    half = quantile(0.95, 3) * rest.std(ddof=1) / math.sqrt(4) / np.mean(power)
    assert found.interval == pytest.approx((ratio - half, ratio + half))
    assert found.df == pytest.approx(3.0)


def test_intervals_cover():
    random, inside = np.random.default_rng(3), 0
    for _ in range(1000):
        one, other = random.normal(6000, 900, 8), random.normal(3000, 300, 5)
        classes = (host_class(500, one, 0.5 * one + random.normal(0, 300, 8)), host_class(300, other, 0.2 * other))
        low, high = flexible(classes, 60.0).interval
        inside += low <= (500 * 3000 + 300 * 600) / (500 * 6000 + 300 * 3000) <= high
    assert 0.92 <= inside / 1000 <= 0.98


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"notice_s": 60.0}, "needs 60 s of notice"),
        ({"least_s": 7200.0}, "lasts 7200 s at least"),
        ({"most_s": 1800.0}, "lasts 0.5 h at most"),
        ({}, ""),
    ],
)
def test_who_cannot_take_part(more, why):
    found = flexible((host_class(10, [5000.0], [2000.0], **more),), 3600.0, 30.0)
    assert found.parts[0].why_not == why
    assert (found.less_w == 0.0) == bool(why)


def test_a_rebound_that_nobody_says_is_unknown():
    assert flexible((host_class(1, [5.0], [2.0], "cap", rebound=None),), 60.0).rebound_j is None
    assert flexible((host_class(1, [5.0], [2.0], "cap", rebound=0.1),), 60.0).rebound_j == pytest.approx(12.0)


MONDAY = datetime(2026, 5, 18, 14, tzinfo=UTC)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 3599), st.integers(600, 7200), st.integers(60, 900))
def test_an_event_s_readings_are_those_between_its_times(begin_s, length_s, step_s):
    """Whatever the step and the seconds: each reading from the beginning up to the end counts, and no other."""
    start, begin = MONDAY - timedelta(days=5), MONDAY + timedelta(seconds=begin_s)
    event = (begin, begin + timedelta(seconds=length_s))
    stamps = start.timestamp() + step_s * np.arange(86_400 * 6 // step_s)
    within = (stamps >= event[0].timestamp()) & (stamps < event[1].timestamp())
    if not within.any():
        return
    found = spared(np.where(within, 7e6, 9e6), float(step_s), start.timestamp() * 1e6, event)
    assert (found.during_w, found.like_w) == (7e6, 9e6)
    first = np.where(np.cumsum(within) == 1, within * 2e6, 0.0)  # and the first of them counts as much as the others
    alone = spared(9e6 - first, float(step_s), start.timestamp() * 1e6, event)
    assert alone.during_w == pytest.approx(9e6 - 2e6 / within.sum())


@pytest.mark.parametrize("minutes", [15, 60])
def test_an_event_counts_in_the_steps_that_it_is_in(fleet, folder, tmp_path, minutes):
    """Of a meter whose stamps are the beginnings of its means, what was spared is found whole, whatever the step."""
    power, _, start = days_of_power(spared_w=2e6)
    every = minutes // 15
    coarse = power.reshape(-1, every).mean(axis=1)
    rows = "".join(f"{start / 1e6 + i * 60 * minutes:.0f},site,{w:.0f}\n" for i, w in enumerate(coarse))
    site = folder(s_csv="time,job,power\n" + rows)
    words = ("flexibility", folder(c_toml=CLASSES), "--target", "0.1", "--for", "3h", "--measured", site)
    found = fleet(*words, "--event", "2026-05-18T14:00..2026-05-18T17:00Z", "--json").json
    assert found["event"]["spared_w"] == pytest.approx(2e6)


def rebound_of(folder, cap):
    """What comes back over what was spared, of a class with a cap."""
    text = CLASSES.replace("cap_w = 320\nspeed = 0.9", cap)
    return read_classes(folder(c_toml=text), lambda paths: OpenedTrace(paths, Options(None, loads=True)))[1]


def test_what_a_cap_defers_is_done_at_full_power(folder):
    """A pause is the cap that stops: at rest's power and no speed, all of it comes back."""
    found = rebound_of(folder, "cap_w = 320\nspeed = 0.9")
    assert found.rebound == pytest.approx(0.1 * found.power_w.mean() / found.less_w.mean())
    rests = rebound_of(folder, "cap_w = 320\nspeed = 0.9\nidle_w = 86")
    idle = 5223 + 1.34 * (8 * 86 - 3215)
    assert rests.rebound == pytest.approx(0.1 * (found.power_w.mean() - idle) / found.less_w.mean())
    assert rebound_of(folder, "cap_w = 86\nspeed = 1e-9\nidle_w = 86").rebound == pytest.approx(1.0, rel=1e-6)
    assert rebound_of(folder, "cap_w = 5000\nspeed = 0.9").rebound == 0.0


def days_of_power(noise_w=0.0, spared_w=0.0):
    """Four weeks by quarters of an hour; weekends are low, and the event is on the last Monday."""
    start = MONDAY - timedelta(days=26, hours=14)
    random = np.random.default_rng(1)
    at = [start + timedelta(minutes=15 * i) for i in range(28 * 96)]
    each_day = random.normal(0.0, noise_w, 28)
    power = np.array([(4e6 if t.weekday() >= 5 else 9e6) + each_day[i // 96] for i, t in enumerate(at)])
    power[[MONDAY <= t < MONDAY + timedelta(hours=3) for t in at]] -= spared_w
    return power, 900.0, int(start.timestamp() * 1e6)


def test_an_event_is_compared_with_like_days():
    event = (MONDAY, MONDAY + timedelta(hours=3))
    found = spared(*days_of_power(spared_w=2e6), event)
    assert (found.days, found.during_w, found.like_w, found.spared_w) == (10, 7e6, 9e6, 2e6)
    noisy = spared(*days_of_power(1e5, 2e6), event)
    assert noisy.lower_w < 2e6 < noisy.upper_w
    with pytest.raises(InputError, match="is not in the recording"):
        spared(*days_of_power(), (MONDAY + timedelta(days=9), MONDAY + timedelta(days=9, hours=1)))
    with pytest.raises(InputError, match="0 like days before the event"):
        spared(*days_of_power(), (MONDAY - timedelta(days=26), MONDAY - timedelta(days=26, hours=-1)))


def test_the_interval_of_an_event_covers():
    event, inside = (MONDAY, MONDAY + timedelta(hours=3)), 0
    power, step, start = days_of_power()
    for seed in range(400):
        each = np.random.default_rng(seed).normal(0.0, 2e5, 28)
        found = spared(power + np.repeat(each, 96), step, start, event)
        inside += found.lower_w <= 0.0 <= found.upper_w
    assert 0.92 <= inside / 400 <= 0.98


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.integers(100, 1000), min_size=4, max_size=60), st.floats(0.0005, 0.05))
def test_what_a_grid_takes_is_given_back(megawatts, curtailed):
    grid = np.array(megawatts) * 1e6
    new = new_load(grid, curtailed)
    gives = np.maximum(grid + new - grid.max(), 0.0).sum()
    assert gives == pytest.approx(curtailed * new * grid.size, rel=1e-6, abs=10.0)
    assert new_load(grid, curtailed * 2) >= new


def test_a_grid_whose_load_is_even_over_a_range():
    # Loads from 0 to 1: sum max(0, L + H - 1) = n H^2 / 2 = r H n, so H = 2 r.
    assert new_load(np.linspace(0.0, 1e9, 100_001), 0.005) == pytest.approx(1e7, rel=1e-3)


@pytest.fixture
def folder(files):
    for name, low in (("a", 500), ("b", 480), ("c", 300)):
        rows = "".join(f"{s},{g},{low + 97 * s % 89}\n" for s in range(120) for g in range(8))
        files(**{f"{name}_csv": "time,gpu,power\n" + rows})
    return files


CLASSES = f"""[[class]]
name = "train"
traces = ["a.csv", "b.csv"]
hosts = 500
mode = "pause"
idle_w = 86
{NODE}
[[class]]
name = "serve"
traces = ["c.csv", "a.csv"]
hosts = 100
mode = "cap"
cap_w = 320
speed = 0.9
{NODE}"""


def test_what_is_answered(fleet, folder, tmp_path):
    path, plot = folder(c_toml=CLASSES), tmp_path / "f.svg"
    folder(g_csv="hour,load_mw\n" + "".join(f"{h},{500 + h}\n" for h in range(100)))
    words = ("flexibility", path, "--target", "25%", "--for", "3h", "--grid", tmp_path / "g.csv", "--curtail", "0.5%")
    found = fleet(*words, "--plot", plot, "--json").json
    train, serve = found["classes"]
    idle = 5223 + 1.34 * (8 * 86 - 3215)
    assert train["spared_w"] == pytest.approx(train["base_w"] - 500 * idle, rel=1e-6)
    assert 0 < serve["spared_w"] < serve["base_w"] - 100 * (5223 + 1.34 * (8 * 320 - 3215)) + 1e5
    assert found["met"] is True
    assert found["share_needed"] == pytest.approx(0.25 / found["share"])
    spared_w = 0.25 * found["base_w"]
    back = (train["spared_w"] + 0.1 * serve["base_w"]) / found["spared_w"] * spared_w * 3
    assert found["rebound_wh"] == pytest.approx(back)
    assert found["rebound_peak_w"] == pytest.approx(found["base_w"] + back / 3)
    assert found["share_interval"][0] < found["share"] < found["share_interval"][1]
    assert found["grid"]["new_load_w"] > 0
    text = fleet(*words).out
    assert text.startswith("25 % less for 3 h is met: the fleet can spare ")
    assert "Before, during and after" in plot.read_text()


def test_a_target_within_the_interval_is_not_called_certain(fleet, folder):
    path = folder(c_toml=CLASSES)
    low, high = fleet("flexibility", path, "--target", "25%", "--for", "3h", "--json").json["share_interval"]
    share = fleet("flexibility", path, "--target", "25%", "--for", "3h", "--json").json["share"]
    for target, said in (
        (0.99 * low, "is met:"),
        (0.5 * (low + share), "is met by the estimate, but not with 95 %:"),
        (0.5 * (share + high), "is not met by the estimate, though the interval allows it:"),
        (min(1.01 * high, 0.999), "is not met:"),
    ):
        assert said in fleet("flexibility", path, "--target", f"{target:.9f}", "--for", "3h").out.splitlines()[0]


def test_an_event_that_was_measured(fleet, folder, tmp_path):
    power, step, start = days_of_power(1e5, 2e6)
    rows = "".join(f"{start / 1e6 + i * step:.0f},site,{w:.0f}\n" for i, w in enumerate(power))
    path, site = folder(c_toml=CLASSES), folder(s_csv="time,job,power\n" + rows)
    words = ("flexibility", path, "--target", "0.9", "--for", "3h", "--measured", site)
    found = fleet(*words, "--event", "2026-05-18T14:00..2026-05-18T17:00Z", "--json").json
    low, high = found["event"]["interval_w"]
    assert low < 2e6 < high
    assert found["met"] is False
    assert "is not met" in found["answer"]
    assert fleet(*words).err.startswith("wattshed: --measured needs --event, and would be ignored")
    assert "is not two times" in fleet(*words, "--event", "yesterday").err


@pytest.mark.parametrize("text", ["a..b", "2026-05-18T14:00", "2026-05-18..2026-05-20", "2026-05-18..2026-05-17"])
def test_events_that_are_none(text):
    with pytest.raises(InputError, match="--event"):
        event_of(text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("idle_w = 86", "idle_ww = 86", "6:1: class.idle_ww: unknown key; did you mean class.idle_w?"),
        ("idle_w = 86", "cap_w = 86", "6:1: class.cap_w: is not used with mode 'pause'"),
        ("idle_w = 86", "", "1:1: class: needs idle_w, a number"),
        ('"pause"', '"sleep"', "5:1: class.mode: must be one of firm, pause, cap, shift, not 'sleep'"),
        ("speed = 0.9", "speed = 0.9\nrebound = 0.1", "speed: rebound is given"),
        ("speed = 0.9", "idle_w = 86", "class.idle_w: is for what comes back after a cap with a speed"),
        ('"a.csv", "b.csv"', "", "3:1: class.traces: needs at least one recording"),
        ('["a.csv", "b.csv"]', '["x.csv"]', "x.csv"),
    ],
)
def test_where_a_file_is_wrong(fleet, folder, old, new, said):
    path = folder(c_toml=CLASSES.replace(old, new, 1))
    found = fleet("flexibility", path, "--target", "25%", "--for", "3h")
    assert (found.code, found.out) == (2, "")
    assert said in found.err
