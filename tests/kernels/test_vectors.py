"""What plain Python does in numpy's vectors gives the integers of the compiled loop, words that wrap included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wattshed.kernels import columns, jit
from wattshed.kernels.billing import histogram, power_only

I64 = np.iinfo(np.int64)
PAIRS = {
    power_only._sum_block: power_only._sum_block_by_rows,
    power_only._static_block: power_only._static_block_by_rows,
    power_only.pour_block: power_only._pour_block_by_rows,
    histogram._weights: histogram._weights_by_rows,
    histogram._pour_touching: histogram._pour_touching_by_rows,
    columns._count: columns._count_by_rows,
}
BINS = 50


def same(vectors, loop, *given, written=()):
    """Run both on copies; what they return, and what they write into, is equal."""
    mine, theirs = ([one.copy() if isinstance(one, np.ndarray) else one for one in given] for _ in range(2))
    with np.errstate(over="ignore"):  # a compiled word wraps and says nothing
        here, there = vectors(*mine), loop(*theirs)
    as_ints = [
        [int(one) for one in (x if isinstance(x, tuple) else (x,) if x is not None else ())] for x in (here, there)
    ]
    assert as_ints[0] == as_ints[1]
    for place in written:
        assert mine[place].tolist() == theirs[place].tolist(), place


STEPS = st.integers(-(2**33), 2**40)


def rows(least, powers, steps=STEPS):
    """Times, ascending or not, in either of their types, and powers."""
    many = st.lists(st.tuples(steps, powers), min_size=least, max_size=40)

    def laid(listed, start, dtype):
        times = (start + np.cumsum([step for step, _ in listed], dtype=np.int64)).astype(dtype)
        return times, np.array([power for _, power in listed], np.int32)

    return st.builds(laid, many, st.integers(0, 2**45), st.sampled_from([np.int64, np.uint32]))


READINGS = st.one_of(st.integers(0, 700_000), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, 2**31 - 1]))


def test_every_helper_with_a_loop_of_its_own_is_compared_here():
    assert {helper for helper, loop in jit._helpers if helper is not loop} == set(PAIRS)


@given(rows(1, READINGS))
def test_a_block_is_summed(given_rows):
    same(power_only._sum_block, power_only._sum_block_by_rows, *given_rows)


@given(rows(2, READINGS), st.integers(0, 2**32 - 1))
def test_what_lies_below_idle_power_is_summed(given_rows, twice_idle):
    same(power_only._static_block, power_only._static_block_by_rows, *given_rows, np.uint32(twice_idle))


@given(
    rows(2, st.integers(0, BINS - 1), st.integers(0, 2**31 - 1)),
    arrays(np.uint32, (2, BINS), elements=st.sampled_from([0, 1, 2**31, 2**32 - 1])),
)  # fmt: skip
def test_the_weights_of_a_block_are_poured(given_rows, bins):
    times, powers = given_rows
    times = np.sort(times.astype(np.int64))
    times -= times[0]
    spans = np.minimum(np.diff(times), 2**31 - 1)  # a block with a longer interval is walked
    times = np.concatenate(([0], np.cumsum(spans)))
    none = np.empty(0, np.int64), np.empty(0, np.int32)
    same(power_only.pour_block, power_only._pour_block_by_rows, times, powers, bins, *none, written=(2,))


@settings(max_examples=300)
@given(
    rows(0, st.one_of(st.integers(-5, 10), READINGS)), st.integers(1, 2**31 - 1), st.integers(0, 2**62),
    st.tuples(st.integers(0, 2**45), st.integers(0, 2**45), st.integers(0, 100), st.integers(0, 2**33)),
    st.booleans(),
)  # fmt: skip
def test_readings_are_weighed(given_rows, ceiling, max_gap, before, begins):
    times, powers = given_rows[0].astype(np.int64), given_rows[1]
    last = histogram._BEGINNING.copy() if begins else np.array([*before, I64.max, -1], np.int64)
    room = [np.zeros(len(times) + 1, np.int64) for _ in range(2)]
    what = (times, powers, np.int64(ceiling), np.int64(max_gap), last, *room)
    same(histogram._weights, histogram._weights_by_rows, *what, written=(4, 5, 6))


@given(
    st.lists(st.tuples(st.integers(0, BINS - 1), st.integers(0, 2**45)), max_size=40),
    arrays(np.uint32, (2, BINS), elements=st.sampled_from([0, 1, 2**31, 2**32 - 1])),
)
def test_weights_of_any_size_are_poured(poured, bins):
    level, weight = (np.array([one[i] for one in poured], np.int64) for i in range(2))
    same(
        histogram._pour_touching, histogram._pour_touching_by_rows,
        level, weight, histogram._BEGINNING.copy(), bins, written=(2, 3),
    )  # fmt: skip


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=40))))
def test_rows_are_dealt_to_their_owners(dealt):
    count, owner = dealt
    what = (
        np.array(owner, np.int32),
        np.zeros(count + 1, np.int64),
        np.zeros(count, np.int64),
        np.zeros(len(owner), np.int64),
    )
    same(columns._count, columns._count_by_rows, *what, written=(1, 2, 3))


@pytest.mark.parametrize("helper", PAIRS, ids=lambda helper: helper.__name__)
def test_both_take_the_same_arguments(helper):
    names = [one.__code__.co_varnames[: one.__code__.co_argcount] for one in (helper, PAIRS[helper])]
    assert names[0] == names[1]
