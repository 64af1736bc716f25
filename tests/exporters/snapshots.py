"""Snapshots for the tests: a rich realistic one, an empty one, a hostile one, and one of any size."""

import math
from dataclasses import replace

from wattshed.exporters.snapshot import (
    EnergyShare,
    FleetFacts,
    GpuFacts,
    Histogram,
    HostEnergy,
    JobFacts,
    NodeFacts,
    NodeModelFacts,
    Snapshot,
    WorkStatus,
)
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.work_facts import WorkFacts

T0 = 1_760_000_000_000_000
UUIDS = [f"GPU-{i:08x}-1111-2222-3333-44445555666{i}" for i in range(8)]
GAUGES = {
    "temperature_c": 61.0,
    "memory_temperature_c": 72.0,
    "sm_clock_mhz": 1980.0,
    "mem_clock_mhz": 2619.0,
    "gpu_util": 97.0,
    "mem_copy_util": 44.0,
    "fb_used_mib": 71234.0,
    "fb_free_mib": 9876.0,
    "fb_total_mib": 81110.0,
    "throttle_power_cap_s": 12.5,
    "xid": 0.0,
    "gr_engine_active": 0.97,
    "sm_active": 0.9,
    "sm_occupancy": 0.4,
    "pipe_tensor_active": 0.55,
    "dram_active": 0.31,
}


def empty():
    """The agent has just started: nothing accounted, not ready."""
    return Snapshot("node1", "0.1.0", "simulated", "libwattshed-sim", 0, T0, T0)


def gpu(index, energy_hnj, **more):
    facts = {
        "uuid": UUIDS[index],
        "index": index,
        "model": "NVIDIA H100 80GB HBM3",
        "pci_bus_id": f"00000000:{0x1B + index:02X}:00.0",
        "driver": "999.99.99",
        "architecture": "hopper",
        "simulated": True,
        "up": True,
        "energy_source": "counter",
        "energy_hnj": energy_hnj,
        "sigma_j": energy_hnj / HNJ_PER_JOULE * 0.04,
        "power_w": {"instant": 612.5 + index, "average": 600.25 + index},
        "limits_w": {"enforced": 700.0, "default": 700.0, "max": 700.0, "min": 200.0},
        "counter_resets": 0,
        "rejected": {"zero": 2},
        "gap_us": 1_500_000,
        "covered_us": 3_598_500_000,
        "disagreement": 0.012,
        "peak_w": {"1s": 698.0, "10s": 690.5, "1m": 671.0},
        "ramp_w_per_s": {("1s", "up"): 310.0, ("1s", "down"): 402.5},
        "gauges": GAUGES,
    }
    return GpuFacts(**(facts | more))


def measured():
    """The rich one on a host with a driver: nothing of it is invented."""
    made = rich()
    return replace(made, meter="nvml", gpus=tuple(replace(one, simulated=False) for one in made.gpus))


def unmeterable():
    """A host whose only GPU tells neither its energy nor its power, and a job that runs on it."""
    nothing = {"energy_source": "none", "status": "unmeterable", "why": "energy: not supported (3)"}
    one = gpu(0, 0, simulated=False, sigma_j=0.0, power_w={}, peak_w={}, ramp_w_per_s={}, **nothing)
    job = JobFacts("slurm:7", {"manager": "slurm", "user": "ada"}, 60_000_000, 0, None, T0)
    why = "no GPU reports energy or power"
    return Snapshot("node1", "0.1.0", "nvml", "lib", 60, T0 + 60_000_000, T0, (one,), (), (job,), unmetered=why)


def _host_meters(seconds):
    """Two packages in one node, and a node's meter that refuses now and then."""
    return (
        HostEnergy(
            "rapl", "package-0", seconds * 180 * HNJ_PER_JOULE, "", "cpu", "counter", power_w=180.25,
            sigma_j=seconds * 9.0, flags=("sigma-assumed",),
        ),
        HostEnergy("rapl", "dram-0", None, "", "memory", "counter", rejected={"denied": seconds}),
        HostEnergy(
            "ipmi", "node", seconds * 6000 * HNJ_PER_JOULE, "", "ac", "gauge", window_us=1_000_000, power_w=6012.0,
            sigma_j=seconds * 300.0, gap_us=7_500_000, rejected={"unknown": 3},
        ),
    )  # fmt: skip


def _node(seconds):
    parts = {name: seconds * watts * HNJ_PER_JOULE for name, watts in NODE_WATTS.items()}
    return NodeFacts(
        "ipmi/node", seconds * 1_000_000, seconds * 6000 * HNJ_PER_JOULE, parts, 0,
        {"gpu": 192.0, "cpu": 9.0, "rest": 357.0}, {"parts": 0.0, "redfish": 0.0125}, (),
        {"_idle": {"cpu": seconds * 150 * HNJ_PER_JOULE, "rest": seconds * 420 * HNJ_PER_JOULE},
         "slurm:1234": {"cpu": seconds * 30 * HNJ_PER_JOULE, "rest": seconds * 500 * HNJ_PER_JOULE}},
        {"rest": seconds * 100 * HNJ_PER_JOULE},
    )  # fmt: skip


NODE_WATTS = {"gpu": 4800, "cpu": 180, "rest": 1020}


def rich(seq=3600, seconds=3600):
    """Eight GPUs, three jobs, idle, unattributed and ended energy, a fleet; GPU energy = all of these, exactly."""
    shares = _shares(seconds)
    total = dict.fromkeys(UUIDS, 0)
    for share in shares:
        total[share.gpu_uuid] += share.static_hnj + share.dynamic_hnj
    known = {"covered_us": seconds * 1_000_000 - 1_500_000}
    ended = 12_345 * HNJ_PER_JOULE + 1
    gpus = [gpu(i, total[u], **known) for i, u in enumerate(UUIDS)]
    gpus[1] = gpu(1, total[UUIDS[1]] + ended, ended_hnj=ended, **known)
    gpus[7] = gpu(
        7, total[UUIDS[7]], flags=("frozen_sensor",), xids={31: 2, 79: 1}, power_w={"instant": 74.0}, up=True,
        **known,
    )  # fmt: skip
    advice = {"status": "stale", "why": "no reading of its energy or power for 7 s", "recovery_action": "gpu_reset"}
    gpus[6] = gpu(6, total[UUIDS[6]], **advice, **known)
    calls = {
        "nvmlDeviceGetFieldValues": Histogram(
            (0.0005, 0.001, 0.01, float("inf")),
            (seconds // 36, seconds, 2 * seconds, 2 * seconds + 1),
            seconds * 0.0018,
        )
    }
    return Snapshot(
        "node1",
        "0.1.0",
        "simulated",
        "libwattshed-sim",
        seq,
        T0 + seconds * 1_000_000,
        T0,
        tuple(gpus),
        tuple(shares),
        JOBS,
        calls,
        late_s=0.0123,
        duty=0.004,
        faults={"squeue": 1},
        notes=("job names come from squeue",),
        fleet=_fleet(seconds),
        host_energy=_host_meters(seconds),
        node=_node(seconds),
        work=WorkStatus(
            2, {"negative": 1}, (("k8s:8f0c-11/trainer", "vllm", True), ("k8s:8f0c-11/trainer", "", False))
        ),
    )


def _shares(seconds):
    shares = []
    for index, uuid in enumerate(UUIDS):
        unit = seconds * HNJ_PER_JOULE + index * 7 + 1
        if index < 4:
            shares.append(EnergyShare("slurm:1234", uuid, 75 * unit, 520 * unit))
        elif index < 6:
            shares.append(EnergyShare("k8s:8f0c-11/trainer", uuid, 75 * unit, 310 * unit))
        elif index == 6:
            shares.append(EnergyShare("slurm:1240", uuid, 75 * unit, 0))
        shares.append(EnergyShare("_idle", uuid, 2 * unit if index < 7 else 75 * unit, 0))
        shares.append(EnergyShare("_unattributed", uuid, 0, 3 * unit))
    return shares


JOBS = (
    JobFacts(
        "slurm:1234",
        {"manager": "slurm", "user": "ada", "account": "physics", "partition": "gpu", "name": "train-7b"},
        4 * 3_590_000_000,
        4 * 10_000_000,
        61_234.5,
        T0 - 60_000_000,
        method="alone",
    ),
    JobFacts(
        "k8s:8f0c-11/trainer",
        {"manager": "kubernetes", "namespace": "nlp", "pod": "bert-0", "container": "trainer"},
        2 * 3_500_000_000,
        2 * 100_000_000,
        20_012.25,
        T0 + 5_000_000,
        method="utilisation",
        work=(
            WorkFacts("output_tokens", "scraped", 1_250_000, 700_000 * HNJ_PER_JOULE, 0.041),
            WorkFacts("requests", "scraped", 0, 0, None),
            WorkFacts("steps", "told", 400, 1_400_000 * HNJ_PER_JOULE, 0.04),
        ),
        waiting_hnj=180_000 * HNJ_PER_JOULE,
    ),
    JobFacts(
        "slurm:1240",
        {"manager": "slurm", "user": "bob", "account": "chemistry", "partition": "gpu", "name": "notebook"},
        0,
        3_600_000_000,
        9_003.0,
        T0,
    ),
)


def _fleet(seconds):
    return FleetFacts(
        {
            ("gpu", "mean"): 1.21e8,
            ("gpu", "lower"): 1.17e8,
            ("gpu", "upper"): 1.25e8,
            ("facility", "mean"): 1.61e8,
            ("facility", "lower"): 1.5e8,
            ("facility", "upper"): 1.72e8,
        },
        {"gpu": 1.21e8 * seconds, "facility": 1.61e8 * seconds},
        {("facility", "1m"): 1.66e8, ("facility", "15m"): 1.63e8},
        4000,
        3921,
        ("79 hosts do not report",),
        {"facility": 2.0e8},
        {"busy": 3100, "idle": 821, "down": 79},
        {"train": NodeModelFacts("live", 640.0, 1.17), "serve": NodeModelFacts("assumed", 890.0, 1.25)},
    )


NASTY = 'x"} 1e9\n# EOF\n'  # what a user could call a job
NASTY += (
    'wattshed_gpu_up{gpu_uuid="evil"} 0\\\\ \r\x01\x1b[31m </script><img src=x onerror=alert(1)> \udcff\x00 é𝄞\u2028'
)


def hostile():
    """User text that would break a page, numbers that are none."""
    shares = tuple(EnergyShare(f"unit:{NASTY}{i}", UUIDS[0], i, 2**80 + i) for i in range(3))
    jobs = tuple(
        JobFacts(s.job, {"name": NASTY, "we ird-key": NASTY, "__meta": "m", "user": ""}, 1, 2, float("nan"), T0)
        for s in shares
    )
    bad = gpu(
        0,
        sum(s.static_hnj + s.dynamic_hnj for s in shares),
        model=NASTY,
        power_w={"instant": float("nan"), NASTY: float("inf")},
        disagreement=None,
    )
    return Snapshot(NASTY, NASTY, NASTY, NASTY, 1, T0 + 1, T0, (bad,), shares, jobs, faults={NASTY: 1}, notes=(NASTY,))


def large(jobs=1667):
    """About six series a job."""
    shares = tuple(
        EnergyShare(f"slurm:{i}", UUIDS[i % 8], i * 10**15 + 12345, i * 3 * 10**15 + 777) for i in range(jobs)
    )
    facts = tuple(
        JobFacts(
            f"slurm:{i}",
            {"manager": "slurm", "user": f"user{i % 50}", "name": f"job {i}"},
            i * 1000,
            i * 2000,
            i / 7,
            T0,
        )
        for i in range(jobs)
    )
    return Snapshot(
        "node1", "0.1.0", "simulated", "sim", 5, T0 + 5, T0, tuple(gpu(i, 10**12) for i in range(8)), shares, facts
    )


def moving(time_s):
    """A day in the life: the rich snapshot with power that swings, as of Unix time ``time_s``."""
    then = rich(seq=int(time_s), seconds=7200)
    started = T0 / 1e6

    def joules(mean, swing, period, phase):
        t = time_s - started
        return mean * t + swing * period / 6.2832 * math.sin(6.2832 * t / period + phase)

    shares = []
    for i, share in enumerate(then.energy):
        dynamic = share.dynamic_hnj and joules(share.dynamic_hnj / 7200 / HNJ_PER_JOULE, 120 + 9 * i, 700 + 90 * i, i)
        static = joules(share.static_hnj / 7200 / HNJ_PER_JOULE, 0, 1, 0)
        if share.job == "_unattributed":
            dynamic = joules(3, 0, 1, 0)
        shares.append(
            EnergyShare(share.job, share.gpu_uuid, int(static * HNJ_PER_JOULE), int(abs(dynamic) * HNJ_PER_JOULE))
        )
    total = dict.fromkeys(UUIDS, 0)
    for share in shares:
        total[share.gpu_uuid] += share.static_hnj + share.dynamic_hnj
    gpus = [
        replace(
            g,
            energy_hnj=total[g.uuid] + g.ended_hnj,
            sigma_j=total[g.uuid] / HNJ_PER_JOULE * 0.03,
            covered_us=int((time_s - started) * 1e6),
        )
        for g in then.gpus
    ]
    return replace(then, time_us=int(time_s * 1e6), gpus=tuple(gpus), energy=tuple(shares))
