"""Slurm's jobs as the agent knows them without waiting: from the mapping directory and the queue, joined."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.jobs.test_queue import NODE, job
from wattshed.agent.jobs import background, stale
from wattshed.agent.jobs import slurm as slurm_module
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.window import Device

DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=3 - i) for i in range(4))


def now():
    return time.time_ns() // 1000


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
    # Of those that the queue does not know the accounts divide what is left.
    assert {place: r.share_ppm for place, r in found.items()} == {
        (0, "slurm:7"): 250_000, (0, "slurm:8"): 750_000, (2, "slurm:9"): -1, (2, "slurm:10"): -1,
    }  # fmt: skip
    assert found[0, "slurm:7"].uid == 1000
    # the queue knows better than a prolog, which may have no name or QOS
    told = {"user": "alice", "account": "physics", "partition": "gpu", "name": "train"}
    assert slurm.labels("7") == {**told, "uid": "1000"}
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
    assert worst < 5  # who waits for a queue that hangs waits ten seconds for it
    if command in {"exit 1", "echo nonsense", "kill -9 $$"}:
        assert slurm.faults() == {"squeue": 1}
    began = time.perf_counter()
    slurm.close()
    assert time.perf_counter() - began < 9


def test_a_job_that_the_queue_does_not_know_is_not_asked_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "HURRY_S", 0.05)
    count = tmp_path / "count"
    slurm = Slurm(now, "n1", None, script(tmp_path, "squeue", f"echo x >> {count}; echo '{{\"jobs\": []}}'"), ())
    wait_for(lambda: slurm.labels("7") == {} and count.exists() and len(count.read_text().split()) >= 2)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        slurm.labels("7")
        time.sleep(0.01)
    assert 2 <= len(count.read_text().split()) <= 4
    slurm.close()


class Folder:
    """A mapping directory, a squeue and a scontrol that answer what a test says."""

    def __init__(self, path):
        self.path, self.mapping = path, path / "map"
        (self.mapping / "jobs").mkdir(parents=True)
        self.queue()
        self.squeue = script(path, "squeue", f"echo x >> {path}/asked; cat {path}/answer.json")
        self.scontrol = self.node("none")

    def node(self, private):
        shown = f'*config) echo "PrivateData = {private}";; *) echo "{NODE}";;'
        return script(self.path, "scontrol", f'case "$*" in {shown} esac')

    def queue(self, *jobs):
        text = json.dumps({"jobs": jobs})
        (self.path / "new").write_text(text)
        (self.path / "new").rename(self.path / "answer.json")

    def hold(self, name, *jobs):
        (self.mapping / ".new").write_text("".join(f"{job}\n" for job in jobs))
        (self.mapping / ".new").rename(self.mapping / name)

    def describe(self, job, **labels):
        (self.mapping / f"jobs/{job}").write_text("".join(f"{label}={value}\n" for label, value in labels.items()))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def start(folder):
    made = []

    def begin(mapping=True, node="n1", squeue=None, scontrol=None):
        where = folder.mapping if mapping else None
        made.append(Slurm(now, node, where, squeue or folder.squeue, folder.scontrol if scontrol is None else scontrol))
        return made[-1]

    yield begin
    for slurm in made:
        slurm.close()


def held(slurm):
    """Who holds what at this moment."""
    at = now() + 1
    return {(r.gpu, r.owner.key): r.share_ppm for r in slurm.reservations(DEVICES, at, at + 1)}


@pytest.mark.parametrize("mapping", [False, True], ids=["queue alone", "with the mapping"])
def test_jobs_of_other_nodes_hold_nothing_here(folder, start, mapping):
    folder.queue(
        job(job_id=1, nodes="n2", gres_detail=["gpu:h100:2(IDX:0-1)"]),
        job(job_id=2, nodes="n[2-3]", gres_detail=["gpu:h100:1(IDX:2)", "gpu:h100:1(IDX:3)"]),
        job(job_id=3, nodes="n1,n2", gres_detail=["gpu:h100:1(IDX:3)", "gpu:h100:1(IDX:0)"]),
    )
    folder.hold("0", 3)
    slurm = start(mapping)
    wait_for(lambda: slurm.answered and held(slurm) == {(0, "slurm:3"): 1_000_000})


def test_the_name_in_slurm_is_not_the_hosts(folder, start):
    nodes = "NodeName=gpu-7 NodeHostName=box NodeAddr=10.0.0.7 Gres=gpu:h100:4"
    answer = f'case "$*" in *" node") echo "{nodes}";; *) echo Node not found; exit 1;; esac'
    folder.queue(
        job(nodes="gpu-7", gres_detail=["gpu:1(IDX:3)"]), job(job_id=8, nodes="box", gres_detail=["gpu:1(IDX:2)"])
    )
    slurm = start(False, "box.hpc.example", scontrol=script(folder.path, "named", answer))
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 1_000_000})


@pytest.mark.parametrize("nodes", ["", "NodeName=na NodeHostName=n1\nNodeName=nb NodeHostName=n1"], ids=["none", "two"])
def test_a_node_that_slurm_does_not_list_bills_nothing_and_says_so_once(folder, start, caplog, nodes):
    (folder.path / "nodes").write_text(nodes)
    answer = f'case "$*" in *" node") cat {folder.path}/nodes;; *) echo Node not found; exit 1;; esac'
    folder.queue(job(gres_detail=["gpu:1(IDX:0)"]), job(job_id=8, nodes="na", gres_detail=["gpu:1(IDX:1)"]))
    slurm = start(False, scontrol=script(folder.path, "unknown", answer))
    wait_for(lambda: slurm.faults().get("scontrol", 0) >= 2 and slurm.answered)
    assert held(slurm) == {}
    assert slurm.labels("7")["user"] == "alice"
    said = [record.message for record in caplog.records if "set slurm.node" in record.message]
    assert len(said) == 1


@pytest.mark.parametrize("broken", ["exit 1", "echo down >&2; exit 1", "sleep 60", "kill -9 $$"])
def test_a_failing_scontrol_does_not_throw_a_good_answer_away(folder, start, broken):
    folder.queue(job(gres_detail=["shard:h100:6(0/8,6/8,0/8,0/8)"]), job(job_id=8, gres_detail=["shard:6(IDX:2)"]))
    slurm = start(False, scontrol=script(folder.path, "broken", broken))
    # The newer spelling needs no scontrol; of the older one the share is not known.
    wait_for(lambda: held(slurm) == {(2, "slurm:7"): 750_000, (1, "slurm:8"): -1})


@pytest.mark.parametrize("hidden", [False, True])
def test_a_job_that_the_queue_saw_before_it_began_gets_its_share_soon(folder, start, quick, hidden):
    """Also where others' jobs are hidden, so that what the queue lacks is decided by no further answer."""
    if hidden:
        folder.node("jobs")
    mine = {"user_id": os.geteuid()}
    folder.queue(job(gres_detail=["shard:6(IDX:3)"], **mine), job(job_id=8, job_state="PENDING", nodes="", **mine))
    folder.hold("0", 7)
    slurm = start()
    # Asked once more as soon as the node's name is known, and then not for 30 s unless it is hurried.
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 750_000} and slurm._queue.answers >= 2)
    folder.queue(job(gres_detail=["shard:6(IDX:3)"], **mine), job(job_id=8, gres_detail=["shard:2(IDX:3)"], **mine))
    folder.hold("0", 7, 8)
    # Until then it is unknown, never an even half beside a known part.
    seen = set()
    until = time.monotonic() + 4
    while (now_held := held(slurm).get((0, "slurm:8"))) != 250_000:
        seen.add(now_held)
        assert time.monotonic() < until, "not within seconds: the period is 30 s"
        time.sleep(0.05)
    assert seen <= {None, -1}


def test_a_queue_that_is_slow_at_the_start_is_used_as_soon_as_it_answers(folder, start):
    folder.queue(
        job(gres_detail=["shard:6(IDX:3)"], step_id={"sluid": "sEKNKTV3WPV500"}),
        job(job_id=8, gres_detail=["shard:2(IDX:3)"]),
    )
    folder.hold("0", 7, 8)
    slurm = start(squeue=script(folder.path, "slow", f"sleep 2; cat {folder.path}/answer.json"))
    wait_for(lambda: slurm.events == 2)
    assert not slurm.answered
    assert slurm.job_of("sEKNKTV3WPV500") == ""
    assert held(slurm) == {(0, "slurm:7"): -1, (0, "slurm:8"): -1}
    wait_for(lambda: slurm.answered, 5)
    assert slurm.job_of("sEKNKTV3WPV500") == "7"
    assert held(slurm)[0, "slurm:7"] == 750_000


def test_what_is_known_stays_while_the_controller_is_away(folder, start):
    folder.queue(job(gres_detail=["gpu:1(IDX:3)"]))
    slurm = start(False)
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 1_000_000})
    gone = {"jobs": [], "errors": [{"description": "Failed while looking for jobs", "source": "slurm_load_jobs"}]}
    (folder.path / "answer.json").write_text(json.dumps(gone))
    slurm.labels("9")
    wait_for(lambda: slurm.faults().get("squeue"))
    assert held(slurm) == {(0, "slurm:7"): 1_000_000}


@pytest.mark.parametrize(("age_s", "believed"), [(119.0, True), (121.0, False)])
def test_a_queue_that_is_silent_for_two_minutes_no_longer_says_who_holds_what(
    folder, start, monkeypatch, age_s, believed
):
    folder.queue(job(gres_detail=["gpu:1(IDX:3)"]))
    slurm = start(False)
    wait_for(lambda: held(slurm))
    monkeypatch.setattr(slurm._queue, "age_s", lambda: age_s)
    assert held(slurm) == ({(0, "slurm:7"): 1_000_000} if believed else {})
    assert slurm.labels("7")["user"] == "alice"


def test_a_job_is_known_after_its_end_though_nobody_had_asked_for_it(folder, start, quick):
    folder.queue(job(gres_detail=["gpu:1(IDX:3)"]), job(job_id=8, nodes="n2", user_name="bob"))
    slurm = start(False)
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 1_000_000})
    folder.queue()
    wait_for(lambda: slurm._queue.hurry() or not held(slurm))
    assert slurm.labels("7")["user"] == "alice"
    assert slurm.uid("7") == 1000
    assert slurm.labels("8") == {}  # never was here


def test_what_a_job_had_stays_known_when_it_is_over(folder, start, quick):
    folder.queue(job(gres_detail=["shard:6(IDX:3)"]))
    folder.hold("0", 7)
    slurm = start()
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 750_000})
    began_us = now()
    folder.queue(job(job_state="COMPLETED", name="renamed"))
    wait_for(lambda: slurm._queue.hurry() or slurm.labels("7")["name"] == "renamed")
    found = slurm.reservations(DEVICES, began_us - 1, began_us)
    assert [(r.owner.key, r.share_ppm) for r in found] == [("slurm:7", 750_000)]


def test_of_very_many_jobs_the_last_are_remembered(folder, start, quick, monkeypatch):
    monkeypatch.setattr(slurm_module, "_MOST_KEPT", 3)
    slurm = start(False)
    for number in range(1, 6):
        folder.queue(job(job_id=number, gres_detail=["gpu:1(IDX:3)"], step_id={"sluid": f"sEKNKTV3WPV5{number:02d}"}))
        wait_for(lambda number=number: slurm._queue.hurry() or held(slurm).keys() == {(0, f"slurm:{number}")})
    assert [number for number in range(1, 6) if slurm.labels(str(number))] == [3, 4, 5]
    assert [slurm.job_of(f"sEKNKTV3WPV5{number:02d}") for number in range(1, 6)] == ["", "", "3", "4", "5"]


def test_each_hold_of_the_directory_within_a_stretch(folder):
    """From when to when, since when at all, whose, and of which part of the GPU."""
    mapping = MappingDirectory(folder.mapping, lambda: 5_100, at_us=lambda ns: ns // 1_000_000_000)
    slurm = Slurm(lambda: 5_100, "n1", mapping, (), ())
    folder.hold("0", "7 1001", "8")
    folder.hold("1.3", "9")
    folder.hold("2", "10")
    folder.hold("GPU-3", "11")
    folder.hold("GPU-9", "12")
    folder.describe(10, uid=2002, user="eve")
    for path in (*folder.mapping.glob("[0-9G]*"), folder.mapping / "jobs/10"):
        os.utime(path, (5_000, 5_000))
    mapping.scan()
    (folder.mapping / "2").unlink()
    os.utime(folder.mapping, (5_007, 5_007))
    mapping.scan()

    def told(start_us, end_us):
        return sorted(
            (r.owner.key, r.gpu, r.instance, r.start_us, r.end_us, r.share_ppm, r.uid, r.since_us)
            for r in slurm.reservations(DEVICES, start_us, end_us)
        )

    assert told(4_990, 5_009) == [
        ("slurm:10", 2, "", 5_000, 5_007, 1_000_000, 2002, 5_000),
        ("slurm:11", 3, "", 5_000, 5_009, 1_000_000, -1, 5_000),
        ("slurm:7", 0, "", 5_000, 5_009, -1, 1001, 5_000),
        ("slurm:8", 0, "", 5_000, 5_009, -1, -1, 5_000),
        ("slurm:9", 1, "3", 5_000, 5_009, -1, -1, 5_000),
    ]
    assert told(5_005, 5_006)[0] == ("slurm:10", 2, "", 5_005, 5_006, 1_000_000, 2002, 5_000)
    assert [row[0] for row in told(5_007, 5_009)] == ["slurm:11", "slurm:7", "slurm:8", "slurm:9"]
    (eve,) = (r.owner for r in slurm.reservations(DEVICES, 5_000, 5_001) if r.owner.key == "slurm:10")
    assert eve.labels == {"uid": "2002", "user": "eve", "manager": "slurm"}
    assert slurm.labels("10") == {"user": "eve", "uid": "2002"}
    assert slurm.faults() == {"mapping": 1}  # the file of no GPU
    slurm.close()


def test_under_mig_the_queue_alone_tells_no_gpu(folder, start):
    folder.queue(job(gres_detail=["gpu:1(IDX:1)"]))  # no profile in its type
    slurm = start(False)
    wait_for(lambda: held(slurm) == {(2, "slurm:7"): 1_000_000})
    some = [Device("h", i, f"GPU-{i}", minor=3 - i, capabilities={"mig": "" if i == 0 else "off"}) for i in range(4)]
    assert slurm.reservations(some, 0, 1) == []
    # nor where Slurm counts more than there are
    assert slurm.reservations(DEVICES[:2], 0, 1) == []


def test_a_sluid_is_known_by_the_queue_or_the_prolog_and_stays_known(folder, start):
    folder.queue(
        job(step_id={"sluid": "sEKNKTV3WPV500"}), job(job_id=8, nodes="n2", step_id={"sluid": "s5K1KKYAYG5D00"})
    )
    folder.describe(9, user="carol", uid=2003, sluid="s8G5M22WGXB100", node="n1")
    folder.hold("1", 9)
    slurm = start()
    wait_for(lambda: slurm.answered and slurm.events)
    assert [slurm.job_of(s) for s in ("sEKNKTV3WPV500", "s5K1KKYAYG5D00", "s8G5M22WGXB100")] == ["7", "8", "9"]
    assert slurm.labels("9") == {"user": "carol", "uid": "2003", "sluid": "s8G5M22WGXB100"}
    assert slurm.job_of("S8G5M22WGXB100") == "9"
    folder.queue(job(job_id=10, step_id={"sluid": "sEKNKTV3WPV511"}))
    (folder.mapping / "1").unlink()
    wait_for(lambda: slurm.job_of("sEKNKTV3WPV511") == "10", 4)  # an unknown one hurries: the period is 30 s
    assert [slurm.job_of(s) for s in ("sEKNKTV3WPV500", "s8G5M22WGXB100", "sEKNKTV3WPV599")] == ["7", "9", ""]


def test_a_thousand_processes_of_a_job_that_nobody_knows_are_looked_for_once(folder, monkeypatch):
    """Each would copy all that was held in the last ten minutes: a fifth of a second, every second."""
    slurm = Slurm(now, "n1", folder.mapping, (), ())
    folder.hold("0", 7)
    wait_for(lambda: slurm.events == 1)
    looks, holds = [], slurm._mapping.holds
    monkeypatch.setattr(slurm._mapping, "holds", lambda *stretch: looks.append(1) or holds(*stretch))
    assert {slurm.job_of("s8G5M22WGXB100") for _ in range(1000)} == {""}
    assert len(looks) == 1
    folder.describe(9, sluid="s8G5M22WGXB100")
    folder.hold("1", 9)
    wait_for(lambda: slurm.events == 2)
    assert {slurm.job_of("s8G5M22WGXB100") for _ in range(1000)} == {"9"}
    assert len(looks) == 2
    slurm.close()


def test_without_a_queue_there_is_nothing_to_wait_for(folder):
    slurm = Slurm(now, "n1", folder.mapping, (), ())
    assert slurm.answered
    assert slurm.job_of("sEKNKTV3WPV500") == ""
    slurm.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(stale, "MARGIN_US", 100_000)
    monkeypatch.setattr(background, "HURRY_S", 0.1)


def denied_after(slurm, place, seconds):
    until = time.monotonic() + seconds
    while place in held(slurm):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_a_stale_line_that_the_queue_denies_is_not_believed(folder, start, quick):
    folder.queue(job(job_id=12, gres_detail=["gpu:1(IDX:3)"]))
    folder.describe(999, user="ghost", uid=4242)
    folder.hold("0", 999, 12)
    slurm = start()
    wait_for(lambda: slurm.events == 2)
    assert denied_after(slurm, (0, "slurm:999"), 5)
    assert held(slurm) == {(0, "slurm:12"): 1_000_000}
    # It was none from the start, as it never was seen.
    assert {r.owner.key for r in slurm.reservations(DEVICES, 0, now())} == {"slurm:12"}
    # An empty queue that hides nothing denies too.
    folder.hold("1", 998)
    folder.queue()
    assert denied_after(slurm, (1, "slurm:998"), 5)


def test_a_line_that_was_stale_before_the_agent_started_is_decided_before_anything_is_booked(folder, start, quick):
    folder.queue(job(job_id=12, gres_detail=["gpu:1(IDX:3)"]))
    folder.hold("0", 999, 12)
    time.sleep(0.2)
    slurm = start()
    wait_for(lambda: slurm.events == 2)
    seen = set()
    wait_for(lambda: seen.add(tuple(sorted(held(slurm)))) or slurm.answered, 5)
    assert held(slurm) == {(0, "slurm:12"): 1_000_000}
    assert ((0, "slurm:12"), (0, "slurm:999")) in seen  # nobody had booked that
    # What an answer that is not whole cannot deny is not waited for.
    slurm.close()
    answer = {"jobs": [job(job_id=12, gres_detail=["gpu:1(IDX:3)"])], "errors": [{"description": "one is left out"}]}
    (folder.path / "answer.json").write_text(json.dumps(answer))
    slurm = start()
    wait_for(lambda: slurm.events == 2 and slurm._queue.answers == 1)
    assert slurm.answered
    assert (0, "slurm:999") in held(slurm)


def test_a_line_that_outlives_its_job_ends_when_the_queue_says_so(folder, start, quick):
    folder.queue(job(gres_detail=["gpu:1(IDX:3)"]))
    folder.hold("0", 7)
    slurm = start()
    wait_for(lambda: slurm.answered and held(slurm) == {(0, "slurm:7"): 1_000_000})
    over_us = now()
    folder.queue()
    slurm.job_of("sEKNKTV3WPV599")  # hurry
    assert denied_after(slurm, (0, "slurm:7"), 5)
    ends = [r.end_us for r in slurm.reservations(DEVICES, 0, now())]
    assert len(ends) == 1
    assert over_us <= ends[0] <= now()
    # Requeued, it begins again on this node.
    folder.queue(job(gres_detail=["gpu:1(IDX:3)"]))
    slurm.job_of("sEKNKTV3WPV598")
    wait_for(lambda: held(slurm) == {(0, "slurm:7"): 1_000_000}, 5)


@pytest.mark.parametrize(
    ("name", "labels", "hidden"),
    [
        ("999.pbs", {}, False),  # not Slurm's
        ("999", {"manager": "lsf"}, False),
        ("999", {"node": "n2"}, False),  # another slurmd of this host
        ("999", {}, True),  # PrivateData=jobs
    ],
)
def test_what_the_queue_cannot_know_it_does_not_deny(folder, start, quick, name, labels, hidden):
    if hidden:
        folder.node("jobs")
    folder.describe(name, **labels)
    folder.hold("0", name)
    slurm = start()
    wait_for(lambda: slurm.answered and held(slurm))
    place = next(iter(held(slurm)))
    wait_for(lambda: len((folder.path / "asked").read_text().split()) >= 3 or place not in held(slurm), 20)
    assert place in held(slurm)


def test_a_new_line_is_believed_before_the_queue_can_know_it(folder, start):
    folder.queue(job(job_id=12, gres_detail=["gpu:1(IDX:3)"]))
    slurm = start()
    wait_for(lambda: slurm.answered)
    folder.hold("0", 13)
    wait_for(lambda: slurm.events == 1)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert (0, "slurm:13") in held(slurm)
        time.sleep(0.05)
    # The prolog's line was first; the queue catches up.
    folder.queue(job(job_id=13, gres_detail=["gpu:1(IDX:3)"]))
    assert not denied_after(slurm, (0, "slurm:13"), 4)
