"""Power readings booked on a CUDA device, in numba-cuda's simulator: a program of its own, as the simulator wants it.

Prints one JSON document: how many streams were booked with the CPU's integers, and what was met on the way.
"""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels.test_plain import laid_out as columns_of
from wattshed.kernels import power_on_card
from wattshed.kernels.billing import laid_out
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.owner_sweep import Holders
from wattshed.kernels.billing.power_runs import book_power_only, book_runs
from wattshed.kernels.billing.reconcile import new_state
from wattshed.kernels.billing.shares import AT_MOST
from wattshed.kernels.cuda_target import cuda
from wattshed.kernels.power_on_card import PowerOnCard

CEILING, GAP = 900_000, 5_000_000
EXAMPLES = max(examples(40), 16)  # fewer do not fall short of memory in every way
SHARES = (0, 1_000, 500_000, 950_000, 1_000_000)
DRAWN = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
met = Counter()


def short_of_memory(allowed, error):
    """numba's cuda, whose allocations fail after so many; -1 never."""
    left = [allowed]

    def counted(real):
        def allocate(*arguments, **options):
            if left[0] == 0:
                met[type(error).__name__] += 1
                raise error
            left[0] -= 1
            return real(*arguments, **options)

        return allocate

    names = ("to_device", "device_array", "pinned_array")
    return SimpleNamespace(**{name: counted(getattr(cuda, name)) for name in names})


@st.composite
def streams(draw):
    """Windows of two GPUs, with whatever a recording may have wrong."""
    clocks, many = [10**15, 10**15], []
    steps = draw(
        st.sampled_from([[1_000_000], [0, 1, 90_000], [1_000_000, 1_000_000, 6_000_000], [5_000_000, -70_000]])
    )
    powers = draw(st.sampled_from([[300_000], [70_000, 70_001, 70_001], [60_000, 650_000, 70_001]]))
    faults = draw(st.sampled_from([[], [], [0], [-1, -7, CEILING + 1]]))
    for _ in range(draw(st.integers(1, 3))):
        rows = []
        for gpu in range(2):
            mine = []
            for _ in range(draw(st.sampled_from([0, 1, 7, 30, 60]))):
                clocks[gpu] += draw(st.sampled_from(steps))
                bad = faults and draw(st.integers(0, 19)) == 0
                mine.append((clocks[gpu], draw(st.sampled_from(faults if bad else powers))))
            rows.append(mine)
        many.append(rows)
    return many


@DRAWN
@given(
    streams(), st.sampled_from([-1, 70_000, 10**9]), st.booleans(), st.sampled_from([1, 40, 10**6]),
    st.sampled_from([0, 40, 2**40]), st.sampled_from([-1, -1, 0, 2, 3, 8, 11]),
    st.sampled_from([MemoryError(), RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"), RuntimeError("fell off the bus")]),
)  # fmt: skip
def the_same(many, idle, packed, piece, few, allowed, error):
    """Integers, states, diagnostics and quantiles are those of the CPU, however rows are cut and memory falls short."""
    limits = np.full(2, CEILING), np.full(2, GAP), np.full(2, idle)
    states, histograms = [new_state(2), new_state(2)], [[PowerHistogram(few) for _ in range(2)] for _ in range(2)]
    runs = [columns_of(many, packed=packed and all(map(any, many))), columns_of(many[:1], packed=False)]
    here = book_runs(runs, states[0], *limits, histograms[0])
    power_on_card.cuda = short_of_memory(allowed, error)
    card = PowerOnCard(piece_rows=piece)
    there = card(runs, states[1], *limits, histograms[1])
    assert states[0].tolist() == states[1].tolist()
    assert here.diagnostics.tolist() == there.diagnostics.tolist()
    assert (here.energy_hnj, here.static_hnj) == (there.energy_hnj, there.static_hnj)
    for mine, theirs in zip(*histograms, strict=True):
        assert mine.quantiles(SHARES) == theirs.quantiles(SHARES)
        assert mine.total_us() == theirs.total_us()
    assert card.rows_on_card + card.rows_here == sum(int(run.offsets[:, -1].sum()) for run in runs)
    assert bool(card.trouble) <= ("bus" in str(error))
    met.update(streams=1, on_card=card.rows_on_card > 0, here=card.rows_here > 0, failed=bool(card.trouble))


@st.composite
def held(draw):
    """Clean windows that touch, and who holds their GPUs: anybody from anywhere to anywhere, alone or beside others."""
    at, many, since = 10**15, [], [10**15]
    powers = draw(st.sampled_from([[300_000], [70_000, 70_001, 69_999], [60_000, 650_000, 70_001]]))
    for _ in range(draw(st.integers(1, 4))):
        counts = [draw(st.sampled_from([1, 7, 30, 60])) for _ in range(2)]
        length = 90_000 * (max(counts) + 1)
        many.append(
            [[(at + 90_000 * (k + 1), draw(st.sampled_from(powers))) for k in range(count)] for count in counts]
        )
        at += length
        since.append(at)
    edges = st.one_of(st.integers(since[0] - 10, at), st.sampled_from([t for rows in many for t, _ in rows[0]] + since))
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        begin, end = sorted([draw(edges), draw(edges)])
        share = draw(st.sampled_from([-1, -1, 400_000, 10**6]))
        live = draw(st.sampled_from([0, 1])) if share < 0 else AT_MOST if draw(st.booleans()) else 1
        rows.append((draw(st.integers(0, 1)), begin, end + 1, -1, -1, share, live))
    gpus, begins, ends, activity, busy, shares, lives = np.array(sorted(rows), np.int64).reshape(-1, 7).T.copy()
    bounds, starts = np.searchsorted(gpus, np.arange(3)).astype(np.int64), np.array(since[:-1])
    return many, Holders(bounds, begins, ends, activity, busy, shares, lives.astype(np.int8), (starts,))


@DRAWN
@given(
    held(), st.sampled_from([-1, 70_000]), st.booleans(), st.sampled_from([1, 40, 10**6]),
    st.sampled_from([0, 2**40]), st.sampled_from([-1] * 3 + [0, 4, 6]),
    st.sampled_from([MemoryError(), RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"), RuntimeError("fell off the bus")]),
)  # fmt: skip
def the_same_among_owners(stream, idle, packed, piece, few, allowed, error):
    """So is what each owner gets, wherever somebody comes or goes, and wherever memory falls short."""
    many, holders = stream
    limits = np.full(2, CEILING), np.full(2, GAP), np.full(2, idle)
    states, histograms = [new_state(2), new_state(2)], [[PowerHistogram(few) for _ in range(2)] for _ in range(2)]
    runs = [columns_of(many, packed=packed)]
    here = book_runs(runs, states[0], *limits, histograms[0], holders)
    power_on_card.cuda = short_of_memory(allowed, error)
    card = PowerOnCard(piece_rows=piece)
    there = card(runs, states[1], *limits, histograms[1], holders)
    assert states[0].tolist() == states[1].tolist()
    assert here.diagnostics.tolist() == there.diagnostics.tolist()
    assert here[1:4] == there[1:4]
    for mine, theirs in zip(here.parts, there.parts, strict=True):
        assert np.array_equal(mine, theirs)
    for mine, theirs in zip(*histograms, strict=True):
        assert mine.quantiles(SHARES) == theirs.quantiles(SHARES)
    met.update(held=1, held_on_card=card.rows_on_card > 0, held_here=card.rows_here > 0, held_failed=bool(card.trouble))
    met.update(given_to_owners=bool(here.parts.booked_us.any()))


def taken():
    """How many rows of a clean stream are walked here, of how many: the device does the rest."""
    rows, walked = [[(10**15 + k * 10**6, 70_000 + k) for k in range(480)]], []
    real = laid_out.join_gpu

    def told(*arguments):
        real(*arguments)
        blocks = np.flatnonzero(arguments[5])
        walked.append(480 - len(blocks) * (power_on_card.BLOCK_ROWS - 1))

    power_on_card.cuda, laid_out.join_gpu = cuda, told
    one = (np.full(1, CEILING), np.full(1, GAP), np.full(1, -1))
    PowerOnCard()([columns_of([rows], packed=False)], new_state(1), *one, [PowerHistogram(0)])
    laid_out.join_gpu = real
    return walked


def refused():
    """What is not booked by power alone is not booked on a device."""
    state = new_state(1)
    state["counter_mj"] = 5
    one = (np.full(1, CEILING), np.full(1, GAP), np.full(1, -1))
    run = columns_of([[[(1, 2)]]], packed=False)
    hall = (np.full(1, 2**40), *one[1:])
    books = (PowerOnCard(), book_power_only)
    tried = (books[0]([run], state, *one), books[1](run, state, *one), books[0]([run], new_state(1), *hall))
    return [answer is None for answer in tried]


if __name__ == "__main__":
    the_same()
    the_same_among_owners()
    print(json.dumps({"met": met, "walked": taken(), "refused": refused()}))
