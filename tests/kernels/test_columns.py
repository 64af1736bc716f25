"""Rows are dealt to their owners like a stable sort would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.kernels.columns import Columns, dealt


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)), st.integers(6, 9))
def test_dealt_is_a_stable_sort(owners, count):
    owner = np.array(owners, np.int32)
    order, offsets = dealt(owner, count)
    assert order.tolist() == np.argsort(owner, kind="stable").tolist()
    assert offsets.tolist() == np.searchsorted(np.sort(owner), np.arange(count + 1)).tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6), st.integers(0, 1))
def test_all_rows_of_a_gpu_are_those_of_its_windows(counts, gpu):
    offsets = np.array([[0, a, a + b] for a, b in counts], np.int64)
    at = np.cumsum([5, *offsets[:-1, -1]])
    rows = np.arange(5 + int(offsets[:, -1].sum()), dtype=np.int32)
    columns = Columns(offsets, (rows * 3).astype(np.uint32), at, np.arange(len(at)) * 1_000, rows * 7, at)
    each = [columns.rows(w, int(offsets[w, gpu]), int(offsets[w, gpu + 1])) for w in range(len(offsets))]
    for found, parts in zip(columns.rows_of(gpu), zip(*each, strict=True), strict=True):
        assert found.dtype == parts[0].dtype
        assert found.tolist() == np.concatenate(parts).tolist()
