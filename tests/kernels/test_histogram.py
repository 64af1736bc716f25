"""A histogram filled by a stream gives the very quantiles of the whole recording."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.energy import integrate
from kernels.histogram import PowerHistogram
from kernels.quantiles import quantiles
from tests.kernels.recordings import columns, node, recordings

GAP = 5_000_000
PPM = (0, 250_000, 500_000, 950_000, 1_000_000)


def stretch(recording, a, b):
    """Rows a to b of each GPU."""
    time_us, power_mw, offsets = recording
    blocks = [np.arange(min(lo + a, hi), min(lo + b, hi)) for lo, hi in itertools.pairwise(offsets)]
    pick = np.concatenate([*blocks, np.empty(0, int)]).astype(int)
    return time_us[pick], power_mw[pick], np.cumsum([0, *map(len, blocks)]).astype(np.int64)


@settings(max_examples=80, deadline=None)
@given(recordings(highest=3_000_000), st.lists(st.integers(0, 40), max_size=4))
def test_a_stream_cut_anywhere_gives_the_quantiles_of_the_whole(recording, cuts):
    histogram = PowerHistogram(len(recording[2]) - 1)
    for a, b in itertools.pairwise([0, *sorted(cuts), 1_000]):
        histogram.extend(*stretch(recording, a, b), GAP)
    assert histogram.quantiles(PPM).tolist() == quantiles(*recording, GAP, PPM).tolist()
    assert histogram.total_us().tolist() == integrate(*recording, GAP)[1].tolist()


def test_stretches_from_two_workers_add_up():
    recording = node(8, 2_000)
    first, second = PowerHistogram(3), PowerHistogram(3)
    first.extend(*stretch(recording, 0, 900), GAP)
    second.extend(*stretch(recording, 899, 2_000), GAP)  # the row between belongs to both, its intervals to one each
    first.merge(second)
    whole = PowerHistogram(3)
    whole.extend(*recording, GAP)
    assert recording[1][899] > 0
    assert first.quantiles(PPM)[0].tolist() == whole.quantiles(PPM)[0].tolist()


def test_memory_does_not_grow_with_the_stream():
    histogram = PowerHistogram(3)
    recording = node(8, 2_000)
    sizes = []
    for turn in range(5):
        histogram.extend(recording[0] + turn * 10**12, recording[1], recording[2], GAP)
        sizes.append(histogram.nbytes)
    assert len(set(sizes)) == 1
    assert sizes[0] < 3 * 6_000_000


def test_what_cannot_be_is_refused():
    histogram = PowerHistogram(1)
    histogram.extend(*columns([[(5, 7), (6, 7)]]), GAP)
    with pytest.raises(ValueError, match="behind rows already added"):
        histogram.extend(*columns([[(4, 7)]]), GAP)
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        PowerHistogram(1).extend(*columns([[(5, 7), (4, 7)]]), GAP)
    with pytest.raises(ValueError, match="above 100 kW"):
        histogram.extend(*columns([[(9, 2**31 - 1)]]), GAP)
    with pytest.raises(ValueError, match="1 GPUs"):
        histogram.extend(*columns([[(9, 7)], []]), GAP)
    with pytest.raises(ValueError, match="cannot merge"):
        histogram.merge(PowerHistogram(2))
