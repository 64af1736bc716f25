"""Pods are joined with their workloads by UID, within their namespaces only."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.collect.workloads import (
    AROUND_S,
    Pod,
    PodsInFile,
    PodsInPrometheus,
    named,
    workload_of,
)
from wattshed.agent.jobs.text import printable
from wattshed.agent.wire.parts import JobPart, JobRecord
from wattshed.agent.wire.query import Point, ServerError

S = 1_000_000
T0 = 1_790_000_000 * S
A, B, C = (f"2fc932ce-fdcc-454b-97bd-aadfdeb4c34{digit}" for digit in "abc")


class Known:
    """Pods that are known, and what was asked."""

    def __init__(self, pods):
        self.pods, self.asked = pods, []

    def look_up(self, uids, from_s, to_s):
        self.asked.append((tuple(uids), from_s, to_s))
        return {uid: self.pods[uid] for uid in uids if uid in self.pods}


def record(key, **labels):
    return JobRecord(key, T0, T0, -1, -1, labels)


def part(key, begin=0, end=3600):
    return JobPart(1, key, T0, "GPU-0", T0 + begin * S, T0 + end * S, 0, 7)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({"batch.kubernetes.io/job-name": "fit"}, {"workload": "team/job/fit"}),
        ({"job-name": "old"}, {"workload": "team/job/old"}),
        (
            {"jobset.sigs.k8s.io/jobset-name": "all", "batch.kubernetes.io/job-name": "all-workers-0"},
            {"workload": "team/jobset/all"},
        ),
        (
            {"ray.io/cluster": "r-x7", "ray.io/originated-from-cr-name": "r", "kueue.x-k8s.io/local-queue-name": "gpu"},
            {"workload": "team/ray/r", "queue": "team/gpu"},
        ),
        ({"kueue.x-k8s.io/queue-name": "q"}, {"queue": "team/q"}),
        ({"app": "web", "batch.kubernetes.io/job-name": ""}, {}),
    ],
)
def test_what_labels_say(labels, wanted):
    assert workload_of("team", labels) == wanted


def test_pods_get_their_workload_and_nothing_else_changes():
    pods = Known({A: Pod("team", "fit-0", {"job-name": "fit"}), B: Pod("team", "plain")})
    records = [
        record(f"k8s:{A}/train", namespace="team", pod="fit-0", container="train"),
        record(f"k8s:{B}/0123456789ab", container_id="0123456789ab"),
        record(f"k8s:{C}/x", namespace="team"),
        record("k8s:team/pod/c", namespace="team"),
        record("slurm:1", user="ada"),
    ]
    parts = [part(f"k8s:{A}/train", 100, 200), part(f"k8s:{B}/0123456789ab", 50, 150), part("slurm:1", -9, 999)]
    found = named(records, parts, pods)
    assert pods.asked == [((A, B, C), T0 / S + 50, T0 / S + 200)]
    assert found[0] == replace(records[0], labels={**records[0].labels, "workload": "team/job/fit"})
    assert found[1].labels == {"container_id": "0123456789ab", "namespace": "team"}
    assert found[2:] == records[2:]


def test_where_there_is_no_pod_nobody_is_asked():
    pods = Known({})
    records = [record("slurm:1"), record("k8s:-/x")]
    assert named(records, [part("slurm:1")], pods) == records
    assert not pods.asked


names = st.text(max_size=8)


@given(names, st.dictionaries(st.sampled_from([*dict.fromkeys(("job-name", "ray.io/cluster")), "x"]), names), names)
def test_no_label_moves_a_pod_out_of_its_namespace(namespace, labels, known):
    """Whatever users write, workload and queue begin with the namespace, and the namespace that is known stays."""
    before = record(f"k8s:{A}/c", **({"namespace": known} if known else {}))
    (after,) = named([before], [part(before.key)], Known({A: Pod(namespace, "p", labels)}))
    if known:
        assert after.labels["namespace"] == known
    if "workload" in after.labels:
        assert after.labels["workload"].startswith(f"{printable(namespace)}/")
        assert known in {"", namespace}
    assert (after.key, after.uid, after.run_us) == (before.key, before.uid, before.run_us)


class Server:
    """A Prometheus that answers one query."""

    def __init__(self, *points):
        self.points, self.asked = points, []

    def query(self, expression, *, time_s=None):
        self.asked.append((expression, time_s))
        return [Point(labels, 1.0) for labels in self.points]


def test_kube_state_metrics_in_prometheus_with_and_without_honor_labels():
    server = Server(
        {"uid": A, "namespace": "team", "pod": "p", "label_batch_kubernetes_io_job_name": "j"},
        {
            "uid": B, "namespace": "monitoring", "exported_namespace": "team", "pod": "ksm-0", "exported_pod": "q",
            "label_kueue_x_k8s_io_local_queue_name": "gpu", "label_app": "web",
        },
    )  # fmt: skip
    pods = PodsInPrometheus(server)
    found = pods.look_up([A, B, 'x"}'], 1000.0, 2000.0)
    assert found == {
        A: Pod("team", "p", {"batch.kubernetes.io/job-name": "j"}),
        B: Pod("team", "q", {"kueue.x-k8s.io/local-queue-name": "gpu"}),
    }
    ((expression, time_s),) = server.asked
    assert pods.look_up([B], 9000.0, 9001.0) == {B: found[B]}
    assert len(server.asked) == 1, "a pod's labels are asked for once"
    assert pods.look_up([C], 9000.0, 9001.0) == {}
    assert len(server.asked) == 2
    assert expression == f'last_over_time(kube_pod_labels{{uid=~"{A}|{B}"}}[{1000 + 2 * AROUND_S}s])'
    assert time_s == 2000.0 + AROUND_S


def test_a_server_that_is_down_fails_as_it_does():
    class Down:
        def query(self, expression, *, time_s=None):
            raise ServerError("http://p does not answer")

    one, parts = record(f"k8s:{A}/c"), [part(f"k8s:{A}/c")]
    with pytest.raises(ServerError):
        named([one], parts, PodsInPrometheus(Down()))


def test_a_file_is_read_again_when_it_changes_and_pods_that_are_gone_stay_known(tmp_path):
    path = tmp_path / "pods.json"
    pods = PodsInFile(path)

    def write(*items):
        path.write_text(json.dumps({"items": [{"metadata": item} for item in items]}))
        os.utime(path, ns=(len(items), len(items)))

    write({"uid": A, "namespace": "team", "name": "p", "labels": {"job-name": "j", "app": "x"}})
    assert pods.look_up([A, B], 0, 1) == {A: Pod("team", "p", {"job-name": "j"})}
    write({"uid": B, "namespace": "team", "name": "q", "labels": None}, {"uid": C, "namespace": "x"})
    assert pods.look_up([A, B], 0, 1) == {A: Pod("team", "p", {"job-name": "j"}), B: Pod("team", "q")}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"items": [{}]}', '{"items": 3}', '{"items": [{"metadata": {"uid": 1}}]}']
)
def test_a_file_that_is_something_else_is_refused(tmp_path, content):
    path = tmp_path / "pods.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"^{path}: is not what `kubectl"):
        PodsInFile(path).look_up([A], 0, 1)
    with pytest.raises(OSError, match="No such file"):
        PodsInFile(tmp_path / "none").look_up([A], 0, 1)
