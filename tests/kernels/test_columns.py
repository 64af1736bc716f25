"""Rows are dealt to their owners like a stable sort would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.kernels.columns import dealt


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)), st.integers(6, 9))
def test_dealt_is_a_stable_sort(owners, count):
    owner = np.array(owners, np.int32)
    order, offsets = dealt(owner, count)
    assert order.tolist() == np.argsort(owner, kind="stable").tolist()
    assert offsets.tolist() == np.searchsorted(np.sort(owner), np.arange(count + 1)).tolist()
