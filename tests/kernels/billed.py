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
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.owner_sweep import Holders
from wattshed.kernels.billing.power_runs import book_power_only, book_runs
from wattshed.kernels.billing.reconcile import merge, new_state
from wattshed.kernels.billing.split import split
from wattshed.kernels.billing.whole_windows import Looks

GPUS, WINDOWS = 3, 12
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
    """Power alone, as it lies in a file."""
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
    return out


def _held(packed):
    """Power alone of a GPU that somebody holds for some of the time: most of its blocks are taken as they are."""
    many = [[[((w * 50 + i) * 500_000, 300_000 if i % 20 < 15 else 60_000 + i) for i in range(50)]] for w in range(4)]
    holders = Holders(
        np.array([0, 1]), np.array([7_000_001]), np.array([61_000_003]), np.array([400_000]), np.array([900_000]),
        np.array([-1]), np.array([1], np.int8), [np.arange(4) * 25_000_000],
    )  # fmt: skip
    state, power = new_state(1), PowerHistogram(few=9)
    limits = np.array([CEILING]), np.array([GAP]), np.array([70_000])
    run, carried = laid_out(many, packed), np.array([[-1, -1, -1]])
    looks = Looks.through(run, limits[0], carried)
    booked = book_runs([run], state, *limits, [power], holders)
    return [
        looks.first_us.tolist(), looks.good_us.tolist(), looks.still_us.tolist(), carried.tolist(),
        booked.energy_hnj, booked.static_hnj, booked.diagnostics.tolist(), *(part.tolist() for part in booked.parts),
        state.tolist(), power.quantiles(), power.total_us(),
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
        time_us, power_mw, rows = node(3, 4_000, broken=0.0)
        narrow = time_us, power_mw // 8, rows  # few rows make a guess that is wide
        guessed = quantiles.quantiles(*narrow, GAP, (10_000, 500_000, 990_000)).tolist()
    weighed = PowerHistogram(few=9)
    weighed.extend(np.arange(99, dtype=np.int64) * 500_000, np.arange(99, dtype=np.int32) % 7 * 50_000, CEILING, GAP)
    return {
        "guessed": guessed,
        "weighed": [weighed.quantiles(), weighed.total_us()],
        "live": _live(draw, between),
        "words": _power_only(draw, packed=True),
        "full": _power_only(draw, packed=False),
        "held": [_held(packed) for packed in (True, False)],
        "dealt": (order.tolist(), offsets.tolist()),
        "directory": (table.tolist(), end, intact),
        "read": [bandwidth.read_once(words, streams) for streams in (1, 2)],
    }
