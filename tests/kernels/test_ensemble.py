"""The fleet bootstrap: two ways, one answer, and an answer that statistics knows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels import ensemble
from wattshed.kernels.ensemble import bootstrap, draw_counts
from wattshed.kernels.threads import use_threads

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


@settings(max_examples=examples(60), deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**63 - 1))
def test_equals_python_integers(data, blocks, columns, seed):
    highest = data.draw(st.sampled_from([700_000, 2**40, 2**55]))
    cells = data.draw(st.lists(st.integers(-highest, highest), min_size=blocks * columns, max_size=blocks * columns))
    totals = np.array(cells, np.int64).reshape(blocks, columns)
    counts = draw_counts(seed, 5, blocks)
    expected = [
        [sum(int(c) * int(t) for c, t in zip(row, column, strict=True)) for column in totals.T] for row in counts
    ]
    with pytest.MonkeyPatch.context() as patch, use_threads(1):
        patch.setattr(ensemble, "BATCH", 2)
        assert bootstrap(totals, 5, seed).tolist() == expected
    assert bootstrap(totals, 5, seed).tolist() == expected


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
