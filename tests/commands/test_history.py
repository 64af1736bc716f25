"""The commands jobs and job."""

import argparse
import json

import pytest

from tests.reports.documents import job, job_document, jobs_document
from tests.wire.servers import serving
from wattshed.agent.commands import history
from wattshed.agent.reports.listing import FIELDS


class Agent:
    """Has so many jobs, and hands them out page by page."""

    def __init__(self, server, count):
        self.server, self.count, self.url = server, count, server.url

    def pages(self, *sizes):
        """Answer so many jobs each, one page after the other."""
        first = 0
        for size in sizes:
            jobs = [job(number) for number in range(first, min(first + size, self.count))]
            first += size
            cursor = f"c{first}" if first < self.count else ""
            document = jobs_document(*jobs, cursor=cursor)
            self.server.script.append((200, {}, json.dumps(document).encode()))

    def asked(self):
        return [one.target.partition("/api/v1/")[2] for one in self.server.asked]


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture
def run(server, capsys):
    """Run a command against the server; returns (standard output, standard error)."""

    def command(*words):
        parser = argparse.ArgumentParser()
        history.add_parser(parser.add_subparsers())
        args = parser.parse_args([*words, "--url", server.url])
        assert args.run(args) == 0
        return capsys.readouterr()

    return command


def test_the_newest_hundred_are_listed_and_how_many_more_there_are(server, run):
    agent = Agent(server, 137)
    agent.pages(100, 37)
    out, err = run("jobs")
    assert out.count("slurm:") == 100
    assert "These are the newest 100 jobs; there are 37 older ones (--limit 0 lists all)." in out
    assert err == ""
    assert agent.asked() == ["jobs?limit=100", "jobs?limit=1000&cursor=c100"]


def test_more_than_a_page_of_older_ones_is_not_counted(server, run):
    agent = Agent(server, 5000)
    agent.pages(1, 1000)
    out, err = run("jobs", "--limit", "1", "--json")
    assert len(json.loads(out)["jobs"]) == 1
    assert "there are more than 1,000 older ones" in err


@pytest.mark.parametrize("choice", [("--since", "1772323200"), ("--running",), ("--job", "7"), ("--limit", "0")])
def test_whoever_chooses_gets_all_pages(server, run, choice):
    agent = Agent(server, 2500)
    agent.pages(1000, 1000, 1000)
    out, err = run("jobs", *choice, "--json")
    document = json.loads(out)
    assert (document["schema"], document["cursor"], err) == ("wattshed.jobs/1", "", "")
    assert document["jobs"] == [job(number) for number in range(2500)]
    assert [one.rpartition("limit=")[2] for one in agent.asked()] == ["1000", "1000&cursor=c1000", "1000&cursor=c2000"]


def test_a_limit_beyond_a_page_is_kept(server, run):
    Agent(server, 5000).pages(1000, 500, 1000)
    out, _ = run("jobs", "--limit", "1500", "--json")
    assert len(json.loads(out)["jobs"]) == 1500


def test_a_job_that_ends_between_two_pages_is_listed_once(server, run):
    runs, ended = job(7, state="running", end_s=None), job(7)
    for document in (jobs_document(runs, job(5), cursor="c"), jobs_document(ended, job(4))):
        server.script.append((200, {}, json.dumps(document).encode()))
    out, _ = run("jobs", "--limit", "0", "--json")
    assert json.loads(out)["jobs"] == [runs, job(5), job(4)]


@pytest.mark.parametrize(("flag", "mark"), [("--csv", ","), ("-P", "|"), ("--parsable", "|")])
def test_every_field_for_machines(server, run, flag, mark):
    Agent(server, 3).pages(100)
    out, err = run("jobs", flag)
    lines = out.splitlines()
    assert lines[0] == mark.join(FIELDS)
    assert [line.partition(mark)[0] for line in lines[1:]] == ["slurm:1843000", "slurm:1843001", "slurm:1843002"]
    assert err == ""


def test_one_job_as_the_agent_tells_it(server, run):
    document = job_document(job(name="\x1b[31m"), [job(2)])
    server.script += [(200, {}, json.dumps(document).encode())] * 2
    out, _ = run("job", "1843001", "--json")
    assert json.loads(out) == document
    assert out.replace("\n", "").isprintable()
    out, _ = run("job", "1843001")
    assert r"slurm:1843001  \x1b[31m" in out
    assert "2.778 ± 0.056 Wh" in out


@pytest.mark.parametrize("flags", [("--limit", "-1"), ("--limit", "x"), ("--csv", "--json")])
def test_flags_that_cannot_be(flags, capsys):
    parser = argparse.ArgumentParser()
    history.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["jobs", *flags])
    assert ended.value.code == 2
    assert flags[0] in capsys.readouterr().err
