"""From the books to the published facts: one frozen snapshot after each window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.accounts.attribution import WAIT_US
from agent.accounts.uncertainty import FROZEN_US, disagrees, gpu_sigma_j, job_sigma_j
from agent.window import IDLE, UNATTRIBUTED
from exporters.snapshot import EnergyShare, GpuFacts, JobFacts, Snapshot
from kernels import booking, splitting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.accounts.attribution import Accounts, GpuAccount
    from agent.accounts.ledger import Job
    from agent.window import Window
    from exporters.snapshot import FleetFacts, Histogram

METHODS = {
    splitting.ALONE: "alone",
    splitting.BY_ACTIVITY: "utilisation",
    splitting.BY_SHARE: "share",
    splitting.EQUAL: "equal",
    splitting.NOBODY_ACTIVE: "nobody-active",
}


def method_name(bits: int) -> str:
    """Spell the ways in which a job's dynamic energy was split, best first: ``"alone+utilisation"``."""
    return "+".join(name for bit, name in METHODS.items() if bits & bit) or "held"


def gpu_flags(account: GpuAccount, longest_run_us: int) -> tuple[str, ...]:
    """Name what is doubtful about a GPU's energy.

    Parameters
    ----------
    account : GpuAccount
    longest_run_us : int, us
        How long its power stood at the very same value.
    """
    totals = account.totals
    checks = {
        "frozen_sensor": longest_run_us > FROZEN_US,
        "counter_reset": totals[booking.RESETS] > 0,
        "counter_stuck": totals[booking.STUCK] > 0,
        "counter_rejected": totals[booking.REJECTED_STEP] + totals[booking.REJECTED_DIP] > 0,
        "disagreement": disagrees(account),
    }
    return tuple(name for name, so in checks.items() if so)


class Publisher:
    """Makes the snapshots of one running agent.

    Parameters
    ----------
    host, version, meter, library : str
        Who measures, with what; see `exporters.snapshot.Snapshot`.
    started_us : int, us
    """

    def __init__(self, host: str, version: str, meter: str, library: str, started_us: int) -> None:
        self._facts = {"host": host, "version": version, "meter": meter, "library": library, "started_us": started_us}
        self._seq = 0

    def empty(self, time_us: int) -> Snapshot:
        """Return what can be said before the first window: who we are."""
        return Snapshot(**self._facts, seq=0, time_us=time_us)  # type: ignore[arg-type]

    def publish(
        self,
        accounts: Accounts,
        window: Window,
        *,
        calls: Mapping[str, Histogram],
        late_s: float,
        duty: float,
        faults: Mapping[str, int],
        notes: tuple[str, ...] = (),
        fleet: Callable[[int, Sequence[GpuFacts]], FleetFacts | None] | None = None,
    ) -> Snapshot:
        """Freeze the books as they are after ``window``."""
        self._seq += 1
        state = accounts.state_of(window.host)
        gpus, energy = [], []
        for i, device in enumerate(window.devices):
            account = accounts.account(device)
            gauges = {name: float(column[i]) for name, column in window.gauges.items() if not math.isnan(column[i])}
            gpus.append(_gpu_facts(account, gauges, state[i], window.end_us, accounts.ended_hnj(device)))
            energy.append(EnergyShare(IDLE, device.uuid, account.idle_hnj, 0))
            energy.append(EnergyShare(UNATTRIBUTED, device.uuid, 0, account.unattributed_hnj))
        shown = {device.uuid for device in window.devices}
        for job, gpu, static, dynamic in accounts.ledger.shares():
            if gpu.gpu not in shown:
                continue  # a board that is gone from this host: neither its total nor its parts are shown
            energy.append(EnergyShare(job, gpu.gpu, static, dynamic))
        return Snapshot(
            **self._facts,  # type: ignore[arg-type]
            seq=self._seq,
            time_us=window.end_us,
            gpus=tuple(gpus),
            energy=tuple(energy),
            jobs=tuple(
                _job_facts(job, accounts, window.end_us) for job in accounts.ledger.jobs.values() if not job.folded
            ),
            calls=calls,
            late_s=late_s,
            duty=duty,
            counters_since_us=accounts.since_us,
            folded_jobs=accounts.ledger.folded,
            faults=dict(faults),
            notes=notes,
            fleet=fleet(window.end_us, gpus) if fleet else None,
        )


def _gpu_facts(account: GpuAccount, gauges: dict[str, float], state: object, now_us: int, ended_hnj: int) -> GpuFacts:
    """Freeze one GPU's account; ``state`` is its row of the merge state."""
    device, totals = account.device, account.totals
    unread_us = now_us - account.lost_since_us if not account.up and account.lost_since_us >= 0 else 0
    has_counter = int(state[booking.COUNTER]) >= 0  # type: ignore[index]
    has_power = int(state[booking.POWER_T]) >= 0  # type: ignore[index]
    return GpuFacts(
        uuid=device.uuid,
        index=device.index,
        model=device.model,
        pci_bus_id=device.pci_bus_id,
        driver=device.driver,
        architecture=device.architecture,
        simulated=device.simulated,
        up=account.up,
        energy_source="counter" if has_counter else "power" if has_power else "none",
        energy_hnj=account.energy_hnj,
        sigma_j=gpu_sigma_j(account, int(state[booking.RUN_MAX])),  # type: ignore[index]
        power_w={
            reading: gauges.pop(f"power_{reading}_w")
            for reading in ("instant", "average")
            if f"power_{reading}_w" in gauges
        },
        limits_w={
            name.removeprefix("limit_").removesuffix("_w"): gauges.pop(name)
            for name in sorted(gauges)
            if name.startswith("limit_") and name.endswith("_w")
        },
        counter_resets=totals[booking.RESETS],
        rejected=account.rejected,
        gap_us=totals[booking.GAP] + unread_us,
        covered_us=account.booked_us,
        ended_hnj=ended_hnj,
        disagreement=account.disagreement,
        flags=gpu_flags(account, int(state[booking.RUN_MAX])),  # type: ignore[index]
        peak_w=dict(account.moving.peaks_w()),
        ramp_w_per_s=dict(account.moving.ramps_w_per_s()),
        gauges=gauges,
        last_xid=account.last_xid,
        mig=device.capabilities.get("mig") == "",
    )


def _job_facts(job: Job, accounts: Accounts, now_us: int) -> JobFacts:
    return JobFacts(
        job=job.key,
        labels=dict(job.labels),
        active_us=sum(line.active_us for line in job.lines.values()),
        held_us=sum(line.held_us for line in job.lines.values()),
        sigma_j=job_sigma_j(job, accounts.gpus),
        started_us=job.start_us,
        ended_us=job.end_us if job.end_us < now_us - WAIT_US // 60 else None,
        method=method_name(job.method),
    )
