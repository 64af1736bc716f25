"""Quantiles against sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import naive
from tests.kernels.recordings import columns, node, recordings
from wattshed.kernels import quantiles as module
from wattshed.kernels.quantiles import quantiles

GAP = 5_000_000
WANTED = st.lists(st.one_of(st.integers(0, 1_000_000), st.sampled_from([0, 500_000, 1_000_000])), max_size=5)


@settings(max_examples=100, deadline=None)
@given(recordings(highest=3_000_000), st.integers(0, 10_000_000), WANTED, st.booleans())
def test_equal_sorting_in_any_chunks(recording, gap, ppm, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(module, "CHUNK", 3)
            patch.setattr(module, "_BATCH", 2)
        expected = naive.quantiles(*recording, gap, ppm)
        assert quantiles(*recording, gap, ppm).tolist() == expected


def test_a_long_recording():
    recording = node(5, 100_000)
    wanted = (500_000, 950_000, 990_000)
    assert quantiles(*recording, GAP).tolist() == naive.quantiles(*recording, GAP, wanted)


def test_readings_that_no_board_gives_are_still_exact():
    recording = columns([[(0, 2**31 - 1), (10, 2**31 - 1), (20, 1), (30, 2**31 - 2)]])
    assert quantiles(*recording, GAP, (100_000, 500_000, 1_000_000)).tolist() == [[1, 2**31 - 2, 2**31 - 1]]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        quantiles(*columns([[(5, 7), (4, 7), (6, 7)]]), GAP)
    with pytest.raises(ValueError, match="millionths"):
        quantiles(*columns([]), GAP, (1_000_001,))
    assert quantiles(np.empty(0, np.int64), np.empty(0, np.int32), np.zeros(2, np.int64), GAP).tolist() == [[-1] * 3]
