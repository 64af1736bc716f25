"""The store: every part once, whatever repeats or breaks, and sums of jobs and days that are the parts'."""

import itertools
import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import DAY_US, HOUR_US, JOBS, MARCH_US, MODELS, job, opened, part, parts, report
from wattshed.agent.history import schema
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.database import Database
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter, jobs, runs_of
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.store import Retention
from wattshed.agent.history.sums import by_day, within
from wattshed.agent.wire.parts import Doubt
from wattshed.agent.wire.parts_json import of_plain, plain


def total_hnj(made):
    return sum(one.energy_hnj for one in made)


@given(made=parts(), data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_parts_come_out_as_they_went_in(made, data, new_place):
    """Batches cut anywhere, repeated from any point, the store opened again between them: each part is there once."""
    place = new_place()
    store, at, added = opened(place), 0, 0
    while at < len(made):
        back, forth = data.draw(st.integers(0, at)), data.draw(st.integers(at + 1, len(made)))
        added += store.add(made[at - back : forth], JOBS, MODELS)
        at = forth
        if data.draw(st.booleans()):
            store = opened(place)
    assert added == len(made)
    assert store.parts(0) == made
    assert store.next_seq() == len(made) + 1
    assert store.add(made, JOBS, MODELS) == 0


@given(
    made=parts(), by=st.sampled_from(["user", "account", "namespace", "host", "model", "day", "month"]), data=st.data()
)
@settings(max_examples=examples(150), deadline=None)
def test_reports_are_the_sums_of_their_parts(made, by, data, new_place):
    """Whatever a report goes by, and whenever it begins and ends: its rows add up to what the parts say."""
    place = new_place()
    store = opened(place)
    store.add(made, JOBS, MODELS)
    edges = st.one_of(
        st.integers(-3, 8).map(lambda day: MARCH_US + day * DAY_US),
        st.integers(MARCH_US - 2 * DAY_US, MARCH_US + 9 * DAY_US),
    )
    since, until = sorted((data.draw(edges), data.draw(edges)))
    model = data.draw(st.sampled_from(["", "H100"]))
    rows = report(open_database(place, read_only=True), by, Filter(since_us=since, until_us=until, model=model))
    inside = [
        within(one, max(since, one.from_us), min(until, one.to_us))
        for one in made
        if ((one.from_us < until and one.to_us > since) or since <= one.from_us == one.to_us < until)
        and model in {"", MODELS[one.gpu]}
    ]
    assert sum(row.used.energy_hnj for row in rows) == total_hnj(inside)
    assert sum(row.used.active_us for row in rows) == sum(one.active_us for one in inside)
    assert sum(row.used.held_us for row in rows) == sum(one.held_us for one in inside)
    for name in ("gain_j", "split_j", "idle_j", "unread_j", "squares_j2"):
        assert math.isclose(
            sum(getattr(row.used.doubt, name) for row in rows),
            sum(getattr(one.doubt, name) for one in inside),
            rel_tol=1e-9, abs_tol=1e-3,
        )  # fmt: skip
    named = {row.name: row.used.energy_hnj for row in rows}
    expected = {}
    for one in inside:
        name = _name(one, by)
        if name is not None:
            expected[name] = expected.get(name, 0) + one.energy_hnj
    if expected:
        assert {name: named.get(name, 0) for name in expected} == expected


def _name(one, by):
    """Name the row of a part, where that needs no cutting."""
    record = JOBS.get((one.job, one.run_us))
    if by == "host":
        return "n1"
    if by == "model":
        return MODELS[one.gpu]
    if by in {"day", "month"}:
        return None
    return one.job if record is None else record.labels.get(by, "")


@given(made=parts())
@settings(max_examples=examples(40), deadline=None)
def test_a_job_is_the_sum_of_its_parts(made, new_place):
    place = new_place()
    opened(place).add(made, JOBS, MODELS)
    database = open_database(place, read_only=True)
    found = {one.key: one for one in jobs(database, Filter()).jobs}
    assert set(found) == {key for key, _ in JOBS}
    for key, one in found.items():
        mine = [p for p in made if p.job == key]
        assert one.used.energy_hnj == total_hnj(mine)
        assert one.peak_mw == max((p.peak_mw for p in mine), default=0)
        assert one.edges == sum(p.edges for p in mine)
        assert runs_of(database, key, Filter()) == [one]


@given(made=parts(most=1), edges=st.lists(st.integers(-DAY_US, 9 * DAY_US), min_size=1, max_size=6))
def test_stretches_of_a_part_add_up(made, edges):
    (one,) = made
    inside = sorted(MARCH_US + edge for edge in edges if one.from_us < MARCH_US + edge < one.to_us)
    cuts = [one.from_us, *inside, one.to_us]
    pieces = [within(one, a, b) for a, b in itertools.pairwise(cuts)]
    assert sum(piece.static_hnj for piece in pieces) == one.static_hnj
    assert sum(piece.dynamic_hnj for piece in pieces) == one.dynamic_hnj
    assert sum(piece.active_us for piece in pieces) == one.active_us
    assert [piece.covered_us is None for piece in pieces] == [one.covered_us is None] * len(pieces)
    assert sum(piece.covered_us or 0 for piece in pieces) == (one.covered_us or 0)
    days = [piece for _, piece in by_day(one)]
    assert (days[0].from_us, days[-1].to_us, total_hnj(days)) == (one.from_us, one.to_us, one.energy_hnj)


def test_labels_that_come_late_move_what_was_used_before(new_place):
    place = new_place()
    store = opened(place)
    unknown = {("slurm:1", MARCH_US): job("slurm:1")}
    store.add([part(1, joules=5, length_us=2 * DAY_US), part(2, joules=7)], unknown, MODELS)
    database = open_database(place, read_only=True)
    assert [(row.name, row.used.energy_hnj / 2e9) for row in report(database, "user", Filter())] == [("", 12.0)]
    store.add([part(3, joules=1)], {("slurm:1", MARCH_US): job("slurm:1", user="ada")}, MODELS)
    rows = [(row.name, row.used.energy_hnj / 2e9) for row in report(database, "user", Filter()) if row.used.energy_hnj]
    assert rows == [("ada", 13.0)]
    (one,) = jobs(database, Filter(groups={"user": "ada"})).jobs
    # A label that is known stays, and so do facts of a job of which nothing new is said.
    store.add([part(4, joules=1)], {}, MODELS)
    assert jobs(database, Filter()).jobs[0].labels == one.labels
    assert jobs(database, Filter()).jobs[0].start_us == one.start_us


def test_what_fails_in_the_middle_leaves_nothing(new_place):
    place = new_place()
    store = opened(place)
    broken = [part(1), part(2, gpu="GPU-9"), part(2)]  # the third has the number of the second
    with pytest.raises(DatabaseError, match=r"(history.db|postgres): .*(UNIQUE|unique)"):
        store.add(broken, JOBS, MODELS)
    assert store.parts(0) == []
    assert report(open_database(place, read_only=True), "user", Filter()) == []
    assert store.add(broken[:2], JOBS, MODELS) == 2
    assert store.parts(0) == broken[:2]


def test_old_and_too_much_goes_first(new_place):
    place = new_place()
    store = opened(place)
    ended = {("slurm:1", MARCH_US): job("slurm:1", end_us=MARCH_US + HOUR_US)}
    store.add([part(seq, begin_us=MARCH_US + seq * HOUR_US) for seq in range(1, 11)], ended, MODELS)
    now_us = MARCH_US + 100 * HOUR_US
    assert store.tidy(now_us, Retention()) == 0
    assert store.tidy(now_us, Retention(max_age_us=95 * HOUR_US)) == 3  # parts 1, 2, 3 ended by hour 4
    assert [one.seq for one in store.parts(0)] == list(range(4, 11))
    database = open_database(place, read_only=True)
    assert database.rows("SELECT first_seq FROM store") == [(4,)]
    assert len(jobs(database, Filter()).jobs) == 1  # some of it is still there
    assert store.tidy(now_us, Retention(max_bytes=1)) == 7
    assert jobs(database, Filter()).jobs == ()
    # Sums of days outlive it.
    assert [row.used.energy_hnj for row in report(database, "day", Filter())] == [20_000_000_000]


def test_a_file_of_another_kind_or_version_is_left_alone(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE cats(name)")
    with pytest.raises(DatabaseError, match=r"other.db: is another program's database"):
        opened(other)
    newer = tmp_path / "newer.db"
    opened(newer).add([part(1)], JOBS, MODELS)
    with sqlite3.connect(newer) as connection:
        connection.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    with pytest.raises(
        DatabaseError, match=rf"newer.db: is of version {schema.VERSION + 1}, written by a newer wattshed"
    ):
        opened(newer)
    (tmp_path / "torn.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match=r"torn.db: "):
        opened(tmp_path / "torn.db")
    with pytest.raises(DatabaseError, match="there is no such history"):
        Database(tmp_path / "none.db", read_only=True)
    assert not (tmp_path / "none.db").exists()


def as_version(place, version):
    """Bring a history to how an older version had it.

    Nothing is told of the watts of jobs; up to version 2 of their work, by version 1 of the time that energies cover.
    """
    database = open_database(place)
    with database.transaction():
        database.do("ALTER TABLE part DROP COLUMN watts_mw")
        database.do("ALTER TABLE part DROP COLUMN watts_sigma_mw")
        if version < 3:
            database.do("DROP INDEX job_with_work")
            database.do("ALTER TABLE job DROP COLUMN work")
        if version == 1:
            database.do("ALTER TABLE part DROP COLUMN covered_us")
        database.set_version(version)
    database.close()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_history_of_an_older_version_goes_on_and_does_not_know_what_that_did_not_tell(new_place, version):
    place = new_place()
    store = opened(place)
    store.add([part(1, covered_us=5, watts_mw=(7, 1))], JOBS, MODELS)
    as_version(place, version)
    again = opened(place)
    later = part(2, begin_us=MARCH_US + HOUR_US, covered_us=7, watts_mw=(300_000, 20_000))
    again.add([later, part(3, covered_us=None)], JOBS, MODELS)
    assert [one.covered_us for one in again.parts(0)] == [None if version == 1 else 5, 7, None]
    assert [one.watts_mw for one in again.parts(0)] == [None, (300_000, 20_000), None]
    assert open_database(place, read_only=True).version() == schema.VERSION


@pytest.mark.parametrize("version", [1, 2, 3])
def test_who_only_reads_a_history_of_an_older_version_leaves_it_as_it_is(new_place, version):
    place = new_place()
    opened(place).add([part(1, covered_us=5, watts_mw=(7, 1))], JOBS, MODELS)
    as_version(place, version)
    database = open_database(place, read_only=True)
    if str(place).startswith("postgresql"):
        with pytest.raises(DatabaseError, match=f"is of version {version}; start this version's `wattshed collect`"):
            schema.prepare(database)
    else:
        schema.prepare(database)
        found = Answers(database, "n1", clock=lambda: 0.0).job("slurm:1", Filter())["job"]
        assert (found["energy_j"], found["work"], found["watts"]) == ("1", None, None)
        assert found["by_gpu"][0]["watts_sigma"] is None
        assert (found["covered_s"] is None) == (version == 1)
        (told,) = Answers(database, "n1", clock=lambda: 0.0).parts(0)["parts"]
        assert told["covered_us"] == (None if version == 1 else 5)
    assert database.version() == version
    database.close()


@given(made=parts(most=3))
def test_parts_pass_through_json(made):
    for one in made:
        if plain_ok(one):
            assert of_plain(plain(one)) == one
        else:
            with pytest.raises(ValueError, match=r"20 kW|too large"):
                of_plain(plain(one))


def test_watts_of_a_part_are_two_whole_numbers_or_unknown():
    told = plain(part(1, watts_mw=(741_000, 30_000)))
    assert of_plain({name: value for name, value in told.items() if name != "watts_mw"}).watts_mw is None
    assert of_plain(told | {"watts_mw": [-5, 30_000]}).watts_mw == (-5, 30_000)
    for wrong in ([741_000], [1, 2, 3], [741_000, -1], [0.5, 1], ["x", 1], 7, [2**62, 1], [1, 2**62], [None, None]):
        with pytest.raises(ValueError, match=r"is not a part|too large|below 0"):
            of_plain(told | {"watts_mw": wrong})


def plain_ok(one):
    """Whether a part can have been: below 20 kW."""
    return one.energy_hnj / 2e9 <= (one.to_us - one.from_us + 10_000_000) * 0.02


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seq": 0}, "no number"),
        ({"job": ""}, "no number"),
        ({"to_us": 0}, "ends before"),
        ({"static_hnj": "-1"}, "below 0"),
        ({"dynamic_hnj": str(10**18)}, "20 kW"),
        ({"doubt": [1, 2, 3, 4, float("nan")]}, "not finite"),
        ({"doubt": [1]}, "is not a part"),
        ({"peak_mw": "much"}, "is not a part"),
        ({"peak_mw": 1.5}, "1.5 is not a whole number"),
        ({"peak_mw": True}, "is not a part"),
        ({"gpu": None}, "is not a part"),
        ({"job": 7}, "is not a part"),
    ],
)
def test_what_cannot_be_is_no_part(change, why):
    values = plain(part(1, joules=1000)) | change
    assert of_plain(plain(part(1, joules=1000))) == part(1, joules=1000)
    with pytest.raises(ValueError, match=why):
        of_plain(values)


def test_sigma_of_sums():
    """Gains add up linearly, edges in squares, and both together in squares."""
    one = Doubt(gain_j=3, squares_j2=16)
    assert one.sigma_j == 5
    both = one.plus(one)
    assert both.sigma_j == pytest.approx(math.hypot(6, math.sqrt(32)))
