"""Logs with holes in them: the counter tells the energy, beside power or alone, and power never overrules it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLE_S = 100  # it begins then
EACH_S = 1
LOAD = ((20, 70), (130, 570), (400, 170), (2_000, 70))  # until when (s), watts


def drawn_j(start_s, end_s):
    return sum(
        watts * max(0, min(end_s, until_s) - max(start_s, since_s))
        for (since_s, _), (until_s, watts) in pairwise([(0, 0), *LOAD])
    )


def watts_at(at_s):
    return next(watts for until_s, watts in LOAD if at_s < until_s)


def log(path, lasts_s, *, counter=True, power=True, stale=0):
    """Write what nvidia-smi prints each second; ``stale`` readings after the hole repeat the counter from before it."""
    names = ["timestamp", "index", "power.limit [W]"]
    names += ["power.draw [W]"] * power + ["total_energy_consumption [mJ]"] * counter
    lines = [", ".join(names)]
    for at_s in (*range(0, HOLE_S + 1, EACH_S), *range(HOLE_S + lasts_s, HOLE_S + lasts_s + 450, EACH_S)):
        seen_s = HOLE_S if HOLE_S < at_s < HOLE_S + lasts_s + stale else at_s
        cells = [f"{BEGIN + timedelta(seconds=at_s):%Y/%m/%d %H:%M:%S}.000", "0", "700.00 W"]
        cells += [f"{watts_at(at_s):.2f} W"] * power + [f"{10**9 + 1000 * drawn_j(0, seen_s)} mJ"] * counter
        lines.append(", ".join(cells))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def replayed(wattshed, tmp_path):
    """Return the GPU and the joules and sigma of two jobs, one after the other, that change places in the hole."""

    def replay(lasts_s, **about):
        log(tmp_path / "log.csv", lasts_s, **about)
        times = [f"{BEGIN + timedelta(seconds=at_s):%Y-%m-%dT%H:%M:%S}" for at_s in (20, 130, 400)]
        jobs = [f"{job},,0,{start},{end}" for job, (start, end) in zip("ab", pairwise(times), strict=True)]
        (tmp_path / "jobs.csv").write_text("\n".join(["job,host,gpu,start,end", *jobs]) + "\n")
        code, out, err = wattshed(
            "replay", str(tmp_path / "log.csv"), "--jobs", str(tmp_path / "jobs.csv"), "--idle-watts", "70",
            "--format", "json",
        )  # fmt: skip
        assert code == 0, err
        answer = json.loads(out)
        (gpu,) = answer["gpus"]
        return gpu, {job["job"]: (job["energy_j"], job["sigma_j"]) for job in answer["jobs"]}

    return replay


TRUTH = {"a": drawn_j(20, 130), "b": drawn_j(130, 400)}


@pytest.mark.parametrize("stale", [0, 1, 2])
@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("lasts_s", [5, 100, 600, 1200])
def test_the_counter_is_the_truth_over_a_hole_and_owners_who_change_in_it_are_told_apart(
    replayed, lasts_s, power, stale
):
    gpu, jobs = replayed(lasts_s, power=power, stale=stale)
    assert gpu["energy_j"] == pytest.approx(drawn_j(0, HOLE_S + lasts_s + 449), abs=1)
    assert gpu["method"] == "counter"
    assert set(jobs) == set(TRUTH)
    for job, (energy_j, sigma_j) in jobs.items():
        assert energy_j == pytest.approx(TRUTH[job], rel=0.05) or lasts_s > 600  # then little of it is theirs
        assert abs(energy_j - TRUTH[job]) < 2 * sigma_j
    assert gpu["gap_s"] == (lasts_s if lasts_s > 5 else 0)


@pytest.mark.parametrize("lasts_s", [100, 600])
def test_without_a_counter_a_hole_is_a_gap_and_sigma_says_what_it_may_hide(replayed, lasts_s):
    gpu, jobs = replayed(lasts_s, counter=False)
    real_j = drawn_j(0, HOLE_S + lasts_s + 449)
    assert (gpu["method"], gpu["gap_s"]) == ("power", lasts_s)
    assert gpu["energy_j"] < 0.9 * real_j
    assert abs(gpu["energy_j"] - real_j) < gpu["sigma_j"]
    assert set(jobs) == set(TRUTH)
    for job, (energy_j, sigma_j) in jobs.items():
        assert abs(energy_j - TRUTH[job]) < 2 * sigma_j


def test_a_counter_alone_that_is_read_seldom_has_no_gaps(replayed, monkeypatch):
    monkeypatch.setattr("tests.traces.test_holes_in_logs.EACH_S", 20)
    gpu, _ = replayed(100, power=False)
    assert gpu["gap_s"] == 0
    assert gpu["energy_j"] == pytest.approx(drawn_j(0, HOLE_S + 100 + 440), abs=1)
