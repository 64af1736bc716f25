"""What people choose on a board: its variables, links and annotations, on a Prometheus that has scraped two hosts."""

import json
import re

import pytest

from tests.boards.data import Source
from tests.boards.variables import Span, put, resolve
from tests.lives import AWAY_S
from tests.promql.expressions import DASHBOARDS
from tests.promql.truth import KWH, Truth, by_job, real, user
from tests.promql.two_hosts import ACCOUNTS, END_S, NAMESPACE, POD, RESTART_S, START_S, USERS, job_of

BOARDS = {path.stem.removeprefix("wattshed-"): json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS}
SPAN = Span(START_S, END_S)
POD_JOB = f"k8s:{POD}/386136663163"


@pytest.fixture(scope="module")
def source(prometheus):
    return Source(prometheus.url)


@pytest.fixture(scope="module")
def truth(hosts):
    return Truth(hosts)


def options(source, board, name, **chosen):
    """The values that a variable offers: each is chosen alone, and known."""
    (variable,) = (one for one in BOARDS[board]["templating"]["list"] if one["name"] == name)
    alone = {**BOARDS[board], "templating": {"list": _until(board, variable)}}
    return resolve(alone, source.ask, SPAN, **chosen)[name].offered


def _until(board, variable):
    listed = BOARDS[board]["templating"]["list"]
    return listed[: listed.index(variable) + 1]


def panel(source, board, title, ref="A", **chosen):
    """What a panel's query answers at the end: (labels, value)."""
    found = resolve(BOARDS[board], source.ask, SPAN, **chosen)
    (expr,) = (
        target["expr"]
        for one in BOARDS[board]["panels"]
        if one["title"] == title
        for target in one["targets"]
        if target["refId"] == ref
    )
    return source.now(put(expr, found, SPAN), SPAN)


@pytest.mark.real
def test_variables_offer_what_there_is_and_real_nodes_come_first(source, truth):
    jobs = {job for host in truth.hosts for job, _ in host.joules() if real(job)}
    assert options(source, "host", "nodes") == [("real", "0?"), ("simulated", "1"), ("simulated and real", ".*")]
    assert [value for _, value in options(source, "host", "instance")] == ["a:9961", "b:9961"]
    assert [value for _, value in options(source, "host", "instance", nodes="1")] == ["c:9961"]
    assert [value for _, value in options(source, "host", "gpu", instance=["b:9961"])] == ["0", "1", "2", "3"]
    assert {value for _, value in options(source, "job", "user")} >= set(USERS.values())
    assert {value for _, value in options(source, "job", "account", user=["ada"])} == {"physics"}
    assert [value for _, value in options(source, "job", "namespace")] == [NAMESPACE]
    offered = {value: text for text, value in options(source, "job", "job")}
    assert jobs - {one for one in jobs if one.startswith("docker:")} <= offered.keys()
    assert offered["slurm:4001"] == "train-70b (slurm:4001)"
    assert offered[POD_JOB] == POD_JOB
    of_ada = {value for _, value in options(source, "job", "job", user=["ada"])}
    assert of_ada == {one for one in jobs if USERS.get(job_of(one)) == "ada"}


@pytest.mark.real
@pytest.mark.parametrize("chosen", [["ada"], ["ada", "alan"]])
def test_a_user_that_is_chosen_is_shown_alone_on_every_board(source, truth, chosen):
    energy = truth.energy(user)
    joules, slack = map(sum, zip(*(energy[("user", one),] for one in chosen), strict=True))
    for board in ("job", "owners"):
        ((_, found),) = panel(source, board, "Energy", user=chosen)
        assert abs(found * 3600 - joules) <= slack, (board, found)
    rows = panel(source, "owners", "By account", user=chosen)
    assert {labels["account"] for labels, _ in rows} == {ACCOUNTS[job] for job, one in USERS.items() if one in chosen}


@pytest.mark.real
@pytest.mark.parametrize("job", ["slurm:4001", "slurm:4012", POD_JOB, "user:1000/python"])
def test_a_job_that_is_chosen_is_shown_alone_running_or_ended(source, truth, job):
    joules, slack = truth.energy(by_job)[("job", job),]
    ((labels, kwh),) = panel(source, "job", "Jobs in this range", job=[job])
    assert labels["job"] == job
    assert abs(kwh / KWH - joules) <= slack


@pytest.mark.real
def test_what_is_marked_is_what_happened(source):
    board = BOARDS["job"]

    def marked(**chosen):
        variables = resolve(board, source.ask, SPAN, **chosen)
        return {name: events for name, _, events in source.marked(board, variables, SPAN)}

    found = marked(job=["slurm:4021"])
    step_s = Span(START_S, END_S, 100).step_s
    begin_s, end_s = START_S + 1200 + 20, START_S + 1200 + 470
    ((starts_s, _, said),) = found["Job starts"]
    assert begin_s <= starts_s <= begin_s + 30 + step_s
    assert said == "train-70b (slurm:4021) started"
    assert all(end_s <= at_s <= end_s + 75 + step_s for at_s, _, _ in found["Job ends"])
    assert sorted(text for _, _, text in found["Job ends"]) == [f"slurm:4021 ended on {name}:9961" for name in "ab"]
    assert ("The agent on a:9961 started", RESTART_S + AWAY_S) in [
        (text, at_s) for at_s, _, text in found["Agent starts"]
    ]
    ((xid_s, _, said),) = found["XID errors"]
    assert START_S + 700 <= xid_s <= START_S + 700 + 30 + step_s
    assert said == "XID 31: a GPU 1"
    assert len(marked()["Job starts"]) <= 5  # of all jobs: those before there were too many to be told apart
    assert [text for _, _, text in marked(nodes="1")["XID errors"]] == []


@pytest.mark.parametrize("board", BOARDS)
def test_links_lead_to_boards_variables_and_labels_that_exist(board):
    uids = {one["uid"]: {v["name"] for v in one["templating"]["list"]} for one in BOARDS.values()}
    checked = 0
    for one in BOARDS[board]["panels"]:
        config = one.get("fieldConfig", {})
        links = list(config.get("defaults", {}).get("links", ()))
        for override in config.get("overrides", ()):
            links += [link for p in override["properties"] if p["id"] == "links" for link in p["value"]]
        asked = " ".join(target["expr"] for target in one.get("targets", ()))
        for link in links:
            path, _, query = link["url"].partition("?")
            target = uids[path.removeprefix("/d/")]
            assert set(re.findall(r"&var-(\w+)=", query)) | set(re.findall(r"\{(\w+):queryparam", query)) <= target
            for label in re.findall(r"__(?:data\.fields|field\.labels)\.(\w+)", link["url"]):
                assert re.search(rf"\b{label}\b", asked), link
            checked += 1
    assert checked or board == "fleet"
