"""Who gets what of one segment, and sums in two words: each rule against the same in fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels.billing.shares import (
    ALONE,
    AT_MOST,
    BY_ACTIVITY,
    BY_SHARE,
    EQUAL,
    HELD,
    LIVE,
    NOBODY_ACTIVE,
    ROOM,
    apportion,
    before_in,
    here_in,
    parts_of_use,
    portion,
    split_dynamic,
    split_static,
)
from wattshed.kernels.billing.usage import OwnerUse, usage_rows
from wattshed.kernels.device_memory import in_pieces
from wattshed.kernels.int128 import add_product, to_microjoules
from wattshed.kernels.records import objects

WHOLE = 1_000_000
TOTAL = st.one_of(st.integers(0, 50), st.integers(0, 2**62))
PPM = st.sampled_from([-1, 0, 1, 142_857, 250_000, 500_000, WHOLE])


def by_remainder(total, weights):
    """Largest remainder, ties in the order of the rows; who has no weight gets nothing."""
    exact = [Fraction(total * w, sum(weights)) for w in weights]
    parts = [int(x) for x in exact]
    order = sorted((j for j, w in enumerate(weights) if w), key=lambda j: (parts[j] - exact[j], j))
    for j in order[: total - sum(parts)]:
        parts[j] += 1
    return parts


@settings(max_examples=examples(300), deadline=None)
@given(
    TOTAL,
    st.one_of(
        st.lists(st.integers(0, 2_000_000), min_size=1, max_size=6),
        st.lists(st.sampled_from([0, 250_000]), min_size=1, max_size=6),
    ).filter(any),
)
def test_parts_are_by_largest_remainder(total, weights):
    out = np.zeros(len(weights), np.int64)
    apportion(total, np.array(weights), sum(weights), len(weights), out)
    assert out.tolist() == by_remainder(total, weights)
    assert sum(out.tolist()) == total


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(1, 2**62))
def test_a_portion_is_the_floor(total, part, whole):
    part = part % (whole + 1)
    found = int(portion(total, part, whole))
    if whole < 2**31:
        assert found == total * part // whole
    else:  # both halved until they fit: a part in a thousand million
        assert found == pytest.approx(total * part / whole, rel=1e-8, abs=total / 2**29 + 1)


@st.composite
def owners(draw):
    """Rows of which some are present: (share, live, activity) of each, which they are, and the time."""
    n = draw(st.integers(0, 5))
    rows = [
        (draw(PPM), draw(st.sampled_from([HELD, LIVE, LIVE, AT_MOST])), draw(st.integers(-1, 1000))) for _ in range(6)
    ]
    return rows, draw(st.permutations(range(6)))[:n], draw(st.integers(1, 2000))


def usage_of(table, busy_ppm=0):
    """Records of the six rows of one GPU."""
    share, live, activity = (np.array(column) for column in zip(*table, strict=True))
    nothing = np.zeros(6, np.int64)
    usage = usage_rows(np.array([0, 6]), nothing, nothing, activity, np.full(6, busy_ppm), share, live.astype(np.int8))
    return usage._replace(row=objects(usage.row, OwnerUse))


def present(rows):
    """Room in which these rows are there."""
    here = here_in(np.empty((ROOM, 7), np.int64), 0, 0, 6)
    here.rows[: len(rows)] = rows
    return here


def shared_out(total, shares):
    """Static energy: reservations first, the rest evenly to those without one, or to nobody."""
    unknown = sum(s < 0 for s in shares)
    free = max(WHOLE - sum(max(s, 0) for s in shares), 0)
    weights = [s * max(unknown, 1) if s >= 0 else free for s in shares] + ([] if unknown else [free])
    if not sum(weights):
        return [0] * len(shares), total
    parts = by_remainder(total, weights)
    return parts[: len(shares)], parts[len(shares)] if not unknown else 0


@settings(max_examples=examples(300), deadline=None)
@given(TOTAL, owners())
def test_static_energy_goes_by_reservations(total, who):
    table, rows, _ = who
    static = np.zeros(6, np.int64)
    left = split_static(total, usage_of(table), present(rows), len(rows), static)
    wanted, idle = shared_out(total, [table[r][0] for r in rows])
    if not rows or not total:
        wanted, idle = [0] * len(rows), total
    assert [int(static[r]) for r in rows] == wanted
    assert (left, int(static.sum())) == (idle, total - idle)


def used_by(total, table, rows, busy):
    """Dynamic energy: (part of each, left, how it was split, the bit that each one gets)."""
    none = [0] * len(rows)
    live = [r for r in rows if table[r][1] != HELD]
    if not total or not rows:
        return none, total, 0, none
    if any(table[r][1] == AT_MOST for r in live):
        parts, left = shared_out(total, [table[r][0] for r in rows])
        return parts, left, -1, [BY_SHARE] * len(rows)
    if not live and len(rows) == 1 and table[rows[0]][0] >= WHOLE:
        live = rows
    if not live:
        return none, total, 0, none
    if len(live) == 1:
        return [total * (r == live[0]) for r in rows], 0, ALONE, [ALONE * (r == live[0]) for r in rows]
    active, shares = [table[r][2] for r in live], [table[r][0] for r in live]
    if min(active) >= 0:
        kind, weight = BY_ACTIVITY, dict(zip(live, active, strict=True))
    elif min(shares) >= 0 and sum(shares):
        kind, weight = BY_SHARE, dict(zip(live, shares, strict=True))
    else:
        kind, weight = EQUAL, dict.fromkeys(live, 1)
    weights = [weight.get(r, 0) for r in rows]
    if not sum(weights):
        return none, total, NOBODY_ACTIVE, [NOBODY_ACTIVE * (r in live) for r in rows]
    # Less than nine tenths of the time that the GPU was busy: somebody else was there.
    rest = busy - sum(weights) if kind == BY_ACTIVITY and sum(weights) * 10 < busy * 9 else 0
    parts = by_remainder(total, [*weights, rest])
    return parts[:-1], parts[-1], kind, [kind * (r in live) for r in rows]


@settings(max_examples=examples(500), deadline=None)
@given(TOTAL, owners(), st.booleans())
def test_dynamic_energy_goes_to_the_active(total, who, all_known):
    table, rows, busy_us = who
    if all_known:
        table = [(share, LIVE if live == AT_MOST else live, abs(activity)) for share, live, activity in table]
    usage, there = usage_of(table, busy_us), present(rows)
    dynamic, method = np.zeros(6, np.int64), np.zeros(6, np.int64)
    left, kind = split_dynamic(total, usage, there, len(rows), dynamic, method)
    parts, wanted_left, wanted_kind, bits = used_by(total, table, rows, busy_us)
    assert [int(dynamic[r]) for r in rows] == parts
    assert (int(left), int(kind)) == (wanted_left, wanted_kind)
    assert [int(method[r]) for r in rows] == bits
    assert int(dynamic.sum()) + int(left) == total
    # What part each has is the same of any energy, and of none at all nothing stays booked.
    before = before_in(np.empty((ROOM, 7), np.int64), np.empty(7), 0, 0, 6)
    before.dynamic_hnj[:], before.method[:] = 0, 0
    parts_of_use(total, usage, there, len(rows), before, dynamic, method)
    if not total:
        assert not dynamic.any()
        assert not method.any()
        parts = used_by(WHOLE, table, rows, busy_us)[0]
    # Compiled, both integers are rounded to 53 bits before they are divided.
    wanted = [part / (total or WHOLE) for part in parts]
    assert before.used[: len(rows)].tolist() == pytest.approx(wanted, rel=1e-15, abs=0)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1)), max_size=5))
def test_two_words_hold_any_sum_of_products(products):
    hi = lo = np.int64(0)
    total = 0
    for factor, dt in products:
        if total + factor * dt >= 2**95:
            break
        hi, lo = add_product(hi, lo, np.int64(factor), np.int64(dt))
        total += factor * dt
        assert (int(hi) << 32) + int(lo) == total
        assert 0 <= int(lo) < 2**32


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(-1001, 1001))
def test_microjoules_are_rounded_half_to_even(microjoules, beside):
    total = max(microjoules * 2000 + beside, 0)
    wanted = round(Fraction(total, 2000))
    found = int(to_microjoules(np.int64(total >> 32), np.int64(total & (2**32 - 1))))
    assert found == (wanted if wanted < 2**63 else -1)
    assert int(to_microjoules(np.int64(2000 << 31), np.int64(0))) == -1


@pytest.mark.parametrize("fits", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("span", [(0, 0), (3, 4), (0, 8), (5, 18)])
def test_what_does_not_fit_is_done_in_halves(fits, span):
    done, failed = [], []

    def run(first, last):
        if last - first > fits:
            failed.append((first, last))
            raise MemoryError if len(failed) % 2 else RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        done.append((first, last))

    in_pieces(*span, run)
    assert [k for first, last in done for k in range(first, last)] == list(range(*span))
    assert all(last - first > fits for first, last in failed)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("another")])
def test_what_does_not_help_to_halve_is_raised(error):
    """One chunk that does not fit, or another fault, is the caller's."""
    tried = []

    def run(first, last):
        tried.append((first, last))
        raise error

    with pytest.raises(type(error)):
        in_pieces(0, 4, run)
    assert tried == ([(0, 4), (0, 2), (0, 1)] if isinstance(error, MemoryError) else [(0, 4)])
