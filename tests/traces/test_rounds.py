"""Logs without a column for the GPU: the joules are those of the GPUs that were logged, or the log is refused.

The oracle makes the log from GPUs that it knows: who is asked when, what is missing, how the file is cut.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.lanes import in_lanes
from wattshed.agent.traces.foreign.rounds import judge
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

MS = 1000
START = 1_700_000_000_000_000
LATER = START + 45 * MS  # no stamp of whole seconds


@st.composite
def rounds(draw):
    """Times and powers of n GPUs over many rounds: int64[rounds, n], and which rows are missing."""
    n = draw(st.integers(2, 16))
    count = draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    period_ms = draw(st.sampled_from([200, 500, 1000, 5000, 60_000]))
    pause_ms = draw(st.sampled_from([0, 1, 3])) if n * 3 * 5 < period_ms else 0
    starts = np.cumsum(rng.integers(period_ms * 9 // 10, period_ms * 11 // 10 + 1, count))
    if draw(st.booleans()):  # the logger stood still now and then
        starts += np.cumsum((rng.random(count) < 0.1) * period_ms * 7)
    within = np.cumsum(rng.integers(0, pause_ms + 1, (count, n)), axis=1)
    time_us = START + (starts[:, None] + within) * MS
    power_mw = 1000 * rng.integers(60, 400, n) + rng.integers(0, 5000, (count, n))
    missing = rng.random((count, n)) < draw(st.sampled_from([0, 0, 0.005, 0.02]))
    missing[[0, -1]] = False
    return time_us, power_mw, missing


def by_hand(time_us, power_mw, missing):
    """Millijoules times 2000 of each GPU: trapezoids over the rounds in which no GPU is missing."""
    full = ~missing.any(axis=1)
    t, p = time_us[full], power_mw[full]
    return [
        sum((p[k, g] + p[k + 1, g]) * (t[k + 1, g] - t[k, g]) for k in range(len(t) - 1)) for g in range(t.shape[1])
    ]


def through_lanes(time_us, power_mw, blocks=(), held_rows=2_000_000, tick_us=1000, alone=False):
    """Rows in blocks that begin at `blocks`: the same sums, by the number that each row gets, and the report."""
    report, gpus = SourceReport("x"), Gpus("", 10**9, -1)
    lane = gpus.lane(report, tick_us=tick_us, alone=alone)
    rows = Rows.of(np.full(time_us.size, lane), time_us, power_mw=power_mw)
    edges = [0, *sorted(blocks), time_us.size]
    parts = (rows.take(slice(a, b)) for a, b in itertools.pairwise(edges))
    out = Rows.join([rows.take(slice(0, 0)), *in_lanes(parts, gpus, held_rows)])
    sums = []
    for number in range(len(gpus)):
        mine = out.take(out.gpu == number)
        p, t = mine.power_mw.astype(np.int64), mine.time_us
        sums.append(int(((p[1:] + p[:-1]) * np.diff(t)).sum()))
    return sums, report


@settings(max_examples=examples(120), deadline=None)
@given(rounds(), st.data())
def test_each_gpu_gets_its_own_rows_however_they_come(log, data):
    time_us, power_mw, missing = log
    assume(missing.mean() < 0.05)  # short logs
    there = ~missing.ravel()
    flat_t, flat_p = time_us.ravel()[there], power_mw.ravel()[there]
    cuts = data.draw(st.lists(st.integers(0, flat_t.size), max_size=6))
    # Judged by half of the rows at least: the rest is read as it comes.
    held = data.draw(st.sampled_from([2_000_000, flat_t.size // 2]))
    short = missing.any(axis=1)
    in_a_row = max((len(list(run)) for is_short, run in itertools.groupby(short) if is_short), default=0)
    assume(in_a_row < 3)  # they may be rounds of fewer GPUs: such a log may be refused
    sums, report = through_lanes(flat_t, flat_p, cuts, held)
    assert sums == by_hand(time_us, power_mw, missing)
    assert report.rejected["incomplete_round"] == int((~missing[short]).sum())
    assert any("rounds of" in note for note in report.notes)


@settings(max_examples=examples(80), deadline=None)
@given(
    st.integers(20, 400),
    st.sampled_from([5, 10, 100, 1000, 30_000]),
    st.sampled_from([0, 0.1, 0.4]),
    st.sampled_from(["even", "exponential"]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_one_gpu_is_one_however_unsteady_its_logger(count, period_ms, jitter, kind, paused, seed):
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-jitter, jitter, count) if kind == "even" else jitter * (rng.exponential(1, count) - 1) / 2
    steps = np.maximum((period_ms * (1 + noise)).astype(np.int64), 1) * MS
    if paused:
        places = np.sort(rng.choice(count, 3, replace=False))
        assume(places[1] - places[0] != places[2] - places[1])  # else it looks like rounds, and nobody could tell
        steps[places] *= 50
    time_us = START + np.cumsum(steps)
    power_mw = 100_000 + np.cumsum(rng.integers(-3000, 3001, count)).clip(-50_000)
    found = judge(time_us, power_mw, 1000)
    assert (found.gpus, found.unclear) == (1, "")


def test_a_round_that_is_not_full_shifts_nobody():
    """Whichever row is missing, the GPUs keep their level: 100, 200, ... W."""
    time_us = START + np.repeat(np.arange(20), 5) * 1_000_000 + np.tile(np.arange(5) * 2 * MS, 20)
    power_mw = np.tile(np.arange(1, 6) * 100_000, 20)
    for gone in range(20, 60):
        keep = np.arange(100) != gone
        sums, report = through_lanes(time_us[keep], power_mw[keep])
        assert sums == [2 * level * 100_000 * 19_000_000 for level in range(1, 6)]
        assert report.rejected == {"incomplete_round": 4}


def test_a_log_that_ends_within_a_round_has_its_first_gpus_there():
    time_us = START + np.repeat(np.arange(6), 3) * 1_000_000
    power_mw = np.tile([100_000, 200_000, 300_000], 6)
    sums, report = through_lanes(time_us[:-1], power_mw[:-1])
    assert sums == [2 * 100_000 * 5_000_000, 2 * 200_000 * 5_000_000, 2 * 300_000 * 4_000_000]
    assert not report.rejected


def test_two_rows_a_second_of_a_clock_of_seconds_are_told_by_their_powers_alone():
    """Stamps in whole seconds, whatever is printed: two GPUs, or one that was read twice a second."""
    time_us = START + np.repeat(np.arange(50), 2) * 1_000_000
    apart = np.tile([100_000, 300_000], 50) + np.arange(100)
    alike = 100_000 + np.arange(100) * 50
    for tick_us in (1000, 1_000_000):
        assert len(through_lanes(time_us, apart, tick_us=tick_us)[0]) == 2
        with pytest.raises(InputError, match="2 GPUs, or a clock"):
            through_lanes(time_us, alike, tick_us=tick_us)
    # No clock of one GPU stands still for half a second that shows milliseconds.
    assert len(through_lanes(time_us - START + LATER, alike)[0]) == 2
    sums, report = through_lanes(time_us, alike, alone=True)
    assert len(sums) == 1
    assert report.notes == ["no column says which GPU a row is of"]


def test_powers_in_turn_without_bursts_are_refused():
    time_us = START + np.arange(200) * 10 * MS + np.arange(200) % 3 * MS
    power_mw = np.tile([100_000, 300_000], 100) + np.arange(200) * 7 % 50 * 10
    with pytest.raises(InputError, match="powers come again every 2 rows"):
        through_lanes(time_us, power_mw)


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 2), (1, 3), (8, 3)])
def test_runs_of_other_gpus_in_one_log_are_refused(first, then):
    rng = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.8):
        sizes = np.repeat([first, then], [int(100 * share), 100 - int(100 * share)])
        time_us = LATER + np.repeat(np.arange(100), sizes) * 1_000_000
        time_us += np.cumsum(rng.integers(5, 15, time_us.size)) * MS % (15 * MS * 8) // 8
        with pytest.raises(InputError, match="no column says which GPU a row is of, and"):
            through_lanes(np.sort(time_us), np.full(time_us.size, 100_000))


def test_stamps_that_skip_a_second_with_full_rounds_are_of_several_gpus():
    seconds = np.cumsum(np.tile([1, 2, 1], 20))
    time_us = START + np.repeat(seconds, 4) * 1_000_000
    assert judge(time_us, np.full(time_us.size, 73_000), 1_000_000).gpus == 4


def test_bursts_of_no_fixed_length_are_refused():
    rng = np.random.default_rng(5)
    sizes = rng.integers(2, 7, 80)
    time_us = START + np.repeat(np.arange(80), sizes) * 1_000_000
    time_us += np.concatenate([np.arange(size) for size in sizes]) * 2 * MS
    with pytest.raises(InputError, match="bursts of different lengths; say --columns gpu=COLUMN"):
        through_lanes(time_us, np.full(time_us.size, 100_000))


def test_a_log_whose_rounds_become_others_is_refused():
    sizes = np.repeat([8, 7], [60, 40])
    time_us = LATER + np.repeat(np.arange(100), sizes) * 1_000_000
    with pytest.raises(InputError, match="rounds of 8 rows become rounds of 7"):
        through_lanes(time_us, np.full(time_us.size, 100_000))


@pytest.mark.parametrize("gpus", [1, 3])
def test_a_log_that_was_appended_to_itself_counts_once(gpus):
    time_us = START + np.repeat(np.arange(40), gpus) * 1_000_000 + np.tile(np.arange(gpus) * 3 * MS, 40)
    power_mw = 100_000 + np.tile(np.arange(gpus) * 50_000, 40) + np.arange(40 * gpus)
    once, _ = through_lanes(time_us, power_mw)
    twice, report = through_lanes(np.tile(time_us, 2), np.tile(power_mw, 2))
    assert twice == once
    assert report.rejected == {"repeated": 40 * gpus}
    with pytest.raises(InputError, match="time starts again with other powers"):
        through_lanes(np.tile(time_us, 2), np.concatenate([power_mw, power_mw + 7]))


def test_full_rounds_that_lie_shuffled_keep_the_sum():
    rng = np.random.default_rng(1)
    time_us = LATER + np.repeat(np.arange(60), 4) * 1_000_000
    power_mw = np.tile([100_000, 150_000, 200_000, 250_000], 60)
    order = rng.permutation(time_us.size)
    sums, report = through_lanes(time_us[order], power_mw[order])
    assert sum(sums) == 2 * 700_000 * 59_000_000
    assert any("not certain" in note for note in report.notes)


ROW = "2026/05/09 00:{:02d}:{:02d}.{:03d}, {:.2f} W, {} %\n"
HEAD = "timestamp, power.draw [W], utilization.gpu [%]\n"


def written(n, count):
    lines = [
        ROW.format(k // 60, k % 60, 40 + 3 * g, 100 + 40 * g + (k * 7 + g) % 5, 50)
        for k in range(count)
        for g in range(n)
    ]
    wanted = sum((200 + 80 * g + (k * 7 + g) % 5 + (k * 7 + 7 + g) % 5) / 2 for k in range(count - 1) for g in range(n))
    return lines, wanted


def joules(wattshed, *paths):
    code, out, err = wattshed("replay", *paths, "--format", "json")
    assert code == 0, err
    return json.loads(out)


def test_blocks_gzip_and_bounds_of_files_change_nothing(wattshed, tmp_path):
    lines, wanted = written(8, 900)
    (tmp_path / "whole.csv").write_text(HEAD + "".join(lines))
    (tmp_path / "whole.csv.gz").write_bytes(gzip.compress((HEAD + "".join(lines)).encode()))
    whole = joules(wattshed, tmp_path / "whole.csv")
    assert whole["total_j"] == pytest.approx(wanted)
    assert [gpu["gpu"] for gpu in whole["gpus"]] == list(range(8))
    assert joules(wattshed, tmp_path / "whole.csv.gz")["gpus"] == whole["gpus"]
    for cut in (3, 8, 2001, 7193):  # within a round, too
        (tmp_path / "a.csv").write_text(HEAD + "".join(lines[:cut]))
        (tmp_path / "b.csv").write_text(HEAD + "".join(lines[cut:]))
        assert joules(wattshed, tmp_path / "a.csv", tmp_path / "b.csv")["gpus"] == whole["gpus"]


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 2**20))
def test_how_a_file_is_blocked_changes_nothing(tmp_path, block):
    lines, _ = written(3, 40)
    path = tmp_path / "x.csv"
    path.write_text(HEAD + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wattshed.agent.inputs.delimited.BLOCK_BYTES", block)
        (chain,) = find([str(path)], Options())
        found = [(device.index, rows.gpu.tolist(), rows.time_us.tolist()) for devices, rows in chain.samples(Options())
                 for device in devices]  # fmt: skip
    assert {index for index, *_ in found} == {0, 1, 2}
    assert [gpu for _, numbers, _ in found[::3] for gpu in numbers] == [0, 1, 2] * 40


def test_a_gpu_without_a_reading_keeps_its_place(wattshed, tmp_path):
    lines, wanted = written(4, 60)
    lines[4 * 20 + 1] = re.sub(r"[\d.]+ W", "[N/A]", lines[4 * 20 + 1])
    path = tmp_path / "x.csv"
    path.write_text(HEAD + "".join(lines))
    answer = joules(wattshed, path)
    assert answer["total_j"] == pytest.approx(wanted, rel=1e-3)
    assert answer["sources"][0]["rejected"] == {"not_available": 1}
    assert [gpu["samples"] for gpu in answer["gpus"]] == [60, 59, 60, 60]


def test_the_user_says_that_it_is_one_gpu(wattshed, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("time,power_w\n" + "".join(f"{1_700_000_000 + k // 2},{100 + k}\n" for k in range(40)))
    code, out, err = wattshed("replay", path)
    assert (code, out) == (2, "")
    assert "--columns gpu=- if it is one GPU" in err
    code, out, err = wattshed("replay", path, "--columns", "gpu=-", "--format", "json")
    assert code == 0, err
    assert len(json.loads(out)["gpus"]) == 1


def test_a_log_of_three_rows_behind_itself_is_one_gpu():
    time_us = START + np.tile(np.arange(3), 2) * 5_000_000
    sums, report = through_lanes(time_us, np.tile([72_600, 72_970, 72_930], 2))
    assert len(sums) == 1
    assert report.rejected == {"repeated": 3}
