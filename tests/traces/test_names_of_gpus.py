"""What a GPU is called in tables and series of others, what a series is, and what a gap between readings is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.foreign.gpus import Gpus, gpu_name
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.foreign.series import MEANINGS, gpu_of, meaning_of


@pytest.mark.parametrize("name", MEANINGS)
def test_the_name_of_a_series_says_what_it_is_and_in_what_unit(name):
    """DCGM's power is in W and its energy in mJ; the others say their units."""
    words = name.lower().split("_")
    kind = next((k for k in ("limit", "energy", "instant", "power") if k in words), "power")
    kind = "limit" if "mgmt" in words else kind
    thousandth = kind == "energy" if words[0] == "dcgm" else {"milliwatts", "millijoules"} & set(words)
    found = meaning_of(name, {"limit": "max"})
    assert (found.kind, found.factor) == (kind, 1 if thousandth else 1000)


def test_of_our_own_series_the_labels_say_which_reading_and_which_limit():
    assert meaning_of("wattshed_gpu_power_watts", {"reading": "average"}).kind == "power"
    assert meaning_of("wattshed_gpu_power_watts", {"reading": "instant"}).kind == "instant"
    assert meaning_of("DCGM_FI_DEV_POWER_USAGE", {"reading": "instant"}).kind == "power"
    limits = {
        limit: meaning_of("wattshed_gpu_power_limit_watts", {"limit": limit}) for limit in ("max", "enforced", "min")
    }
    assert [limit for limit, found in limits.items() if found] == ["max", "enforced"]
    assert meaning_of("nvidia_smi_power_limit_watts", {}).kind == "limit"
    assert meaning_of("up", {}) is None


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        *(({host: "a", "instance": "b:9400"}, {"host": "a"})
          for host in ("Hostname", "hostname", "host", "node", "kubernetes_node", "nodename")),
        ({"Hostname": "", "node": "a"}, {"host": "a"}),
        ({"Hostname": "a", "host": "b"}, {"host": "a"}),
        ({"instance": "n7:9400"}, {"host": "n7"}),
        ({"instance": "[::1]:9400"}, {"host": "[::1]"}),
        ({}, {"host": "own", "index": 0, "uuid": "", "model": "", "pci_bus_id": "", "simulated": False}),
        *(({index: "3"}, {"index": 3}) for index in ("gpu", "index", "minor_number", "device")),
        ({"device": "nvidia3"}, {"index": 3}),
        ({"gpu": "3", "device": "nvidia4"}, {"index": 3}),
        ({"gpu": "first"}, {"index": 0}),
        *(({uuid: "GPU-a"}, {"uuid": "GPU-a"}) for uuid in ("UUID", "uuid", "gpu_uuid")),
        ({"uuid": "a"}, {"uuid": "GPU-a"}),
        ({"uuid": "MIG-a"}, {"uuid": "MIG-a"}),
        *(({model: "T4"}, {"model": "T4"}) for model in ("modelName", "model", "name")),
        ({"modelName": "T4", "name": "x"}, {"model": "T4"}),
        ({"pci_bus_id": "00000000:0A:00.0"}, {"pci_bus_id": "0000:0a:00.0"}),
        ({"simulated": "1"}, {"simulated": True}),
        ({"simulated": "0"}, {"simulated": False}),
    ],
)  # fmt: skip
def test_the_labels_of_a_series_name_its_gpu(labels, wanted):
    gpus = Gpus("own", 5_000_000, -1)
    device = gpus.devices[gpu_of(labels, gpus)]
    assert {name: getattr(device, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        *((text, {"index": 3}) for text in ("3", " 3 ", "gpu3", "GPU 3", "cuda:3", "nvidia3", "device_3", "3.0")),
        ("9999", {"index": 9999}), ("10000", {"uuid": "10000"}), ("3.5", {"uuid": "3.5"}), ("n3", {"uuid": "n3"}),
        ("07:00.0", {"pci": "07:00.0"}), ("0000:0A:00.7", {"pci": "0000:0A:00.7"}),
        ("00000000:07:00.0", {"pci": "00000000:07:00.0"}),
        ("0x1A", {"pci": "0x1A"}), ("0xGG", {"uuid": "0xGG"}), ("07:00.8", {"uuid": "07:00.8"}),
        ("GPU-3", {"uuid": "GPU-3"}), ("MIG-3", {"uuid": "MIG-3"}), ("gpu-3", {"index": 3}),
    ],
)  # fmt: skip
def test_how_a_cell_names_a_gpu(cell, wanted):
    assert gpu_name(cell) == wanted


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.sampled_from([-1, 0, 5]), st.sampled_from([-1, 0, 9]))
    ),
    st.sampled_from([-1, 3_000_000]),
)
def test_a_gap_is_ten_times_the_usual_pause_and_five_seconds_at_least(seen, told):
    """Of the readings of power; a GPU without any is known by its counter."""
    gpus = Gpus("", 5_000_000, told)
    for index in range(3):
        gpus.number(index=index)
    columns = np.array(seen, np.int64).reshape(-1, 4).T
    gpus.learn_gaps(Rows.of(columns[0], columns[1] * 1_000_000, power_mw=columns[2], counter_mj=columns[3]))
    for number, device in enumerate(gpus.devices):
        mine = [row for row in seen if row[0] == number]
        by_power = [t for _, t, power, _ in mine if power > 0]
        times = sorted(set(by_power or [t for _, t, _, counter in mine if counter >= 0]))
        pauses = sorted(b - a for a, b in itertools.pairwise(times))
        n = len(pauses)
        usual = (pauses[(n - 1) // 2] + pauses[n // 2]) / 2 if n > 1 else 0
        assert device.max_gap_us == (told if told > 0 else max(5_000_000, int(10_000_000 * usual)))
