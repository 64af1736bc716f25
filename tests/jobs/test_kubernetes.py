"""Pods: a real gRPC conversation with a fake kubelet, every form of device id, and the join of names with UIDs."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("h2", reason="needs the extra kubernetes")

from tests.depth import examples
from tests.jobs.fake_kubelet import FakeKubelet, claim, container, devices, field, pod, varint
from tests.jobs.fake_proc import BOOT, FakeProc
from wattshed.agent import wire
from wattshed.agent.jobs import kubernetes, podresources
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.kubernetes import Pods
from wattshed.agent.jobs.places import Place, place_of
from wattshed.agent.jobs.podresources import Claimed, ExtraMissing, Grant, Kubelet
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.window import Device, MigDevice, ProcessObservation

DEVICES = tuple(Device("h", i, f"GPU-{i:08x}-0000-4000-8000-000000000000", minor=3 - i) for i in range(4))
UUID = [device.uuid for device in DEVICES]
UIDS = [f"2fc932ce-fdcc-454b-97bd-aadfdeb4c34{i}" for i in range(6)]
IDS = [f"{i:x}" * 64 for i in range(1, 7)]
T0 = (BOOT + 1_000) * 1_000_000
SECOND = 1_000_000


def cgroup(place, uid=None):
    return f"/kubepods/burstable/pod{uid or UIDS[place]}/{IDS[place]}"


@pytest.fixture
def kubelet(tmp_path):
    made = FakeKubelet(tmp_path / "kubelet.sock")
    made.socket = tmp_path / "kubelet.sock"
    yield made
    made.stop()


@pytest.fixture
def pods_of(kubelet, tmp_path):
    made = []

    def start(period_s=0.05, **rest):
        pods = Pods(Kubelet(kubelet.socket), tmp_path / "cgroup", tmp_path / "log", period_s=period_s, **rest)
        made.append(pods)
        wait_for(lambda: pods._known.answers > 0 or pods.faults())
        return pods

    yield start
    for pods in made:
        pods.close()


def wait_for(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def held(pods):
    return sorted((r.gpu, r.owner.key, r.share_ppm, r.instance) for r in pods.reservations(DEVICES, 0, 10))


def settle(pods):
    answers = pods._known.answers
    wait_for(lambda: pods._known.answers > answers + 1)


def test_the_wire_format(kubelet):
    kubelet.pods["ml", "train"] = pod(
        "ml", "train",
        container(
            "main", devices("nvidia.com/gpu", UUID[0], UUID[1]), devices("cpu"),
            claims=[claim("gpu.nvidia.com", "node", "gpu-2", "s1")],
        ),
        container("side"),
    )  # fmt: skip
    kubelet.allocatable = [devices("nvidia.com/gpu", *UUID)]
    client = Kubelet(kubelet.socket)
    main = Grant(
        "ml", "train", "main", (("nvidia.com/gpu", UUID[0]), ("nvidia.com/gpu", UUID[1])),
        (Claimed("gpu.nvidia.com", "node", "gpu-2", "s1"),),
    )  # fmt: skip
    assert client.grants() == [main, Grant("ml", "train", "side")]
    assert client.get("ml", "train") == client.grants()
    assert client.get("ml", "gone") is None
    assert client.allocatable() == [("nvidia.com/gpu", uuid) for uuid in UUID]
    kubelet.has_get = False
    with pytest.raises(RuntimeError, match="disabled"):
        client.get("ml", "train")


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message):
    try:
        list(podresources._pod(message))
    except RuntimeError:
        return
    assert isinstance(message, bytes)


@pytest.mark.parametrize("message", [b"\x0a\x05ab", b"\x0b", b"\x0a\xff", b"\xff" * 12])
def test_what_is_cut_short_is_refused(message):
    with pytest.raises(RuntimeError):
        list(podresources._fields(message))


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1])
def test_a_number_of_any_length_is_read_past(number):
    message = field(9, number) + field(1, "a" * 200)
    assert list(podresources._fields(message)) == [(1, b"a" * 200)]
    assert podresources._varint(varint(number) + b"x", 0) == (number, len(varint(number)))


def test_a_number_has_ten_bytes_at_most():
    assert podresources._varint(b"\x80" * 9 + b"\x01", 0) == (1 << 63, 10)
    with pytest.raises(RuntimeError, match="truncated"):
        podresources._varint(b"\x80" * 10 + b"\x01", 0)


def test_an_answer_as_large_as_the_kubelet_s_own_limit_is_read(kubelet):
    """16 MiB (DefaultPodResourcesMaxSize): thousands of pods with many devices."""
    empty = pod("ml", "x" * (15 << 20), container("main"))
    rest = len(field(1, empty)) - (15 << 20)
    client = Kubelet(kubelet.socket)
    for more in (0, 1):
        name = "x" * ((16 << 20) - rest + more)
        kubelet.pods["ml", "x"] = pod("ml", name, container("main"))
        assert len(field(1, kubelet.pods["ml", "x"])) == (16 << 20) + more
        if more:
            with pytest.raises(RuntimeError, match="the kubelet's List failed: RESOURCE_EXHAUSTED"):
                client.grants()
        else:
            assert client.grants() == [Grant("ml", name, "main")]


def test_other_wire_types_are_passed_over():
    message = field(9, 5) + b"\x51" + b"x" * 8 + b"\x55" + b"y" * 4 + field(1, "a")
    assert list(podresources._fields(message)) == [(1, b"a")]


@pytest.mark.parametrize(
    ("identifier", "place"),
    [
        (UUID[1], Place(1)),
        (UUID[1] + "::3", Place(1, shared=True)),
        ("nvidia0", Place(3)),
        ("nvidia3/gi7", Place(0, "7")),
        ("nvidia3/vgpu2", Place(0, shared=True)),
        ("nvidia3/gi2/vgpu1", Place(0, "2", shared=True)),
        (f"MIG-{UUID[2]}/5/0", Place(2, "5")),
        ("MIG-aaaa", Place(1, "9", share_ppm=250_000)),
        ("MIG-aaaa::1", Place(1, "9", shared=True, share_ppm=250_000)),
        ("MIG-bbbb", None),
        ("gpu-0", Place(3)),
        # NVIDIA's DRA driver has named MIG devices in three ways; none tells the instance's id
        ("gpu-0-mig-19-0-1", Place(3, shared=True, share_ppm=142_857)),
        ("gpu-0-mig-4g95gb-0-3", Place(3, shared=True, share_ppm=571_428)),
        ("gpu-0-mig-1g18gb-19-0", Place(3, shared=True, share_ppm=142_857)),
        ("gpu-0-mig-1g18gb-me-20-0", Place(3, shared=True, share_ppm=142_857)),
        ("gpu-0-mig-1c3g40gb-9-4", Place(3, shared=True, share_ppm=142_857)),
        ("gpu-0-mig-99-0-1", Place(3, shared=True)),
        ("gpu-9-mig-1g18gb-19-0", None),
        ("gpu-vfio-0", None),
        ("channel-0", None),
        # many times the same GPU: HAMi and Volcano, Aliyun; their scheduler chooses, not the kubelet
        (UUID[1] + "-3", Place(1, shared=True, guessed=True)),
        (UUID[1] + "-_-12", Place(1, shared=True, guessed=True)),
        (UUID[1].removeprefix("GPU-") + "-_-0", Place(1, shared=True, guessed=True)),
        (UUID[1].upper(), Place(1)),
        (UUID[1].removeprefix("GPU-"), Place(1)),
        (UUID[1][:12], None),
        (f"mig-{UUID[2].lower()}/5/0", Place(2, "5")),
        ("GPU-REPLACED-0", None),
        ("65", None),
        ("GPU-unknown", None),
        ("nvidia9", None),
        ("0000:65:00.0", None),
        ("", None),
    ],
)
def test_device_ids(identifier, place):
    assert place_of(identifier, DEVICES, {"MIG-aaaa": MigDevice(UUID[1], "9", 250_000)}) == place


def test_a_grant_is_held_while_idle_and_keeps_its_key_when_the_uid_becomes_known(kubelet, pods_of):
    kubelet.pods["ml", "train"] = pod("ml", "train", container("main", devices("nvidia.com/gpu", UUID[0])))
    pods = pods_of()
    assert held(pods) == [(0, "k8s:ml/train/main", 1_000_000, "")]
    owner = pods.owner(identify(cgroup(0)), DEVICES, 0, "")
    wanted = {"manager": "kubernetes", "namespace": "ml", "pod": "train", "container": "main", "pod_uid": UIDS[0]}
    assert {**wanted, "container_id": IDS[0][:12], "qos": "burstable"} == owner.labels
    assert owner.key == "k8s:ml/train/main"
    assert [r.owner for r in pods.reservations(DEVICES, 0, 10)] == [owner]


def test_log_folders_tell_the_uid(kubelet, pods_of, tmp_path):
    (tmp_path / f"log/pods/ml_train_{UIDS[0]}").mkdir(parents=True)
    (tmp_path / "log/containers").mkdir()
    (tmp_path / f"log/containers/train_ml_main-{IDS[0]}.log").touch()
    kubelet.pods["ml", "train"] = pod(
        "ml", "train",
        container("main", devices("nvidia.com/gpu", UUID[0])), container("side", devices("nvidia.com/gpu", "GPU-x")),
    )  # fmt: skip
    pods = pods_of()
    assert held(pods) == [(0, f"k8s:{UIDS[0]}/main", 1_000_000, "")]
    # even on a GPU that it was not granted (a privileged pod)
    assert pods.owner(identify(cgroup(0)), DEVICES, 2, "").key == f"k8s:{UIDS[0]}/main"


def test_a_process_on_a_device_of_one_container_is_that_containers(kubelet, pods_of):
    for place, name in enumerate(("a", "b")):
        kubelet.pods["ml", name] = pod("ml", name, container("main", devices("nvidia.com/gpu", UUID[place])))
    pods = pods_of()
    assert pods.owner(identify(cgroup(0)), DEVICES, 1, "").labels["pod"] == "b"
    assert pods.owner(identify(cgroup(1)), DEVICES, 0, "").labels["pod"] == "a"
    # a GPU that nobody was granted: the pod is known by its UID only
    assert pods.owner(identify(cgroup(2)), DEVICES, 3, "").key == f"k8s:{UIDS[2]}/{IDS[2][:12]}"


def test_replicas_share_a_gpu(kubelet, pods_of):
    replicas = [f"{UUID[0]}::{i}" for i in range(4)]
    kubelet.allocatable = [
        devices("nvidia.com/gpu.shared", *replicas),
        devices("nvidia.com/gpu", "nvidia0/vgpu0", "nvidia0/vgpu1"),
    ]
    kubelet.pods["ml", "a"] = pod("ml", "a", container("main", devices("nvidia.com/gpu.shared", *replicas[:2])))
    kubelet.pods["ml", "b"] = pod("ml", "b", container("main", devices("nvidia.com/gpu.shared", replicas[3])))
    kubelet.pods["ml", "c"] = pod("ml", "c", container("main", devices("nvidia.com/gpu", "nvidia0/vgpu1")))
    pods = pods_of()
    assert held(pods) == [
        (0, "k8s:ml/a/main", 500_000, ""),
        (0, "k8s:ml/b/main", 250_000, ""),
        (3, "k8s:ml/c/main", 500_000, ""),
    ]
    # two containers on one device: no process can be joined by it
    assert pods.owner(identify(cgroup(0)), DEVICES, 0, "").key == f"k8s:{UIDS[0]}/{IDS[0][:12]}"


def test_dynamic_resource_allocation(kubelet, pods_of):
    shared = claim("gpu.nvidia.com", "node", "gpu-0")
    kubelet.pods["ml", "a"] = pod("ml", "a", container("one", claims=[shared]), container("two", claims=[shared]))
    kubelet.pods["ml", "b"] = pod("ml", "b", container("main", claims=[claim("gpu.nvidia.com", "node", "gpu-1")]))
    assert held(pods_of()) == [
        (2, "k8s:ml/b/main", 1_000_000, ""),
        (3, "k8s:ml/a/one", 500_000, ""),
        (3, "k8s:ml/a/two", 500_000, ""),
    ]


def test_mig_devices_are_known_by_table_or_by_who_was_seen_there(kubelet, pods_of):
    kubelet.pods["ml", "a"] = pod("ml", "a", container("main", devices("nvidia.com/mig-1g.10gb", "MIG-aaaa")))
    kubelet.pods["ml", "b"] = pod("ml", "b", container("main", devices("nvidia.com/mig-1g.10gb", "MIG-bbbb")))
    pods = pods_of(mig=lambda: {"MIG-aaaa": MigDevice(UUID[1], "9", 250_000)})
    assert held(pods) == [(1, "k8s:ml/a/main", 250_000, "9")]
    assert pods.owner(identify(cgroup(1)), DEVICES, 1, "4/0").labels["pod"] == "b"
    assert [(gpu, instance) for gpu, _, _, instance in held(pods)] == [(1, "4"), (1, "9")]


def test_replicas_of_a_mig_device_are_parts_of_that_device(kubelet, pods_of):
    kubelet.allocatable = [devices("nvidia.com/mig-1g.10gb.shared", "MIG-aaaa::0", "MIG-aaaa::1")]
    kubelet.pods["ml", "a"] = pod("ml", "a", container("main", devices("nvidia.com/mig-1g.10gb.shared", "MIG-aaaa::0")))
    pods = pods_of(mig=lambda: {"MIG-aaaa": MigDevice(UUID[1], "9", 250_000)})
    assert held(pods) == [(1, "k8s:ml/a/main", 125_000, "9")]


def test_a_finished_pod_that_is_still_listed_holds_nothing(kubelet, pods_of):
    granted = devices("nvidia.com/gpu", UUID[0])
    kubelet.pods["ml", "old"] = pod("ml", "old", container("main", granted))
    pods = pods_of()
    assert held(pods) == [(0, "k8s:ml/old/main", 1_000_000, "")]
    kubelet.finished.add(("ml", "old"))
    kubelet.pods["ml", "new"] = pod("ml", "new", container("main", granted))
    settle(pods)
    assert held(pods) == [(0, "k8s:ml/new/main", 1_000_000, "")]
    assert "Get" in kubelet.calls


def test_without_get_the_newer_pod_has_the_device(kubelet, pods_of):
    kubelet.has_get = False
    granted = devices("nvidia.com/gpu", UUID[0])
    kubelet.pods["ml", "old"] = pod("ml", "old", container("main", granted))
    pods = pods_of()
    kubelet.pods["ml", "new"] = pod("ml", "new", container("main", granted))
    settle(pods)
    assert held(pods) == [(0, "k8s:ml/new/main", 1_000_000, "")]


def test_a_pod_without_a_cgroup_is_finished(kubelet, pods_of, tmp_path):
    for place in (0, 1):
        (tmp_path / f"log/pods/ml_p{place}_{UIDS[place]}").mkdir(parents=True)
        kubelet.pods["ml", f"p{place}"] = pod(
            "ml", f"p{place}", container("main", devices("nvidia.com/gpu", UUID[place]))
        )
    name = f"kubepods-burstable-pod{UIDS[1].replace('-', '_')}.slice"
    (tmp_path / "cgroup/kubepods.slice/kubepods-burstable.slice" / name).mkdir(parents=True)
    assert held(pods_of()) == [(1, f"k8s:{UIDS[1]}/main", 1_000_000, "")]


def test_a_pod_that_comes_again_under_its_name_is_another(kubelet, pods_of):
    kubelet.pods["ml", "db-0"] = pod("ml", "db-0", container("main", devices("nvidia.com/gpu", UUID[0])))
    pods = pods_of()
    first = pods.owner(identify(cgroup(0)), DEVICES, 0, "").key
    second = pods.owner(identify(cgroup(1)), DEVICES, 0, "").key
    assert first != second
    assert {r.owner.key for r in pods.reservations(DEVICES, 0, 10)} == {second}


@pytest.mark.parametrize("later", [0, 1])
def test_of_two_folders_of_one_name_the_newest_is_the_pod_that_lives(kubelet, pods_of, tmp_path, later):
    """A pod of a StatefulSet comes again under its name, and the folder of its former life may still be there."""
    for number in (0, 1):
        path = tmp_path / f"log/pods/ml_db-0_{UIDS[number]}"
        path.mkdir(parents=True)
        os.utime(path, (1_000 + (number == later), 1_000 + (number == later)))
    kubelet.pods["ml", "db-0"] = pod("ml", "db-0", container("main", devices("nvidia.com/gpu", UUID[0])))
    assert held(pods_of()) == [(0, f"k8s:{UIDS[later]}/main", 1_000_000, "")]


def test_what_is_remembered_of_pods_does_not_grow_for_ever(kubelet, pods_of, monkeypatch):
    """Beyond what years of pods need it is dropped, and those that live are known anew."""
    for number in (0, 1):
        granted = devices("nvidia.com/gpu", UUID[number])
        kubelet.pods["ml", f"p{number}"] = pod("ml", f"p{number}", container("main", granted))
    pods = pods_of()
    key = pods.owner(identify(cgroup(0)), DEVICES, 0, "").key
    assert held(pods) == [(0, f"k8s:{UIDS[0]}/main", 1_000_000, ""), (1, "k8s:ml/p1/main", 1_000_000, "")]
    monkeypatch.setattr(kubernetes, "_MOST_KEYS", len(pods._keys))
    held(pods)
    assert pods.labels(key)["container_id"] == IDS[0][:12]
    monkeypatch.setattr(kubernetes, "_MOST_KEYS", len(pods._keys) - 1)
    assert held(pods) == [(0, "k8s:ml/p0/main", 1_000_000, ""), (1, "k8s:ml/p1/main", 1_000_000, "")]
    assert pods.labels(key) == {}
    assert pods.owner(identify(cgroup(0)), DEVICES, 0, "").labels["pod"] == "p0"


def test_a_container_that_holds_several_replicas_has_all_of_them_together(kubelet, pods_of):
    """And no more than the GPU; of one whose part is not known nothing is known."""
    kubelet.allocatable = [devices("nvidia.com/gpu.shared", *(f"{UUID[gpu]}::{i}" for gpu in (0, 1) for i in range(3)))]
    for name, granted in {
        "some": [f"{UUID[0]}::0", f"{UUID[0]}::2"],
        "more": [f"{UUID[1]}::0", f"{UUID[1]}::1", f"{UUID[1]}::2", UUID[1]],
        "open": [f"{UUID[2]}::0", UUID[2]],
    }.items():
        kubelet.pods["ml", name] = pod("ml", name, container("main", devices("nvidia.com/gpu.shared", *granted)))
    assert held(pods_of()) == [
        (0, "k8s:ml/some/main", 666_666, ""),
        (1, "k8s:ml/more/main", 1_000_000, ""),
        (2, "k8s:ml/open/main", -1, ""),
    ]


def test_the_resolver_bills_a_pod_idle_and_busy_under_one_key(kubelet, pods_of, tmp_path):
    kubelet.pods["ml", "train"] = pod("ml", "train", container("main", devices("nvidia.com/gpu", UUID[0])))
    proc = FakeProc(tmp_path / "proc")
    proc.start(10, cgroup(0), ticks=100_050)
    resolver = JobResolver(Processes(proc.root, lambda: T0), None, pods_of())
    keys = Counter()
    for turn in range(3):
        start = T0 + turn * SECOND
        seen = [ProcessObservation(0, 10, start, start + SECOND, 500_000)] if turn else []
        owners, usage = resolver.resolve(seen, DEVICES, start, start + SECOND)
        keys.update(owners[place].key for place in usage.owner)
        assert sum((usage.end_us - usage.start_us).tolist()) == SECOND
        assert set(usage.share_ppm.tolist()) == {1_000_000}
    assert len(keys) == 1
    assert owners[0].labels["namespace"] == "ml"


def named(tmp_path, **pods):
    """Make the kubelet's log folders of pods: NAME=(NAMESPACE, number), of container ``main``."""
    (tmp_path / "log/containers").mkdir(parents=True, exist_ok=True)
    for name, (namespace, number) in pods.items():
        (tmp_path / f"log/pods/{namespace}_{name}_{UIDS[number]}").mkdir(parents=True)
        (tmp_path / f"log/containers/{name}_{namespace}_main-{IDS[number]}.log").touch()


@pytest.mark.parametrize("namespace", ["kai-resource-reservation", "runai-reservation"])
def test_a_reservation_pod_holds_nothing_and_names_nobody(kubelet, pods_of, tmp_path, namespace):
    """A pod of KAI's or run:ai's holds the GPU; who has a part of it has no grant: the processes tell."""
    granted = devices("nvidia.com/gpu", UUID[0])
    kubelet.pods[namespace, "gpu-reservation-n1"] = pod(namespace, "gpu-reservation-n1", container("main", granted))
    kubelet.pods["team", "train"] = pod("team", "train", container("main"))
    unnamed = pods_of()
    assert held(unnamed) == []
    assert unnamed.owner(identify(cgroup(1)), DEVICES, 0, "").key == f"k8s:{UIDS[1]}/{IDS[1][:12]}"
    named(tmp_path, train=("team", 1), serve=("team", 2))
    (tmp_path / f"log/pods/{namespace}_gpu-reservation-n1_{UIDS[0]}").mkdir()
    pods = pods_of()
    assert held(pods) == []
    assert pods.owner(identify(cgroup(1)), DEVICES, 0, "").labels["pod"] == "train"
    assert pods.owner(identify(cgroup(2)), DEVICES, 0, "").key == f"k8s:{UIDS[2]}/main"


def test_a_name_like_a_reservation_s_hides_nothing_elsewhere(kubelet, pods_of):
    granted = devices("nvidia.com/gpu", UUID[0])
    kubelet.pods["ml", "gpu-reservation-n1"] = pod("ml", "gpu-reservation-n1", container("main", granted))
    assert held(pods_of()) == [(0, "k8s:ml/gpu-reservation-n1/main", 1_000_000, "")]


def test_a_pod_without_a_grant_never_takes_the_name_of_one_that_has(kubelet, pods_of):
    """NVIDIA_VISIBLE_DEVICES=all is enough to be on any GPU; without log folders nobody can tell who is who."""
    train = container("main", devices("nvidia.com/gpu", UUID[0]))
    kubelet.pods["ml", "train"] = pod("ml", "train", train)
    assert pods_of().owner(identify(cgroup(0)), DEVICES, 0, "").labels["pod"] == "train"
    kubelet.pods["mon", "exporter"] = pod("mon", "exporter", container("x"))
    two_pods = pods_of()
    assert two_pods.owner(identify(cgroup(1)), DEVICES, 0, "").key == f"k8s:{UIDS[1]}/{IDS[1][:12]}"
    assert held(two_pods) == [(0, "k8s:ml/train/main", 1_000_000, "")]
    del kubelet.pods["mon", "exporter"]
    kubelet.pods["ml", "train"] = pod("ml", "train", train, container("side"))
    sidecar = pods_of()
    keys = {sidecar.owner(identify(f"/kubepods/pod{UIDS[0]}/{one}"), DEVICES, 0, "").key for one in IDS[:2]}
    assert keys == {f"k8s:{UIDS[0]}/{one[:12]}" for one in IDS[:2]}


def test_a_pod_younger_than_the_kubelets_answer_takes_nobodys_name(kubelet, pods_of, tmp_path):
    """Ten seconds lie between two answers: a pod that starts and uses the GPU meanwhile is in none yet."""
    running = tmp_path / "cgroup/kubepods/burstable"
    (running / f"pod{UIDS[0]}").mkdir(parents=True)
    kubelet.pods["ml", "victim"] = pod("ml", "victim", container("main", devices("nvidia.com/gpu", UUID[0])))
    pods = pods_of(period_s=60)
    assert held(pods) == [(0, "k8s:ml/victim/main", 1_000_000, "")]
    (running / f"pod{UIDS[1]}").mkdir()
    young = pods.owner(identify(cgroup(1)), DEVICES, 0, "")
    assert (young.key, young.labels.get("pod")) == (f"k8s:{UIDS[1]}/{IDS[1][:12]}", None)
    assert pods.owner(identify(cgroup(0)), DEVICES, 0, "").key == "k8s:ml/victim/main"
    kubelet.pods["ml", "young"] = pod("ml", "young", container("main"))
    wait_for(lambda: UIDS[1] in pods._known.answer.running)
    assert pods.owner(identify(cgroup(1)), DEVICES, 0, "").labels.get("pod") != "victim"


def test_the_kubelet_is_hurried_once_for_what_stays_unknown(kubelet, pods_of):
    kubelet.pods["ml", "train"] = pod("ml", "train", container("main"), container("side"))
    pods = pods_of(period_s=3_600)
    pods.owner(identify(cgroup(0)), DEVICES, 0, "")
    settled = pods._known.answers + 1
    wait_for(lambda: pods._known.answers >= settled)
    for _ in range(22):
        pods.owner(identify(cgroup(0)), DEVICES, 0, "")
        time.sleep(0.1)
    assert pods._known.answers == settled


def test_a_pod_that_is_known_by_its_folder_is_named_if_not_its_container(kubelet, pods_of, tmp_path):
    kubelet.pods["ml", "train"] = pod("ml", "train", container("main"), container("side"))
    (tmp_path / f"log/pods/ml_train_{UIDS[0]}").mkdir(parents=True)
    owner = pods_of().owner(identify(cgroup(0)), DEVICES, 0, "")
    assert owner.key == f"k8s:{UIDS[0]}/{IDS[0][:12]}"
    assert (owner.labels["namespace"], owner.labels["pod"]) == ("ml", "train")
    assert "container" not in owner.labels


@pytest.mark.parametrize("offered", ["{}-{}", "{}-_-{}"], ids=["hami", "aliyun"])
def test_a_gpu_offered_many_times_is_held_by_a_guess_until_it_is_used(kubelet, pods_of, tmp_path, offered):
    kubelet.allocatable = [devices("nvidia.com/gpu", *(offered.format(UUID[0], i) for i in range(10)))]
    for number, name in enumerate("ab"):
        granted = devices("nvidia.com/gpu", offered.format(UUID[0], number))
        kubelet.pods["ml", name] = pod("ml", name, container("main", granted))
    named(tmp_path, a=("ml", 0), b=("ml", 1))
    pods = pods_of()
    assert held(pods) == [(0, f"k8s:{UIDS[0]}/main", -1, ""), (0, f"k8s:{UIDS[1]}/main", -1, "")]
    assert {r.owner.labels["placement"] for r in pods.reservations(DEVICES, 0, 10)} == {"guess"}
    pods.owner(identify(cgroup(1)), DEVICES, 2, "")
    assert {r.gpu: r.owner.labels.get("placement") for r in pods.reservations(DEVICES, 0, 10)} == {0: "guess", 2: None}
    assert held(pods) == [(0, f"k8s:{UIDS[0]}/main", -1, ""), (2, f"k8s:{UIDS[1]}/main", -1, "")]


def test_other_drivers_gpu_0_is_not_nvidias(kubelet, pods_of):
    for driver in ("gpu.amd.com", "gpu.example.com", "compute-domain.nvidia.com", "gpu.intel.com"):
        kubelet.pods["ml", driver] = pod("ml", driver, container("main", claims=[claim(driver, "node", "gpu-0")]))
    kubelet.pods["ml", "plugged"] = pod("ml", "plugged", container("main", devices("example.com/gpu", "gpu-1")))
    kubelet.pods["vm", "launcher"] = pod("vm", "launcher", container("c", devices("nvidia.com/GH100_H100", "65")))
    assert held(pods_of()) == []


def test_a_mig_device_of_dra_is_held_while_idle(kubelet, pods_of):
    whole, part = claim("gpu.nvidia.com", "node", "gpu-1"), claim("gpu.nvidia.com", "node", "gpu-0-mig-3g71gb-9-0")
    small = [claim("gpu.nvidia.com", "node", f"gpu-0-mig-1g18gb-19-{start}") for start in (4, 5)]
    kubelet.pods["ml", "a"] = pod("ml", "a", container("main", claims=[part]))
    kubelet.pods["ml", "b"] = pod("ml", "b", container("one", claims=small), container("two", claims=small[:1]))
    kubelet.pods["ml", "c"] = pod("ml", "c", container("main", claims=[whole]))
    assert held(pods_of()) == [
        (2, "k8s:ml/c/main", 1_000_000, ""),
        (3, "k8s:ml/a/main", 428_571, ""),
        (3, "k8s:ml/b/one", 71_428 + 142_857, ""),
        (3, "k8s:ml/b/two", 71_428, ""),
    ]


def test_mig_devices_that_nobody_describes_are_held_nowhere(kubelet, pods_of):
    for name in "ab":
        granted = devices("nvidia.com/gpu", f"MIG-11111111-0000-5000-8000-00000000000{name}")
        kubelet.pods["ml", name] = pod("ml", name, container("main", granted))
    assert held(pods_of()) == []


def test_a_forged_cgroup_bills_no_pod(kubelet, pods_of, tmp_path):
    """Below a slot that HTCondor handed over, a folder is named like the victim's pod and container."""
    kubelet.pods["ml", "victim"] = pod("ml", "victim", container("main", devices("nvidia.com/gpu", UUID[0])))
    named(tmp_path, victim=("ml", 0))
    proc = FakeProc(tmp_path / "proc")
    forged = f"kubepods.slice/kubepods-pod{UIDS[0].replace('-', '_')}.slice/cri-containerd-{IDS[0]}.scope"
    proc.start(10, f"/system.slice/htcondor/condor_var_lib_condor_execute_slot1_1@gpu01/{forged}")
    proc.start(11, f"/system.slice/alice-notebook.service/{forged}")
    resolver = JobResolver(Processes(proc.root, lambda: T0), None, pods_of())
    seen = [ProcessObservation(3, pid, T0, T0 + SECOND, 500_000) for pid in (10, 11)]
    owners, usage = resolver.resolve(seen, DEVICES, T0, T0 + SECOND)
    on = {(int(gpu), owners[place].key) for gpu, place in zip(usage.gpu, usage.owner, strict=True)}
    victim = f"k8s:{UIDS[0]}/main"
    assert on == {(0, victim), (3, "htcondor:slot1_1@gpu01/1000"), (3, "unit:alice-notebook.service")}


def test_nobody_waits_for_a_kubelet_that_hangs(kubelet, tmp_path):
    kubelet.hang.set()
    pods = Pods(Kubelet(kubelet.socket), tmp_path, tmp_path)
    worst = 0.0
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        began = time.perf_counter()
        assert pods.reservations(DEVICES, 0, 10) == []
        assert pods.owner(identify(cgroup(0)), DEVICES, 0, "").key.startswith("k8s:")
        worst = max(worst, time.perf_counter() - began)
    assert worst < 4  # who waits for a socket that hangs waits five seconds for it
    kubelet.hang.clear()
    pods.close()


def test_no_kubelet_at_all_is_a_fault_that_is_counted(tmp_path):
    pods = Pods(Kubelet(tmp_path / "nothing.sock"), tmp_path, tmp_path)
    wait_for(lambda: pods.faults() == {"podresources": 1})
    assert pods.reservations(DEVICES, 0, 10) == []
    pods.close()


def test_without_h2_the_extra_is_named(tmp_path, monkeypatch):
    for name in ("wattshed.agent.wire.grpc_call", "h2.config"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(wire, "grpc_call", raising=False)
    monkeypatch.setitem(sys.modules, "h2.config", None)
    with pytest.raises(ExtraMissing, match=r"wattshed\[kubernetes\]"):
        Kubelet(tmp_path / "x.sock")
