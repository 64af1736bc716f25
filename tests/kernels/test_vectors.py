"""What plain Python does in numpy's vectors gives the integers of the compiled loop, words that wrap included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.depth import examples
from wattshed.kernels import columns, dealing, jit, lines
from wattshed.kernels.billing import histogram, power_only
from wattshed.kernels.words import PAD

I64 = np.iinfo(np.int64)
PAIRS = {
    power_only._sum_block: power_only._sum_block_by_rows,
    power_only._static_block: power_only._static_block_by_rows,
    power_only.pour_block: power_only._pour_block_by_rows,
    histogram._weights: histogram._weights_by_rows,
    histogram._pour_touching: histogram._pour_touching_by_rows,
    histogram._look_through: histogram._look_through_by_bins,
    columns._count: columns._count_by_rows,
    dealing._scale: dealing._scale_by_rows,
    dealing._lay_out: dealing._lay_out_by_rows,
    lines._count: lines._count_by_bytes,
    lines._search: lines._search_by_words,
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


@settings(max_examples=examples(300))
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


@given(
    arrays(np.uint32, (2, BINS), elements=st.sampled_from([0, 0, 1, 2**31, 2**32 - 1])),
    st.integers(0, BINS - 1), st.integers(-1, BINS - 1),
)  # fmt: skip
def test_bins_that_hold_something_are_found(bins, lowest, highest):
    room = [np.full(BINS, -1, np.int64) for _ in range(2)]
    same(histogram._look_through, histogram._look_through_by_bins, bins, lowest, highest, *room, written=(3, 4))


@given(
    arrays(np.float64, st.integers(0, 20), elements=st.one_of(st.floats(), st.floats(-1, 1e6))),
    st.sampled_from([1.0, 1000.0, 3_600_000.0]), st.sampled_from([1.0, 1000.0]),
)  # fmt: skip
def test_numbers_are_made_whole(values, factor, over):
    room = np.full(len(values), -7, np.int64)
    same(dealing._scale, dealing._scale_by_rows, values, factor, over, room, written=(3,))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 9)), max_size=40), st.booleans(),
    st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True),
)  # fmt: skip
def test_rows_are_laid_out_window_by_window(listed, as_they_are, ends):
    if not as_they_are:  # each GPU's times rise, so that there is something to lay out
        listed = sorted({(gpu, time): (gpu, time, power) for gpu, time, power in listed}.values(), key=lambda r: r[1])
    gpu, time, power = (np.array([one[i] for one in listed], dtype) for i, dtype in enumerate(("i4", "i8", "i4")))
    place, edges = np.array([1, 0, 2, 1 if as_they_are else 3], np.int32), np.array([0, *sorted(ends)])
    windows, gpus = len(ends), int(place.max()) + 1
    room = (
        np.zeros((windows, gpus + 1), np.int64), np.full(gpus, I64.min), np.zeros((windows, gpus), np.int64),
        np.zeros(len(gpu), np.int64), np.zeros(len(gpu), np.int32),
    )  # fmt: skip
    what = gpu, time, power, place, edges, *room
    laid = dealing._lay_out(*(one.copy() for one in what)) >= 0  # where not, nobody looks at the room
    assert laid or as_they_are
    same(dealing._lay_out, dealing._lay_out_by_rows, *what, written=(5, 6, 7, 8, 9) if laid else ())


TEXT = st.lists(st.sampled_from(b"ab\n"), max_size=200).map(lambda text: np.array(text, np.uint8))


@given(TEXT, st.sampled_from(b"ab\n"))
def test_newlines_are_counted(text, behind):
    same(lines._count, lines._count_by_bytes, np.append(text, np.full(PAD, behind, np.uint8)), len(text))


@given(TEXT, st.sampled_from(b"ab\n"), st.text("ab", min_size=1, max_size=8).map(str.encode), st.integers(0, 99))
def test_a_word_is_found(text, behind, mark, most):
    data, known = np.append(text, np.full(PAD, behind, np.uint8)), np.uint64(2 ** (8 * len(mark)) - 1)
    word, found = np.uint64(int.from_bytes(mark, "little")), np.zeros(most, np.int64)
    same(lines._search, lines._search_by_words, data, len(text), word, known, found, written=(4,))


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
