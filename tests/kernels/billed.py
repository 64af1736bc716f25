"""What is booked and split of one faulty stream, by every kernel that bills: the same integers in every form."""

import random

import numpy as np
import pytest

from tests.kernels.faulty_streams import CEILING, GAP, HOLES, KINDS, STEPS, WATTS, Meter
from tests.kernels.recordings import node
from tests.kernels.test_messages import directory, stream
from tests.kernels.test_plain import laid_out
from wattshed.agent.traces.native.segment import SCHEMA_MESSAGE
from wattshed.kernels import bandwidth, checksums, columns, quantiles
from wattshed.kernels.billing import block_sums
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.layout import DIAGNOSTICS
from wattshed.kernels.billing.power_runs import book_power_only
from wattshed.kernels.billing.reconcile import merge, new_state
from wattshed.kernels.billing.split import split

GPUS, WINDOWS, SIZE = 3, 12, 16
_LIMITS = tuple(np.full(GPUS, value, np.int64) for value in (CEILING, -1, GAP))


def _faulty(draw):
    """Rows of one GPU."""
    meter, rows = Meter(5_000), []
    for _ in range(40):
        kind = draw.choice(KINDS)
        rows += meter.rows(
            kind, draw.randint(1, 9), draw.choice(STEPS), draw.choice(WATTS), draw.choice(HOLES), draw.randint(1, 6)
        )
    return rows


def _owners(draw, begin, end):
    """Usage rows of all GPUs in a window: some alone, some together, some that only hold, some unknown."""
    rows, found = [0], []
    for _ in range(GPUS):
        for _ in range(draw.randint(0, 4)):
            start = draw.randint(begin - 10, end)
            known = draw.random() < 0.7
            found.append(
                (
                    start, draw.randint(start, end + 10), draw.randint(0, 900_000) if known else -1, 950_000,
                    draw.choice([-1, 250_000, 500_000]), draw.choice([0, 1, 1, 2]),
                )
            )  # fmt: skip
        rows.append(len(found))
    table = np.array(found, np.int64).reshape(-1, 6)
    *most, live = (np.ascontiguousarray(table[:, i]) for i in range(6))
    return np.array(rows), *most, live.astype(np.int8)


def _live(draw, between):
    """Merge and split, window by window."""
    streams, state, out = [_faulty(draw) for _ in range(GPUS)], new_state(GPUS), []
    for window in range(WINDOWS):
        cut = [rows[len(rows) * window // WINDOWS : len(rows) * (window + 1) // WINDOWS] for rows in streams]
        table = np.array([row for rows in cut for row in rows], np.int64).reshape(-1, 4)
        offsets = np.cumsum([0, *map(len, cut)])
        times, counters = (np.ascontiguousarray(table[:, i]) for i in (0, 3))
        mean, instant = (table[:, i].astype(np.int32) for i in (1, 2))
        booked = merge(
            offsets, times, mean, counters, state, *_LIMITS, instant_mw=instant, closing=window == WINDOWS - 1
        )
        usage = _owners(draw, int(times.min()), int(times.max()))
        parts = split(
            booked.starts, booked.counts, booked.t0_us, booked.t1_us, booked.energy_hnj,
            np.array([70_000, 0, -1]), *usage, begin_mw=booked.begin_mw, end_mw=booked.end_mw, hole=booked.hole,
            owner=np.arange(len(usage[1])) // 2, rests=window % 2 == 0,
        )  # fmt: skip
        final = [slice(a, a + n) for a, n in zip(booked.starts.tolist(), booked.counts.tolist(), strict=True)]
        out.append([[column[mine].tolist() for mine in final] for column in booked.columns])
        out.append([booked.diagnostics.tolist(), state.tolist(), *(part.tolist() for part in parts)])
        between(window)
    return out


def _power_only(draw, packed):
    """Power alone, as it lies in a file; once at a stretch, and once as if a device had summed its blocks."""
    many = []
    for window in range(3):
        times = [window * 10**9 + sum(draw.choices([0, 500_000, 500_000, GAP + 1], k=i + 1)[:1]) + i * 500_000
                 for i in range(60)]  # fmt: skip
        many.append([[(t, draw.choice([0, 60_000, 60_000, 300_000, -1])) for t in sorted(times)] for _ in range(GPUS)])
    run, state = laid_out(many, packed), new_state(GPUS)
    powers = [PowerHistogram(few=9) for _ in range(GPUS)]
    booked = book_power_only(run, state, _LIMITS[0], _LIMITS[2], np.array([70_000, -1, 0]), powers)
    out = [booked.energy_hnj, booked.static_hnj, booked.diagnostics.tolist(), state.tolist()]
    out.append([one.quantiles() for one in powers])
    count = int((run.offsets[:, 1] - run.offsets[:, 0]).sum())
    times, power = np.zeros(count, np.int64), np.zeros(count, np.int32)
    block_sums.LAY_OUT[run.times.dtype](*run, 0, 0, times, power)
    blocks = -(-count // SIZE)
    sums, taken = np.zeros((blocks, block_sums.FIELDS), np.int64), np.zeros(blocks, np.bool_)
    steady = np.arange(count, dtype=np.int64) * 500_000, np.full(count, 300_000, np.int32)
    sums[:] = 0
    sums[:, block_sums.ENERGY] = 600_000 * 500_000 * (SIZE - 1)
    sums[:, [block_sums.LOW, block_sums.HIGH]] = 300_000
    sums[:, block_sums.LONGEST] = 500_000
    sums[1::2, block_sums.LOW] = 0  # not good: walked
    place, sum_of = np.zeros(1, np.int64), np.zeros(3, np.int64)
    power_of, one, happened = PowerHistogram(), new_state(1), np.zeros(1, DIAGNOSTICS)
    power_of.make_room(300_000)
    last, bins = power_of.last, power_of.bins
    block_sums.join_gpu(*steady, SIZE, sums, taken, place, one, happened, CEILING, GAP, 0, True, last, bins, sum_of)
    block_sums.pour_taken(*steady, SIZE, taken, bins)
    return [
        *out, times.tolist(), power.tolist(), taken.tolist(), sum_of.tolist(), last.tolist(), one.tolist(),
        happened.tolist(), power_of.quantiles(), power_of.total_us(),
    ]  # fmt: skip


def billed(between=lambda _window: None):
    """Everything, as lists; ``between`` is called with the number of each window that was booked."""
    draw = random.Random(7)
    order, offsets = columns.dealt(np.array([draw.randrange(4) for _ in range(50)], np.int32), 4)
    data = stream()[0]
    table, end = directory(data)
    intact = checksums.agreeing(np.frombuffer(data, np.uint8), table, checksums.crc32(SCHEMA_MESSAGE))
    words = np.arange(1_000, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "_GUESS_FROM", 1_000)
        guessed = quantiles.quantiles(*node(3, 4_000), GAP, (10_000, 500_000, 990_000)).tolist()
    weighed = PowerHistogram(few=9)
    weighed.extend(np.arange(99, dtype=np.int64) * 500_000, np.arange(99, dtype=np.int32) % 7 * 50_000, CEILING, GAP)
    return {
        "guessed": guessed,
        "weighed": [weighed.quantiles(), weighed.total_us()],
        "live": _live(draw, between),
        "words": _power_only(draw, packed=True),
        "full": _power_only(draw, packed=False),
        "dealt": (order.tolist(), offsets.tolist()),
        "directory": (table.tolist(), end, intact),
        "read": [bandwidth.read_once(words, streams) for streams in (1, 2)],
    }
