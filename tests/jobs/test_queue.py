"""``squeue --json`` in every shape of 21.08 to 26.05: labels, and what a job holds on this node."""

from __future__ import annotations

import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs import queue
from wattshed.agent.jobs.queue import Queue, QueuedJob, parse, per_gpu
from wattshed.agent.jobs.this_node import ThisNode

NODE = "NodeName=n1 Gres=gpu:h100:4,shard:h100:32,mps:h100:400 NodeAddr=n1"
WHOLE = 1_000_000


def job(**given):
    return {
        "job_id": 7, "user_name": "alice", "user_id": 1000, "account": "physics", "partition": "gpu", "name": "train",
        "job_state": "RUNNING", "array_job_id": 0, "array_task_id": None, "het_job_id": 0, "gres_detail": [],
        "nodes": "n1", **given,
    }  # fmt: skip


def one(node="n1", scontrol=NODE, **given):
    found = parse(json.dumps({"jobs": [job(**given)]}), node, per_gpu(scontrol))
    return found["7"]


def wrapped(number):
    return {"set": number is not None, "infinite": False, "number": number or 0}


# How a job's nodes are written. 21.08: allocated_nodes is an object by number, or names no nodes.
def written_21_08(*names):
    numbered = {str(i): {"sockets": {}, "cpus": 1} for i in range(len(names))}
    return {"nodes": ",".join(names), "job_resources": {"nodes": ",".join(names), "allocated_nodes": numbered}}


def written_22_05(*names):
    listed = [{"sockets": {}, "nodename": name} for name in names]
    return {"nodes": ",".join(names), "job_resources": {"nodes": ",".join(names), "allocated_nodes": listed}}


def written_24_05(*names):
    allocation = [{"index": i, "name": name} for i, name in enumerate(names)]
    whole = {"count": len(names), "list": ",".join(names), "allocation": allocation}
    return {"nodes": ",".join(names), "job_resources": {"select_type": ["CPU"], "nodes": whole}}


def written_as_text(*names):
    return {"nodes": ",".join(names)}


def written_without_each(*names):
    return {"nodes": "", "job_resources": {"nodes": {"count": len(names), "list": ",".join(names)}}}


SPELLINGS = [written_21_08, written_22_05, written_24_05, written_as_text, written_without_each]


@pytest.mark.parametrize("written", SPELLINGS)
class TestNodes:
    def test_a_job_of_another_node_holds_nothing_here(self, written):
        found = one(gres_detail=["gpu:h100:2(IDX:0-1)"], **written("n2"))
        assert (found.gpus, found.here) == ({}, False)
        found = one(gres_detail=["gpu:h100:1(IDX:0)", "gpu:h100:1(IDX:3)"], **written("n2", "n3"))
        assert (found.gpus, found.here) == ({}, False)

    def test_each_node_of_a_job_has_its_own_gpus(self, written):
        details = ["gpu:h100:1(IDX:0)", "gpu:h100:1(IDX:3)"]
        names = written("n1", "n2")
        assert one("n1", gres_detail=details, **names).gpus == {0: WHOLE}
        assert one("n2", gres_detail=details, **names).gpus == {3: WHOLE}
        assert one("n3", gres_detail=details, **names).gpus == {}

    def test_a_name_is_not_a_part_of_another(self, written):
        assert one("n1", gres_detail=["gpu:1(IDX:0)"], **written("n10")).gpus == {}
        assert one("n10", gres_detail=["gpu:1(IDX:0)"], **written("n1")).gpus == {}

    def test_a_domain_and_capitals_do_not_matter(self, written):
        assert one("N1", gres_detail=["gpu:1(IDX:0)"], **written("n1.hpc.example")).gpus == {0: WHOLE}

    def test_without_a_name_of_our_own_nothing_is_ours(self, written):
        assert one("", gres_detail=["gpu:1(IDX:0)"], **written("n1")).gpus == {}

    def test_nodes_that_hold_none_have_an_entry_too(self, written):
        found = one("n1", gres_detail=["", "gpu:1(IDX:2)"], **written("n1", "n2"))
        assert (found.gpus, found.here) == ({}, True)


def test_ranges_of_nodes_in_the_order_of_their_details():
    details = [f"gpu:1(IDX:{i})" for i in range(4)]
    for text in ("n[1-3],n05", "n[1-3,05]"):
        assert one("n05", gres_detail=details, nodes=text).gpus == {3: WHOLE}
        assert one("n3", gres_detail=details, nodes=text).gpus == {2: WHOLE}
        assert one("n5", gres_detail=details, nodes=text).gpus == {}


def test_more_or_fewer_details_than_nodes_are_not_matched_by_guess():
    assert one(gres_detail=["gpu:1(IDX:0)"], nodes="n1,n2").gpus == {}
    assert one(gres_detail=["gpu:1(IDX:0)", "gpu:1(IDX:1)"], nodes="n1").gpus == {}


def test_nodes_that_are_not_told_are_not_guessed():
    assert one(gres_detail=["gpu:1(IDX:0)"], nodes="").gpus == {}
    assert one(gres_detail=["gpu:1(IDX:0)"], nodes=None, batch_host="n1").gpus == {0: WHOLE}
    assert one(gres_detail=["gpu:1(IDX:0)"], nodes=None, batch_host="n2").gpus == {}


def test_a_completing_job_has_left_the_nodes_that_are_done():
    details = ["gpu:1(IDX:0)", "gpu:1(IDX:3)"]
    resources = written_24_05("n1", "n2")["job_resources"]
    state = ["CANCELLED", "COMPLETING"]
    assert one("n2", gres_detail=details, nodes="n2", job_resources=resources, job_state=state).gpus == {3: WHOLE}
    assert one("n1", gres_detail=details, nodes="n2", job_resources=resources, job_state=state).here is False


@pytest.mark.parametrize("state", ["PENDING", "COMPLETED", ["CANCELLED"], ["PENDING", "REQUEUED"], ["PREEMPTED"], None])
def test_a_job_that_does_not_run_holds_nothing(state):
    found = one(gres_detail=["gpu:1(IDX:0)"], job_state=state)
    assert (found.gpus, found.here) == ({}, False)


@pytest.mark.parametrize(
    "state",
    [
        "RUNNING", ["RUNNING"], ["SUSPENDED"], ["RUNNING", "CONFIGURING"], ["PREEMPTED", "COMPLETING"],
        ["PENDING", "COMPLETING"], ["RUNNING", "STOPPED"],
    ],
)  # fmt: skip
def test_a_job_keeps_its_gpus_until_its_epilog_is_done_and_while_suspended(state):
    assert one(gres_detail=["gpu:1(IDX:0)"], job_state=state).gpus == {0: WHOLE}


@pytest.mark.parametrize("written", SPELLINGS)
@pytest.mark.parametrize(
    ("detail", "scontrol", "wanted"),
    [
        ("shard:h100:6(0/8,6/8,0/8,0/8)", "Gres=gpu:h100:4(S:0-1),shard:h100:32(S:0-1)", {1: 750_000}),
        ("shard:6(IDX:1)", "Gres=gpu:h100:4(S:0-1),shard:h100:32(S:0-1)", {1: 750_000}),
        ("mps:h100:50(0/100,50/100)", "Gres=gpu:h100:2,mps:h100:200", {1: 500_000}),
        ("gpu:1g.10gb:1(IDX:1)", "Gres=gpu:1g.10gb:14(S:0-1)", {}),
        ("gpu:h100:1(IDX:3)", "Gres=gpu:h100:4", {3: WHOLE}),
        ("gpu:h100:1(IDX:3)", "", {3: WHOLE}),
    ],
)
def test_shares(written, detail, scontrol, wanted):
    assert one(scontrol=scontrol, gres_detail=[detail], **written("n1")).gpus == wanted


def test_labels_of_old_and_new_json_are_the_same():
    old = one(array_job_id=9, array_task_id=3, het_job_id=0)
    new = one(
        job_id=wrapped(7), job_state=["RUNNING"], array_job_id=wrapped(9), array_task_id=wrapped(3),
        het_job_id=wrapped(None), het_job_offset=wrapped(None),
    )  # fmt: skip
    wanted = {"user": "alice", "account": "physics", "partition": "gpu", "name": "train", "array": "9_3"}
    assert old == new == QueuedJob(wanted, 1000, {}, "", True)
    assert one(het_job_id=5, het_job_offset=1).labels["het_job"] == "5+1"


@pytest.mark.parametrize(
    ("given", "label", "wanted"),
    [
        ({"qos": "high"}, "qos", "high"),
        ({"qos": ""}, "qos", None),
        ({"account": None}, "account", None),
        ({"partition": 5}, "partition", None),
        ({"array_job_id": 9, "array_task_id": 0}, "array", "9_0"),
        ({"array_job_id": 9, "array_task_id": None}, "array", None),
        ({"array_job_id": 0, "array_task_id": 3}, "array", None),
        ({"het_job_id": 5, "het_job_offset": None}, "het_job", "5+0"),
        ({"het_job_id": "5", "het_job_offset": "2"}, "het_job", "5+2"),
        ({"het_job_id": {"set": True, "infinite": True, "number": 5}}, "het_job", None),
        ({"het_job_id": {"set": False, "infinite": False, "number": 5}}, "het_job", None),
        ({"het_job_id": True}, "het_job", None),
        ({"het_job_id": "9" * 19}, "het_job", "9" * 19 + "+0"),
        ({"het_job_id": "9" * 20}, "het_job", None),
    ],
)
def test_what_a_job_is_labelled_with(given, label, wanted):
    assert one(**given).labels.get(label) == wanted


@pytest.mark.parametrize(("given", "uid"), [(0, 0), ("1000", 1000), (None, -1), ("alice", -1), (wrapped(None), -1)])
def test_a_user_s_number(given, uid):
    assert one(user_id=given).uid == uid


def test_the_sluid_of_26_05():
    step = {"sluid": "sEKNKTV3WPV500", "job_id": wrapped(7), "step_id": "TBD"}
    assert one(step_id=step).sluid == "sEKNKTV3WPV500"
    assert one(job_id=None, step_id=step).labels["user"] == "alice"
    for other in (None, {}, "7.batch", {"sluid": None}, {"sluid": ""}, {"sluid": "../../etc"}):
        assert one(step_id=other).sluid == ""


def test_names_with_control_characters_are_escaped():
    text = '{"jobs": [{"job_id": 7, "name": "a\x1b[31m\tb\\n"}]}'
    assert parse(text, "n1", {})["7"].labels == {"name": "a\\x1b[31m\\tb\\n"}


def test_the_line_that_squeue_writes_before_another_clusters_jobs():
    text = "CLUSTER: second\n" + json.dumps({"jobs": [job(gres_detail=["gpu:1(IDX:2)"])]})
    assert parse(text, "n1", {})["7"].gpus == {2: WHOLE}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"jobs": 3}', "slurm_load_jobs error: x", "null"])
def test_nonsense_is_an_error(text):
    with pytest.raises(ValueError):
        parse(text, "n1", {})


def test_no_jobs_for_want_of_a_controller_is_an_error():
    # what squeue --json of 22.05 says, and ends with 0, while slurmctld is down
    errors = [{"description": "Failed while looking for jobs", "error_number": -1, "source": "slurm_load_jobs"}]
    with pytest.raises(ValueError, match="Failed while looking"):
        parse(json.dumps({"meta": {}, "errors": errors, "jobs": []}), "n1", {})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda a: st.lists(a, max_size=3) | st.dictionaries(st.text(max_size=5), a, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*job(), "job_resources", "het_job_offset", "step_id", "batch_host"]), ANY, max_size=6
        ),
        max_size=3,
    )
)
def test_any_json_is_read(jobs):
    sound = [job(**{**other, "job_id": number}) for number, other in enumerate(jobs, 1)]
    found = parse(json.dumps({"jobs": [*jobs, *sound], "meta": jobs}), "n1", {})
    assert found.keys() >= {str(number) for number in range(1, len(jobs) + 1)}
    for one in found.values():
        assert all(isinstance(value, str) and value for value in one.labels.values())


NAMES = st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(NAMES, st.integers(1, 40), st.data())
def test_no_node_is_billed_for_a_job_of_others_and_each_for_its_own(numbers, mine, data):
    written = data.draw(st.sampled_from(SPELLINGS))
    names = [f"n{number}" for number in numbers]
    details = [f"gpu:h100:1(IDX:{place})" for place in range(len(names))]
    found = one(f"n{mine}", gres_detail=details, **written(*names)).gpus
    assert found == ({numbers.index(mine): WHOLE} if mine in numbers else {})


def squeue(folder, answer, version=None):
    """One that writes down how it was asked; with a node's name that it does not know it ends with 1."""
    meta = {"slurm": {"version": dict(zip(("major", "minor"), version, strict=True))}} if version else {}
    (folder / "answer.json").write_text(json.dumps({"meta": meta, **answer}))
    path = folder / "squeue"
    path.write_text(f"""#!/bin/sh
echo "$*" >> {folder}/asked
case "$*" in *--nodelist=gone*) echo "squeue: error: Invalid node name gone" >&2; exit 1 ;; esac
cat {folder}/answer.json
""")
    path.chmod(0o755)
    return (str(path),)


def ask(folder, node, times=1, **given):
    asked = Queue(squeue(folder, **given), lambda: node, lambda: 5, threading.Event())
    for _ in range(times):
        answer = asked.ask()
    return answer, (folder / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("version", "filters"), [(("22", "05"), False), (("23", "11"), False), (("24", "05"), True), ((26, 5), True)]
)
def test_from_24_05_on_only_this_nodes_jobs_are_asked_for(tmp_path, version, filters):
    answer, asked = ask(tmp_path, ThisNode("n1", True), 2, answer={"jobs": [job()]}, version=version)
    everything = "--json --all --local"
    assert asked == [everything, f"{everything} --nodelist=n1" if filters else everything]
    assert answer.jobs["7"].here
    assert (answer.asked_us, answer.node) == (5, ThisNode("n1", True))


@pytest.mark.parametrize(
    ("meta", "version"),
    [
        ({"slurm": {"version": {"major": "24", "minor": "05"}}}, (24, 5)),
        ({"Slurm": {"version": {"major": 24, "minor": 5}}}, (24, 5)),
        ({"slurm": {"version": {"major": "25"}}}, (25, 0)),
        ({"slurm": {"version": "24.05"}}, (0, 0)),
        ({"slurm": {}}, (0, 0)),
        ("24.05", (0, 0)),
        (None, (0, 0)),
    ],
)
def test_the_version_that_answered(meta, version):
    assert queue._version({"meta": meta}) == version


def test_a_name_that_squeue_does_not_know_does_not_hide_the_queue(tmp_path):
    answer, asked = ask(tmp_path, ThisNode("gone", True), 2, answer={"jobs": [job()]}, version=("25", "11"))
    assert [line.rpartition("--nodelist")[1] for line in asked] == ["", "--nodelist", ""]
    assert list(answer.jobs) == ["7"]


def test_a_name_that_slurm_did_not_confirm_is_not_asked_for(tmp_path):
    _, asked = ask(tmp_path, ThisNode("n1"), 2, answer={"jobs": [job()]}, version=("25", "11"))
    assert not any("--nodelist" in line for line in asked)


MINE = os.geteuid()


@pytest.mark.parametrize(
    ("node", "answer", "whole"),
    [
        (ThisNode("n1", True, open=True), {"jobs": []}, True),
        (ThisNode("n1", True, open=False), {"jobs": []}, False),  # PrivateData=jobs: nothing is shown
        (ThisNode("n1", True, open=False), {"jobs": [job(user_id=MINE)]}, False),  # or one's own only
        (ThisNode("n1", True, open=False), {"jobs": [job(user_id=MINE + 1)]}, True),
        (ThisNode("n1", True, open=False), {"jobs": [job(user_id=MINE + 1, nodes="n2")]}, False),
        (ThisNode("n1", False), {"jobs": []}, False),
        (ThisNode(), {"jobs": []}, False),
        (ThisNode("n1", True, open=True), {"jobs": [job()], "errors": [{"error": "x"}]}, False),
    ],
)
def test_whether_a_missing_job_does_not_exist(tmp_path, node, answer, whole):
    assert ask(tmp_path, node, answer=answer)[0].whole is whole
