"""Windows against Python integers, and against the whole that they are parts of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels import naive
from tests.kernels.recordings import columns, node, recordings
from wattshed.kernels import windows as module
from wattshed.kernels.columns import first_at
from wattshed.kernels.energy import integrate
from wattshed.kernels.windows import windows

GAP = 5_000_000
LENGTHS = st.one_of(st.integers(100_000, 5_000_000), st.just(60_000_000))


def as_tables(answer):
    rows = list(zip(*(column.tolist() for column in answer[1:]), strict=True))
    return [rows[a:b] for a, b in zip(answer.offsets[:-1], answer.offsets[1:], strict=True)]


@settings(max_examples=examples(100), deadline=None)
@given(recordings(highest=2_000_000, longest=20_000_000), LENGTHS, st.integers(0, 10_000_000), st.booleans())
def test_equal_python_integers_in_any_chunks(recording, length, gap, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(module, "CHUNK", 3)
        assert as_tables(windows(*recording, length, gap)) == naive.windows(*recording, length, gap)


def test_energies_sum_to_the_integral():
    recording = node(3, 300_000)
    table = windows(*recording, 60_000_000, GAP)
    energy, covered = integrate(*recording, GAP)
    for gpu, (a, b) in enumerate(zip(table.offsets[:-1], table.offsets[1:], strict=True)):
        assert round(int(table.energy_hnj[a:b].sum()) / 2000) == energy[gpu]
        assert table.covered_us[a:b].sum() == covered[gpu]
    assert table.counts.sum() == np.count_nonzero(recording[1] > 0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        windows(*columns([[(5, 7), (4, 7), (6, 7)]]), 10, GAP)
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        windows(*columns([[(5_000_000, 7), (0, 7)]]), 10, GAP)
    with pytest.raises(ValueError, match="window_us must be positive"):
        windows(*columns([[(5, 7)]]), 0, GAP)
    with pytest.raises(ValueError, match="take shorter windows"):
        windows(*columns([[(5, 2_000_000)]]), 2**62, GAP)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.integers(0, 30), max_size=40), st.integers(-1, 31), st.integers(-5, 50), st.integers(0, 40))
def test_galloping_finds_what_a_search_finds(times, edge, guess, lo):
    ordered = np.sort(np.array(times, np.int64))
    lo = min(lo, len(ordered))
    expected = max(lo, int(np.searchsorted(ordered, edge)))
    assert first_at(ordered, lo, len(ordered), edge, guess) == expected
