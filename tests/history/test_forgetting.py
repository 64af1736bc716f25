"""Users go out of a history, after some days or on request; no sum does."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import JOBS, MARCH_US, MODELS, job, opened, part, parts, report
from tests.history.test_writer import wait
from wattshed.agent.errors import Faults
from wattshed.agent.history.forgetting import ERASED, erase_user, forget_users
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.privacy import Privacy
from wattshed.agent.history.query import Filter, jobs
from wattshed.agent.history.sums import DAY_US
from wattshed.agent.history.writer import Batch, HistoryWriter
from wattshed.agent.wire.parts import END

MARCH = MARCH_US // DAY_US
OLD, NEW = MARCH_US, MARCH_US + 95 * DAY_US
PEOPLE = {
    ("slurm:1", OLD): job("slurm:1", end_us=OLD + DAY_US, user="ada", account="physics", name="ada's", uid=1000),
    ("user:1001/bobs", OLD): job("user:1001/bobs", end_us=OLD + DAY_US, user="bob", command="bobs", uid=1001),
    ("slurm:3", NEW): job("slurm:3", start_us=NEW, end_us=NEW + DAY_US, user="ada", account="physics", uid=1000),
    ("slurm:4", OLD): job("slurm:4", user="ada", account="chemistry", uid=1000),
}
PARTS = [
    part(1, "slurm:1", joules=5, flags=END),
    part(2, "user:1001/bobs", joules=7, flags=END),
    part(3, "_idle", joules=11),
    part(4, "slurm:4", joules=13),
    part(5, "slurm:4", joules=17, begin_us=NEW),
    replace(part(6, "slurm:3", joules=19, begin_us=NEW, flags=END), run_us=NEW),
]


def joules(database, by, **asked):
    return {group.name: group.used.energy_hnj // 2_000_000_000 for group in report(database, by, Filter(**asked))}


def everything(database):
    return "\n".join(repr(database.rows(f"SELECT * FROM {table}")) for table in ("job", "run", "payer"))


@pytest.fixture
def history(new_place):
    place = new_place()
    store = opened(place)
    store.add(PARTS, PEOPLE, MODELS)
    return store, open_database(place)


def test_after_some_days_a_day_is_its_accounts_and_a_job_its_accounts(history):
    store, database = history
    assert joules(database, "user") == {"ada": 54, "bob": 7, "_idle": 11}
    before = {by: joules(database, by) for by in ("account", "day", "host", "model", "partition")}
    assert store.forget_users(MARCH + 90) > 0
    assert {by: joules(database, by) for by in before} == before
    # What still runs is of its user where it is asked for by parts; whole days are their accounts'.
    assert joules(database, "user") == {"ada": 36, "": 25, "_idle": 11}
    page = {found.key: found for found in jobs(database, Filter()).jobs}
    old = [found for key, found in page.items() if key.startswith("user:") or key == "slurm:1"]
    assert sorted(found.key.partition("/")[0] for found in old) == ["slurm:1", "user:-"]
    assert all("user" not in found.labels and "name" not in found.labels for found in old)
    assert {found.used.energy_hnj // 2_000_000_000 for found in old} == {5, 7}
    assert page["slurm:1"].labels["account"] == "physics"
    assert page["slurm:3"].labels["user"] == page["slurm:4"].labels["user"] == "ada"
    assert [found.key for found in jobs(database, Filter(uid=1000)).jobs] == ["slurm:4", "slurm:3"]
    assert "bob" not in everything(database)
    assert store.forget_users(MARCH + 90) == 0


def test_what_comes_after_goes_on_where_it_was(history):
    """Numbers of payers that are no more are not used again."""
    store, database = history
    store.forget_users(MARCH + 90)
    running = {("slurm:4", OLD): PEOPLE["slurm:4", OLD]}
    store.add([part(7, "slurm:4", joules=23, begin_us=NEW), part(8, "_idle", joules=29)], running, MODELS)
    assert joules(database, "user") == {"ada": 59, "": 25, "_idle": 40}
    # A part that comes late is of its user until the next day.
    store.add([part(9, "slurm:4", joules=31)], running, MODELS)
    assert joules(database, "user") == {"ada": 90, "": 25, "_idle": 40}
    store.forget_users(MARCH + 90)
    assert joules(database, "user") == {"ada": 59, "": 56, "_idle": 40}


def test_an_account_that_becomes_known_late_moves_what_was_forgotten(history):
    store, database = history
    store.forget_users(MARCH + 90)
    store.add([], {("slurm:4", OLD): job("slurm:4", user="ada", account="biology", uid=1000)}, MODELS)
    store.forget_users(MARCH + 90)
    assert joules(database, "account") == {"physics": 24, "biology": 30, "chemistry": 0, "": 7, "_idle": 11}
    assert joules(database, "user") == {"ada": 36, "": 25, "_idle": 11}


def test_a_job_of_which_nothing_was_heard_any_more_is_over(history):
    store, database = history
    store.forget_users(MARCH + 90)
    assert [found.key for found in jobs(database, Filter(uid=1000)).jobs] == ["slurm:4", "slurm:3"]
    store.forget_users(MARCH + 97)
    assert not jobs(database, Filter(uid=1000)).jobs
    assert "ada" not in everything(database)


@pytest.mark.parametrize("who", ["ada", "1000"])
def test_one_user_is_erased_and_sums_stay(history, who):
    store, database = history
    before = {by: joules(database, by) for by in ("account", "day", "host", "model")}
    store.forget()
    assert erase_user(database, who) > 0
    assert {by: joules(database, by) for by in before} == before
    assert joules(database, "user") == {ERASED: 54, "bob": 7, "_idle": 11}
    assert "ada" not in everything(database)
    assert not jobs(database, Filter(uid=1000)).jobs
    assert len(jobs(database, Filter(groups={"user": ERASED})).jobs) == 3
    assert erase_user(database, who) == 0
    assert erase_user(database, ERASED) == erase_user(database, "nobody") == 0
    assert [found.key for found in jobs(database, Filter(uid=1001)).jobs] == ["user:1001/bobs"]


@pytest.mark.parametrize("who", ["ada", "1000"])
@pytest.mark.parametrize("users", ["names", "pseudonyms", "none"])
def test_a_user_is_erased_by_name_or_number_whatever_stands_for_them(new_place, who, users):
    privacy, place = Privacy(users, b"k" * 32), new_place()
    parts, people = privacy.applied(PARTS, PEOPLE)
    opened(place).add(parts, people, MODELS)
    database = open_database(place)
    erased = erase_user(database, who, privacy)
    assert (erased > 0) == (users != "none")
    assert privacy.user("ada") == "" or privacy.user("ada") not in everything(database)
    assert not jobs(database, Filter(uid=privacy.uid(1000))).jobs or users == "none"
    assert joules(database, "account") == {"physics": 24, "chemistry": 30, "": 7, "_idle": 11}


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts(), st.integers(MARCH - 2, MARCH + 9), st.sampled_from(["", "ada", "bob", "1000"]))
def test_no_sum_changes_whatever_is_forgotten(new_place, made, before_day, who):
    place = new_place()
    store, database = opened(place), open_database(place)
    store.add(made, JOBS, MODELS)
    kept = {by: exact(database, by) for by in ("account", "namespace", "host", "model", "day", "month")}
    total = sum(exact(database, "user").values())
    forget_users(database, before_day)
    if who:
        erase_user(database, who)
    assert {by: exact(database, by) for by in kept} == kept
    assert sum(exact(database, "user").values()) == total


def exact(database, by):
    return {group.name: group.used.energy_hnj for group in report(database, by, Filter())}


def test_the_daemon_forgets_once_a_day(tmp_path):
    path = tmp_path / "history.db"
    writer = HistoryWriter(path, "n1", Faults(), user_days=90)
    writer.offer(Batch("one", PARTS, PEOPLE, MODELS, OLD + 90 * DAY_US))
    wait(lambda: writer.done("one") == 6)
    database = open_database(path, read_only=True)
    assert joules(database, "user")["bob"] == 7
    more = [part(7, "_idle", joules=1)]
    writer.offer(Batch("one", [*PARTS, *more], PEOPLE, MODELS, OLD + 92 * DAY_US))
    wait(lambda: writer.done("one") == 7)
    writer.stop()
    assert "bob" not in joules(database, "user")
    assert joules(database, "user")["_idle"] == 12
