"""Rows that are too many for memory come in the order of time, and none is lost."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.foreign.spilling import in_order

COLUMNS = ("power_mw", "counter_mj", "instant_mw", "util_ppm", "pid", "energy_uj")


def rows_of(rng, size, latest):
    some = {name: rng.integers(-1, 1000, size) for name in COLUMNS if rng.random() < 0.5}
    return Rows.of(rng.integers(0, 5, size), rng.integers(0, latest, size), **some)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(2, 200), st.sampled_from([2, 50, 10**9]),
    st.integers(0, 2**32),
)  # fmt: skip
def test_they_are_sorted_and_complete(sizes, held, latest, seed):
    rng = np.random.default_rng(seed)
    blocks = [rows_of(rng, size, latest) for size in sizes]
    whole = Rows.join(blocks)
    found = list(in_order(iter(blocks), held))
    if len(whole) <= held:
        assert found == blocks
        return
    joined, want = Rows.join(found), whole.take(np.argsort(whole.time_us, kind="stable"))
    for name in Rows.__slots__:
        assert joined.filled(name).tolist() == want.filled(name).tolist(), name
        assert getattr(joined, name).dtype == getattr(want, name).dtype


def test_series_one_after_the_other_come_in_slices():
    times = np.arange(5000, dtype=np.int64)
    series = [Rows.of(np.full(5000, gpu), times, power_mw=times + gpu) for gpu in range(8)]
    found = list(in_order(series, 4000))
    assert sum(map(len, found)) == 40_000
    assert max(map(len, found)) <= 4000
    assert all(len(np.unique(block.gpu)) == 8 for block in found)
