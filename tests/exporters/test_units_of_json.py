"""Every field of the JSON, of a snapshot in which no two numbers are alike: its field, its unit, null for unknown."""

import json
import math
from dataclasses import replace

import pytest

from wattshed.exporters.snapshot import (
    EnergyShare,
    FleetFacts,
    GpuFacts,
    HostEnergy,
    InstanceFacts,
    JobFacts,
    NodeFacts,
    NodeModelFacts,
    ProcessFacts,
    Snapshot,
    Tenancy,
)
from wattshed.exporters.web.api import document
from wattshed.exporters.work_facts import WorkFacts

GPU = GpuFacts(
    "GPU-0", 3, "H100", "0000:01", "570.1", "hopper", simulated=False, up=True, energy_source="counter",
    energy_hnj=5_000_000_000, sigma_j=0.125, power_w={"instant": 301.5}, limits_w={"max": 700.0}, counter_resets=4,
    rejected={"zero": 5}, gap_us=6_500_000, covered_us=7_250_000, ended_hnj=1_000_000_000, disagreement=-0.25,
    flags=("counter_reset",), peak_w={"1s": 333.0}, ramp_w_per_s={("10s", "up"): 12.5, ("1s", "down"): 9.5},
    gauges={"temperature_c": 61.0, "gpu_util": math.nan, "throttle_power_cap_s": 3.5}, mig=True, boundary="module",
    last_xid=31, xids={31: 2}, status="stale", why="w", recovery_action="gpu_reset",
)  # fmt: skip
WORK = (WorkFacts("steps", "told", 4, 2_000_000_000, 0.5), WorkFacts("images", "told", 0, 2_000_000_000, None))
JOB = JobFacts("a", {"user": "ada"}, 8_500_000, 9_500_000, 0.5, 100_500_000, 102_250_000, "alone", WORK, 1_500_000_000)
FLEET = FleetFacts(
    {("it", "mean"): 10.5, ("it", "lower"): 9.5, ("site", "mean"): 20.5}, {"it": 30.5}, {("it", "15m"): 40.5}, 50, 60,
    ("w",), {"site": 70.5}, {"busy": 80}, {"train": NodeModelFacts("live", 640.5, 1.25)},
)  # fmt: skip
HOST_METERS = (
    HostEnergy("nvml", "module-3", 17_000_000_000, boundary="module", kind="counter"),
    HostEnergy(
        "grace", "cpu-0", None, "grace-0", "cpu", "gauge", 50_000, 70.5, 0.5, 1_500_000, {"unknown": 3}, ("may-alias",)
    ),
)
NODE = NodeFacts(
    "ipmi/node", 2_500_000, 8_000_000_000, {"gpu": 5_000_000_000, "rest": 4_000_000_000}, 1_000_000_000,
    {"rest": 0.25}, {"parts": 0.125}, ("parts-above-meter",), {"a": {"rest": 1_000_000_000}}, {"rest": 500_000_000},
)  # fmt: skip
SNAPSHOT = Snapshot(
    "h", "1.2", "nvml", "lib.so", 11, 12_500_000, 13_500_000, (GPU,),
    (EnergyShare("a", "GPU-0", 2_000_000_000, 1_000_000_000), EnergyShare("a", "GPU-1", 500_000_000, 0),
     EnergyShare("_idle", "GPU-0", 3_000_000_000, 0)),
    (JOB,), late_s=0.75, duty=0.0625, folded_jobs=14, faults={"squeue": 15}, notes=("note",), fleet=FLEET,
    host_energy=HOST_METERS, node=NODE, counters_since_us=3_500_000,
    tenancy=Tenancy(
        (ProcessFacts("a", 18, "GPU-0", "2/0", 3 << 20, 4_500_000), ProcessFacts("a", 17, "GPU-1"),
         ProcessFacts("_unattributed", 19, "GPU-0")),
        (InstanceFacts("MIG-1", "GPU-0", "2", 0.25), InstanceFacts("MIG-2", "GPU-9", "3", 0.5)),
    ),
)  # fmt: skip


def told(snapshot=SNAPSHOT):
    return json.loads(document(snapshot, {"step_s": 16}, {"a": 20.5, "_idle": math.inf}))


def test_the_whole():
    found = told()
    plain = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
    assert plain == {
        "schema": "wattshed.snapshot/1", "host": "h", "version": "1.2", "meter": "nvml", "library": "lib.so",
        "simulated": False, "ready": True, "unmetered": "", "seq": 11, "time_s": 12.5, "started_s": 13.5,
        "folded_jobs": 14, "counters_since_s": 3.5, "prices": None,
    }  # fmt: skip
    assert found["sampler"] == {"late_s": 0.75, "duty": 0.0625}
    assert (found["faults"], found["notes"], found["history"]) == ({"squeue": 15}, ["note"], {"step_s": 16})


def test_meters_of_the_host():
    assert told()["host_energy"] == [
        {
            "source": "nvml", "domain": "module-3", "part_of": "", "boundary": "module", "kind": "counter",
            "window_s": None, "energy_j": 8.5, "sigma_j": None, "power_w": None, "gap_s": 0, "rejected": {},
            "flags": [],
        },
        {
            "source": "grace", "domain": "cpu-0", "part_of": "grace-0", "boundary": "cpu", "kind": "gauge",
            "window_s": 0.05, "energy_j": None, "sigma_j": None, "power_w": 70.5, "gap_s": 1.5,
            "rejected": {"unknown": 3}, "flags": ["may-alias"],
        },
    ]  # fmt: skip


def test_the_node():
    assert told()["node"] == {
        "meter": "ipmi/node", "covered_s": 2.5, "energy_j": 4, "parts_j": {"gpu": 2.5, "rest": 2}, "debt_j": 0.5,
        "sigma_j": {"rest": 0.25}, "disagreement": {"parts": 0.125}, "flags": ["parts-above-meter"],
    }  # fmt: skip
    assert told(replace(SNAPSHOT, node=None))["node"] is None


def test_a_gpu():
    (found,) = told()["gpus"]
    assert found == {
        "uuid": "GPU-0", "gpu": 3, "model": "H100", "pci_bus_id": "0000:01", "driver": "570.1",
        "architecture": "hopper", "simulated": False, "up": True, "mig": True, "energy_source": "counter",
        "instances": [{"uuid": "MIG-1", "instance": "2", "share": 0.25}],
        "boundary": "module", "energy_j": 2.5, "ended_jobs_j": 0.5, "sigma_j": 0.125, "power_w": {"instant": 301.5},
        "limits_w": {"max": 700.0}, "peak_w": {"1s": 333.0},
        "ramp_w_per_s": [
            {"window": "10s", "direction": "up", "value": 12.5}, {"window": "1s", "direction": "down", "value": 9.5},
        ],
        "gauges": {"temperature_c": 61.0, "gpu_util": None, "throttle_power_cap_s": 3.5},
        "covered_s": 7.25, "gap_s": 6.5, "counter_resets": 4,
        "rejected": {"zero": 5}, "disagreement": -0.25, "flags": ["counter_reset"], "last_xid": 31,
        "health": {
            "status": "stale", "why": "w", "recovery_action": "gpu_reset", "xids": {"31": 2},
            "throttled_s": {"power_cap": 3.5},
        },
    }  # fmt: skip


def test_a_gpu_without_a_reading_has_no_energy():
    (found,) = told(replace(SNAPSHOT, gpus=(replace(GPU, energy_source="none"),)))["gpus"]
    assert (found["energy_j"], found["ended_jobs_j"], found["sigma_j"]) == (None, None, None)
    (found,) = told(replace(SNAPSHOT, gpus=(replace(GPU, sigma_j=math.inf),)))["gpus"]
    assert found["sigma_j"] is None


def test_jobs():
    job, idle, *others = told()["jobs"]
    assert others == []  # a process without a job or a joule is nobody's
    assert job == {
        "job": "a", "labels": {"user": "ada"}, "method": "alone", "energy_j": 1.75, "static_j": 1.25, "dynamic_j": 0.5,
        "sigma_j": 0.5, "active_s": 8.5, "held_s": 9.5, "started_s": 100.5, "ended_s": 102.25, "power_w": 20.5,
        "work": [
            {"unit": "steps", "source": "told", "count": 4, "joules_per_unit": 0.25, "sigma_j": 0.125},
            {"unit": "images", "source": "told", "count": 0, "joules_per_unit": None, "sigma_j": None},
        ],
        "waiting_j": 0.75,
        "gpus": {"GPU-0": {"static_j": 1.0, "dynamic_j": 0.5}, "GPU-1": {"static_j": 0.25, "dynamic_j": 0.0}},
        "processes": [
            {"pid": 17, "gpu_uuid": "GPU-1", "instance": "", "memory_mib": None, "started_s": None},
            {"pid": 18, "gpu_uuid": "GPU-0", "instance": "2/0", "memory_mib": 3.0, "started_s": 4.5},
        ],
        "watts": None, "watts_sigma": None,
        "node_energy_estimate": {"energy_j": 0.5, "parts_j": {"rest": 0.5}, "sigma_j": 0.0625},
    }  # fmt: skip
    assert idle["node_energy_estimate"] is None
    assert (idle["job"], idle["energy_j"], idle["labels"], idle["method"]) == ("_idle", 1.5, {}, "")
    assert [idle[name] for name in ("sigma_j", "active_s", "held_s", "started_s", "ended_s", "power_w")] == [None] * 6
    assert idle["processes"] == []


@pytest.mark.parametrize("ended_us", [None, 0])
def test_a_job_that_goes_on_without_any_energy(ended_us):
    (found,) = told(replace(SNAPSHOT, energy=(), jobs=(replace(JOB, ended_us=ended_us),)))["jobs"]
    assert found["ended_s"] == ended_us
    assert [found[name] for name in ("energy_j", "static_j", "dynamic_j")] == [None] * 3


def test_the_fleet():
    assert told()["fleet"] == {
        "boundaries": {
            "it": {"mean_w": 10.5, "lower_w": 9.5, "energy_j": 30.5, "peak_w": {"15m": 40.5}},
            "site": {"mean_w": 20.5, "supply_w": 70.5},
        },
        "hosts_known": 50, "hosts_reporting": 60, "hosts_by_state": {"busy": 80}, "warnings": ["w"],
        "node_models": [{"stratum": "train", "source": "live", "fixed_w": 640.5, "slope": 1.25}],
    }  # fmt: skip
    assert told(replace(SNAPSHOT, fleet=None))["fleet"] is None


@pytest.mark.parametrize(
    ("change", "ready", "simulated"),
    [
        ({"seq": 0}, False, False),
        ({"seq": 1}, True, False),
        ({"unmetered": "no GPU"}, False, False),
        ({"meter": "simulated"}, True, True),
        ({"gpus": (replace(GPU, simulated=True),)}, True, True),
    ],
)
def test_ready_and_simulated(change, ready, simulated):
    found = told(replace(SNAPSHOT, **change))
    assert (found["ready"], found["simulated"]) == (ready, simulated)
