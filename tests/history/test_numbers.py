"""Rows that are looked up many at a time: the same as one by one, and found in an index."""

from hypothesis import given
from hypothesis import strategies as st

from tests.history.made_up import MARCH_US, job, opened
from wattshed.agent.history.database import Database
from wattshed.agent.history.numbers import Numbers, rows_with
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter, jobs

PLACES = [(f"slurm:{n % 7}", MARCH_US + n // 7, 1 + n % 2) for n in range(42)]


def test_rows_are_those_that_have_a_combination_and_not_each_value_of_one_with_each_of_another(new_place):
    database = opened(new_place())._database
    columns = ("key", "run_us", "store")
    names = ("store", "key", "run_us", "host", "start_us", "end_us", "uid", "labels")
    database.each_do(
        f"INSERT INTO job({', '.join(names)}) VALUES({', '.join('?' * len(names))})",
        [(store, key, run_us, "n1", 1, 2, 3, "{}") for key, run_us, store in PLACES],
    )

    @given(st.sets(st.sampled_from([*PLACES, ("slurm:1", 5, 1), ("slurm:x", MARCH_US, 1)])))
    def check(wanted):
        found = list(rows_with(database, "job", columns, wanted, ("store", *columns)))
        assert sorted(found) == sorted((store, key, run_us, store) for key, run_us, store in wanted & {*PLACES})

    check()


def test_a_number_is_made_once_and_found_again(new_place):
    place = new_place()
    opened(place)
    database = open_database(place)
    some = [(f"GPU-{n}", "n1", "") for n in range(400)]
    first = dict(Numbers(database, "gpu", ("uuid", "host", "model")).of(some[:250]))
    again = Numbers(database, "gpu", ("uuid", "host", "model"))
    assert {one: again.of(some)[one] for one in some[:250]} == first
    assert len(set(again.of(some).values())) == len(some)
    assert database.rows("SELECT count(*) FROM gpu") == [(len(some),)]
    database.close()


class Explained:
    """A database of which each question is explained."""

    def __init__(self, database):
        self._database, self.plans = database, []

    def rows(self, sql, values=()):
        self.plans += [row[-1] for row in self._database.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        return self._database.rows(sql, values)


def test_no_table_is_read_to_its_end_for_rows_or_for_the_jobs_of_a_user(tmp_path):
    opened(tmp_path / "a.db").add([], {("slurm:1", MARCH_US): job("slurm:1", user="ada", account="physics")}, {})
    database = Explained(Database(tmp_path / "a.db"))
    assert len(list(rows_with(database, "job", ("key", "run_us"), [("slurm:1", MARCH_US)], ("id",)))) == 1
    assert any("SEARCH job USING" in plan for plan in database.plans)
    for name in ("user", "account"):
        assert len(jobs(database, Filter(groups={name: {"user": "ada"}.get(name, "physics")})).jobs) == 1
        assert any(f"INDEX run_by_{name}" in plan for plan in database.plans)
    assert not [
        plan for plan in database.plans if plan.startswith("SCAN") and "wanted" not in plan and "CONSTANT" not in plan
    ]
    assert jobs(database, Filter(groups={"qos": ""})).jobs
