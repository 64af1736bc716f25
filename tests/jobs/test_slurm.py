"""Slurm's queue: every shape of its JSON, shares of a GPU, and a resolver that never waits for it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.jobs.queue import QueuedJob, parse, per_gpu
from agent.jobs.slurm import Slurm
from agent.window import Device

NODE = "Gres=gpu:h100:4,shard:h100:32,mps:h100:400 NodeAddr=n1"
DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=3 - i) for i in range(4))


def now():
    return time.time_ns() // 1000


def job(**given):
    return {
        "job_id": 7, "user_name": "alice", "user_id": 1000, "account": "physics", "partition": "gpu", "name": "train",
        "job_state": "RUNNING", "array_job_id": 0, "array_task_id": None, "het_job_id": 0, "gres_detail": [], **given,
    }  # fmt: skip


def one(node="n1", **given):
    found = parse(json.dumps({"jobs": [job(**given)]}), node, per_gpu(NODE))
    return found["7"]


def wrapped(number):
    return {"set": number is not None, "infinite": False, "number": number or 0}


def test_labels_of_old_and_new_json_are_the_same():
    old = one(array_job_id=9, array_task_id=3, het_job_id=0)
    new = one(
        job_id=wrapped(7), job_state=["RUNNING"], array_job_id=wrapped(9), array_task_id=wrapped(3),
        het_job_id=wrapped(None), het_job_offset=wrapped(None),
    )  # fmt: skip
    wanted = {"user": "alice", "account": "physics", "partition": "gpu", "name": "train", "array": "9_3"}
    assert old == new == QueuedJob(wanted, 1000, {})
    assert one(het_job_id=5, het_job_offset=1).labels["het_job"] == "5+1"


@pytest.mark.parametrize(
    ("detail", "shares"),
    [
        ("gpu:h100:2(IDX:0-1)", {0: 1_000_000, 1: 1_000_000}),
        ("gpu:1(IDX:3)", {3: 1_000_000}),
        ("gpu:h100:3(IDX:0,2-3)", {0: 1_000_000, 2: 1_000_000, 3: 1_000_000}),
        ("gres/gpu:1(IDX:2)", {2: 1_000_000}),
        ("shard:2(IDX:1)", {1: 250_000}),
        ("shard:h100:4(IDX:0,2)", {0: 250_000, 2: 250_000}),
        ("mps:50(IDX:1)", {1: 500_000}),
        ("gpu:0", {}),
        ("nic:2(IDX:0-1)", {}),
        ("", {}),
        ("gpu:1(IDX:N/A)", {}),
    ],
)
def test_gpus_of_a_job(detail, shares):
    assert one(gres_detail=[detail]).gpus == shares


def test_shards_of_an_unknown_total_have_an_unknown_share():
    text = json.dumps({"jobs": [job(gres_detail=["shard:2(IDX:1)"])]})
    assert parse(text, "n1", {})["7"].gpus == {1: -1}


def test_the_place_of_this_node_among_a_jobs_nodes():
    details = ["gpu:1(IDX:0)", "gpu:1(IDX:3)"]
    old = {"allocated_nodes": [{"nodename": "n0"}, {"nodename": "n1"}]}
    new = {"nodes": {"allocation": [{"name": "n0"}, {"name": "n1"}]}}
    for resources in (old, new):
        assert one(gres_detail=details, job_resources=resources).gpus == {3: 1_000_000}
        assert one("n0", gres_detail=details, job_resources=resources).gpus == {0: 1_000_000}
        assert one("n9", gres_detail=details, job_resources=resources).gpus == {}


@pytest.mark.parametrize("state", ["PENDING", "COMPLETED", ["CANCELLED"], ["PENDING", "REQUEUED"], None])
def test_a_job_that_does_not_run_holds_nothing(state):
    assert one(gres_detail=["gpu:1(IDX:0)"], job_state=state).gpus == {}


def test_names_with_control_characters_are_escaped():
    text = '{"jobs": [{"job_id": 7, "name": "a\x1b[31m\tb\\n"}]}'
    assert parse(text, "n1", {})["7"].labels == {"name": "a\\x1b[31m\\tb\\n"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"jobs": 3}', "slurm_load_jobs error: x", "null"])
def test_nonsense_is_an_error(text):
    with pytest.raises(ValueError):
        parse(text, "n1", {})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda a: st.lists(a, max_size=3) | st.dictionaries(st.text(max_size=5), a, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from([*job(), "job_resources", "het_job_offset", "nodes"]), ANY), max_size=3)
)
def test_any_json_is_read(jobs):
    for found in parse(json.dumps({"jobs": jobs}), "n1", {}).values():
        assert all(isinstance(value, str) for value in found.labels.values())


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


def wait_for(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_queue_alone_tells_who_holds_what_by_minor(tmp_path):
    answer = tmp_path / "answer.json"
    answer.write_text(
        json.dumps({"jobs": [job(gres_detail=["shard:2(IDX:1)"]), job(job_id=8, gres_detail=["gpu:1(IDX:3)"])]})
    )
    slurm = Slurm(
        now,
        "n1",
        None,
        script(tmp_path, "squeue", f'[ "$1" = --json ] && cat {answer}'),
        script(tmp_path, "scontrol", f'echo "{NODE}"'),
    )
    wait_for(lambda: slurm.reservations(DEVICES, 0, 10))
    found = {(r.gpu, r.owner.key, r.share_ppm, r.uid) for r in slurm.reservations(DEVICES, 0, 10)}
    # minors count down here: Slurm's GPU 3 is NVML's 0
    assert found == {(2, "slurm:7", 250_000, 1000), (0, "slurm:8", 1_000_000, 1000)}
    assert slurm.labels("7")["user"] == "alice"
    answer.write_text('{"jobs": []}')
    slurm.labels("9")  # unknown: asks again soon
    wait_for(lambda: not slurm.reservations(DEVICES, 0, 10))
    assert slurm.labels("7")["user"] == "alice"
    slurm.close()


def test_the_directory_gives_the_edges_and_the_queue_the_shares(tmp_path):
    folder = tmp_path / "map"
    (folder / "jobs").mkdir(parents=True)
    (folder / "0").write_text("7\n8\n")
    (folder / "2").write_text("9\n10\n")
    (folder / "jobs/7").write_text("user=prolog\nuid=1000\naccount=a\n")
    answer = json.dumps({"jobs": [job(gres_detail=["shard:2(IDX:3)"]), job(job_id=8, gres_detail=["shard:6(IDX:3)"])]})
    slurm = Slurm(
        now,
        "n1",
        folder,
        script(tmp_path, "squeue", f"echo '{answer}'"),
        script(tmp_path, "scontrol", f'echo "{NODE}"'),
    )
    wait_for(lambda: slurm.events == 4 and slurm.labels("8"))
    end = now() + 1_000_000
    found = {(r.gpu, r.owner.key): r for r in slurm.reservations(DEVICES, end - 2_000_000, end)}
    assert {place: r.share_ppm for place, r in found.items()} == {
        (0, "slurm:7"): 250_000, (0, "slurm:8"): 750_000, (2, "slurm:9"): 500_000, (2, "slurm:10"): 500_000,
    }  # fmt: skip
    assert found[0, "slurm:7"].uid == 1000
    # the queue knows better than a prolog, which may have no name or QOS
    assert slurm.labels("7") == {"user": "alice", "account": "physics", "partition": "gpu", "name": "train"}
    changed = []
    slurm.on_change = lambda: changed.append(now())
    (folder / "0").unlink()
    wait_for(lambda: slurm.events == 6 and changed)
    late = now() + 10_000_000
    assert {r.owner.key for r in slurm.reservations(DEVICES, late, late + 1)} == {"slurm:9", "slurm:10"}
    slurm.close()


@pytest.mark.parametrize(
    "command",
    ["sleep 60", "exit 1", "echo nonsense", "kill -9 $$", "yes"],
    ids=["hung", "fails", "nonsense", "dies", "endless"],
)
def test_nobody_waits_for_a_queue_that_does_not_answer(tmp_path, command):
    slurm = Slurm(now, "n1", None, script(tmp_path, "squeue", command), ())
    worst = 0.0
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        began = time.perf_counter()
        assert slurm.labels("7") == {}
        assert slurm.reservations(DEVICES, 0, 10) == []
        assert slurm.uid("7") == -1
        worst = max(worst, time.perf_counter() - began)
    assert worst < 0.5  # a queue that is waited for takes seconds; a busy machine a tenth of one
    if command in {"exit 1", "echo nonsense", "kill -9 $$"}:
        assert slurm.faults() == {"squeue": 1}
    began = time.perf_counter()
    slurm.close()
    assert time.perf_counter() - began < 3


def test_a_job_that_the_queue_does_not_know_is_not_asked_for_for_ever(tmp_path):
    count = tmp_path / "count"
    slurm = Slurm(now, "n1", None, script(tmp_path, "squeue", f"echo x >> {count}; echo '{{\"jobs\": []}}'"), ())
    until = time.monotonic() + 4
    while time.monotonic() < until:
        slurm.labels("7")
        time.sleep(0.05)
    assert 2 <= len(count.read_text().split()) <= 4
    slurm.close()
