"""Metrics of the host's meters beside the GPUs' own, and of the whole node: rows of the table of the native metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family, job_since
from wattshed.exporters.units import HNJ_PER_JOULE, MICRO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wattshed.exporters.formats.exposition import Rows
    from wattshed.exporters.snapshot import HostEnergy, NodeFacts, Snapshot

METER = ("source", "domain")


def _energy(snapshot: Snapshot) -> Rows:
    """Return the energies that are known; what is unknown has no series."""
    return [((o.source, o.domain), o.energy_hnj) for o in snapshot.host_energy if o.energy_hnj is not None]


def _known(snapshot: Snapshot) -> Iterable[HostEnergy]:
    """Yield the meters of which any energy is known."""
    return (one for one in snapshot.host_energy if one.energy_hnj is not None)


def _seconds(window_us: int) -> str:
    """Write the time over which a gauge averages; empty where it is not known."""
    return f"{window_us / MICRO:g}" if window_us >= 0 else ""


def _node(read: Callable[[NodeFacts], Rows]) -> Callable[[Snapshot], Rows]:
    return lambda snapshot: read(snapshot.node) if snapshot.node else ()


HOST: tuple[Family, ...] = (
    Family(
        "wattshed_host_energy_joules_total",
        "counter",
        "Energy in joules as reported by one meter of the host other than the GPUs' own since the agent first started. "
        "Meters include each other, so never add over source, nor a domain to its part_of (wattshed_host_meter_info). "
        "Source nvml: module-N is the superchip of GPU N, CPU included, memory-N the memory of GPU N.",
        METER,
        _energy,
        per=HNJ_PER_JOULE,
    ),
    Family(
        "wattshed_host_power_watts",
        "gauge",
        "Power in watts of a meter of the host: its last reading, or the mean between the last two of a counter.",
        METER,
        lambda s: [((one.source, one.domain), one.power_w) for one in s.host_energy if one.power_w is not None],
    ),
    Family(
        "wattshed_host_energy_sigma_joules",
        "gauge",
        "One standard deviation in joules of wattshed_host_energy_joules_total: gain, and changes between readings.",
        METER,
        lambda s: [((one.source, one.domain), one.sigma_j) for one in _known(s) if one.sigma_j is not None],
    ),
    Family(
        "wattshed_host_gap_seconds_total",
        "counter",
        "Seconds in which a meter of the host gave no valid reading, or a counter may have wrapped twice: the energy "
        "is unknown and is not taken as 0.",
        METER,
        lambda s: [((one.source, one.domain), one.gap_us) for one in _known(s)],
        per=MICRO,
    ),
    Family(
        "wattshed_host_samples_rejected_total",
        "counter",
        "Readings of a meter of the host that were rejected, by reason.",
        (*METER, "reason"),
        lambda s: [
            ((one.source, one.domain, reason), count)
            for one in s.host_energy
            for reason, count in sorted(one.rejected.items())
        ],
    ),
    Family(
        "wattshed_host_meter_info",
        "info",
        "Always 1; what does not change about a meter of the host. part_of is the domain of the same source that "
        "includes this one; boundary is ac or dc (the node at the mains, or behind its supplies), cpu, memory, module, "
        "device (other); kind is counter or gauge; window is a gauge's averaging time in seconds, empty if unknown.",
        (*METER, "part_of", "boundary", "kind", "window"),
        lambda s: [
            ((one.source, one.domain, one.part_of, one.boundary, one.kind, _seconds(one.window_us)), 1)
            for one in s.host_energy
        ],
    ),
    Family(
        "wattshed_node_energy_joules_total",
        "counter",
        "Energy in joules of the whole node by part (gpu, cpu, memory, rest), over the time that the node's own meter "
        "covers. The parts add up, to that meter's energy and wattshed_node_energy_debt_joules. CPUs and memory "
        "without a meter are in the rest.",
        ("part",),
        _node(lambda n: [((part,), hnj) for part, hnj in n.parts_hnj.items()]),
        per=HNJ_PER_JOULE,
    ),
    Family(
        "wattshed_node_covered_seconds_total",
        "counter",
        "Seconds that the energy of the node covers: the rate of wattshed_node_energy_joules_total by the rate of this "
        "is the mean power.",
        (),
        _node(lambda n: [((), n.covered_us)]),
        per=MICRO,
    ),
    Family(
        "wattshed_node_energy_debt_joules",
        "gauge",
        "Energy in joules by which the parts of the node are above its meter at the moment, because meters are late by "
        "different times; later rest pays it.",
        (),
        _node(lambda n: [((), n.debt_hnj / HNJ_PER_JOULE)]),
    ),
    Family(
        "wattshed_node_energy_sigma_joules",
        "gauge",
        "One standard deviation in joules of wattshed_node_energy_joules_total; that of rest holds all others and that "
        "of the node's meter.",
        ("part",),
        _node(lambda n: [((part,), sigma) for part, sigma in n.sigma_j.items()]),
    ),
    Family(
        "wattshed_node_disagreement_ratio",
        "gauge",
        "How far what source says is above the node's meter, as a part of it: parts is GPUs, CPUs and memory together "
        "over the last 10 minutes (0: they are not above it); any other source is another meter of the whole node, by "
        "its mean power since the agent started.",
        ("source",),
        _node(lambda n: [((source,), ratio) for source, ratio in n.disagreement.items()]),
        marked=True,
    ),
    Family(
        "wattshed_job_node_energy_estimate_joules_total",
        "counter",
        "Estimate in joules, in no bill: what of the node beyond its GPUs may be the job's, by part (cpu, memory, "
        "rest). Only with node.share = estimate. CPU and memory by CPU time, fixed rest by GPU time held, other "
        "rest by board joules. Summed over job, plus wattshed_ended_jobs_node_energy_estimate_joules_total, it "
        "rises by what wattshed_node_energy_joules_total of the part rises.",
        ("job", "part"),
        _node(
            lambda n: [((job, part), parts[part]) for job, parts in n.estimate_hnj.items() for part in sorted(parts)]
        ),
        per=HNJ_PER_JOULE,
        since=job_since,
    ),
    Family(
        "wattshed_ended_jobs_node_energy_estimate_joules_total",
        "counter",
        "Estimate in joules of jobs that no longer have series of their own, by part; see "
        "wattshed_job_node_energy_estimate_joules_total. It jumps when they go, so do not use rate() on it.",
        ("part",),
        _node(lambda n: [((part,), hnj) for part, hnj in n.ended_estimate_hnj.items()]),
        per=HNJ_PER_JOULE,
    ),
)
