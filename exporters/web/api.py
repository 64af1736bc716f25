"""The same data as JSON, ``/api/v1/snapshot``; its schema is ``snapshot.schema.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wattshed.exporters.formats.readings import throttled_s
from wattshed.exporters.numbers import plain
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.host_api import host_meter, node, node_estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.exporters.snapshot import (
        EnergyPrices,
        FleetFacts,
        GpuFacts,
        InstanceFacts,
        JobFacts,
        ProcessFacts,
        Snapshot,
    )

SCHEMA = "wattshed.snapshot/1"


def document(
    snapshot: Snapshot,
    history: Mapping[str, Any],
    power_w: Mapping[str, float] | None = None,
    prices: EnergyPrices | None = None,
) -> bytes:
    """Write a snapshot and the last hour as JSON; energies in joules, times in Unix seconds, unknown is null.

    Parameters
    ----------
    snapshot : Snapshot
    history : mapping
        As `exporters.web.history.History.columns` gives it.
    power_w : mapping of str to float, W
        Mean power of each owner in the last step of the history; who is not there has none that is known.
    prices : EnergyPrices, optional
        What energy costs, where that is configured.
    """
    watts = power_w or {}
    energy: dict[str, dict[str, Any]] = {}
    for share in snapshot.energy:
        per_gpu = energy.setdefault(share.job, {})
        static, dynamic = share.static_hnj, share.dynamic_hnj
        per_gpu[share.gpu_uuid] = {"static_j": static / HNJ_PER_JOULE, "dynamic_j": dynamic / HNJ_PER_JOULE}
    facts = {job.job: job for job in snapshot.jobs}
    owners = dict.fromkeys([*facts, *energy])
    tenants, learned = _tenants(snapshot.tenancy.processes), snapshot.split.of_jobs()
    return json.dumps(
        plain(
            {
                "schema": SCHEMA,
                "host": snapshot.host,
                "version": snapshot.version,
                "meter": snapshot.meter,
                "library": snapshot.library,
                "simulated": snapshot.simulated,
                "ready": snapshot.up,
                "unmetered": snapshot.unmetered,
                "seq": snapshot.seq,
                "time_s": snapshot.time_us / 1e6,
                "started_s": snapshot.started_us / 1e6,
                "counters_since_s": _seconds(snapshot.counters_since_us),
                "gpus": [_gpu(gpu, snapshot.tenancy.instances) for gpu in snapshot.gpus],
                "jobs": [
                    _job(key, facts.get(key), energy.get(key, {}), watts.get(key), tenants.get(key, []))
                    | learned.get(key, {"watts": None, "watts_sigma": None})
                    | {"node_energy_estimate": node_estimate(snapshot.node, key)}
                    for key in owners
                ],
                "host_energy": [host_meter(one) for one in snapshot.host_energy],
                "node": node(snapshot.node) if snapshot.node else None,
                "folded_jobs": snapshot.folded_jobs,
                "sampler": {"late_s": snapshot.late_s, "duty": snapshot.duty},
                "faults": dict(snapshot.faults),
                "notes": list(snapshot.notes),
                "fleet": _fleet(snapshot.fleet) if snapshot.fleet else None,
                "prices": _prices(prices) if prices else None,
                "history": dict(history),
            }
        ),
        separators=(",", ":"),
        allow_nan=False,
    ).encode()


def _seconds(time_us: int | None) -> float | None:
    return None if time_us is None else time_us / 1e6


def _tenants(processes: Sequence[ProcessFacts]) -> dict[str, list[dict[str, Any]]]:
    """Write the processes of each job, in ascending order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(processes, key=lambda one: (one.pid, one.gpu_uuid, one.instance)):
        found.setdefault(one.job, []).append(
            {
                "pid": one.pid,
                "gpu_uuid": one.gpu_uuid,
                "instance": one.instance,
                "memory_mib": None if one.memory_bytes is None else one.memory_bytes / 2**20,
                "started_s": _seconds(one.started_us),
            }
        )
    return found


def _gpu(gpu: GpuFacts, instances: Sequence[InstanceFacts]) -> dict[str, Any]:
    known = gpu.energy_source != "none"
    return {
        "uuid": gpu.uuid,
        "gpu": gpu.index,
        "model": gpu.model,
        "pci_bus_id": gpu.pci_bus_id,
        "driver": gpu.driver,
        "architecture": gpu.architecture,
        "simulated": gpu.simulated,
        "up": gpu.up,
        "mig": gpu.mig,
        "instances": [
            {"uuid": one.uuid, "instance": one.instance, "share": one.share}
            for one in instances
            if one.gpu_uuid == gpu.uuid
        ],
        "energy_source": gpu.energy_source,
        "boundary": gpu.boundary,
        "energy_j": gpu.energy_hnj / HNJ_PER_JOULE if known else None,
        "ended_jobs_j": gpu.ended_hnj / HNJ_PER_JOULE if known else None,
        "sigma_j": gpu.sigma_j if known else None,
        "power_w": dict(gpu.power_w),
        "limits_w": dict(gpu.limits_w),
        "peak_w": dict(gpu.peak_w),
        "ramp_w_per_s": [
            {"window": window, "direction": direction, "value": rate}
            for (window, direction), rate in gpu.ramp_w_per_s.items()
        ],
        "gauges": dict(gpu.gauges),
        "covered_s": gpu.covered_us / 1e6,
        "gap_s": gpu.gap_us / 1e6,
        "counter_resets": gpu.counter_resets,
        "rejected": dict(gpu.rejected),
        "disagreement": gpu.disagreement,
        "flags": list(gpu.flags),
        "last_xid": gpu.last_xid,
        "health": _health(gpu),
    }


def _health(gpu: GpuFacts) -> dict[str, Any]:
    return {
        "status": gpu.status,
        "why": gpu.why,
        "recovery_action": gpu.recovery_action,
        "xids": {str(number): count for number, count in gpu.xids.items()},
        "throttled_s": throttled_s(gpu),
    }


def _job(
    key: str,
    job: JobFacts | None,
    energy: Mapping[str, Mapping[str, float]],
    power_w: float | None,
    processes: list[dict[str, Any]],
) -> dict[str, Any]:
    # Without a share of any GPU nothing is known of its energy: none of its GPUs reports its own.
    static = sum(part["static_j"] for part in energy.values()) if energy else None
    dynamic = sum(part["dynamic_j"] for part in energy.values()) if energy else None
    return {
        "job": key,
        "labels": dict(job.labels) if job else {},
        "method": job.method if job else "",
        "energy_j": None if static is None or dynamic is None else static + dynamic,
        "static_j": static,
        "dynamic_j": dynamic,
        "sigma_j": job.sigma_j if job else None,
        "active_s": job.active_us / 1e6 if job else None,
        "held_s": job.held_us / 1e6 if job else None,
        "started_s": job.started_us / 1e6 if job else None,
        "ended_s": _seconds(job.ended_us) if job else None,
        "power_w": power_w,
        "work": [one.plain() for one in job.work] if job and job.work else None,
        "waiting_j": job.waiting_hnj / HNJ_PER_JOULE if job and job.waiting_hnj is not None else None,
        "gpus": energy,
        "processes": processes,
    }


def _fleet(fleet: FleetFacts) -> dict[str, Any]:
    boundaries: dict[str, dict[str, Any]] = {}
    for (boundary, bound), watts in fleet.power_w.items():
        boundaries.setdefault(boundary, {})[f"{bound}_w"] = watts
    for boundary, joules in fleet.energy_j.items():
        boundaries.setdefault(boundary, {})["energy_j"] = joules
    for boundary, watts in fleet.supply_w.items():
        boundaries.setdefault(boundary, {})["supply_w"] = watts
    for (boundary, window), watts in fleet.peak_w.items():
        boundaries.setdefault(boundary, {}).setdefault("peak_w", {})[window] = watts
    return {
        "boundaries": boundaries,
        "hosts_known": fleet.hosts_known,
        "hosts_reporting": fleet.hosts_reporting,
        "hosts_by_state": dict(fleet.states),
        "node_models": [
            {"stratum": stratum, "source": model.source, "fixed_w": model.fixed_w, "slope": model.slope}
            for stratum, model in fleet.node_models.items()
        ],
        "warnings": list(fleet.warnings),
    }


def _prices(prices: EnergyPrices) -> dict[str, Any]:
    return {
        "currency": prices.currency,
        "per_kwh": prices.per_kwh,
        "carbon_g_per_kwh": prices.carbon_g_per_kwh,
    }
