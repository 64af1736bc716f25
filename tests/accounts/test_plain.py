"""The fast way of booking plain power gives the same integers as the careful one, to the last state."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import booking
from kernels.booking import merge, new_state
from kernels.plain import book_plain
from kernels.splitting import split

S = 1_000_000


@st.composite
def windows(draw):
    """Touching windows of one to three GPUs of nearly always good power readings."""
    gpus = draw(st.integers(1, 3))
    clocks, found = [0] * gpus, []
    bad = draw(st.sampled_from([0, 0, 0, -1, 900_001]))
    for _ in range(draw(st.integers(1, 4))):
        rows = []
        for gpu in range(gpus):
            mine = []
            for _ in range(draw(st.integers(0, 12))):
                clocks[gpu] += draw(st.sampled_from([0, 1, 100_000, S, S, 5 * S, 5 * S + 1, 60 * S]))
                power = draw(st.sampled_from([70_000, 70_000, 300_001, 650_000]))
                mine.append((clocks[gpu], bad if bad and draw(st.integers(0, 9)) == 0 else power))
            rows.append(mine)
        found.append(rows)
    return found


@settings(max_examples=300, deadline=None)
@given(windows(), st.sampled_from([-1, 70_000, 400_000]))
def test_equals_merge_and_split(given_windows, idle):
    gpus = len(given_windows[0])
    fast, careful = new_state(gpus), new_state(gpus)
    ceiling, limit, gap = np.full(gpus, 900_000), np.full(gpus, 700_000), np.full(gpus, 5 * S)
    idle_mw = np.full(gpus, idle)
    for rows in given_windows:
        offsets = np.cumsum([0] + [len(mine) for mine in rows])
        flat = [row for mine in rows for row in mine]
        times = np.array([t for t, _ in flat], np.int64)
        power = np.array([p for _, p in flat], np.int32)
        before = fast.copy()
        booked = book_plain(offsets, times, power, fast, ceiling, gap, idle_mw)
        pieces = merge(offsets, times, power, np.full(len(times), -1), careful, ceiling, limit, gap)
        if booked is None:
            assert (fast == before).all()
            fast[:] = careful
            continue
        none = np.empty(0, np.int64)
        parts = split(
            pieces.starts, pieces.counts, pieces.t0_us, pieces.t1_us, pieces.energy_hnj, idle_mw,
            np.zeros(gpus + 1, np.int64), none, none, none, none, none, none.astype(np.int8),
        )  # fmt: skip
        tally, static = booked
        assert tally.tolist() == pieces.tally.tolist()
        assert static.tolist() == parts.idle_hnj.tolist()
        assert fast.tolist() == careful.tolist()


def test_long_windows_in_parallel_chunks_too():
    n, gpus = 300_000, 2
    random = np.random.default_rng(3)
    times = np.concatenate([np.cumsum(random.integers(1, 200_000, n)) for _ in range(gpus)])
    power = random.integers(60_000, 700_000, n * gpus).astype(np.int32)
    offsets = np.array([0, n, 2 * n])
    ceiling, limit, gap = np.full(gpus, 900_000), np.full(gpus, 700_000), np.full(gpus, 150_000)
    fast, careful = new_state(gpus), new_state(gpus)
    booked = book_plain(offsets, times, power, fast, ceiling, gap, np.full(gpus, 70_000))
    pieces = merge(offsets, times, power, np.full(len(times), -1), careful, ceiling, limit, gap)
    assert booked is not None
    assert booked[0].tolist() == pieces.tally.tolist()
    assert booked[0][:, booking.GAPS].min() > 1000
    assert fast.tolist() == careful.tolist()
