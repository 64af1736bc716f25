"""wattshed bench history: made-up jobs through the real writers, and the questions of users."""

import argparse
import json

import pytest

from tests.databases import server
from wattshed.agent.bench.made_site import made_hosts
from wattshed.agent.bench.site_work import fill, write_own
from wattshed.agent.collect.merge import read_page
from wattshed.agent.commands import bench
from wattshed.agent.errors import InputError
from wattshed.agent.history.opening import open_database


def arguments(*words):
    top = argparse.ArgumentParser()
    bench.add_parser(top.add_subparsers())
    return top.parse_args(["bench", "history", *words])


def test_a_made_up_site_is_one_that_a_collector_takes():
    hosts = list(made_hosts(2_500, 2))
    assert [host.name for host in hosts] == ["node00000", "node00001"]
    pages = [read_page(json.loads(json.dumps(page))) for host in hosts for page in host.pages()]
    assert [len(page.parts) for page in pages] == [1_000, 250, 1_000, 250]
    assert len({part.job for page in pages for part in page.parts}) == 2_500
    assert list(made_hosts(2_500, 2)) == hosts


def test_all_that_was_made_is_taken_in(tmp_path):
    taken = fill(str(tmp_path / "site.db"), 1_100, hosts=3)
    assert taken.parts == 1_100
    assert taken.bytes_used > 100_000
    assert write_own(tmp_path, 250)["jobs"] == 250


def test_a_table_and_a_document(capsys):
    given = arguments("--jobs", "300", "--hosts", "3", "--rounds", "1", "--json")
    assert given.run(given) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "wattshed.bench_history/1"
    (one,) = document["databases"]
    assert (one["database"], one["jobs"], document["hosts"]) == ("SQLite", 300, 3)
    rows = {asked["question"]: asked["rows"] for asked in one["questions"]}
    assert rows["the newest 100 jobs"] == 100
    assert rows["one job"] == 1
    assert rows["report by host"] == 3
    assert rows["report by month"] >= 12
    given = arguments("--jobs", "30", "--hosts", "3", "--rounds", "1")
    assert given.run(given) == 0
    assert "30 jobs of 3 hosts" in capsys.readouterr().out


def test_postgresql_answers_alike_and_is_left_as_it_was(capsys):
    with server() as postgres:
        given = arguments("--jobs", "200", "--hosts", "2", "--rounds", "1", "--json", "--database", postgres.url)
        assert given.run(given) == 0
        document = json.loads(capsys.readouterr().out)
        assert [one["database"] for one in document["databases"]] == ["SQLite", "PostgreSQL"]
        assert document["agree"] is True
        database = open_database(postgres.url)
        assert database.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'wattshed%'") == []
        database.close()


def test_bad_usage():
    given = arguments("--database", "history.db")
    with pytest.raises(InputError, match="give a URL postgresql"):
        given.run(given)
