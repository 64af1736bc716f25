"""Pages of jobs: each job once, whatever ends meanwhile, and no question reads all there ever were."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import JOBS, MODELS, job, opened, part
from wattshed.agent.history import schema
from wattshed.agent.history.cursors import CursorError
from wattshed.agent.history.database import Database
from wattshed.agent.history.listing import page_of
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter, jobs, jobs_since
from wattshed.agent.history.totals import stored_totals


@settings(max_examples=examples(40), deadline=None)
@given(
    ends=st.lists(st.integers(-1, 40), min_size=1, max_size=12), most=st.integers(1, 4),
    later=st.lists(st.integers(0, 11), max_size=6),
)  # fmt: skip
def test_a_list_has_each_job_once_though_some_end_while_it_is_read(ends, most, later, new_place):
    """Jobs that run on the first page end before the second is read, at any later time."""
    place, now_us = new_place(), 50
    records = {(f"slurm:{n}", 1): job(f"slurm:{n}", start_us=1, end_us=end, user="u") for n, end in enumerate(ends)}
    store = opened(place)
    store.add([], records, MODELS)
    database, cursor, keys = open_database(place, read_only=True), "", []
    while True:
        page = page_of(database, Filter(), most, cursor, now_us=now_us)
        assert len(page.jobs) == most or not page.cursor
        keys += [one.key for one in page.jobs]
        assert len(keys) <= len(records)  # or it may have no end
        now_us += 10
        if later and records.get((f"slurm:{later[-1]}", 1), job("x", end_us=0)).end_us < 0:
            place_of = f"slurm:{later[-1]}", 1
            records[place_of] = job(place_of[0], start_us=1, end_us=now_us - 5, user="u")
            store.add([], {place_of: records[place_of]}, MODELS)
        if later:
            later.pop()
        if not (cursor := page.cursor):
            break
    database.close()
    assert sorted(keys) == sorted(key for key, _ in records)
    running = sum(end < 0 for end in ends)
    assert {f"slurm:{n}" for n, end in enumerate(ends) if end < 0} == set(keys[:running])
    ended = [ends[int(key.partition(":")[2])] for key in keys[running:]]
    assert ended == sorted(ended, reverse=True)


@pytest.mark.parametrize("text", ["x", "W10", "WzEsMl0", "WzEsIngiXQ", "WyItMSIsIiJd", "ä", "[" * 99])
def test_a_forged_cursor_is_refused(text, tmp_path):
    opened(tmp_path / "history.db")
    with pytest.raises(CursorError, match="cursor: "):
        page_of(Database(tmp_path / "history.db", read_only=True), Filter(), 5, text, now_us=9)


@pytest.mark.parametrize("asked", [Filter(), Filter(uid=5), Filter(groups={"user": "a"}), Filter(since_us=5)])
@pytest.mark.parametrize("before", [None, ("slurm:1", "n1", 1)])
def test_what_runs_is_found_without_reading_what_ended(asked, before, tmp_path):
    database = Database(tmp_path / "history.db")
    schema.prepare(database)
    plans, real = [], database.rows

    def rows(sql, values=()):
        plans.extend(str(row[3]) for row in real(f"EXPLAIN QUERY PLAN {sql}", values))
        return []

    database.rows = rows
    jobs_since(database, asked, 10**15, before, 100)
    assert any("sort_us>?" in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN") for plan in plans), plans


@pytest.mark.parametrize("host", ["", "n1", "nowhere"])
@pytest.mark.parametrize("model", ["", "H100", "nothing"])
@pytest.mark.parametrize("ask", [jobs, lambda database, asked: stored_totals(database, "user", asked)])
def test_for_a_host_or_a_model_that_nobody_has_no_list_is_read(ask, host, model, tmp_path):
    place = tmp_path / "history.db"
    store = opened(place)
    store.add([part(1)], JOBS, MODELS)
    database, asked = open_database(place, read_only=True), []
    rows, each = database.rows, database.each
    database.rows = lambda sql, values=(): asked.append(sql) or rows(sql, values)
    database.each = lambda sql, values=(): asked.append(sql) or each(sql, values)
    ask(database, Filter(host=host, model=model))
    read = [sql for sql in asked if "LIMIT 1" not in sql or "?" not in sql]
    assert bool(read) == (host != "nowhere" and model != "nothing"), asked
    database.close()
