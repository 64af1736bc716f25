"""Counters of inference servers from a time-series database: what reading the pages live would have counted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wattshed
from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.replay.scraped_work import read_series
from wattshed.agent.replay.work_feed import WorkFeed
from wattshed.agent.window import JobKey, Owner
from wattshed.agent.work_units.inbox import WorkInbox
from wattshed.agent.work_units.page import read_page

JOB = Owner(JobKey("slurm:7"))
SECONDS = 40


def second(i):
    """One second of a job whose power changes; the counter is read a little before the end."""
    at = (i + 1) * S - 300_000
    rows = [[(at, 300_000 + 7_000 * i, 300 * at // 1000 + 3 * i * i)]]
    usage = [(0, JOB.key, i * S, (i + 1) * S, S // 2, -1, 1)]
    return window(i * S, (i + 1) * S, rows, usage, devices=(device(0),), seq=i)


@st.composite
def lives(draw):
    """Pages of one server: (time, tokens, requests that ended, running), and whether it began anew before each."""
    found, tokens, requests = [], draw(st.integers(0, 1000)), draw(st.integers(0, 9))
    for at_ms in sorted(draw(st.lists(st.integers(0, (SECONDS - 5) * 1000), min_size=1, max_size=12, unique=True))):
        if draw(st.integers(0, 5)) == 0:
            tokens, requests = 0, 0
        tokens, requests = tokens + draw(st.sampled_from([0, 0, 5, 700])), requests + draw(st.integers(0, 2))
        found.append((at_ms, tokens, requests, draw(st.integers(0, 2))))
    return found


NAMES = {
    "vllm:generation_tokens_total": 1, 'vllm:request_success_total{finished_reason="stop"}': 2,
    "vllm:num_requests_running": 3,
}  # fmt: skip
ENDS = {
    "tgi_request_generated_tokens_sum": 1, "tgi_request_success": 2, "tgi_batch_current_size": 3
}  # fmt: skip


def counted_live(pages, names):
    now = [0]
    inbox, accounts = WorkInbox(lambda: now[0]), Accounts()
    left = list(pages)
    for i in range(SECONDS):
        while left and left[0][0] * 1000 <= (i + 1) * S:
            one = left.pop(0)
            now[0] = one[0] * 1000
            done = inbox.take("x", JOB, read_page("".join(f"{n} {one[k]}\n" for n, k in names.items()).encode()))
            inbox.waited(JOB, done.start_us, waiting=done.waited)
        accounts.add(inbox.into(second(i), {}))
    accounts.finish()
    return accounts.ledger.jobs[JOB.key].work


def series(pages, names, job="slurm:7", **labels):
    """What Prometheus would answer: of each series its name with labels, and its points."""
    for name, place in names.items():
        bare, _, more = name.partition("{")
        own = dict([more.rstrip("}").replace('"', "").split("=")]) if more else {}
        metric = {"__name__": bare, "job": job, "instance": "n1:8000", **own, **labels}
        yield metric, [(one[0], one[place]) for one in pages]


def as_query_range(found):
    result = [{"metric": metric, "values": [[ms / 1e3, str(v)] for ms, v in points]} for metric, points in found]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def as_export(found):
    lines = [
        {"metric": metric, "values": [v for _, v in points], "timestamps": [ms for ms, _ in points]}
        for metric, points in found
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def as_promtool(found):
    lines = []
    for metric, points in found:
        labels = ", ".join(f'{k}="{v}"' for k, v in metric.items() if k != "__name__")
        lines += [f"{metric['__name__']}{{{labels}}} =>", *(f"{v} @[{ms / 1e3}]" for ms, v in points)]
    return "\n".join(lines) + "\n"


@settings(max_examples=examples(40), deadline=None)
@given(
    pages=lives(),
    names=st.sampled_from([NAMES, ENDS]),
    written=st.sampled_from([as_query_range, as_export, as_promtool]),
)
def test_replayed_is_live(pages, names, written, tmp_path_factory):
    path = tmp_path_factory.mktemp("work") / "work.json"
    path.write_text(written(series(pages, names)))
    rows = read_series(str(path), "job", {}, SourceReport(str(path)))
    feed, accounts = WorkFeed(rows), Accounts()
    for i in range(SECONDS):
        for one in feed.into(second(i), native=True):
            accounts.add(one)
    accounts.finish()
    live, found = counted_live(pages, names), accounts.ledger.jobs[JOB.key].work
    assert found.units == live.units
    assert found.waiting_hnj == live.waiting_hnj
    assert feed.notes(accounts.ledger) == []


POWER = "time,gpu,power\n" + "".join(f"{1_767_225_600 + i},0,{100 + i}\n" for i in range(61))
JOBS = "job,host,gpu,start,end\nserve,,0,2026-01-01 00:00:00,2026-01-01 00:00:40\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "power.csv").write_text(POWER)
    (tmp_path / "jobs.csv").write_text(JOBS)
    return tmp_path


def pages_at(*times_s):
    return [((1_767_225_600 + s) * 1000, 100 + 40 * s, s, 1) for s in times_s]


@pytest.mark.parametrize("written", [as_query_range, as_export, as_promtool])
def test_beside_another_tools_log_energy_is_cut_at_the_pages(files, written):
    (files / "work").write_text(written(series(pages_at(10, 20, 30, 50), NAMES, job="vllm", pod="serve")))
    report = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work", work_columns={"job": "pod"})
    tokens, requests = report.work.to_pylist()
    assert (tokens["job"], tokens["unit"], tokens["source"], tokens["count"]) == (
        "serve", "output_tokens", "scraped", 800,
    )  # fmt: skip
    assert tokens["joules_per_unit"] == pytest.approx(20 * 120 / 800)
    assert requests["count"] == 20
    assert [note for note in report.notes if "outside the time of its job" in note]


def test_pages_of_before_the_job_are_anothers(files):
    (files / "jobs.csv").write_text(JOBS.replace("00:00:00,", "00:00:15,"))
    (files / "work").write_text(as_query_range(series(pages_at(10, 20, 30), NAMES, job="serve")))
    report = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work")
    assert report.work.to_pylist()[0]["count"] == 400


def test_a_job_may_be_named_without_its_prefix(files):
    (files / "jobs.csv").write_text(JOBS.replace("serve", "slurm:7"))
    (files / "work").write_text(as_query_range(series(pages_at(10, 20), NAMES, job="7")))
    report = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work")
    assert next((one["job"], one["count"]) for one in report.work.to_pylist()) == ("slurm:7", 400)


def test_servers_of_a_job_are_counted_apart_and_added_up(files):
    one, two = (list(series(pages_at(10, 20), NAMES, "serve", instance=name)) for name in ("a", "b"))
    (files / "work").write_text(as_export([*one, *two]))
    report = wattshed.replay(files / "power.csv", files / "jobs.csv", work=files / "work")
    assert report.work.to_pylist()[0]["count"] == 800


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"label": "pod"},
            "has no label 'pod', which names the job; .* it has .*instance, job",
        ),
        ({"names": {"up": 1}}, "no counter of a known inference server"),
    ],
)
def test_what_is_no_work_is_refused(tmp_path, changed, message):
    path = tmp_path / "work.json"
    path.write_text(as_query_range(series(pages_at(1), changed.get("names", NAMES))))
    with pytest.raises(wattshed.InputError, match=message):
        read_series(str(path), changed.get("label", "job"), {}, SourceReport(str(path)))


def test_what_is_left_out_is_told(tmp_path):
    path, report = tmp_path / "work.json", SourceReport("work.json")
    odd = [(1000, 5.5, 0, 0), (2000, 7, 0, 0)]
    path.write_text(as_query_range([*series(odd, NAMES), *series(odd, {"up": 1})]))
    rows = read_series(str(path), "job", {}, report)
    assert {row.end_us for row in rows} == {2_000_000}
    assert report.notes == ["left out: up", "1 page of slurm:7 left out: output_tokens is no whole number"]
