"""The fast way of booking plain power gives the same integers as the careful one, to the last state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples, few
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.power_only import BLOCK
from wattshed.kernels.billing.power_runs import book_power_only
from wattshed.kernels.billing.reconcile import merge, new_state
from wattshed.kernels.billing.split import split
from wattshed.kernels.columns import Columns
from wattshed.kernels.records import objects

S = 1_000_000


@st.composite
def windows(draw):
    """Touching windows of one to three GPUs of nearly always good power readings."""
    gpus = draw(st.integers(1, 3))
    clocks, found = [0] * gpus, []
    bad = draw(st.sampled_from([None, None, 0, -1, 900_001]))
    for _ in range(draw(st.integers(1, 4))):
        rows = []
        for gpu in range(gpus):
            mine = []
            for _ in range(draw(st.integers(0, 12))):
                clocks[gpu] += draw(st.sampled_from([0, 1, 100_000, S, S, 5 * S, 5 * S + 1, 60 * S]))
                power = draw(st.sampled_from([70_000, 70_000, 300_001, 650_000]))
                mine.append((clocks[gpu], bad if bad is not None and draw(st.integers(0, 9)) == 0 else power))
            rows.append(mine)
        found.append(rows)
    return found


def laid_out(many, packed):
    """Columns of windows as a file may hold them: one after the other with something between, in words or in full."""
    offsets = np.array([np.cumsum([0, *map(len, rows)]) for rows in many], np.int64)
    flat = [[row for mine in rows for row in mine] for rows in many]
    base = np.array([min([t for t, _ in rows], default=0) if packed else 0 for rows in flat], np.int64)
    lead = 3  # words that are none of ours
    at = lead + np.cumsum([0, *(len(rows) + lead for rows in flat)])[:-1].astype(np.int64)
    size = lead + sum(len(rows) + lead for rows in flat)
    times = np.full(size, 77, np.uint32 if packed else np.int64)
    power = np.full(size + 5, -9, np.int32)
    for w, rows in enumerate(flat):
        times[at[w] : at[w] + len(rows)] = [t - base[w] for t, _ in rows]
        power[at[w] + 5 : at[w] + 5 + len(rows)] = [p for _, p in rows]
    return Columns(offsets, times, at, base, power, at + 5)


def careful_books(many, state, limits, idle_mw, powers):
    """The same by merge and split, window by window: (diagnostics with energies, static energy)."""
    ceiling, limit, gap = limits
    gpus = len(ceiling)
    diagnostics, static = [Diagnostics() for _ in range(gpus)], np.zeros(gpus, np.int64)
    none = np.empty(0, np.int64)
    for rows in many:
        offsets = np.cumsum([0] + [len(mine) for mine in rows])
        flat = [row for mine in rows for row in mine]
        times = np.array([t for t, _ in flat], np.int64)
        power = np.array([p for _, p in flat], np.int32)
        intervals = merge(offsets, times, power, np.full(len(times), -1), state, ceiling, limit, gap)
        parts = split(
            intervals.starts, intervals.counts, intervals.t0_us, intervals.t1_us, intervals.energy_hnj, idle_mw,
            np.zeros(gpus + 1, np.int64), none, none, none, none, none, none.astype(np.int8),
        )  # fmt: skip
        for mine, more in zip(diagnostics, objects(intervals.diagnostics, Diagnostics), strict=True):
            mine.add(more)
        static += parts.idle_hnj
        for gpu in range(gpus):
            mine = slice(offsets[gpu], offsets[gpu + 1])
            powers[gpu].extend(times[mine], power[mine], int(ceiling[gpu]), int(gap[gpu]))
    return diagnostics, static


def assert_equal_books(many, idle, limits, *, packed, few=0):
    gpus = len(many[0])
    fast, careful = new_state(gpus), new_state(gpus)
    idle_mw = np.full(gpus, idle)
    mine, theirs = ([PowerHistogram(few) for _ in range(gpus)] for few in (few, 2**62))
    booked = book_power_only(laid_out(many, packed), fast, limits[0], limits[2], idle_mw, mine)
    diagnostics, static = careful_books(many, careful, limits, idle_mw, theirs)
    assert booked is not None
    for mine_hnj, one in zip(booked.energy_hnj, diagnostics, strict=True):
        assert mine_hnj == one.power_hnj == one.by_power_hnj
        one.power_hnj = one.by_power_hnj = 0
    assert objects(booked.diagnostics, Diagnostics) == diagnostics
    assert booked.static_hnj == static.tolist()
    assert fast.tolist() == careful.tolist()
    shares = (0, 100_000, 500_000, 950_000, 1_000_000)
    assert [h.quantiles(shares) for h in mine] == [h.quantiles(shares) for h in theirs]
    assert [h.total_us() for h in mine] == [h.total_us() for h in theirs]
    return diagnostics


@settings(max_examples=examples(150), deadline=None)
@given(windows(), st.sampled_from([-1, 70_000, 400_000]), st.booleans(), st.integers(1, 3), st.sampled_from([0, 9]))
def test_equals_merge_and_split(given_windows, idle, packed, cut, few):
    gpus = len(given_windows[0])
    limits = np.full(gpus, 900_000), np.full(gpus, 700_000), np.full(gpus, 5 * S)
    assert_equal_books(given_windows, idle, limits, packed=packed, few=few)
    # Cut into runs, the books are the same again.
    whole, parts = new_state(gpus), new_state(gpus)
    once = book_power_only(laid_out(given_windows, packed), whole, limits[0], limits[2], np.full(gpus, idle))
    energy = np.zeros(gpus, np.int64)
    for some in (given_windows[:cut], given_windows[cut:]):
        if some:
            energy += book_power_only(
                laid_out(some, packed), parts, limits[0], limits[2], np.full(gpus, idle)
            ).energy_hnj
    assert energy.tolist() == once.energy_hnj
    assert whole.tolist() == parts.tolist()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bad", few([0, -1, -7, 900_001], plain=2))
def test_long_windows_with_gaps_repeats_and_bad_readings(packed, bad):
    random = np.random.default_rng(3)
    many = []
    start = 10**15
    for _ in range(2):
        rows = []
        for _ in range(2):
            n = 3 * BLOCK + 11
            times = start + np.cumsum(random.choice([0, 1, 1_000, 90_000], n))
            times[n // 2 :] += 10**7  # a gap, in one block
            power = random.integers(60_000, 60_050 if rows else 700_000, n)
            power[[7, BLOCK + 7]] = bad  # in a block that is good but for it, and beside the gap
            rows.append(list(zip(times.tolist(), power.tolist(), strict=True)))
        start = max(mine[-1][0] for mine in rows)
        many.append(rows)
    limits = np.full(2, 900_000), np.full(2, 700_000), np.full(2, 150_000)
    diagnostics = assert_equal_books(many, 70_000, limits, packed=packed)
    for one in diagnostics:
        assert one.gaps >= 2
        assert one.rejected_zero + one.rejected_negative + one.rejected_high == (0 if bad == -1 else 4)


def test_time_that_falls_is_noticed_in_words_too():
    """A time of 32 bits that goes back by more than half of their range looks like a short step on."""
    rows = [(0, 100), (2**32 - 5, 100), (3, 100), (2**32 - 4, 100), *((2**32 - 4 + i, 100) for i in range(3))]
    limits = np.full(1, 900_000), np.full(1, 700_000), np.full(1, 2**33)
    diagnostics = assert_equal_books([[rows]], -1, limits, packed=True)
    assert diagnostics[0].rejected_time == 1


@pytest.mark.parametrize("longest", [2**31 - 1, 2**31, 2**32 + 5])
def test_weights_that_carry_into_a_bins_upper_half(longest):
    """Steps just below and above what two of fit 32 bits; the sums of a bin are far above."""
    random = np.random.default_rng(longest)
    many, start = [], 10**15
    for _ in range(3):
        times = start + np.cumsum(random.choice([0, 1_000, longest], 400))
        many.append([list(zip(times.tolist(), random.integers(70_000, 70_005, 400).tolist(), strict=True))])
        start = int(times[-1])
    limits = np.full(1, 900_000), np.full(1, 700_000), np.full(1, 2**40)
    diagnostics = assert_equal_books(many, -1, limits, packed=False)
    assert diagnostics[0].covered_us > 2**38


def test_more_energy_than_int64_holds():
    """A month at 20 kW, an hour at a time, in one window."""
    n = 30 * 24
    times = np.arange(n, dtype=np.int64) * 3_600 * S
    power = np.full(n, 20_000_000, np.int32)
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    columns = Columns(np.array([[0, n]], np.int64), times, zero, zero, power, zero)
    booked = book_power_only(columns, new_state(1), one * 20_000_000, one * 7_200 * S, one * 10_000_000)
    assert booked.energy_hnj == [40_000_000 * 3_600 * S * (n - 1)]
    assert booked.static_hnj == [20_000_000 * 3_600 * S * (n - 1)]
    assert booked.energy_hnj[0] > 2**63


def test_a_gpu_that_had_a_counter_is_left_to_the_merge():
    state = new_state(1)
    state["counter_mj"][0] = 5
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    columns = Columns(np.array([[0, 1]], np.int64), one, zero, zero, one.astype(np.int32), zero)
    assert book_power_only(columns, state, one, one, one) is None


def test_bins_that_were_given_back_are_there_for_the_reading_before():
    """A board of 1.9 kW, its histogram settled (a worker hands it on), and then less than the least bins hold."""
    from wattshed.kernels.billing.histogram import HIGHEST_MW

    high, low = ([[(i * S + at, p) for i in range(9)]] for at, p in ((0, 1_900_000), (9 * S, 300_000)))
    one = np.ones(1, np.int64)
    limits = one * 2_000_000, one * 5 * S, -one
    state, histogram = new_state(1), PowerHistogram(few=0)
    for some in (high, low):
        histogram.settle()
        assert book_power_only(laid_out([some], packed=True), state, *limits, [histogram]) is not None
    assert histogram.total_us() == 17 * S
    assert histogram.quantiles((0, 1_000_000)) == [300_000, 1_900_000]
    # A reading above what has bins is left to the sorted part, whatever ceiling follows.
    histogram.last[2] = HIGHEST_MW + 1
    assert book_power_only(laid_out([low], packed=True), state, *limits, [histogram]) is None


@pytest.mark.parametrize("idle_mw", [3_000_000_000, 10**12, 2**60])
def test_idle_power_beyond_any_reading(idle_mw):
    """As words of 32 bits, and times a long interval, it would wrap."""
    rows = [(i * S, 70_000 + i % 2) for i in range(9)]
    limits = np.full(1, 900_000), np.full(1, 700_000), np.full(1, 5 * S)
    diagnostics = assert_equal_books([[rows]], idle_mw, limits, packed=True)
    assert diagnostics[0].samples == 9
