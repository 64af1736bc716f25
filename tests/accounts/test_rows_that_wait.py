"""Usage that waits for its energy, holes that wait for what comes after them: each against a plain reading of its rule.

What is drawn here is small (two GPUs, three owners, times of a few units), so that edges meet all the time.
"""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.holding import _gaps, _rate, _reaching
from wattshed.agent.accounts.hole import Hole, Seen
from wattshed.agent.accounts.joining import APART_US, MOST_WAITING, joined
from wattshed.agent.accounts.late_holes import EDGE_US, ENOUGH_US, LateHoles
from wattshed.agent.accounts.ledger import GpuKey
from wattshed.agent.accounts.pending_usage import COVERAGE_WINDOWS, PPM, Coverage, PendingUsage
from wattshed.agent.window import MISSING, Event, JobKey, Owner
from wattshed.kernels.billing.layout import DIAGNOSTICS, EnergyIntervals

T0 = 1_700_000_000 * S
KEYS = [GpuKey("h", "GPU-0"), GpuKey("h", "GPU-1")]


def usage(rows):
    """Rows (gpu, key, activity, share, live, start, end), in the split's order."""
    made = [(gpu, Owner(JobKey(key)), *rest) for gpu, key, *rest in rows]
    return PendingUsage.made(made).followed_by(PendingUsage.made([]))


def plain(pending):
    columns = (pending.gpu, pending.activity_ppm, pending.share_ppm, pending.live, pending.start_us, pending.end_us)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(gpu, pending.key(i), *rest) for i, (gpu, *rest) in enumerate(rows)]


ACTIVITIES = st.sampled_from([-1, 0, 300_000, PPM])
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from("abc"), ACTIVITIES, st.sampled_from([-1, PPM // 2]),
        st.sampled_from([0, 1]), st.integers(0, 12), st.integers(1, 6),
    ).map(lambda row: (*row[:-1], row[-2] + row[-1])),
    max_size=8,
)  # fmt: skip


@given(ROWS, ROWS)
def test_joined_rows_are_in_the_order_of_the_split_and_none_is_lost(one, two):
    both = plain(usage(one).followed_by(usage(two)))
    assert sorted(both) == sorted([*one, *two])
    places = [(gpu, key, start) for gpu, key, _, _, _, start, _ in both]
    assert places == sorted(places)


@given(ROWS, st.integers(0, 14))
def test_what_lies_after_a_moment_is_cut_off(rows, moment):
    left = [(*row[:-1], min(row[-1], moment)) for row in rows if row[-2] < moment]
    assert sorted(plain(usage(rows).until(moment))) == sorted(left)


@given(ROWS, st.dictionaries(st.integers(0, 1), st.integers(0, 5), max_size=2))
def test_rows_follow_gpus_that_get_other_numbers(rows, place):
    moved = [(place[row[0]], *row[1:]) for row in rows if row[0] in place]
    assert sorted(plain(usage(rows).moved(place))) == sorted(moved)


@given(ROWS, st.dictionaries(st.sampled_from("abc"), st.sampled_from("abx"), max_size=2))
def test_owners_have_one_number_each_and_may_be_renamed(rows, names):
    pending = usage(rows).only_named_owners()
    assert {owner.key for owner in pending.owners} == {row[1] for row in rows}
    whose = pending.whose().tolist()
    for (i, one), (j, two) in itertools.combinations(enumerate(plain(pending)), 2):
        assert (whose[i] == whose[j]) == (one[1] == two[1])
    renamed = pending.renamed({JobKey(old): JobKey(new) for old, new in names.items()})
    assert plain(renamed) == [(row[0], names.get(row[1], row[1]), *row[2:]) for row in plain(pending)]


@given(ROWS, st.integers(0, 1))
def test_what_is_saved_of_one_gpu_comes_back(rows, gpu):
    mine = usage([row for row in rows if row[0] == gpu])
    assert plain(PendingUsage.of_plain(gpu, mine.plain())) == plain(mine)


@given(st.lists(st.tuples(st.lists(st.integers(-1, 5), max_size=3), st.integers(-1, 9)), min_size=1, max_size=80))
def test_how_much_of_the_busy_time_is_explained_is_a_mean_of_half_a_minute(story):
    """Of each window the activities (s, -1 unknown) and how busy the GPU was; one that tells neither begins anew."""
    coverage, past = Coverage(), []
    for n, (activities, busy) in enumerate(story):
        t = T0 + 10 * n * S
        rows = [(0, f"j{i}", t, t + 10 * S, a * S if a >= 0 else MISSING, -1, 1) for i, a in enumerate(activities)]
        rows.append((0, "held", t, t + 10 * S, 7 * S, -1, 0))  # who only holds it explains nothing
        one = window(t, t + 10 * S, [[]], rows, busy=[busy * S if busy >= 0 else MISSING])
        found = coverage.busy_us(one).tolist()
        if busy < 0 or not activities or min(activities) < 0:
            past = []
            assert found == [MISSING]
            continue
        past = [*past, (sum(activities) * S, busy * S)][-COVERAGE_WINDOWS:]
        known, whole = sum(k for k, _ in past), sum(w for _, w in past)
        assert found == [past[-1][0] * whole // known if known else 0]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 15), st.sampled_from([-5, -1, 0, 400_000, PPM, 2 * PPM]),
                       st.booleans(), st.integers(0, 9), st.integers(1, 10)), max_size=4, unique_by=lambda row: row[0]),
    st.sampled_from([-1, 0, 3, 10]), st.booleans(),
)  # fmt: skip
def test_activities_become_rates_and_who_was_not_to_be_seen_may_have_used_it(rows, busy, hidden):
    """On a GPU that tells no processes, several who hold it whole between them: one of them drew what was drawn."""
    about = device(capabilities={"processes": "function not found (13)" if hidden else ""})
    told = [
        (0, key, T0 + start * S, T0 + (start + length) * S, active * S if active >= 0 else MISSING, share, int(live))
        for key, active, share, live, start, length in rows
    ]
    one = window(T0, T0 + 20 * S, [[]], told, devices=(about,))
    found = PendingUsage.of(one, np.array([busy * S if busy >= 0 else MISSING]))
    whole = sum(PPM if share < 0 else share for _, _, share, *_ in rows) >= PPM
    unseen = hidden and len(rows) > 1 and whole and not any(live for *_, live, _, _ in rows)
    expected = [
        (
            0, key, min(active, length) * PPM // length if active >= 0 and not unseen else -1,
            min(max(share, -1), PPM), 1 if unseen else int(live), T0 + start * S, T0 + (start + length) * S,
        )
        for key, active, share, live, start, length in rows
    ]  # fmt: skip
    assert plain(found) == expected
    assert found.busy_ppm.tolist() == [busy * PPM // 20 if busy >= 0 else -1] * len(rows)


@given(ROWS, st.integers(0, 10), st.integers(0, 6), st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")))
def test_who_reaches_back_over_a_hole_was_there_in_it_only_if_it_was_there_before(rows, since, length, before, gone):
    start = since + length
    hole = Hole(since, {JobKey(key): Seen(Owner(JobKey(key)), -1, -1, 1) for key in before}, {*map(JobKey, gone)})
    expected = []
    for gpu, key, activity, share, live, begin, end in rows:
        early = gpu == 0 and live and begin < since
        begins = (since if key in before and key not in gone else start) if early else begin
        if begins < end:
            expected.append((gpu, key, activity, share, live, begins, end))
    assert sorted(plain(_reaching(usage(rows), 0, hole, start))) == sorted(expected)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6))), st.integers(0, 6), st.integers(0, 8))
def test_gaps_are_what_nothing_covers(own, since, length):
    stretches = [(start, start + one) for start, one in own]
    free = set(range(since, since + length)) - {t for start, stop in stretches for t in range(start, stop)}
    found = [t for start, stop in _gaps(stretches, since, since + length) for t in range(start, stop)]
    assert len(found) == len(set(found))
    assert set(found) == free


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(-1, 5), st.integers(0, 1))), max_size=2))
def test_an_activity_is_the_mean_of_what_is_known_at_the_two_edges(edges):
    seen = [edge and Seen(Owner(JobKey("a")), edge[0], -1, edge[1]) for edge in edges]
    known = [activity for activity, live in filter(None, edges) if activity >= 0 and live]
    assert _rate(*seen) == (int(np.mean(known)) if known else -1)


@given(ROWS, st.integers(0, 15), st.integers(0, 10))
def test_joining_keeps_every_moment_of_every_owner(rows, old, since):
    """No matter what is joined: at each moment the same owners hold the same share, and rates keep their integral."""
    apart = {(gpu, key): [r for r in rows if r[:2] == (gpu, key)] for gpu, key, *_ in rows}
    rows = [r for own in apart.values() for r in _disjoint(own)]
    unit, now = APART_US, T0 + (old + 1) * APART_US
    stretched = [(*row[:5], T0 + row[5] * unit, T0 + row[6] * unit) for row in rows]
    found = plain(joined(usage(stretched), now, np.array([T0 + since * unit] * 2)))

    def moments(some):
        return {
            (gpu, key, t): (activity >= 0, share, live)
            for gpu, key, activity, share, live, start, end in some
            for t in range((start - T0) // unit, (end - T0) // unit)
        }

    assert moments(found) == moments(stretched)
    for one, some in ((found, stretched), (stretched, found)):
        done, other = defaultdict(int), defaultdict(int)
        for rows_, into in ((one, done), (some, other)):
            for gpu, key, activity, _, _, start, end in rows_:
                into[gpu, key] += activity * (end - start) if activity >= 0 else 0
        assert all(abs(done[who] - other[who]) <= 20 * unit for who in done), "but for what is rounded down"
    for gpu, key, _, _, _, start, end in found:
        if (gpu, key, start, end) not in {(r[0], r[1], *r[5:]) for r in stretched}:
            assert end <= now - APART_US, "what waited for less stays apart"
            parts = [r[5] for r in stretched if r[:2] == (gpu, key) and start <= r[5] < end]
            assert len({part >= T0 + since * unit for part in parts}) == 1, "joined across the beginning of a hole"
    for one, two in itertools.pairwise(found):
        alike = (one[0], one[1], one[2] >= 0, *one[3:5]) == (two[0], two[1], two[2] >= 0, *two[3:5])
        aged = (
            one[6] == two[5] and two[6] <= now - APART_US and stretched and min(r[5] for r in stretched) <= now - unit
        )
        assert not (alike and aged and (one[5] >= T0 + since * unit) == (two[5] >= T0 + since * unit))


def _disjoint(own):
    """Those of one owner that do not lie over each other."""
    kept, until = [], -1
    for row in sorted(own, key=lambda row: row[5:]):
        if row[5] >= until:
            kept.append(row)
            until = row[6]
    return kept


def test_too_many_rows_become_fewer_and_the_newest_stay():
    count, unit = MOST_WAITING + 100, 2 * APART_US
    rows = [(0, "ab"[n % 2], 100 * (n % 7), -1, 1, T0 + n * unit, T0 + n * unit + APART_US) for n in range(count)]
    rows += [(1, "a", 5, -1, 1, T0, T0 + APART_US)]
    found = plain(joined(usage(rows), T0 + (count + 5) * unit, np.array([T0 - 1] * 2)))
    assert found[-1] == rows[-1], "another GPU has room"
    mine = [row for row in found if row[0] == 0]
    newest = sorted(rows[:-1], key=lambda row: row[5])[count // 2 :]
    assert set(newest) <= set(mine)
    assert len(mine) == len(newest) + 2
    for key in "ab":
        (first,) = [row for row in mine if row[1] == key and row not in newest]
        assert (first[5], first[6]) == (
            min(row[5] for row in rows if row[1] == key and row[0] == 0),
            max(row[6] for row in rows[: count // 2] if row[1] == key),
        )


SECONDS = st.tuples(st.sampled_from([1, 2, 3, 5, 8]), st.sampled_from([0, 0, 1]), st.integers(1, 400))


def as_intervals(per_gpu):
    """Intervals (t0, t1, energy, begin, end, mark) of each GPU."""
    flat = [one for own in per_gpu for one in own]
    counts = np.array([len(own) for own in per_gpu], np.int64)
    columns = np.array(flat, np.int64).reshape(-1, 6).T.copy()
    return EnergyIntervals(np.cumsum(counts) - counts, counts, *columns, np.zeros(len(per_gpu), DIAGNOSTICS))


def out_of(intervals):
    for gpu, (start, count) in enumerate(zip(intervals.starts.tolist(), intervals.counts.tolist(), strict=True)):
        for k in range(start, start + count):
            yield (gpu, *(int(column[k]) for column in intervals.columns))


@settings(deadline=None)
@given(st.lists(st.lists(SECONDS, max_size=12), min_size=2, max_size=2), st.sampled_from(["part", "whole", "none"]),
       st.randoms(use_true_random=False))  # fmt: skip
def test_a_hole_gets_the_power_after_it_however_its_intervals_come(story, there, random):
    """Cut into windows anywhere: the same intervals come out, with the same powers, and none twice or never."""
    lines, expected = [], []
    for gpu, own in enumerate(story):
        t, line = T0, []
        for seconds, mark, watts in own:
            line.append((t, t + seconds * S, 2 * watts * 1000 * seconds * S, 11, 22, mark))
            t += seconds * S
        lines.append(line)
        for k, (t0, t1, energy, begin, end, mark) in enumerate(line):
            after_us = after_hnj = 0
            for a, b, more, _, _, other in line[k + 1 :]:
                if not mark or other or after_us >= ENOUGH_US:
                    break
                after_us, after_hnj = after_us + b - a, after_hnj + more
            waits = mark and there == "part" and t1 - t0 > 2 * EDGE_US
            expected.append(
                (gpu, t0, t1, energy, begin, after_hnj // (2 * after_us) if waits and after_us else end, mark)
            )
    end_us = T0 + 200 * S
    parts = {
        "part": [(a, a + (b - a) // 2) for line in lines for a, b, *_ in line],
        "whole": [(T0, end_us)],
        "none": [],
    }
    rows = usage([(gpu, f"j{n}", -1, -1, 1, *span) for gpu in (0, 1) for n, span in enumerate(parts[there])])
    late, found, places = LateHoles(), [], [0, 0]
    while any(place < len(line) for place, line in zip(places, lines, strict=True)):
        batch = []
        for gpu, line in enumerate(lines):
            count = random.randint(0, 3)
            batch.append(line[places[gpu] : places[gpu] + count])
            places[gpu] += count
        intervals = as_intervals(batch)
        for part in (late.hold_back(intervals, KEYS, rows), intervals):
            found += out_of(part) if part is not None else []
    left = late.give_up(KEYS)
    found += out_of(left) if left is not None else []
    assert sorted(found) == sorted(expected)
    assert late.give_up(KEYS) is None


@pytest.mark.parametrize("first_mj", [0, 1, 5_000_000])
def test_a_modules_counter_goes_on_over_a_restart_from_whatever_it_stood_at(first_mj):
    """Counters begin at nothing: that is a reading, too."""
    able = {"average": "", "instant": "", "gpu_scope": "the module's"}
    about, accounts = (device(capabilities=able),), Accounts()
    counter = lambda n: first_mj + 500_000 * n
    for n in (0, 1, 30, 31):
        t = T0 + n * S
        events = (Event(t, "restart", detail=""),) if n == 30 else ()
        accounts.add(window(t, t + S, [[(t, 300_000, counter(n))]], devices=about, events=events, seq=n))
    (account,) = accounts.gpus.values()
    assert account.module.energy_hnj == (counter(31) - first_mj) * 2_000_000
