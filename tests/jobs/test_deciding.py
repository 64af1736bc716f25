"""Owners that become known late: from then on, for good, and no stretch twice."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.jobs.fake_proc import BOOT, FakeProc
from wattshed.agent.jobs import deciding
from wattshed.agent.jobs.deciding import Presence
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.reservations import Reservation
from wattshed.agent.jobs.resolve import FIRST_ANSWERS_US, FIRST_NAMES_US, JobResolver
from wattshed.agent.window import Device, JobKey, Owner, ProcessObservation

T0 = (BOOT + 1_000) * 1_000_000
SECOND = 1_000_000
DEVICES = tuple(Device("h", i, f"GPU-{i}", minor=i) for i in range(4))
HEX = "ab" * 32
DOCKER = f"/system.slice/docker-{HEX}.scope"
SSH = "/user.slice/user-1001.slice/session-3.scope"
SLUID = "/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_0"


class Batch:
    """A scheduler that is told what it knows."""

    def __init__(self, *held):
        self.held, self.sluids, self.answered = list(held), {}, True

    def reservations(self, devices, start_us, end_us):
        return [
            Reservation(gpu, Owner(JobKey(key)), max(a, start_us), min(b, end_us), share, "", uid, since)
            for gpu, key, a, b, share, uid, since in self.held
            if a < end_us and b > start_us
        ]

    def job_of(self, sluid):
        return self.sluids.get(sluid, "")

    def labels(self, job):
        return {}

    def uid(self, job):
        return -1

    def faults(self):
        return {}

    def close(self):
        pass


def hold(gpu, key, uid=1001, start=0, end=1 << 60, share=1_000_000, since=None):
    return gpu, key, start, end, share, uid, start if since is None else since


class Node:
    """A node whose windows of a second come one after the other."""

    def __init__(self, folder, batch, pods=None):
        self.now = T0
        self.proc = FakeProc(folder / "proc")
        self.batch, self.pods, self.turn = batch, pods, 0
        self.start()

    def start(self):
        self.resolver = JobResolver(Processes(self.proc.root, lambda: self.now), self.batch, self.pods)

    def window(self, *pids, sm=100, gpu=0, exited=False):
        start = T0 + self.turn * SECOND
        self.turn += 1
        self.now = start + SECOND
        end = start + (SECOND // 2 if exited else SECOND)
        seen = [ProcessObservation(gpu, pid, start, end, sm, exited=exited) for pid in pids]
        owners, usage = self.resolver.resolve(seen, DEVICES, start, start + SECOND)
        self.owners = owners
        return [
            (
                owners[usage.owner[i]].key,
                (int(usage.start_us[i]) - T0) // 1000,
                (int(usage.end_us[i]) - T0) // 1000,
                int(usage.activity_us[i]),
                int(usage.live[i]),
            )
            for i in range(len(usage.gpu))
        ]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path, Batch())


def test_a_sluid_that_becomes_known_is_the_jobs_from_then_on(node):
    node.proc.start(10, SLUID)
    assert node.window(10) == [("slurm:sEKNKTV3WPV500", 0, 1000, 100, 1)]
    assert node.owners[0].labels == {"manager": "slurm", "sluid": "sEKNKTV3WPV500"}
    node.batch.sluids["sEKNKTV3WPV500"] = "501"
    assert node.window(10) == [("slurm:501", 1000, 2000, 100, 1)]
    assert node.owners[0].labels == {"manager": "slurm", "sluid": "sEKNKTV3WPV500"}
    assert node.owners[0].formerly == "slurm:sEKNKTV3WPV500"
    node.batch.sluids.clear()
    assert node.window(10) == [("slurm:501", 2000, 3000, 100, 1)]


def test_who_works_for_whom_is_asked_again_only_when_the_holds_are_other_ones(node, monkeypatch):
    """A thousand processes in as many services, on GPUs that jobs hold: each would be asked about every second."""
    asked, works_for = [], deciding.works_for
    monkeypatch.setattr(deciding, "works_for", lambda *arguments: asked.append(1) or works_for(*arguments))
    node.proc.start(10, SSH, uid=1001)
    node.batch.held = [hold(0, "slurm:7", uid=1002)]
    for _ in range(20):
        assert {row[0] for row in node.window(10) if row[-1]} == {"user:1001/python3"}
    first = len(asked)
    assert first == 2  # when it was seen, and when the holds lasted all of a window
    for _ in range(20):
        node.window(10)
    assert len(asked) == first
    node.batch.held = [hold(0, "slurm:7", uid=1002, end=T0 + 40 * SECOND), hold(0, "slurm:8", start=T0 + 40 * SECOND)]
    assert {row[0] for row in node.window(10)} == {"slurm:8"}
    assert len(asked) > first


def test_a_hold_that_becomes_known_counts_from_its_own_beginning(node):
    node.proc.start(10, SSH, uid=1001)
    assert node.window(10) == [("user:1001/python3", 0, 1000, 100, 1)]
    node.batch.held = [hold(0, "slurm:77", start=T0 + 1_250_000)]
    assert node.window(10) == [
        ("slurm:77", 1250, 2000, 75, 1),
        ("user:1001/python3", 1000, 1250, 25, 1),
    ]
    assert node.window(10) == [("slurm:77", 2000, 3000, 100, 1)]


def test_who_worked_for_a_job_stays_its_when_it_no_longer_holds(node):
    node.batch.held = [hold(0, "slurm:77")]
    node.proc.start(10, SSH, uid=1001)
    assert {row[0] for row in node.window(10)} == {"slurm:77"}
    node.batch.held = []
    assert node.window(10) == [("slurm:77", 1000, 2000, 100, 1)]
    node.batch.held = [hold(0, "slurm:78", uid=1002)]
    assert [row for row in node.window(10) if row[-1]] == [("slurm:77", 2000, 3000, 100, 1)]
    # another job of the same user has the GPU now, and is used by that same session
    node.batch.held = [hold(0, "slurm:79")]
    assert {row[0] for row in node.window(10)} == {"slurm:79"}


def test_without_users_nobody_inherits_a_process(node):
    node.batch.held = [hold(0, "pbs:1.s", uid=-1)]
    node.proc.start(10, "/system.slice/pbs.service", uid=1001)
    assert {row[0] for row in node.window(10)} == {"pbs:1.s"}
    node.batch.held = [hold(0, "pbs:2.s", uid=-1)]
    assert [row[0] for row in node.window(10) if row[-1]] == ["pbs:1.s"]


def test_a_container_that_was_there_first_is_never_the_jobs(node):
    node.proc.start(10, DOCKER, uid=0)
    assert [row[0] for row in node.window(10)] == ["container:abababababab"]
    node.batch.held = [hold(0, "slurm:77", start=T0 + SECOND)]
    node.proc.start(11, DOCKER, uid=0, ticks=100_150)
    for _ in range(3):
        assert [row[0] for row in node.window(10, 11) if row[-1]] == ["container:abababababab"]


def test_a_container_that_a_job_starts_is_the_jobs_and_says_that_it_is_a_guess(node):
    node.batch.held = [hold(0, "slurm:77", start=T0 - SECOND)]
    node.window()
    node.proc.start(10, DOCKER, uid=0, ticks=100_100)
    assert {row[0] for row in node.window(10)} == {"slurm:77"}
    assert node.owners[0].labels["assumed"] == "container:abababababab"
    # a second job comes to the GPU: what was decided stays
    node.batch.held.append(hold(0, "slurm:78", uid=1002, start=T0 + 2 * SECOND))
    assert [row[0] for row in node.window(10) if row[-1]] == ["slurm:77"]


def test_a_container_that_the_queue_gave_to_the_job_before_goes_to_its_own(node):
    node.batch.held = [hold(0, "slurm:77", since=-1)]
    node.window()
    node.proc.start(10, DOCKER, uid=0, ticks=100_100)
    assert {row[0] for row in node.window(10)} == {"slurm:77"}
    node.batch.held = [hold(0, "slurm:78", uid=1002, since=-1)]
    assert {row[0] for row in node.window(10)} == {"slurm:78"}
    for _ in range(20):
        node.window(10)
    # one that came long before the next job is not that one's
    node.batch.held = [hold(0, "slurm:79", uid=1001, since=-1)]
    assert [row[0] for row in node.window(10) if row[-1]] == ["slurm:78"]


def test_a_hold_of_the_queue_has_no_edge_and_still_is_older_than_what_its_job_starts(node):
    node.proc.start(10, DOCKER, uid=0, ticks=100_050)
    node.window()
    node.batch.held = [hold(0, "slurm:77", since=-1)]
    assert {row[0] for row in node.window(10)} == {"slurm:77"}


def test_a_process_that_is_put_into_its_jobs_cgroup_late(node):
    node.proc.start(10, "/system.slice/slurmd.service", uid=1001, ticks=99_950)
    assert [row[0] for row in node.window(10)] == ["unit:slurmd.service"]
    node.proc.start(10, "/system.slice/slurmstepd.scope/job_5/step_0", uid=1001, ticks=99_950)
    assert [row[0] for row in node.window(10)] == ["slurm:5"]


def test_a_job_keeps_one_key_whether_the_cgroup_or_the_mapping_names_it(node):
    node.batch.held = [hold(0, "pbs:107.pbs"), hold(1, "job:f2gY", uid=-1), hold(2, "pbs:108.srv", uid=-1)]
    node.proc.start(10, "/pbs_jobs.service/jobid/107.pbs", uid=1001)
    assert node.window(10)[0][0] == "pbs:107.pbs"
    node.proc.start(11, "/pbs_jobs.service/jobid/108", uid=1001)
    rows = node.window(11, gpu=2)
    assert [row[0] for row in rows if row[-1]][-1] == "pbs:108.srv"
    # a job of the same number that runs as another user is another job
    node.batch.held = [hold(0, "job:109", uid=1002)]
    node.proc.start(12, "/oar/alice_109", uid=1001)
    assert "oar:109" in {row[0] for row in node.window(12)}


def test_a_slurmd_in_a_pod_lends_what_it_was_granted(tmp_path):
    uid = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"

    class Pods(Batch):
        def owner(self, identity, devices, gpu, instance):
            labels = {"namespace": "slurm", "pod": "slurmd-0", "container": "slurmd", "pod_uid": identity.pod_uid}
            return Owner(JobKey(f"k8s:{identity.pod_uid}/slurmd"), labels)

        def labels(self, key):
            return {}

    pods = Pods(*(hold(gpu, f"k8s:{uid}/slurmd") for gpu in (0, 1)))
    node = Node(tmp_path, Batch(hold(0, "slurm:7")), pods)
    pod = f"/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{HEX}.scope"
    node.proc.start(10, f"{pod}/system.slice/slurmstepd.scope/job_7/step_0", uid=1001)
    rows = node.window(10)
    assert rows == [("slurm:7", 0, 1000, 100, 1), (f"k8s:{uid}/slurmd", 0, 1000, 0, 0)]
    labels = next(owner.labels for owner in node.owners if owner.key == "slurm:7")
    assert labels["pod"] == "slurmd-0"
    assert labels["namespace"] == "slurm"


def test_a_pods_name_that_comes_late_is_a_label_of_the_same_key(tmp_path):
    uid = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"
    asked = []

    class Pods(Batch):
        def owner(self, identity, devices, gpu, instance):
            asked.append(gpu)
            labels = {"pod_uid": identity.pod_uid} | ({"pod": "train-0"} if len(asked) > 2 else {})
            return Owner(JobKey(f"k8s:{identity.pod_uid}/{HEX[:12]}"), labels)

    node = Node(tmp_path, Batch(), Pods())
    node.proc.start(10, f"/kubepods/pod{uid}/{HEX}")
    found = [(node.window(10), node.owners[0].labels.get("pod")) for _ in range(5)]
    assert [pod for _, pod in found] == [None, None, "train-0", "train-0", "train-0"]
    assert {row[0] for rows, _ in found for row in rows} == {f"k8s:{uid}/{HEX[:12]}"}
    assert len(asked) == 3  # what is known is not asked for again


def test_the_first_windows_wait_for_the_first_answers_but_not_for_ever(node):
    node.proc.start(10, SLUID)
    seen = [ProcessObservation(0, 10, T0, T0 + SECOND, 1)]
    node.batch.answered = False
    assert not node.resolver.ready(seen, T0 + SECOND)
    node.batch.answered = True
    assert not node.resolver.ready(seen, T0 + 2 * SECOND)  # its job is not in the answer yet
    node.batch.sluids["sEKNKTV3WPV500"] = "501"
    assert node.resolver.ready(seen, T0 + 3 * SECOND)
    node.batch.answered = False
    node.batch.sluids.clear()
    assert not node.resolver.ready(seen, T0 + 4 * SECOND)
    assert node.resolver.ready(seen, T0 + SECOND + FIRST_ANSWERS_US)


def test_a_job_that_the_queue_does_not_know_is_not_waited_for_long(node):
    node.proc.start(10, SLUID)
    seen = [ProcessObservation(0, 10, T0, T0 + SECOND, 1)]
    assert not node.resolver.ready(seen, T0 + SECOND)
    assert node.resolver.ready(seen, T0 + SECOND + FIRST_NAMES_US)


def test_who_ends_while_a_window_waits_is_still_known(node):
    node.proc.start(10, "/system.slice/slurmstepd.scope/job_5/step_0", uid=1001)
    node.batch.answered = False
    assert not node.resolver.ready([ProcessObservation(0, 10, T0, T0 + SECOND, 1)], T0 + SECOND)
    node.proc.end(10)
    assert {row[0] for row in node.window(10)} == {"slurm:5"}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "hold", "free", "know"]),
        st.integers(10, 15),
        st.sampled_from(["slurm:501", "slurm:502", "slurm:77"]),
        st.integers(0, 999_999),
    ),
    max_size=3,
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(EVENTS, min_size=2, max_size=8))
def test_whatever_becomes_known_when_no_stretch_is_anybodys_twice(tmp_path_factory, story):
    """Rows of one owner never overlap, those of one process's owners follow each other, and none returns."""
    node = Node(tmp_path_factory.mktemp("node"), Batch())
    paths = {10: SSH, 11: SLUID, 12: DOCKER, 13: "/", 14: "/system.slice/slurmstepd.scope/job_9/step_0", 15: SSH}
    users = {"slurm:501": 1001, "slurm:502": 1002, "slurm:77": 1001}
    alive, rows = set(), []
    for events in story:
        for kind, pid, key, at in events:
            begin = T0 + node.turn * SECOND + at
            if kind == "start" and pid not in alive:
                node.proc.start(pid, paths[pid], uid=1000 + pid % 3, ticks=100_000 + node.turn * 100)
                alive.add(pid)
            elif kind == "end" and pid in alive:
                node.proc.end(pid)
                alive.discard(pid)
            elif kind == "hold" and all(held[1] != key for held in node.batch.held):
                node.batch.held.append(hold(0, key, users[key], begin, share=1_000_000))
            elif kind == "free":
                node.batch.held = [held for held in node.batch.held if held[1] != key]
            elif kind == "know":
                node.batch.sluids["sEKNKTV3WPV500"] = "501"
        rows += node.window(*sorted(alive))
    for key in {row[0] for row in rows}:
        stretches = sorted(row[1:3] for row in rows if row[0] == key)
        assert all(a[1] <= b[0] for a, b in pairwise(stretches))
    sluid = [row for row in rows if row[0] == "slurm:sEKNKTV3WPV500"]
    known = [row for row in rows if row[0] == "slurm:501" and row[-1]]
    assert not sluid or not known or "hold" in {e[0] for es in story for e in es} or sluid[-1][2] <= known[0][1]


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (SLUID, ["know", "forget", ""]),
        *((path, ["free", "slurm:501", "slurm:502", "slurm:77", ""]) for path in (DOCKER, SSH, "/")),
    ],
)
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data(), gone=st.integers(0, 5))
def test_who_comes_back_to_a_gpu_works_for_whom_he_would_have_worked_had_he_stayed(
    tmp_path_factory, path, events, data, gone
):
    """A process that the driver reports as gone and then again: what was decided of it, and since when, still holds."""
    story = data.draw(st.lists(st.sampled_from(events), min_size=8, max_size=8))
    users = {"slurm:501": 1001, "slurm:502": 1002, "slurm:77": -1}
    found = []
    for leaves in (False, True):
        node = Node(tmp_path_factory.mktemp("node"), Batch())
        node.proc.start(10, path, uid=1001)
        keys = []
        for turn, event in enumerate(story):
            if event in users:
                node.batch.held = [hold(0, event, users[event], T0 + turn * SECOND)]
            elif event == "know":
                node.batch.sluids["sEKNKTV3WPV500"] = "501"
            elif event == "forget":
                node.batch.sluids.clear()
            elif event == "free":
                node.batch.held = []
            keys.append({row[0] for row in node.window(10, exited=leaves and turn == gone) if row[-1]})
        found.append(keys[gone + 2 :])  # in the window after it left, what it did before is told late
    assert found[0] == found[1]
    assert all(len(keys) == 1 for keys in found[0])


def test_a_thousand_owners_that_may_still_change_cost_little_more_each_than_a_hundred(tmp_path):
    """Owners are not compared with one another: their time is about proportional, in one run on any machine."""
    few, many = _cost(tmp_path / "few", 100), _cost(tmp_path / "many", 1000)
    print(few, many)
    assert many < 25 * few


def _cost(tmp_path, owners):
    node = Node(tmp_path, Batch(*(hold(gpu, f"slurm:{gpu}", uid=4242) for gpu in range(4))))
    for pid in range(1000, 1000 + owners):
        node.proc.start(pid, SSH, uid=1001, argv=(f"p{pid}",))
    costs = []
    for _ in range(6):
        began = time.thread_time()
        node.window(*range(1000, 1000 + owners))
        costs.append(time.thread_time() - began)
    return min(costs[1:])


@given(
    begin=st.integers(0, 50), since=st.one_of(st.none(), st.integers(0, 50)), a=st.integers(0, 50), b=st.integers(0, 50)
)
def test_stretches_of_a_presence_stay_inside_what_was_asked_and_follow_each_other(begin, since, a, b):
    """A report may end before its process is known to have come: what it says is then at the report's end."""
    before = None if since is None else (Owner(JobKey("unit:was")), min(since, begin))
    presence = Presence(None, 0, begin, 50, 0, owner=Owner(JobKey("slurm:1")), before=before)
    from_us, to_us = min(a, b), max(a, b)
    found = presence.stretches(from_us, to_us)
    assert found[-1][2] == to_us
    assert all(from_us <= s <= e <= to_us for _, s, e in found)
    assert all(one[2] == other[1] for one, other in pairwise(found))
