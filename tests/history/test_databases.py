"""Both kinds of databases: what fails is one line that never shows a password, and a server that comes back is used."""

import sys
import threading

import pytest

from tests.databases import server
from tests.history.made_up import JOBS, MODELS, job, opened, part
from wattshed.agent.errors import InputError
from wattshed.agent.history.cursors import CursorError, cursor_of, order_of, read_cursor
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter, jobs
from wattshed.agent.history.sql import DatabaseError


def test_a_list_goes_on_where_it_stopped_by_what_jobs_are_and_not_by_how_they_were_stored(new_place):
    """Pages of one job, over two databases into which the same jobs came in another order: the same list."""
    many = {
        (f"slurm:{n}", 1): job(f"slurm:{n}", start_us=1, end_us=n % 3 * 10 - 1, user=f"u{n % 2}") for n in range(1, 8)
    }
    lists = []
    for order in (list(many), list(many)[::-1]):
        place = new_place()
        opened(place).add([], {key: many[key] for key in order}, {})
        database, cursor, keys = open_database(place, read_only=True), "", []
        while True:
            page = jobs(database, Filter(), most=1, cursor=cursor)
            keys += [one.key for one in page.jobs]
            if not (cursor := page.cursor):
                break
            assert read_cursor(cursor_of(page.jobs[-1])) == order_of(page.jobs[-1])
        assert len(jobs(database, Filter(groups={"user": "u1"})).jobs) == 4
        database.close()
        lists.append(keys)
    assert lists[0] == lists[1] == [f"slurm:{n}" for n in (6, 3, 5, 2, 7, 4, 1)]


@pytest.mark.parametrize(
    "text", ["x", "W10", "WzEsMiwzLDRd", "WzEsImEiLCJiIiwtMV0", "WzEsIlx1MDAwMCIsImIiLDFd", "ä", "[" * 99]
)
def test_a_forged_cursor_is_refused(text):
    with pytest.raises(CursorError, match="cursor: "):
        read_cursor(text)


def test_nothing_is_written_by_who_only_reads(new_place):
    place = new_place()
    opened(place).add([part(1)], JOBS, MODELS)
    database = open_database(place, read_only=True)
    with pytest.raises(DatabaseError, match=r"(?i)read-?only"):
        database.do("DELETE FROM part")
    assert database.rows("SELECT count(*) FROM part") == [(1,)]
    database.close()


def test_one_database_has_one_collector(new_place, monkeypatch):
    monkeypatch.setattr("wattshed.agent.history.postgres.LOCK_S", 0.2)
    place = new_place()
    first = open_database(place, only=True)
    with pytest.raises(DatabaseError, match="another collector has it"):
        open_database(place, only=True)
    open_database(place).close()
    first.close()
    open_database(place, only=True).close()


def test_all_or_nothing(new_place):
    place = new_place()
    opened(place)
    database = open_database(place)
    with pytest.raises(KeyError), database.transaction():  # noqa: PT012
        database.each_do("INSERT INTO day(day, payer) VALUES(?, ?)", [(1, 1), (2, 1)])
        raise KeyError
    assert database.rows("SELECT 1 FROM day") == []
    with database.transaction():
        database.each_do("INSERT INTO day(day, payer) VALUES(?, ?)", [(1, 1), (2, 1)])
    assert sorted(database.each("SELECT day FROM day WHERE payer = ?", (1,))) == [(1,), (2,)]
    assert database.bytes_used() > 1000
    database.close()


def test_a_server_that_goes_is_one_line_and_one_that_comes_back_is_used():
    with server() as one:
        url = one.url.replace("wattshed@", "wattshed:hunter2@")
        database = open_database(url)
        assert "hunter2" not in database.name
        store = opened(url)
        store.add([part(1)], JOBS, MODELS)
        one.stop()
        for _ in range(2):
            with pytest.raises(DatabaseError) as told:
                database.rows("SELECT 1")
            assert str(told.value).startswith("postgresql://wattshed@")
            assert "\n" not in str(told.value)
            assert "hunter2" not in str(told.value)
            with pytest.raises(DatabaseError):
                store.add([part(2)], JOBS, MODELS)
        one.start()
        assert database.rows("SELECT count(*) FROM part") == [(1,)]
        assert store.add([part(1), part(2)], JOBS, MODELS) == 1
        with pytest.raises(DatabaseError, match="cannot be opened"):
            open_database(url.replace("/postgres?", "/nothing?"))


def test_a_question_is_ended_from_another_thread(new_place):
    """One that would take long; the connection is of use afterwards."""
    place = new_place()
    opened(place).add([part(1)], JOBS, MODELS)
    database = open_database(place, read_only=True)
    rows = ", ".join(f"({n})" for n in range(60))
    long = f"WITH n(x) AS (VALUES {rows}) SELECT count(*) FROM n a, n b, n c, n d, n e, n f WHERE a.x < b.x"
    over = threading.Event()

    def interrupt():
        while not over.wait(0.05):
            database.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(DatabaseError, match=r"(?i)interrupt|cancel"), database.reading():
            database.rows(long)
    finally:
        over.set()
        thread.join()
    assert database.rows("SELECT count(*) FROM part") == [(1,)]
    database.close()


def test_what_is_no_database_is_an_error_of_the_users(monkeypatch):
    with pytest.raises(InputError, match="mysql:// is not supported"):
        open_database("mysql://root:secret@db/jobs")
    with pytest.raises(InputError, match="cannot be read; write postgresql://") as told:
        open_database("postgresql://ada:sec%ret@db/jobs")
    assert "sec%" not in str(told.value)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"install wattshed\[collect\]"):
        open_database("postgresql://db/jobs")
