"""The commands jobs and job, asked of a server that has a history, over its socket and over TCP."""

import json
import os

import pytest

from tests.history.made_up import MARCH_US, MODELS, job, part
from wattshed.agent.__main__ import main
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.agent.history.database import Database
from wattshed.agent.history.store import Store
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access

MINE, ANOTHERS, NOBODYS = "slurm:1", "slurm:2", "k8s:a/b"
EVERYBODY, MYSELF = frozenset({os.geteuid()}), frozenset()


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.db"
    database = Database(path)
    jobs = {
        (MINE, MARCH_US): job(MINE, user="ada", uid=os.geteuid()),
        (ANOTHERS, MARCH_US): job(ANOTHERS, user="bob", uid=os.geteuid() + 1),
        (NOBODYS, MARCH_US): job(NOBODYS, namespace="demo", uid=-1),
    }
    parts = [part(number, owner) for number, owner in enumerate((MINE, ANOTHERS, NOBODYS, "_idle"), 1)]
    Store(database, "one", "n1").add(parts, jobs, MODELS)
    database.close()
    return path


@pytest.fixture
def ask(history, serve, capsys):
    """Ask an agent, of which some see all jobs; returns (exit code, standard output, standard error)."""

    def command(see_all, *words, tcp=False):
        socket = str(history.parent / "api.sock")
        api = JobsApi(Access(see_all))
        api.open(lambda: Question(lambda: open_or_empty(history), "n1"))
        server, port = serve(jobs=api, jobs_socket=socket)
        url = f"http://127.0.0.1:{port}" if tcp else f"unix:{socket}"
        try:
            code = main([*words, "--url", url])
        finally:
            server.stop()
        return code, *capsys.readouterr()

    return command


def test_who_sees_all_jobs_gets_them(ask):
    code, out, err = ask(EVERYBODY, "jobs", "--json")
    document = json.loads(out)
    assert (code, err, document["scope"]) == (0, "", "all")
    assert {one["job"] for one in document["jobs"]} == {MINE, ANOTHERS, NOBODYS}


def test_a_user_gets_their_own_and_is_told_so(ask):
    code, out, _ = ask(MYSELF, "jobs")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:] if ":" in line.split(" ")[0]] == [MINE]
    assert "Only your own jobs are shown." in out
    assert ask(MYSELF, "job", "1")[0] == 0


@pytest.mark.parametrize("key", [ANOTHERS, "2", NOBODYS, "slurm:3"])
def test_anothers_job_and_none_are_the_same_line(ask, key):
    assert ask(MYSELF, "job", key) == (1, "", f"wattshed: {key}: no such job, or not one of yours\n")


def test_over_tcp_nobody_is_known(ask):
    code, out, err = ask(EVERYBODY, "jobs", tcp=True)
    assert (code, out) == (1, "")
    assert "answered 403 (jobs are told over TCP only where the web configuration has users" in err
    assert err.count("\n") == 1


def test_pages_of_a_real_history_follow_each_other(ask):
    code, out, err = ask(EVERYBODY, "jobs", "--limit", "1", "-P")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "there are 2 older ones" in err
