"""Quantiles against sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples, few
from tests.kernels import naive
from tests.kernels.battery import one_by_one
from tests.kernels.recordings import columns, node, recordings
from wattshed.kernels import quantiles as module
from wattshed.kernels.arrays.bands import BLOCK, EVERY
from wattshed.kernels.quantiles import quantiles
from wattshed.kernels.threads import use_threads

GAP = 5_000_000
USUAL = (500_000, 950_000, 990_000)
WANTED = st.lists(st.one_of(st.integers(0, 1_000_000), st.sampled_from([0, 500_000, 1_000_000])), max_size=5)


@settings(max_examples=examples(150), deadline=None)
@given(recordings(highest=3_000_000), st.integers(0, 10_000_000), WANTED, st.booleans(), st.booleans())
def test_equal_sorting_in_any_chunks(recording, gap, ppm, small, guessed):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(module, "CHUNK", 3)
            patch.setattr(module, "_BATCH", 2)
            patch.setattr(module, "_CELLS", 1)
            patch.setattr(module, "each", one_by_one)
        if guessed:  # from a row or none: right by chance
            patch.setattr(module, "_GUESS_FROM", 1)
        expected = naive.quantiles(*recording, gap, ppm)
        assert quantiles(*recording, gap, ppm).tolist() == expected


def test_a_long_recording():
    recording = node(5, 100_000)
    assert quantiles(*recording, GAP).tolist() == naive.quantiles(*recording, GAP, USUAL)


def asked_twice(monkeypatch, recording, ppm=USUAL):
    """The answers of every GPU, and the rows of those that took two passes."""
    again = []
    by_bins = module._by_bins

    def watched(time_us, *rest):
        again.append(len(time_us))
        return by_bins(time_us, *rest)

    monkeypatch.setattr(module, "_by_bins", watched)
    monkeypatch.setattr(module, "_GUESS_FROM", 2_000)
    return quantiles(*recording, GAP, ppm).tolist(), again


@pytest.mark.parametrize("chunk", [1_777, 1 << 20])
@pytest.mark.parametrize("threads", few([1, 99]))
def test_a_guess_that_is_right_takes_one_pass(monkeypatch, chunk, threads):
    recording = node(6, 100_000, broken=0.0)
    recording[1][:] = 300_000 + recording[1] // 8
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "_MOST_CHUNKS", 1_000)
    with use_threads(threads):
        found, again = asked_twice(monkeypatch, recording)
    assert found == naive.quantiles(*recording, GAP, USUAL)
    assert again == []


def test_a_guess_that_is_wrong_takes_two_more_passes_of_that_gpu_alone(monkeypatch):
    time_us, power_mw, offsets = node(7, 20_000, gpus=3, broken=0.0)
    power_mw[:] = 300_000 + power_mw // 8
    own = power_mw[offsets[1] : offsets[2]]
    own[:] = np.random.default_rng(1).integers(300_000, 310_000, len(own))
    own[1::EVERY] = 60_000  # what is looked at is not like the rest
    found, again = asked_twice(monkeypatch, (time_us, power_mw, offsets))
    assert found == naive.quantiles(time_us, power_mw, offsets, GAP, USUAL)
    assert again == [offsets[2] - offsets[1]]


@pytest.mark.parametrize("power_mw", [1, 250_123, (4_096 << 9), (4_096 << 9) + 1, 2**31 - 1])
def test_one_power_all_the_time(monkeypatch, power_mw):
    rows = 3 * BLOCK + 1
    recording = (np.arange(rows) * 1_000_000, np.full(rows, power_mw, np.int32), np.array([0, rows]))
    found, again = asked_twice(monkeypatch, recording)
    assert found == [[power_mw] * 3]
    assert again == ([rows] if power_mw > 4_096 << 9 else [])  # above what is guessed


@pytest.mark.parametrize("rows", [2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 2 * BLOCK + 2])
def test_rows_end_with_a_block_or_beside_it(monkeypatch, rows):
    monkeypatch.setattr(module, "CHUNK", BLOCK)
    recording = node(rows, rows, gpus=1, broken=0.0, holes=0.1)
    assert asked_twice(monkeypatch, recording)[0] == naive.quantiles(*recording, GAP, USUAL)


@pytest.mark.parametrize("rows", [2 * BLOCK, 2 * BLOCK + 2, 4_000])
@pytest.mark.parametrize("chunk", [BLOCK, 1 << 20])
def test_a_microsecond_of_any_row_decides(monkeypatch, rows, chunk):
    """The first half of the time is low and the second high, to the microsecond: either may be a little longer."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    half = rows // 2
    power_mw = np.repeat(np.array([300_000, 300_100], np.int32), half)
    assert asked_twice(monkeypatch, (np.arange(rows) * 1_000_000, power_mw, np.array([0, rows])), (500_000,)) == (
        [[300_000]],
        [],
    )
    for longer in (0, 1, BLOCK - 1, BLOCK, half - 2, half, half + 1, 2 * BLOCK - 2, rows - 3, rows - 2):
        if longer < rows - 1:
            steps = np.full(rows, 1_000_000)
            steps[longer + 1] += 1
            found, again = asked_twice(monkeypatch, (np.cumsum(steps), power_mw, np.array([0, rows])), (500_000,))
            assert found == [[300_100 if longer >= half else 300_000]], longer
            assert again == []


@pytest.mark.parametrize("at", [0, 1, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3_999])
def test_a_broken_row_anywhere_is_left_out(monkeypatch, at):
    time_us, power_mw, offsets = node(9, 4_000, gpus=1, broken=0.0)
    power_mw[at] = 0
    found, _ = asked_twice(monkeypatch, (time_us, power_mw, offsets))
    assert found == naive.quantiles(time_us, power_mw, offsets, GAP, USUAL)


@pytest.mark.parametrize("at", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3_999])
def test_time_that_falls_anywhere_is_named(monkeypatch, at):
    time_us, power_mw, offsets = node(9, 4_000, gpus=1, broken=0.0)
    time_us[at] = time_us[at - 1] - 1
    with pytest.raises(ValueError, match=f"row {at} of GPU 0"):
        asked_twice(monkeypatch, (time_us, power_mw, offsets))


def test_readings_that_no_board_gives_are_still_exact():
    recording = columns([[(0, 2**31 - 1), (10, 2**31 - 1), (20, 1), (30, 2**31 - 2)]])
    assert quantiles(*recording, GAP, (100_000, 500_000, 1_000_000)).tolist() == [[1, 2**31 - 2, 2**31 - 1]]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        quantiles(*columns([[(5, 7), (4, 7), (6, 7)]]), GAP)
    with pytest.raises(ValueError, match="millionths"):
        quantiles(*columns([]), GAP, (1_000_001,))
    assert quantiles(np.empty(0, np.int64), np.empty(0, np.int32), np.zeros(2, np.int64), GAP).tolist() == [[-1] * 3]
