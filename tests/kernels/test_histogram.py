"""A histogram filled by a stream gives the very quantiles of the whole recording."""

import itertools
import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels.recordings import node, recordings
from wattshed.kernels.billing.histogram import HIGHEST, LOWEST, PowerHistogram
from wattshed.kernels.energy import integrate
from wattshed.kernels.quantiles import quantiles

GAP = 5_000_000
CEILING = 2**31 - 1
PPM = (0, 250_000, 500_000, 950_000, 1_000_000)


def gpu_rows(recording, gpu, a=0, b=1_000_000):
    """Rows a to b of one GPU."""
    time_us, power_mw, offsets = recording
    mine = slice(min(offsets[gpu] + a, offsets[gpu + 1]), min(offsets[gpu] + b, offsets[gpu + 1]))
    return time_us[mine], power_mw[mine]


def expected(recording, gpu):
    """Quantiles by the kernel that sees all of it; a GPU without any interval shows its last reading."""
    found = quantiles(*recording, GAP, PPM)[gpu].tolist()
    valid = gpu_rows(recording, gpu)[1]
    valid = valid[valid > 0]
    return [int(valid[-1]) if value < 0 and len(valid) else value for value in found]


@settings(max_examples=examples(80), deadline=None)
@given(recordings(highest=3_000_000), st.lists(st.integers(0, 40), max_size=4), st.booleans(), st.sampled_from([0, 9]))
def test_a_stream_cut_anywhere_gives_the_quantiles_of_the_whole(recording, cuts, travels, few):
    for gpu in range(len(recording[2]) - 1):
        histogram = PowerHistogram(few)
        for a, b in itertools.pairwise([0, *sorted(cuts), 1_000]):
            histogram.extend(*gpu_rows(recording, gpu, a, b), CEILING, GAP)
            if travels:
                histogram = pickle.loads(pickle.dumps(histogram))
        assert histogram.quantiles(PPM) == expected(recording, gpu)
        assert histogram.total_us() == integrate(*recording, GAP)[1][gpu]


@settings(max_examples=examples(40), deadline=None)
@given(recordings(highest=2**31 - 1))
def test_a_hall_of_megawatts_is_sorted_instead(recording):
    for gpu in range(len(recording[2]) - 1):
        histogram = PowerHistogram()
        histogram.extend(*gpu_rows(recording, gpu), CEILING, GAP)
        assert histogram.quantiles(PPM) == expected(recording, gpu)
        assert histogram.nbytes < 2 << 30


def test_stretches_from_two_workers_add_up():
    recording = node(8, 2_000)
    first, second, whole = PowerHistogram(), PowerHistogram(few=0), PowerHistogram(few=500)
    first.extend(*gpu_rows(recording, 0, 0, 900), CEILING, GAP)
    second.extend(*gpu_rows(recording, 0, 899), CEILING, GAP)  # the row between belongs to both, an interval to each
    assert recording[1][899] > 0
    first.merge(second)
    whole.extend(*gpu_rows(recording, 0), CEILING, GAP)
    assert first.quantiles(PPM) == whole.quantiles(PPM)
    nothing = PowerHistogram()
    nothing.merge(first)
    assert nothing.quantiles(PPM) == whole.quantiles(PPM)


def test_memory_does_not_grow_with_the_stream():
    histogram = PowerHistogram(few=0)
    time_us, power_mw = gpu_rows(node(8, 2_000), 0)
    sizes = []
    for turn in range(5):
        histogram.extend(time_us + turn * 10**12, power_mw, CEILING, GAP)
        sizes.append(histogram.nbytes)
    assert len(set(sizes)) == 1
    assert sizes[0] < 16_000_000
    histogram.settle()
    assert histogram.nbytes <= 16 * 2_000


def test_what_is_no_reading_or_goes_back_is_passed_over():
    histogram = PowerHistogram()
    times = np.array([10, 20, 15, 30, 40, 50], np.int64)
    histogram.extend(times, np.array([5, 5, 9, 0, 99, 5], np.int32), 50, GAP)
    assert histogram.quantiles((0, 1_000_000)) == [5, 5]
    assert histogram.total_us() == 40


def test_after_a_restart_time_may_begin_anew():
    histogram = PowerHistogram()
    histogram.extend(np.array([100, 110], np.int64), np.array([7, 7], np.int32), CEILING, GAP)
    histogram.restart()
    histogram.extend(np.array([50, 90], np.int64), np.array([8, 8], np.int32), CEILING, GAP)
    assert histogram.total_us() == 50
    assert histogram.quantiles((100_000, 500_000)) == [7, 8]


def test_a_gpu_with_few_readings_takes_few_bytes():
    histogram = PowerHistogram()
    for hour in range(3):
        times = np.arange(240, dtype=np.int64) * 15_000_000 + hour * 3_600_000_000
        histogram.extend(times, np.arange(240, dtype=np.int32) + 400_000, CEILING, 15_000_000)
    assert histogram.quantiles((500_000,)) == [400_119]
    assert histogram.nbytes <= 16 * 240


def test_a_weight_beyond_32_bits_is_whole():
    """Of two readings a minute apart, each bin is touched for weeks: its upper half counts what the lower cannot."""
    histogram = PowerHistogram(few=0)
    times = np.arange(40_000, dtype=np.int64) * 60_000_000
    histogram.extend(times, np.tile(np.array([70, 80, 90, 80], np.int32), 10_000), CEILING, 60_000_000)
    assert histogram.total_us() == 39_999 * 60_000_000 > 2**40
    assert histogram.quantiles((0, 240_000, 500_000, 760_000)) == [70, 70, 80, 90]


def test_settling_looks_only_at_what_was_touched():
    """A board within 50 W touches a fiftieth of its bins, and the others have no memory yet."""
    histogram = PowerHistogram(few=0)
    powers = np.array([300_000, 349_999, 320_000, 300_000], np.int32)
    histogram.extend(np.arange(4, dtype=np.int64) * 1_000_000, powers, CEILING, GAP)
    histogram.catch_up()
    assert (histogram.last[LOWEST], histogram.last[HIGHEST]) == (300_000, 349_999)
    histogram.bins[0, [299_999, 350_000]] = 1_000_000_000  # nobody told of these
    histogram.settle()
    histogram.settle()
    assert histogram.quantiles((0, 500_000, 1_000_000)) == [300_000, 320_000, 349_999]
