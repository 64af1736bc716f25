"""What step 7 concludes from its table, and that its recordings are what the kernels take."""

import numpy as np
import pytest

from tests.gpu.kit.recorded import recording, same, usage
from tests.gpu.kit.s07_kernels import GAP_US, ways, wins, wrong_choices


def row(n, cpu, host, auto="cpu", kernel="one"):
    return {"kernel": kernel, "n": n, "cpu ms": cpu, "host ms": host, "auto": auto}


def test_a_card_wins_from_the_size_beyond_which_it_always_did():
    table = [row(1, 5, 1), row(10, 5, 6), row(100, 5, 4), row(1000, 9, 2), row(1, 1, 2, kernel="two")]
    assert wins(table, "host") == {"one": 100, "two": None}
    assert wins(table, "resident") == {}


def test_auto_was_wrong_where_the_other_was_a_fifth_quicker():
    table = [row(1, 10, 9), row(2, 10, 5), row(3, 10, 5, "cuda"), row(4, 1, 2, "cuda"), row(5, 0.04, 0.02)]
    assert wrong_choices(table) == ["one 2: cpu", "one 4: cuda"]


@pytest.mark.parametrize("dirty", [False, True])
def test_recordings_are_taken_by_every_kernel(dirty):
    time_us, power_mw, offsets = recording(3_000, 3, dirty=dirty)
    assert (power_mw <= 0).any() == dirty
    assert (len(time_us), time_us.dtype, power_mw.dtype) == (3_000, np.int64, np.int32)
    for way in ways(time_us, offsets).values():
        answer = way(time_us, power_mw, "cpu")
        assert same(answer, way(time_us, power_mw, "cpu"))
        assert not same(answer, way(time_us, np.where(power_mw > 0, power_mw + 1, power_mw), "cpu"))
    assert GAP_US < 60_000_000  # the holes of a recording are holes
    assert (usage(time_us, offsets, 4)[3] > usage(time_us, offsets, 4)[2]).all()
