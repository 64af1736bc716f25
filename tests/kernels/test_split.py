"""The laws of the fair split, on the kernel, against plain fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels import oracle
from wattshed.kernels.billing.split import split

SPAN = 1_000
IDLE = 70_000


@st.composite
def pieces_of(draw):
    """Touching pieces, as the merge makes them."""
    cuts = sorted(draw(st.sets(st.integers(0, SPAN), min_size=2, max_size=6)))
    return [(a, b, draw(st.integers(0, 4 * IDLE * (b - a) + 7))) for a, b in itertools.pairwise(cuts)]


@st.composite
def row(draw):
    start = draw(st.integers(-50, SPAN))
    end = start + draw(st.integers(1, SPAN))
    unknown = draw(st.booleans())
    activity = -1 if unknown else draw(st.integers(0, 1_000_000))
    share = draw(st.sampled_from([-1, -1, 0, 125_000, 250_000, 500_000, 1_000_000]))
    busy = draw(st.sampled_from([-1, 300_000, 1_000_000]))
    return (start, end, activity, busy, share, draw(st.sampled_from([0, 1, 1, 2])))


def run(pieces, rows, idle=IDLE, **more):
    columns = [np.array(c, np.int64) for c in zip(*rows, strict=True)] or [np.empty(0, np.int64)] * 6
    t0, t1, energy = (np.array(c, np.int64) for c in (zip(*pieces, strict=True) if pieces else ([], [], [])))
    start, end, activity, busy, share, live = columns
    return split(
        np.array([0]), np.array([len(pieces)]), t0, t1, energy, np.array([idle]), np.array([0, len(rows)]),
        start, end, activity, busy, share, live.astype(np.int8), **more,
    )  # fmt: skip


def total(parts):
    return int(parts.static_hnj.sum() + parts.dynamic_hnj.sum() + parts.idle_hnj.sum() + parts.unattributed_hnj.sum())


@settings(max_examples=examples(300), deadline=None)
@given(pieces_of(), st.lists(row(), max_size=6), st.sampled_from([-1, 0, IDLE]))
def test_parts_sum_to_the_whole_and_none_is_negative(pieces, rows, idle):
    parts = run(pieces, rows, idle)
    assert total(parts) == sum(energy for _, _, energy in pieces)
    for column in parts._replace(idle_us=parts.booked_us):
        assert (column >= 0).all()


@settings(max_examples=examples(300), deadline=None)
@given(pieces_of(), st.lists(row(), max_size=6))
def test_equals_fractions_to_rounding(pieces, rows):
    # One busy figure for the device, as the sampler gives it; differing ones are not meaningful input.
    rows = [(*r[:3], rows[0][3], *r[4:]) for r in rows]
    parts = run(pieces, rows)
    static, dynamic, idle, unattributed = oracle.split(pieces, IDLE, rows)
    # Each cut of a piece, and each segment, may round once.
    slack = 2 * (len(pieces) + 2 * len(rows) + 2)
    for got, want in zip(
        [*parts.static_hnj, *parts.dynamic_hnj, *parts.idle_hnj, *parts.unattributed_hnj],
        [*static, *dynamic, idle, unattributed],
        strict=True,
    ):
        assert abs(int(got) - want) <= slack


@settings(max_examples=examples(100), deadline=None)
@given(pieces_of(), st.lists(row(), min_size=1, max_size=5))
def test_a_null_player_pays_nothing(pieces, rows):
    absent = (SPAN + 10, SPAN + 20, 0, -1, 0, 1)
    with_absent = run(pieces, [*rows, absent])
    assert with_absent.static_hnj[-1] == 0 == with_absent.dynamic_hnj[-1]
    assert with_absent.static_hnj[:-1].tolist() == run(pieces, rows).static_hnj.tolist()
    idler = (0, SPAN, 0, -1, 0, 1)
    active = [(0, SPAN, 500_000, -1, 250_000, 1), (0, SPAN, 250_000, -1, 250_000, 1)]
    assert run(pieces, [*active, idler]).dynamic_hnj[-1] == 0


@settings(max_examples=examples(100), deadline=None)
@given(pieces_of(), row(), st.integers(2, 5))
def test_equals_pay_the_same_to_one_unit_per_segment(pieces, one, n):
    parts = run(pieces, [one] * n)
    for column in (parts.static_hnj, parts.dynamic_hnj):
        assert int(column.max() - column.min()) <= 3


@settings(max_examples=examples(100), deadline=None)
@given(pieces_of(), st.integers(1, SPAN - 1))
def test_splitting_time_changes_a_share_by_rounding_only(pieces, cut):
    rows = [(0, SPAN, 600_000, 1_000_000, -1, 1), (0, SPAN, 300_000, 1_000_000, -1, 1)]
    whole = run(pieces, rows)
    halves = [(0, cut, *r[2:]) for r in rows] + [(cut, SPAN, *r[2:]) for r in rows]
    parts = run(pieces, [halves[0], halves[2], halves[1], halves[3]])
    for job in (0, 1):
        pieced = int(parts.dynamic_hnj[2 * job : 2 * job + 2].sum())
        assert abs(pieced - int(whole.dynamic_hnj[job])) <= 4


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 900_000), st.integers(1, 100_000), st.integers(1, 900_000))
def test_more_activity_never_costs_less(mine, more, other):
    pieces = [(0, SPAN, 500_000 * 2 * SPAN)]
    before = run(pieces, [(0, SPAN, mine, -1, -1, 1), (0, SPAN, other, -1, -1, 1)])
    after = run(pieces, [(0, SPAN, mine + more, -1, -1, 1), (0, SPAN, other, -1, -1, 1)])
    assert after.dynamic_hnj[0] >= before.dynamic_hnj[0]


def test_is_the_shapley_value_of_idle_plus_activity():
    for n in range(1, 6):
        activity = [100_000 * (j + 1) for j in range(n)]
        idle, per_activity = 2 * IDLE * SPAN, 3
        cost = lambda group: (idle if group else 0) + per_activity * sum(activity[j] for j in group)  # noqa: B023
        shapley = []
        for j in range(n):
            others = [k for k in range(n) if k != j]
            value = Fraction(0)
            for size in range(n):
                for group in itertools.combinations(others, size):
                    weight = Fraction(math.factorial(size) * math.factorial(n - size - 1), math.factorial(n))
                    value += weight * (cost((*group, j)) - cost(group))
            shapley.append(value)
        energy = cost(tuple(range(n)))
        parts = run([(0, SPAN, energy)], [(0, SPAN, a, sum(activity), -1, 1) for a in activity])
        for j in range(n):
            assert abs(int(parts.static_hnj[j] + parts.dynamic_hnj[j]) - shapley[j]) <= 2


def test_what_known_activities_do_not_cover_belongs_to_nobody_known():
    rows = [(0, SPAN, 200_000, 1_000_000, -1, 1), (0, SPAN, 300_000, 1_000_000, -1, 1)]
    energy = (IDLE + 100_000) * 2 * SPAN
    parts = run([(0, SPAN, energy)], rows)
    dynamic = 100_000 * 2 * SPAN
    assert parts.unattributed_hnj[0] == dynamic // 2
    assert parts.dynamic_hnj.tolist() == [dynamic // 5, dynamic * 3 // 10]


def test_two_hundred_jobs_on_one_gpu():
    rows = [(j, SPAN, 5_000, 1_000_000, -1, 1) for j in range(200)]
    energy = 700_000 * 2 * SPAN + 13
    parts = run([(0, SPAN, energy)], rows)
    assert total(parts) == energy
    assert (parts.static_hnj + parts.dynamic_hnj > 0).all()


def test_held_and_idle_is_billed_to_the_holder():
    energy = IDLE * 2 * SPAN
    parts = run([(0, SPAN, energy)], [(0, SPAN, -1, 0, 1_000_000, 0)])
    assert (parts.static_hnj[0], parts.idle_hnj[0], parts.unattributed_hnj[0]) == (energy, 0, 0)
    half = run([(0, SPAN, energy)], [(0, SPAN, -1, 0, 500_000, 0)])
    assert (half.static_hnj[0], half.idle_hnj[0]) == (energy // 2, energy - energy // 2)


def test_mig_instances_pay_by_their_share_and_their_own_use():
    rows = [
        (0, SPAN, 0, 500_000, 428_571, 1),
        (0, SPAN, 400_000, 500_000, 285_714, 1),
        (0, SPAN, 100_000, 500_000, 142_857, 1),
    ]
    parts = run([(0, SPAN, (IDLE + 50_000) * 2 * SPAN)], rows)
    static = IDLE * 2 * SPAN
    for got, ppm in zip(parts.static_hnj, (428_571, 285_714, 142_857), strict=True):
        assert abs(int(got) - static * ppm / 1e6) <= 1
    assert parts.dynamic_hnj.tolist() == [0, 50_000 * 2 * SPAN * 4 // 5, 50_000 * 2 * SPAN // 5]


def test_nobody_active_of_several_leaves_it_unattributed():
    rows = [(0, SPAN, 0, 0, -1, 1), (0, SPAN, 0, 0, -1, 1)]
    parts = run([(0, SPAN, (IDLE + 1_000) * 2 * SPAN)], rows)
    assert parts.unattributed_hnj[0] == 1_000 * 2 * SPAN
    assert parts.dynamic_hnj.sum() == 0


@settings(max_examples=examples(300), deadline=None)
@given(pieces_of(), st.lists(row(), max_size=6), st.data())
def test_holes_conserve_and_a_hole_in_which_nobody_comes_or_goes_is_a_piece(pieces, rows, data):
    n = len(pieces)
    hole = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64)
    power = st.lists(st.sampled_from([-1, 1, IDLE, 500_000]), min_size=n, max_size=n)
    ends = {"begin_mw": np.array(data.draw(power), np.int64), "end_mw": np.array(data.draw(power), np.int64)}
    parts = run(pieces, rows, hole=hole, **ends)
    assert total(parts) == sum(energy for _, _, energy in pieces)
    for column in parts._replace(idle_us=parts.booked_us):
        assert (column >= 0).all()
    # Each row covers of the pieces what lies within it.
    for (start, end, *_), covered in zip(rows, parts.booked_us.tolist(), strict=True):
        assert covered == sum(max(0, min(end, t1) - max(start, t0)) for t0, t1, _ in pieces)
    still = [(-50, 2 * SPAN, *r[2:]) for r in rows]
    known, plain = run(pieces, still, hole=hole, **ends), run(pieces, still, **ends)
    assert [column.tolist() for column in known] == [column.tolist() for column in plain]


def hole_of(energy_j, rows, begin_w, end_w, owner=None):
    """One hole of 40 s between other pieces; rows of (start_s, end_s); per row joules above idle, and the sigma."""
    s = 1_000_000
    pieces = [(0, 10 * s, begin_w * 20_000_000_000), (10 * s, 50 * s, energy_j * 2_000_000_000)]
    rows = [(a * s, b * s, 1_000_000, 1_000_000, 1_000_000, 1) for a, b in rows]
    parts = run(
        pieces, rows, hole=np.array([0, 1], np.int64), owner=owner and np.array(owner),
        begin_mw=np.array([begin_w, begin_w]) * 1000, end_mw=np.array([begin_w, end_w]) * 1000,
    )  # fmt: skip
    return parts.dynamic_hnj / 2e9, parts.guessed_hnj / 2e9, parts


def test_a_hole_is_cut_where_one_job_follows_another_by_the_powers_beside_it():
    # 470 W for 20 s, idle for 5 s, 120 W for 15 s.
    energy_j = 470 * 20 + 70 * 5 + 120 * 15
    dynamic_j, sigma_j, _ = hole_of(energy_j, [(0, 30), (35, 60)], 470, 120)
    assert dynamic_j == pytest.approx([400 * 30, 50 * 15])
    above_j = energy_j - 70 * 40
    wanted_j = [math.sqrt(part_j * (above_j - part_j) / 3) for part_j in (400 * 20, 50 * 15)]
    assert sigma_j == pytest.approx(wanted_j)


def test_a_hole_is_scaled_to_what_the_counter_says():
    dynamic_j, _, parts = hole_of(2 * (400 * 20 + 100 * 20), [(0, 30), (30, 60)], 400, 100)
    assert dynamic_j == pytest.approx([330 * 10 + 2 * 400 * 20 - 70 * 20, 2 * 100 * 20 - 70 * 20])
    assert parts.unattributed_hnj[0] == 0


def test_a_job_that_begins_in_a_hole_pays_nothing_of_before():
    """Idle before: all that the hole has above idle is of the job that began in it."""
    dynamic_j, _, parts = hole_of(70 * 30 + 370 * 10, [(40, 60)], 70, 370)
    assert dynamic_j == pytest.approx([3_000])
    assert parts.unattributed_hnj[0] == 0


@pytest.mark.parametrize("beside_w", [70, 300])
def test_a_job_that_lived_in_a_hole_has_what_the_counter_says_beside_the_rest(beside_w):
    """For 20 of 40 s a second job drew 300 W; the readings on both sides know nothing of it."""
    rows = [(20, 40)] if beside_w == 70 else [(0, 60), (20, 40)]
    dynamic_j, sigma_j, parts = hole_of(beside_w * 40 + 300 * 20, rows, beside_w, beside_w)
    if beside_w == 70:
        assert dynamic_j == pytest.approx([6_000], rel=0.02)
        assert parts.unattributed_hnj[0] / 2e9 == pytest.approx(6_000 - dynamic_j[0], abs=1)
    else:  # both say that they were fully active
        assert dynamic_j == pytest.approx([230 * 30 + 530 * 20 / 2, 530 * 20 / 2], rel=0.06)
        assert abs(dynamic_j[1] - 6_000) < 2 * sigma_j[1]


def test_who_lived_for_a_second_of_a_hole_does_not_pay_for_a_load_beside_that_moved():
    dynamic_j, _, _ = hole_of(420 * 40, [(0, 30), (31, 60), (30, 31)], 400, 400)
    assert dynamic_j == pytest.approx([330 * 10 + 350 * 20, 350 * 19, 350], rel=0.03)


def test_rows_of_one_owner_that_follow_each_other_are_no_edge():
    """Windows end in a hole; the job that is there throughout has all of it, and no doubt."""
    dynamic_j, sigma_j, _ = hole_of(400 * 40, [(0, 20), (20, 35), (35, 60)], 400, 100, owner=[0, 0, 0])
    assert dynamic_j.sum() == 330 * 50
    assert sigma_j.tolist() == [0, 0, 0]


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.integers(0, 59), min_size=3, max_size=3, unique=True).map(sorted),
    st.lists(st.integers(1, 58), max_size=30, unique=True).map(sorted),
    st.integers(200, 600),
)
def test_windows_that_end_in_a_hole_make_nothing_less_certain(edges, ends, watts):
    """One job holds the GPU all the time, another one for a part of it: their rows may be cut anywhere."""
    begin, end, _ = edges

    def cut(low, high):
        return itertools.pairwise([low, *(at for at in ends if low < at < high), high])

    rows, owner = [*cut(0, 60), *cut(begin, end)], [0] * len([*cut(0, 60)]) + [1] * len([*cut(begin, end)])
    whole, sure, _ = hole_of(watts * 40, [(0, 60), (begin, end)], 300, 150, owner=[0, 1])
    parts, unsure, _ = hole_of(watts * 40, rows, 300, 150, owner=owner)
    for one in (0, 1):
        mine = np.array(owner) == one
        assert parts[mine].sum() == pytest.approx(whole[one], abs=1e-3)
        assert unsure[mine].sum() == pytest.approx(sure[one], abs=1e-3)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=7), st.integers(0, 1_000_000), st.integers(1, 10**12))
def test_sigma_of_a_split_by_activity_is_the_closed_form(activity, more, energy):
    rows = [(0, SPAN, a, sum(activity) + more, -1, 1) for a in activity]
    parts = run([(0, SPAN, energy)], rows, idle=0)
    shares = parts.dynamic_hnj / energy
    everybody = [*shares, parts.unattributed_hnj[0] / energy]
    shared = len(rows) > 1 and sum(activity) > 0
    for j, (share, got) in enumerate(zip(shares, parts.unlike_hnj.tolist(), strict=True)):
        others = sum(other**2 for i, other in enumerate(everybody) if i != j)
        wanted = energy * share * math.sqrt((1 - share) ** 2 + others) if shared else 0
        assert abs(got - wanted) <= 1 + 1e-6 * wanted + 1e-7 * energy
        assert got <= energy / math.sqrt(8) + 1


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.integers(2 * IDLE, 9 * IDLE), min_size=1, max_size=3),
    st.lists(row(), max_size=5),
    st.sampled_from([-7_000, 20_000, 69_000]),
)
def test_what_another_idle_power_would_change_is_told(powers, rows, more):
    pieces = [(i * SPAN // len(powers), (i + 1) * SPAN // len(powers), mw) for i, mw in enumerate(powers)]
    pieces = [(a, b, 2 * mw * (b - a)) for a, b, mw in pieces]
    parts, other = run(pieces, rows), run(pieces, rows, IDLE + more)
    told = 2 * more * parts.idle_us
    changed = other.static_hnj + other.dynamic_hnj - parts.static_hnj - parts.dynamic_hnj
    slack = 4 * abs(more) * (2 * len(rows) + 2)  # a microsecond a segment
    assert (abs(told - changed) <= slack).all()
    nobodys = int((other.idle_hnj + other.unattributed_hnj - parts.idle_hnj - parts.unattributed_hnj)[0])
    assert abs(int(changed.sum()) + nobodys) == 0


def test_of_one_who_has_the_gpu_idle_power_moves_nothing_and_of_one_who_holds_beside_it_half():
    alone = run([(0, SPAN, 6 * IDLE * SPAN)], [(0, SPAN, -1, -1, 1_000_000, 1)])
    assert alone.idle_us.tolist() == [0]
    pair = [(0, SPAN, 900_000, 900_000, 500_000, 1), (0, SPAN, 0, 900_000, 500_000, 0)]
    for energy in (6 * IDLE * SPAN, IDLE * SPAN):  # above idle, and below it
        parts = run([(0, SPAN, energy)], pair)
        assert parts.idle_us.tolist() == [-SPAN // 2, SPAN // 2]
        assert parts.dynamic_hnj.tolist() == [max(energy - 2 * IDLE * SPAN, 0), 0]


@settings(max_examples=examples(50), deadline=None)
@given(pieces_of(), st.integers(1, SPAN - 1))
def test_cutting_a_window_elsewhere_changes_sigma_by_rounding_only(pieces, cut):
    rows = [(0, SPAN, 600_000, 1_000_000, -1, 1), (0, SPAN, 300_000, 1_000_000, -1, 1)]
    halves = [(0, cut, *r[2:]) for r in rows] + [(cut, SPAN, *r[2:]) for r in rows]
    whole, parts = run(pieces, rows), run(pieces, [halves[0], halves[2], halves[1], halves[3]])
    for job in (0, 1):
        assert abs(int(parts.unlike_hnj[2 * job : 2 * job + 2].sum()) - int(whole.unlike_hnj[job])) <= 6


def at_rest(rows, begin_mw=IDLE, end_mw=IDLE, energy_j=360):
    """One second of 360 J between two readings, split by the rule of a GPU that rests beside a time of nobody."""
    hnj = energy_j * 2_000_000_000
    parts = run(
        [(0, 1_000_000, hnj)], rows, rests=True, begin_mw=np.array([begin_mw]), end_mw=np.array([end_mw])
    )  # fmt: skip
    billed = (parts.static_hnj + parts.dynamic_hnj) / 2e9
    return billed, (parts.idle_hnj[0] + parts.unattributed_hnj[0]) / 2e9


def test_a_job_between_two_readings_of_a_gpu_at_rest_used_all_that_is_above_idle():
    billed, nobodys = at_rest([(100_000, 700_000, -1, -1, -1, 1)])
    assert nobodys == pytest.approx(0.4 * 70)
    assert billed[0] == pytest.approx(360 - 0.4 * 70)


def test_a_reading_above_idle_beside_nobody_is_somebody_unknown_and_bills_nobody_else():
    rows = [(400_000, 1_000_000, -1, -1, -1, 1)]
    billed, nobodys = at_rest(rows, begin_mw=300_000, end_mw=420_000)
    assert nobodys == pytest.approx(360 * (300 + 348) / 2 * 0.4 / 360)  # along the line: nothing is moved to the job
    assert billed[0] == pytest.approx(360 - nobodys)


def test_who_leaves_is_not_billed_for_who_comes_later_between_the_same_readings():
    first, second = (0, 300_000, -1, -1, -1, 1), (600_000, 1_000_000, -1, -1, -1, 1)
    billed, nobodys = at_rest([first, second])
    assert billed == pytest.approx([108, 144])
    assert nobodys == pytest.approx(108)  # whose it was is not known


@settings(max_examples=examples(300), deadline=None)
@given(pieces_of(), st.lists(row(), max_size=6), st.sampled_from([-1, 0, IDLE]), st.data())
def test_the_rule_of_rest_conserves(pieces, rows, idle, data):
    powers = [np.array([data.draw(st.integers(-1, 3 * IDLE)) for _ in pieces], np.int64) for _ in range(2)]
    parts = run(pieces, rows, idle, rests=True, begin_mw=powers[0], end_mw=powers[1])
    assert total(parts) == sum(energy for _, _, energy in pieces)
    for column in parts._replace(idle_us=parts.booked_us):
        assert (column >= 0).all()


@pytest.mark.parametrize(("length_s", "begin_w", "most_w"), [(1, 700, 700), (10, 700, 700), (10, -1e-3, 360)])
def test_what_is_put_into_a_moment_is_no_peak(length_s, begin_w, most_w):
    """All that is above idle is an owner's who was there for the first 50 us; no power was ever that high."""
    until_us, ends = length_s * 1_000_000, (np.array([round(begin_w * 1e3)]), np.array([IDLE]))
    piece = (0, until_us, 2 * 360_000 * until_us)
    parts = run([piece], [(-1_000_000, 50, -1, -1, 1_000_000, 1)], rests=True, begin_mw=ends[0], end_mw=ends[1])
    assert int(parts.dynamic_hnj[0]) > piece[2] // 2
    assert int(parts.peak_mw[0]) == most_w * 1000


@pytest.mark.parametrize(
    ("length_s", "ends_w", "seen_w"),
    [(0.1, (680, 690), 690), (0.1, (-1e-3, -1e-3), 1380), (0.1, (1500, 20), 1380), (3, (680, 690), 1380)],
)
def test_a_peak_in_a_short_time_is_what_was_read_then_and_not_what_a_counter_in_steps_says(length_s, ends_w, seen_w):
    """Two publications of the counter in one interval: all of it is billed, and nobody drew twice as much."""
    begin, end = (np.array([round(watts * 1e3)]) for watts in ends_w)
    until_us = round(length_s * 1e6)
    parts = run([(0, until_us, 2 * 1_380_000 * until_us)], [(0, until_us, -1, -1, -1, 1)], begin_mw=begin, end_mw=end)
    assert int((parts.static_hnj + parts.dynamic_hnj)[0]) == 2 * 1_380_000 * until_us
    assert parts.peak_mw.tolist() == [seen_w * 1000]
