"""What the history keeps of people, and that nothing else changes with it."""

import hashlib
import hmac
import json
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.history.made_up import MARCH_US, MODELS, job, part
from tests.history.test_writer import wait
from wattshed.agent.errors import Faults, InputError
from wattshed.agent.history.privacy import DIGITS, Privacy
from wattshed.agent.history.writer import Batch, HistoryWriter
from wattshed.agent.wire.parts import JobRecord

KEY = b"0123456789abcdef"
HIDDEN = [Privacy("pseudonyms", KEY), Privacy("none", KEY)]
USERS_JOB = JobRecord(
    "user:1000/alices-secret", MARCH_US, MARCH_US, -1, 1000,
    {"user": "alice", "uid": "1000", "command": "alices-secret", "manager": "systemd-user", "unit": "alice.service"},
)  # fmt: skip
BATCH_JOB = job("slurm:1", user="alice", account="physics", name="alice's", nodes="2", cluster="east", qos="high")


def everything(record):
    return json.dumps([record.key, record.uid, dict(record.labels)])


def test_with_names_nothing_changes():
    parts, jobs = [part(1)], {("slurm:1", MARCH_US): BATCH_JOB}
    assert Privacy().applied(parts, jobs) == (parts, jobs)
    assert (Privacy().uid(1000), Privacy().user("alice"), Privacy().key("user:1000/x")) == (
        1000,
        "alice",
        "user:1000/x",
    )


@pytest.mark.parametrize("privacy", HIDDEN, ids=["pseudonyms", "none"])
@pytest.mark.parametrize("record", [USERS_JOB, BATCH_JOB], ids=["user", "slurm"])
def test_nobody_can_be_read_from_what_is_kept(privacy, record):
    kept = everything(privacy.record(record))
    assert not re.search(r"alice|\b1000\b|secret", kept)
    for name in ("account", "qos", "cluster", "nodes"):
        assert privacy.record(record).labels.get(name) == record.labels.get(name)


def test_a_pseudonym_is_the_keyed_hash_of_the_name():
    wanted = hmac.new(KEY, b"alice", hashlib.sha256).hexdigest()[:12]
    assert HIDDEN[0].record(BATCH_JOB).labels["user"] == HIDDEN[0].user("alice") == wanted
    assert Privacy("pseudonyms", KEY + b"x").user("alice") != wanted
    assert HIDDEN[0].user("") == ""
    assert "user" not in HIDDEN[1].record(BATCH_JOB).labels


def test_whoever_asks_for_their_own_is_hashed_as_their_jobs_are():
    pseudonyms, none = HIDDEN
    assert pseudonyms.record(BATCH_JOB).uid == pseudonyms.uid(1000) != pseudonyms.uid(1001)
    assert 2**52 <= pseudonyms.uid(0) < 2**53, "no system's user id, and exact in every reader of JSON"
    assert pseudonyms.uid(-1) == -1
    assert none.record(BATCH_JOB).uid == none.uid(1000) == -1


@pytest.mark.parametrize(
    ("key", "pseudonyms", "none"),
    [
        ("slurm:1", "slurm:1", "slurm:1"),
        ("unit:vllm.service", "unit:vllm.service", "unit:vllm.service"),
        ("k8s:2fc932ce-fdcc/train", "k8s:2fc932ce-fdcc/train", "k8s:2fc932ce-fdcc/train"),
        ("k8s:ns/jupyter-alice/nb", "k8s:ns/#/nb", "k8s:ns/#/nb"),
        ("user:1000/alices", "user:#/#", "user:#"),
        ("htcondor:slot1_2/1000", "htcondor:slot1_2/#", "htcondor:slot1_2/#"),
        ("nomad:uuid/task", "nomad:uuid/task", "nomad:uuid/task"),
        ("_idle", "_idle", "_idle"),
    ],
)
def test_a_key_says_neither_who_nor_what_they_called_it(key, pseudonyms, none):
    for privacy, wanted in zip(HIDDEN, (pseudonyms, none), strict=True):
        assert re.fullmatch(re.escape(wanted).replace(r"\#", f"[0-9a-f]{{{DIGITS}}}"), privacy.key(key))


def test_programs_of_one_user_stay_apart_and_are_seen_to_be_one_users_by_pseudonym_only():
    keys = ("user:1000/a", "user:1000/b", "user:1001/a")
    for privacy, together in zip(HIDDEN, (True, False), strict=True):
        found = [privacy.key(key) for key in keys]
        assert len(set(found)) == 3
        users = [key.rpartition("/")[0] for key in found]
        assert (users[0] == users[1] != users[2]) == together


owners = st.sampled_from(["slurm:1", "user:1000/a", "user:1001/a", "k8s:ns/p/c", "htcondor:slot1/7", "_idle"])
labels = st.dictionaries(st.sampled_from(["user", "account", "name", "uid"]), st.text(max_size=5))
records = st.builds(
    JobRecord, owners.filter(lambda key: key[0] != "_"), st.integers(0, 2), st.just(0), st.just(-1),
    st.integers(0, 2**32 - 2), labels,
)  # fmt: skip


@given(st.sampled_from(HIDDEN), st.lists(records, max_size=6), st.lists(owners, max_size=9))
def test_parts_stay_with_their_jobs_and_what_is_hidden_twice_is_as_hidden_once(privacy, jobs, of):
    """A collector may have the same setting as the agents that it asks."""
    known = {(record.key, record.run_us): record for record in jobs}
    parts = [part(seq, owner) for seq, owner in enumerate(of, 1)]
    kept, who = privacy.applied(parts, known)
    assert len(who) == len(known)
    for before, after in zip(parts, kept, strict=True):
        assert (before.seq, before.energy_hnj, before.from_us) == (after.seq, after.energy_hnj, after.from_us)
        place = before.job, before.run_us
        if place in known:
            assert (after.job, after.run_us) in who
    if privacy.users == "pseudonyms":
        again = {place: privacy.record(record) for place, record in who.items()}
        assert again == who


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [(None, 0o600, "cannot be read"), (b"short", 0o600, "can be guessed"), (KEY, 0o644, "everybody's to read")],
)
def test_a_key_that_is_none_is_refused(tmp_path, content, mode, why):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(InputError, match=f"{path}.*{why}"):
        Privacy.of_settings("pseudonyms", str(path))


def test_a_key_is_needed_only_where_names_are_hidden(tmp_path):
    assert Privacy.of_settings("names", "").users == "names"
    with pytest.raises(InputError, match=r"privacy\.key_file"):
        Privacy.of_settings("none", "")
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o640)
    assert Privacy.of_settings("pseudonyms", str(path)).user("alice") == HIDDEN[0].user("alice")


def test_no_name_is_on_the_disk(tmp_path):
    path = tmp_path / "history.db"
    writer = HistoryWriter(path, "n1", Faults(), privacy=HIDDEN[0])
    parts = [part(1, "user:1000/alices-secret"), part(2, "slurm:1"), part(3, "_idle")]
    jobs = {(record.key, MARCH_US): record for record in (USERS_JOB, BATCH_JOB)}
    writer.offer(Batch("one", parts, jobs, MODELS, 0))
    wait(lambda: writer.done("one") == 3)
    writer.stop()
    dump = "\n".join(sqlite3.connect(path).iterdump())
    assert "physics" in dump
    assert not re.search(r"alice|secret|\b1000\b", dump)
