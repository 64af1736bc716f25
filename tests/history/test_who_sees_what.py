"""Whatever is asked, however it is forged: nobody sees anything of another user's job."""

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import HOUR_US, MARCH_US, MODELS, job, opened, part
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.agent.history.asking import FILTERS
from wattshed.agent.history.database import Database
from wattshed.agent.history.live import LiveView
from wattshed.agent.history.privacy import Privacy
from wattshed.agent.wire.parts import hnj_of

USERS = {1000: "ada", 1001: "bob", 1002: "eve", -1: ""}
NOW_S = (MARCH_US + 40 * HOUR_US) / 1e6
SECRETS = {uid: f"secret-of-{uid}" for uid in USERS}


def jobs_of_everybody():
    """Three jobs each, ended and running, one of them with a number that another user's has too, and one live only."""
    jobs, parts, live, seq = {}, [], {}, 0
    for uid, user in USERS.items():
        for n, key in enumerate((f"slurm:{7 + uid}", f"oar:{7 if uid < 1001 else 8}/{uid}", f"k8s:demo/{uid}")):
            begin_us = MARCH_US + n * HOUR_US
            labels = {"user": user, "account": "physics", "name": SECRETS[uid]} if uid >= 0 else {"name": SECRETS[uid]}
            end_us = begin_us + 2 * HOUR_US if n else -1
            record = job(key, start_us=begin_us, end_us=end_us, uid=uid, **labels)
            seq += 1
            one = part(seq, key, begin_us=begin_us, joules=1 + seq)
            one = type(one)(**{name: getattr(one, name) for name in one.__slots__} | {"run_us": begin_us})
            if n == 2:
                live[key, begin_us] = record, one
            else:
                jobs[key, begin_us] = record
                parts.append(one)
    parts += [part(99, "_idle", joules=5), part(100, "_unattributed", joules=5)]
    return jobs, parts, live


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Ask as one user; gives (status, document)."""
    path = tmp_path_factory.mktemp("who") / "history.db"
    jobs, parts, live = jobs_of_everybody()
    opened(path).add(parts, jobs, MODELS)
    view = LiveView(
        "one", 10_000, round(NOW_S * 1e6), round(NOW_S * 1e6) - 2, tuple(one for _, one in live.values()),
        {place: record for place, (record, _) in live.items()}, MODELS,
    )  # fmt: skip

    def ask(path_, params, uid, *, whose=lambda uid: uid):
        # Live parts have numbers that the database has not come to.
        beyond = LiveView(
            view.store_id, view.next_seq, view.at_us, view.ended_before_us,
            tuple(type(p)(**{n: getattr(p, n) for n in p.__slots__} | {"seq": 0}) for p in view.parts), view.records,
            view.models,
        )  # fmt: skip
        question = Question(lambda: open_or_empty(path), "n1", lambda: beyond, whose=whose, clock=lambda: NOW_S)
        return question.answer(path_, params, uid)

    return ask


VALUES = st.one_of(
    st.sampled_from([
        "", "1", "ada", "bob", "eve", "physics", "slurm:1007", "7", "8", "1007", "k8s:demo/1001", "demo/1001", "n1",
        "H100", "%", "' OR 1=1 --", "-1", "1001", "2026-03-01", "1h", "true", "user", "job", "day", "host", "month",
        "900", "86400", "WzE3NzIzMjMyMDAwMDAwMDAsIld6VXNJQ0lpTENBaUlpd2dNRjAiXQ",
    ]),
    st.text(max_size=12),
)  # fmt: skip
PARAMETERS = st.dictionaries(
    st.sampled_from([*FILTERS, "running", "limit", "cursor", "by", "step_s", "uid", "after", "store", "x"]),
    VALUES, max_size=5,
)  # fmt: skip
KEYS = st.one_of(VALUES, st.sampled_from([f"slurm:{7 + uid}" for uid in USERS] + [f"k8s:demo/{uid}" for uid in USERS]))


@given(
    what=st.sampled_from(["jobs", "report", "parts", "jobs/"]), key=KEYS, params=PARAMETERS, by=st.booleans(),
    uid=st.sampled_from([0, 1000, 1001, 1002, 4242, 65534]),
)  # fmt: skip
@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_sees_anothers_job(asked, what, key, params, by, uid):
    path = f"/api/v1/{what}" + (key if what == "jobs/" else "")
    if by:
        params = {"by": "job", **{name: value for name, value in params.items() if name in {"step_s", "since", "user"}}}
    status, document = asked(path, params, uid)
    text = json.dumps(document)
    for other, secret in SECRETS.items():
        assert uid == other or secret not in text
    if status == 200 and what == "report":
        own = [row for row in document["rows"] if row.get("job")]
        assert all(row["user"] == USERS.get(uid) for row in own)
        mine = sum(2 + n for n in range(3)) if uid == 1000 else None
        assert mine is None or hnj_of(document["total"]["energy_j"]) <= mine * 2_000_000_000
    if status == 404:
        assert document in ({"error": "no such job"}, {"error": "there is no such question"})


def test_everybody_sees_their_own_and_administrators_all(asked):
    for uid in (1000, 1001, 1002):
        status, document = asked("/api/v1/jobs", {}, uid)
        assert (status, len(document["jobs"]), {job["user"] for job in document["jobs"]}) == (200, 3, {USERS[uid]})
        pages, cursor = [], ""
        while True:
            page = asked("/api/v1/jobs", {"limit": "1", "cursor": cursor}, uid)[1]
            pages += page["jobs"]
            if not (cursor := page["cursor"]):
                break
        assert pages == document["jobs"]
        # A cursor of somebody else's list shows nothing of it.
        theirs = asked("/api/v1/jobs", {"limit": "1"}, None)[1]["cursor"]
        assert {job["user"] for job in asked("/api/v1/jobs", {"cursor": theirs}, uid)[1]["jobs"]} <= {USERS[uid]}
    assert len(asked("/api/v1/jobs", {}, None)[1]["jobs"]) == 12
    everything = asked("/api/v1/report", {"by": "user"}, None)[1]
    own = [asked("/api/v1/report", {"by": "user"}, uid)[1]["total"]["energy_j"] for uid in (1000, 1001, 1002)]
    rows = {row["name"]: row["energy_j"] for row in everything["rows"]}
    assert own == [rows[USERS[uid]] for uid in (1000, 1001, 1002)]


def test_whom_the_history_does_not_know_sees_nothing(asked):
    """Where users are dropped, those of whom it is not known are nobody's, and not everybody's."""
    for uid in (0, 1000, 65534):
        status, document = asked("/api/v1/jobs", {}, uid, whose=Privacy("none", b"k" * 32).uid)
        assert (status, document["jobs"]) == (200, [])
        assert asked("/api/v1/jobs/slurm:6", {}, uid, whose=Privacy("none", b"k" * 32).uid)[0] == 404


def test_a_question_is_interrupted(tmp_path):
    path = tmp_path / "history.db"
    opened(path).add([part(1)], {}, MODELS)

    class Endless(Database):
        def rows(self, sql, values=()):
            threading.Timer(0.05, question.interrupt).start()
            return super().rows("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")

    question = Question(lambda: Endless(path, read_only=True), "n1")
    question.interrupt()  # there is nothing to end yet
    status, document = question.answer("/api/v1/jobs", {}, None)
    assert (status, "took too long" in document["error"]) == (503, True)
    question.interrupt()  # nor any more


def test_a_history_that_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "history.db"
    path.write_bytes(b"not a database" * 500)
    status, document = Question(lambda: open_or_empty(path), "n1").answer("/api/v1/jobs", {}, None)
    assert (status, "history.db" in document["error"]) == (503, True)
