"""Whom a command asks, and what it says where there is no answer."""

import argparse
import json
import socket
import sqlite3

import pytest

from tests.history.made_up import JOBS, MODELS, part
from tests.reports.documents import job_document, jobs_document
from tests.wire.servers import serving
from wattshed.agent.errors import InputError
from wattshed.agent.history.database import Database
from wattshed.agent.history.store import Store
from wattshed.agent.reports.flags import add_filter_flags, add_source_flags, params_of
from wattshed.agent.reports.sources import UnansweredError, open_source


@pytest.fixture(autouse=True)
def _nobody_else_is_named(monkeypatch):
    monkeypatch.delenv("WATTSHED_URL", raising=False)


def flags(*words):
    parser = argparse.ArgumentParser()
    add_filter_flags(parser)
    add_source_flags(parser)
    return parser.parse_args(words)


def answer(document, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


@pytest.fixture
def other():
    with serving() as server:
        yield server


def test_a_question_is_asked_below_the_address_that_is_given(other):
    other.script += [answer(jobs_document()), answer(job_document())]
    source = open_source(flags("--url", other.url + "/site?x=1"))
    assert source.ask("jobs", {"user": "ada & bob"})["jobs"] == []
    assert source.ask("jobs/k8s:a/b c", {})["job"]["user"] == "ada"
    assert [one.target for one in other.asked] == [
        "/site/api/v1/jobs?x=1&user=ada+%26+bob",
        "/site/api/v1/jobs/k8s%3Aa/b%20c?x=1",
    ]


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (answer({"error": "since: 'x' is not a time"}, 400), InputError, "since: 'x' is not a time"),
        (answer({"error": "no user"}, 401), UnansweredError, "it wants a user; give --login NAME --password-file F"),
        (answer({"error": "jobs are shown to nobody here"}, 403), UnansweredError, "jobs are shown to nobody here"),
        (answer({"error": "no such job"}, 404), UnansweredError, "slurm:7: no such job, or not one of yours"),
        (answer({"error": "not found"}, 404), UnansweredError, "keeps no history of jobs"),
        (answer({"error": "took more than 5 s"}, 503), UnansweredError, "answered 503 (took more than 5 s)"),
        ((200, {}, b"<html>"), UnansweredError, "is not an agent's"),
        (answer({"schema": "other/1"}), UnansweredError, "is neither an agent nor a collector"),
        (answer([1]), UnansweredError, "is not an agent's"),
    ],
)
def test_why_there_is_no_answer_is_one_line(other, said, kind, message):
    other.script.append(said)
    with pytest.raises(kind) as refused:
        open_source(flags("--url", other.url)).ask("jobs/slurm:7", {})
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_where_nobody_is_the_line_says_what_was_tried(tmp_path):
    sockets = [tmp_path / "collect.sock", tmp_path / "api.sock"]
    with pytest.raises(UnansweredError) as nobody:
        open_source(flags(), sockets)
    for word in (*map(str, sockets), "--url", "--store", "wattshed run"):
        assert word in str(nobody.value)
    with pytest.raises(UnansweredError, match=r"Connection refused.*is wattshed running there"):
        open_source(flags("--url", "http://127.0.0.1:1")).ask("jobs", {})
    with pytest.raises(InputError, match="--url takes a URL such as"):
        open_source(flags("--url", "nonsense"))


def test_the_first_socket_at_which_somebody_listens_is_asked(tmp_path, monkeypatch):
    left, agent = tmp_path / "collect.sock", tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))  # its owner was killed: nobody listens there any more
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        listening.listen()
        assert open_source(flags(), [left, agent]).name == f"unix:{agent}"
        assert open_source(flags("--url", "http://n1:9961"), [agent]).name == "http://n1:9961"
        monkeypatch.setenv("WATTSHED_URL", "https://site:9961")
        assert open_source(flags(), [agent]).name == "https://site:9961"


def test_flags_become_parameters_with_times_of_this_zone():
    args = flags("--user", "ada", "--job", "7", "--since", "2026-03-01T00:00:00Z", "--until", "1772323200.25")
    assert params_of(args) == {"user": "ada", "job": "7", "since": "1772323200.000000", "until": "1772323200.250000"}
    assert params_of(flags("--running")) == {"running": "1"}
    with pytest.raises(InputError, match=r"^--until: 'soon' is not a time"):
        params_of(flags("--until", "soon"))


def test_every_flag_that_chooses_jobs_is_a_parameter_of_its_name():
    names = ("user", "account", "partition", "namespace", "qos", "cluster", "host", "model", "job")
    for name in names:
        assert params_of(flags(f"--{name}", "x")) == {name: "x"}
    assert params_of(flags(*(word for name in names for word in (f"--{name}", name)))) == {name: name for name in names}
    assert params_of(flags()) == {}
    parser = argparse.ArgumentParser()
    add_filter_flags(parser, running=False)
    assert params_of(parser.parse_args(["--user", ""])) == {"user": ""}
    with pytest.raises(SystemExit):
        parser.parse_args(["--running"])


@pytest.mark.parametrize("fraction", [0, 1, 50_000, 999_999])
def test_a_time_keeps_its_microseconds(fraction):
    assert params_of(flags("--since", f"1772323200.{fraction:06}")) == {"since": f"1772323200.{fraction:06}"}


def stored(path):
    """Ask a history's own file."""
    return open_source(flags("--store", str(path)))


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.db"
    database = Database(path)
    parts = [part(1, gpu="GPU-0"), part(2, "slurm:2", gpu="GPU-2"), part(3, "_idle")]
    Store(database, "one", "n1").add(parts, JOBS, MODELS)
    database.close()  # which leaves one file
    return path


def test_a_history_is_read_without_anybody_running(history):
    before = history.read_bytes()
    source = stored(history)
    assert source.name == str(history)
    document = source.ask("jobs", {"user": "bob", "limit": "10"})
    assert (document["schema"], document["host"]) == ("wattshed.jobs/1", "n1")
    assert [one["job"] for one in document["jobs"]] == ["slurm:2"]
    assert source.ask("jobs/1", {})["job"]["job"] == "slurm:1"
    assert source.ask("jobs/k8s:a/b", {})["job"]["namespace"] == "demo"
    assert {row["name"] for row in source.ask("report", {"by": "user"})["rows"]} >= {"ada", "bob", "_idle"}
    with pytest.raises(UnansweredError, match=r"^7: no such job, or not one of yours$"):
        source.ask("jobs/7", {})
    with pytest.raises(InputError, match="cursor"):
        source.ask("jobs", {"cursor": "forged"})
    with pytest.raises(InputError, match="not one of user, account"):
        source.ask("report", {"by": "shoe size"})
    assert history.read_bytes() == before


def spoilt(history, how):
    """Make of a history what is none, or not one that can be read."""
    if how == "newer":
        with sqlite3.connect(history) as connection:
            connection.execute("PRAGMA user_version=99")
    elif how == "another's":
        history.unlink()
        with sqlite3.connect(history) as connection:
            connection.execute("CREATE TABLE invoice(id)")
    elif how == "damaged":
        content = history.read_bytes()
        history.write_bytes(content[:4096] + b"\x5a" * (len(content) - 4096))
    elif how == "text":
        history.write_text("no database at all\n" * 500)
    elif how == "absent":
        history.unlink()


@pytest.mark.parametrize("how", ["newer", "another's", "damaged", "text", "absent"])
def test_what_is_no_history_is_said_in_one_line(history, how):
    spoilt(history, how)
    with pytest.raises(UnansweredError) as refused:
        stored(history).ask("jobs", {})
    assert str(refused.value).startswith(f"{history}: ")
    assert str(refused.value).isprintable()


def test_a_database_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"mysql:// is not supported"):
        stored("mysql://db/site")
