"""Laws of laying out one owner's time on one GPU."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.rows import Claims, OwnerClaim, lay_out
from wattshed.agent.window import Owner

START, END = 1_000, 2_000
TIME = st.integers(800, 2_200)
STRETCH = st.tuples(TIME, TIME).map(sorted).map(tuple)
HELD = st.tuples(STRETCH, st.sampled_from([-1, 250_000, 1_000_000]), st.sampled_from(["", "1", "2"]))
WORK = st.tuples(STRETCH, st.integers(0, 500))


def claim(live, held, work):
    made = OwnerClaim(list(live), [(a, b, share, part) for (a, b), share, part in held])
    for (a, b), sm in work:
        made.add_work(a, b, sm)
    return made


def covered(rows):
    return {t for row in rows for t in range(row.start_us, row.end_us)}


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STRETCH, max_size=5), st.lists(HELD, max_size=4), st.lists(WORK, max_size=4))
def test_rows_lie_inside_the_window_and_never_overlap(live, held, work):
    rows = lay_out(claim(live, held, work), START, END)
    for row in rows:
        assert START <= row.start_us < row.end_us <= END
        assert -1 <= row.share_ppm <= 1_000_000
        assert row.activity_us >= -1
    for before, after in pairwise(rows):
        assert before.end_us <= after.start_us
        assert (before.end_us, before.share_ppm, before.live) != (after.start_us, after.share_ppm, after.live)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STRETCH, max_size=5), st.lists(HELD, max_size=4))
def test_rows_cover_just_what_was_claimed(live, held):
    rows = lay_out(claim(live, held, []), START, END)
    window = range(START, END)
    there = {t for a, b in live for t in range(a, b)} & set(window)
    kept = {t for (a, b), _, _ in held for t in range(a, b)} & set(window)
    assert covered([row for row in rows if row.live]) == there
    assert covered(rows) == there | kept


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STRETCH, max_size=5), st.lists(HELD, max_size=4), st.lists(WORK, max_size=4), st.randoms())
def test_order_does_not_matter(live, held, work, random):
    wanted = lay_out(claim(live, held, work), START, END)
    for part in (live, held, work):
        random.shuffle(part)
    assert lay_out(claim(live, held, work), START, END) == wanted


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(STRETCH, st.lists(st.integers(0, 500), min_size=1, max_size=4)), min_size=1, max_size=3))
def test_splitting_a_process_into_pids_changes_nothing(jobs):
    whole, split = OwnerClaim(), OwnerClaim()
    for (a, b), works in jobs:
        whole.live.append((a, b))
        whole.add_work(a, b, sum(works))
        for work in works:
            split.live.append((a, b))
            split.add_work(a, b, work)
    assert lay_out(split, START, END) == lay_out(whole, START, END)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(WORK, min_size=1, max_size=4))
def test_work_within_the_window_is_kept(work):
    inside = [((max(a, START), min(b, END)), sm) for (a, b), sm in work if max(a, START) < min(b, END)]
    rows = lay_out(claim([stretch for stretch, _ in inside], [], inside), START, END)
    total = sum(sm for _, sm in inside)
    # Rounding is down, by less than one for each stretch and row.
    assert total - len(inside) * max(1, len(rows)) <= sum(row.activity_us for row in rows if row.live) <= total


def test_a_held_gpu_is_not_live_and_not_active():
    rows = lay_out(claim([(1_200, 1_500)], [((0, 9_999), 500_000, "")], [((1_200, 1_500), 120)]), START, END)
    assert [(r.start_us, r.end_us, r.live, r.activity_us, r.share_ppm) for r in rows] == [
        (1_000, 1_200, False, 0, 500_000),
        (1_200, 1_500, True, 120, 500_000),
        (1_500, 2_000, False, 0, 500_000),
    ]


def test_a_reservation_reported_twice_counts_once_and_instances_add_up():
    twice = lay_out(claim([], [((0, 9_999), 250_000, ""), ((0, 9_999), 250_000, "")], []), START, END)
    assert [row.share_ppm for row in twice] == [250_000]
    two = lay_out(claim([], [((0, 9_999), 250_000, "1"), ((0, 9_999), 250_000, "2")], []), START, END)
    assert [row.share_ppm for row in two] == [500_000]


def test_unknown_activity_is_not_zero():
    assert lay_out(claim([(0, 9_999)], [], []), START, END)[0].activity_us == -1
    assert lay_out(claim([(0, 9_999)], [], [((1_000, 2_000), 0)]), START, END)[0].activity_us == 0


def test_mig_instances_are_the_share_where_nothing_is_reserved():
    made = claim([(0, 9_999)], [], [])
    made.instances = {"1": 428_571, "2": 142_857}
    assert lay_out(made, START, END)[0].share_ppm == 571_428


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STRETCH, max_size=4), st.lists(st.tuples(TIME, st.integers(1, 500)), min_size=1, max_size=4))
def test_work_of_a_moment_is_of_the_first_row_that_the_moment_is_in(live, work):
    """As of a process list that is read twice at one time; what lies in no row is of nobody."""
    rows = [row for row in lay_out(claim(live, [], [((t, t), sm) for t, sm in work]), START, END) if row.live]
    wanted = dict.fromkeys(rows, 0)
    for t, sm in work:
        here = [row for row in rows if row.start_us <= t <= row.end_us]
        if here:
            wanted[here[0]] += sm
    assert [row.activity_us for row in rows] == list(wanted.values())


def test_work_reported_for_a_part_of_a_row_stands_for_all_of_it():
    """And what is reported for more than a row is spread evenly."""
    rows = lay_out(
        claim([(1_000, 1_400), (1_500, 2_000)], [], [((1_300, 1_700), 120), ((1_350, 1_400), 7)]), START, END
    )
    assert [(r.start_us, r.activity_us) for r in rows] == [(1_000, (30 + 7) * 4), (1_500, 60 * 500 // 200)]
    rows = lay_out(claim([(1_000, 1_100), (1_200, 1_300)], [], [((1_250, 1_300), 9)]), START, END)
    assert [(r.start_us, r.activity_us) for r in rows] == [(1_000, 0), (1_200, 18)]


def test_a_process_is_on_the_instance_where_it_was_seen():
    made = OwnerClaim()
    assert not made.is_on("")
    made.live.append((1_000, 1_100))
    assert made.is_on("")
    assert made.is_on("3")  # on which it was is not known
    made.instances["3"] = 142_857
    assert (made.is_on(""), made.is_on("3"), made.is_on("4")) == (True, True, False)


def test_an_owner_has_the_labels_of_all_claims_and_of_two_values_the_first():
    claims = Claims()
    first = claims.of(0, Owner("slurm:7", {"user": "ada"}))
    assert claims.of(0, Owner("slurm:7", {"user": "eve", "name": "train"})) is first
    assert claims.of(1, Owner("slurm:7", {})) is not first
    assert claims.owners["slurm:7"].labels == {"user": "ada", "name": "train"}
    assert set(claims.found) == {(0, "slurm:7"), (1, "slurm:7")}
