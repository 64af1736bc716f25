"""The native metrics, ``/metrics``: one table of families, read off a frozen snapshot.

Series of jobs that ended vanish with the next snapshot; nothing is kept here but the constant text of living series.
A missing reading is not 0: what is unknown has no series. ``docs/metrics.md`` is generated from this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family, job_since, label_name
from wattshed.exporters.formats.host_metrics import HOST
from wattshed.exporters.formats.readings import READINGS
from wattshed.exporters.formats.self_metrics import SELF
from wattshed.exporters.formats.split_metrics import SPLIT
from wattshed.exporters.formats.work_metrics import WORK
from wattshed.exporters.units import HNJ_PER_JOULE, MICRO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.exporters.formats.exposition import Pairs, Rows
    from wattshed.exporters.snapshot import FleetFacts, Snapshot

JOB_LABELS = ("manager", "user", "account", "partition", "name", "namespace", "pod", "container", "unit")
"""Labels that ``wattshed_job_info`` always has, empty where they do not apply (to Prometheus empty is absent)."""


def _gpu_energy(snapshot: Snapshot) -> Rows:
    return [((g.uuid,), g.energy_hnj) for g in snapshot.gpus if g.energy_source != "none"]


def _gpu_info(snapshot: Snapshot) -> Rows:
    return [
        (
            (
                g.uuid,
                str(g.index),
                g.model,
                g.pci_bus_id,
                g.driver,
                g.architecture,
                "1" if g.simulated else "0",
                g.energy_source,
                g.boundary,
            ),
            1,
        )
        for g in snapshot.gpus
    ]


def _job_energy(snapshot: Snapshot) -> Pairs:
    return [((s.job, s.gpu_uuid), s.static_hnj, s.dynamic_hnj) for s in snapshot.energy]


def _job_seconds(snapshot: Snapshot) -> Pairs:
    return [((job.job,), job.active_us, job.held_us) for job in snapshot.jobs]


def _job_sigma(snapshot: Snapshot) -> Rows:
    return [((job.job,), job.sigma_j) for job in snapshot.jobs if job.sigma_j is not None]


_NODE_MODEL = "source is live (fitted to nodes' own meters), inventory or assumed."


def _by_state(fleet: FleetFacts) -> Rows:
    return [((state,), hosts) for state, hosts in fleet.states.items()]


def _fleet(read: Callable[[FleetFacts], Rows]) -> Callable[[Snapshot], Rows]:
    return lambda snapshot: read(snapshot.fleet) if snapshot.fleet else ()


def job_info(snapshot: Snapshot) -> Family:
    """Make the family ``wattshed_job_info``; managers that know more add labels of their own after the usual ones."""
    more = sorted({key for job in snapshot.jobs for key in job.labels}.difference(JOB_LABELS))
    taken = {"job", *JOB_LABELS}
    names: dict[str, str] = {}
    for key in more:
        legal = label_name(key)
        if legal not in taken:
            taken.add(legal)
            names[key] = legal
    keys = (*JOB_LABELS, *names)
    blanks = ("",) * len(keys)

    def rows(snapshot: Snapshot) -> Rows:
        return [((job.job, *map(job.labels.get, keys, blanks)), 1) for job in snapshot.jobs]

    return Family(
        "wattshed_job_info",
        "info",
        "Always 1; who a job is, to be joined on job. Empty labels do not apply.",
        ("job", *JOB_LABELS, *names.values()),
        rows,
    )


def families(snapshot: Snapshot) -> Iterator[Family]:
    """Yield the native families in page order; only ``wattshed_job_info`` depends on the snapshot."""
    yield from TABLE
    yield job_info(snapshot)


TABLE: tuple[Family, ...] = (
    Family(
        "wattshed_build_info",
        "info",
        "Always 1; the version of the agent, the host's own name, the meter (nvml, simulated, trace) and the driver "
        "library that was loaded.",
        ("version", "host", "meter", "library"),
        lambda s: [((s.version, s.host, s.meter, s.library), 1)],
    ),
    Family(
        "wattshed_kernels_info",
        "info",
        "Always 1; how the code that bills runs, which moves no joule: form is so (a compiled library), objects or "
        "numba (compiled code in memory) or off (plain Python); cpu is what it is compiled for.",
        ("form", "cpu"),
        lambda s: [((s.kernels.form, s.kernels.cpu), 1)] if s.kernels else (),
    ),
    Family(
        "wattshed_up",
        "gauge",
        "1 while at least one GPU is being metered: its energy is known up to ten seconds ago. 0 without a driver, "
        "without a GPU that answers, and where no GPU reports energy or power.",
        (),
        lambda s: [] if s.meter == "fleet" else [((), int(s.up and bool(s.gpus)))],
    ),
    Family(
        "wattshed_gpu_info",
        "info",
        "Always 1; what does not change about a GPU. simulated is 1 if the watts are invented; energy_source is "
        "counter, power or none (then its energy is unknown and has no series); boundary is board, or module where a "
        "superchip reports only the energy of the whole module, CPU included.",
        ("gpu_uuid", "gpu", "model", "pci_bus_id", "driver", "architecture", "simulated", "energy_source", "boundary"),
        _gpu_info,
    ),
    Family(
        "wattshed_gpu_up",
        "gauge",
        "1 if the GPU answers and its energy or power was read within the last 5 s (2.5 sampling periods if "
        "that is longer), else 0: wattshed_gpu_status says why.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), int(g.answers)) for g in s.gpus],
    ),
    Family(
        "wattshed_gpu_energy_joules_total",
        "counter",
        "Energy in joules at the boundary of the GPU board since the agent first started, from the hardware counter "
        "where there is one, else from integrated power; of the whole module where wattshed_gpu_info says so.",
        ("gpu_uuid",),
        _gpu_energy,
        per=HNJ_PER_JOULE,
    ),
    Family(
        "wattshed_gpu_energy_sigma_joules",
        "gauge",
        "One standard deviation in joules of wattshed_gpu_energy_joules_total; the meter's gain dominates and does not "
        "shrink with time.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.sigma_j) for g in s.gpus if g.energy_source != "none"],
    ),
    Family(
        "wattshed_gpu_power_watts",
        "gauge",
        "Board power in watts as the driver reads it now: instant, or average over the driver's own window.",
        ("gpu_uuid", "reading"),
        lambda s: [((g.uuid, reading), watts) for g in s.gpus for reading, watts in g.power_w.items()],
    ),
    Family(
        "wattshed_gpu_power_limit_watts",
        "gauge",
        "Power limit of the board in watts: enforced is in force now, the others bound or preset it.",
        ("gpu_uuid", "limit"),
        lambda s: [((g.uuid, limit), watts) for g in s.gpus for limit, watts in g.limits_w.items()],
    ),
    Family(
        "wattshed_gpu_peak_watts",
        "gauge",
        "Highest mean board power in watts over any stretch as long as window within the last minute: by the energy "
        "counter over 10 s and more where there is one, else as the power sensor sees it.",
        ("gpu_uuid", "window"),
        lambda s: [((g.uuid, window), watts) for g in s.gpus for window, watts in g.peak_w.items()],
    ),
    Family(
        "wattshed_gpu_ramp_watts_per_second",
        "gauge",
        "Steepest change of board power across window within the last minute, in watts per second, up or down.",
        ("gpu_uuid", "window", "direction"),
        lambda s: [
            ((g.uuid, window, direction), rate) for g in s.gpus for (window, direction), rate in g.ramp_w_per_s.items()
        ],
    ),
    Family(
        "wattshed_meter_disagreement_ratio",
        "gauge",
        "(integrated power - energy counter) / energy counter of a GPU: 0 is agreement, above 0.25 or below -0.2 one "
        "of the two is wrong.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.disagreement) for g in s.gpus if g.disagreement is not None],
        marked=True,
    ),
    Family(
        "wattshed_gpu_flag",
        "gauge",
        "1 while the data of a GPU carries a flag, such as frozen_sensor, or the driver shapes its power: "
        "power_smoothing, soc_power_smoothing, power_profile_<name> for each workload power profile in force. Absent "
        "otherwise.",
        ("gpu_uuid", "flag"),
        lambda s: [((g.uuid, flag), 1) for g in s.gpus for flag in dict.fromkeys(g.flags)],
    ),
    Family(
        "wattshed_gpu_counter_resets_total",
        "counter",
        "Times that the hardware energy counter of a GPU went backwards.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.counter_resets) for g in s.gpus],
        quiet=True,
    ),
    Family(
        "wattshed_gpu_samples_rejected_total",
        "counter",
        "Readings of a GPU without a usable number, by reason.",
        ("gpu_uuid", "reason"),
        lambda s: [((g.uuid, reason), n) for g in s.gpus for reason, n in g.rejected.items()],
    ),
    Family(
        "wattshed_gpu_gap_seconds_total",
        "counter",
        "Seconds of a GPU without valid readings: their power is unknown and is not taken as 0.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.gap_us) for g in s.gpus],
        per=MICRO,
    ),
    Family(
        "wattshed_gpu_covered_seconds_total",
        "counter",
        "Seconds that the energy of a GPU covers: the rate of wattshed_gpu_energy_joules_total, or of a job's, by the "
        "rate of this is the mean power, also where readings come late or are missing.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.covered_us) for g in s.gpus],
        per=MICRO,
    ),
    Family(
        "wattshed_job_energy_joules_total",
        "counter",
        "Energy in joules at the boundary of the GPU board, by the job that it is attributed to. static is the idle "
        "power of GPU time that the job held, dynamic all above it. _idle held by nobody, _unattributed used by "
        "somebody unknown, _other jobs beyond the series cap. Summed over job and component, plus "
        "wattshed_ended_jobs_energy_joules_total, it equals wattshed_gpu_energy_joules_total.",
        ("job", "gpu_uuid", "component"),
        per=HNJ_PER_JOULE,
        since=job_since,
        pair=("static", "dynamic"),
        pairs=_job_energy,
    ),
    Family(
        "wattshed_ended_jobs_energy_joules_total",
        "counter",
        "Energy in joules of jobs whose own series are gone, some minutes after their end: what is missing from "
        "wattshed_job_energy_joules_total to equal wattshed_gpu_energy_joules_total. Bookkeeping: it jumps by a job's "
        "whole bill when its series go, so never take a rate or an increase of it.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.ended_hnj) for g in s.gpus if g.energy_source != "none"],
        per=HNJ_PER_JOULE,
    ),
    Family(
        "wattshed_job_energy_sigma_joules",
        "gauge",
        "One standard deviation in joules of a job's energy, summed over its GPUs of this host. Between jobs that "
        "share a GPU it is wide: the split by activity is exact only if they draw the same watts per activity.",
        ("job",),
        _job_sigma,
    ),
    Family(
        "wattshed_job_gpu_seconds_total",
        "counter",
        "GPU-seconds of a job: active while one of its processes was on the GPU, held while the GPU was only kept "
        "for it.",
        ("job", "state"),
        per=MICRO,
        since=job_since,
        pair=("active", "held"),
        pairs=_job_seconds,
    ),
    *WORK,
    *SPLIT,
    *HOST,
    Family(
        "wattshed_jobs_folded_total",
        "counter",
        "Jobs that never had series of their own, by the series cap: their energy is the job _other's.",
        (),
        lambda s: [((), s.folded_jobs)],
    ),
    *READINGS,
    *SELF,
    Family(
        "wattshed_fleet_power_watts",
        "gauge",
        "Estimated power of the whole fleet in watts at a boundary (gpu, node, it, facility, grid); lower and upper "
        "bound a 95 % interval and are absent where the sample gives none.",
        ("boundary", "bound"),
        _fleet(lambda f: list(f.power_w.items())),
    ),
    Family(
        "wattshed_fleet_energy_joules_total",
        "counter",
        "Estimated energy of the whole fleet in joules at a boundary since this process started.",
        ("boundary",),
        _fleet(lambda f: [((boundary,), joules) for boundary, joules in f.energy_j.items()]),
    ),
    Family(
        "wattshed_fleet_peak_watts",
        "gauge",
        "Highest estimated mean power of the fleet in watts over any stretch as long as window, at a boundary.",
        ("boundary", "window"),
        _fleet(lambda f: list(f.peak_w.items())),
    ),
    Family(
        "wattshed_fleet_supply_watts",
        "gauge",
        "Power in watts that the fleet's feed can carry at a boundary, as its inventory states.",
        ("boundary",),
        _fleet(lambda f: [((boundary,), watts) for boundary, watts in f.supply_w.items()]),
    ),
    Family(
        "wattshed_fleet_hosts",
        "gauge",
        "Hosts of the fleet: known to the inventory, and reporting now; where their states are known also busy, idle, "
        "drained, off, down, unknown, and contradicted (they draw more than their state allows).",
        ("state",),
        _fleet(lambda f: [(("known",), f.hosts_known), (("reporting",), f.hosts_reporting), *_by_state(f)]),
    ),
    Family(
        "wattshed_fleet_node_fixed_watts",
        "gauge",
        "Power in watts of a node of a stratum with GPUs that draw nothing, by the model that the fleet is computed "
        f"with; {_NODE_MODEL}",
        ("stratum", "source"),
        _fleet(lambda f: [((stratum, one.source), one.fixed_w) for stratum, one in f.node_models.items()]),
    ),
    Family(
        "wattshed_fleet_node_slope_ratio",
        "gauge",
        f"Watts of a node of a stratum for each watt of its GPUs, by the same model; {_NODE_MODEL}",
        ("stratum", "source"),
        _fleet(lambda f: [((stratum, one.source), one.slope) for stratum, one in f.node_models.items()]),
    ),
)
