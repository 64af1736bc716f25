"""The fleet bootstrap: two ways, one answer, and an answer that statistics knows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.kernels import ensemble
from wattshed.kernels.ensemble import block_totals, bootstrap, bootstrap_direct, draw_counts
from wattshed.kernels.jit import use_threads

MASK = 2**64 - 1


def splitmix(state, n):
    """The published generator, in Python integers."""
    out = []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        out.append(mixed(state))
    return out


def mixed(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_random_numbers_are_the_published_generator():
    # First outputs for seed 1234567, as in the reference implementation's test vectors.
    assert splitmix(1234567, 2) == [6457827717110365317, 3203168211198807973]
    key = mixed((mixed(42) + 3 * 0x9E3779B97F4A7C15) & MASK)
    expected = np.bincount([bits * 10 >> 64 for bits in splitmix(key, 10)], minlength=10)
    assert draw_counts(42, 1, 10, first=3)[0].tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.integers(1, 9),
    st.integers(0, 2**63 - 1),
    st.sampled_from([700_000, 2**30, 2**31 - 1]),
    st.randoms(use_true_random=False),
)
def test_both_ways_equal_python_integers(sizes, columns, seed, highest, random):
    bounds = np.cumsum([0, *sizes]).astype(np.int64)
    power = np.array([[random.randint(0, highest) for _ in range(columns)] for _ in range(bounds[-1])], np.int32)
    power = power.reshape(bounds[-1], columns)
    counts = draw_counts(seed, 5, len(sizes))
    expected = [
        [
            sum(int(c) * int(power[bounds[j] : bounds[j + 1], t].sum(dtype=object) or 0) for j, c in enumerate(row))
            for t in range(columns)
        ]
        for row in counts
    ]
    with pytest.MonkeyPatch.context() as patch, use_threads(1):
        patch.setattr(ensemble, "TILE", 4)
        patch.setattr(ensemble, "BATCH", 2)
        assert bootstrap_direct(power, bounds, 5, seed).tolist() == expected
    assert bootstrap_direct(power, bounds, 5, seed).tolist() == expected
    assert bootstrap(block_totals(power, bounds), 5, seed).tolist() == expected


def test_sums_beyond_a_float_stay_exact():
    totals = np.array([[2**52 + 1], [2**52 + 3]], np.int64)
    counts = draw_counts(9, 8, 2)
    expected = [[int(a) * (2**52 + 1) + int(b) * (2**52 + 3)] for a, b in counts]
    assert bootstrap(totals, 8, 9).tolist() == expected


def test_spread_is_that_of_the_mean():
    rng = np.random.default_rng(4)
    totals = rng.integers(0, 1_000_000, (200, 1))
    spread = bootstrap(totals, 4_000, 7).std()
    assert spread == pytest.approx(totals.std() * np.sqrt(200), rel=0.05)
    assert (draw_counts(7, 50, 200).sum(axis=1) == 200).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cannot draw"):
        draw_counts(0, 1, 0)
    with pytest.raises(ValueError, match="two-dimensional int32"):
        bootstrap_direct(np.zeros((2, 2)), np.array([0, 2]), 1, 0)
    with pytest.raises(ValueError, match="without negative"):
        block_totals(np.full((2, 2), -1, np.int32), np.array([0, 2]))
    with pytest.raises(ValueError, match="rise from 0"):
        block_totals(np.zeros((2, 2), np.int32), np.array([0, 1]))
    with pytest.raises(ValueError, match="never fall"):
        block_totals(np.zeros((2, 2), np.int32), np.array([0, 2, 1, 2]))
