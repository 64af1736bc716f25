"""From the accounts to the published facts: one frozen snapshot after each window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wattshed.agent.accounts.health import action_of, health_of, power_flags
from wattshed.agent.accounts.host_facts import host_energy, node_facts
from wattshed.agent.accounts.publishing_split import split_facts
from wattshed.agent.accounts.uncertainty import gpu_flags, gpu_sigma_j, job_sigma_j
from wattshed.agent.window import HISTORY_LABELS, IDLE, UNATTRIBUTED
from wattshed.agent.wire.parts import method_name
from wattshed.exporters.snapshot import (
    EnergyShare,
    GpuFacts,
    JobFacts,
    Snapshot,
    Tenancy,
    WorkStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.window import Window
    from wattshed.exporters.snapshot import FleetFacts, Histogram, HistoryFacts, KernelFacts, NodeFacts
    from wattshed.kernels.billing.layout import GpuState

FRESH_US = 10_000_000  # a GPU whose energy is known up to this long ago is being metered
ENDED_US = 2_000_000  # a job that was not seen for so long has ended: windows of a second may be late by one

NOBODY_SEEN = Tenancy()
NO_WORK = WorkStatus()


class Publisher:
    """Makes the snapshots of one running agent.

    Parameters
    ----------
    host, version, meter, library : str
        Who measures, with what; see `exporters.snapshot.Snapshot`.
    started_us : int, us
    fresh_us : int, us
        A GPU whose energy is known up to this long ago is being metered: ten seconds, or more where it is read less
        often than that.
    """

    def __init__(
        self, host: str, version: str, meter: str, library: str, started_us: int, *, fresh_us: int = FRESH_US
    ) -> None:
        self._facts = {"host": host, "version": version, "meter": meter, "library": library, "started_us": started_us}
        self._fresh_us = fresh_us
        self._began_us: int | None = None  # right after a restart the last reading is an old one
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
        fleet: Callable[[int, Sequence[GpuFacts], NodeFacts | None], FleetFacts | None] | None = None,
        history: HistoryFacts | None = None,
        kernels: KernelFacts | None = None,
        tenancy: Tenancy = NOBODY_SEEN,
        work: WorkStatus = NO_WORK,
    ) -> Snapshot:
        """Freeze the accounts as they are after ``window``."""
        self._seq += 1
        state, gpus, energy, unknown, metered = accounts.state_of(window.host), [], [], set(), False
        began_us = self._began_us = window.start_us if self._began_us is None else self._began_us
        for i, (device, gauges) in enumerate(zip(window.devices, _known_gauges(window), strict=True)):
            account = accounts.account(device)
            known_us = max(_known_until_us(state[i]), began_us)
            gpus.append(_gpu_facts(account, gauges, state[i], accounts.ended_hnj(device), window.end_us - known_us))
            if gpus[-1].energy_source == "none":
                unknown.add(device.uuid)  # a missing reading is not 0: it has no energy, and neither has anybody on it
                continue
            fresh_us = max(self._fresh_us, device.max_gap_us)
            metered |= account.up and window.end_us - known_us <= fresh_us
            energy.append(EnergyShare(IDLE, device.uuid, account.idle_hnj, 0))
            energy.append(EnergyShare(UNATTRIBUTED, device.uuid, 0, account.unattributed_hnj))
        shown = {device.uuid for device in window.devices} - unknown
        for job, gpu, static, dynamic in accounts.ledger.shares():
            if gpu.gpu not in shown:
                continue  # a board that is gone from this host: neither its total nor its parts are shown
            energy.append(EnergyShare(job, gpu.gpu, static, dynamic))
        node = node_facts(accounts, window.host, gpus)
        return Snapshot(
            **self._facts,  # type: ignore[arg-type]
            seq=self._seq,
            time_us=window.end_us,
            gpus=tuple(gpus),
            energy=tuple(energy),
            jobs=tuple(_jobs(accounts, window.end_us, unknown)),
            calls=calls,
            late_s=late_s,
            duty=duty,
            counters_since_us=accounts.since_us,
            folded_jobs=accounts.ledger.folded,
            faults=dict(faults),
            notes=notes,
            host_energy=tuple(host_energy(accounts, window.host, window.devices, window.end_us)),
            node=node,
            fleet=fleet(window.end_us, gpus, node) if fleet and metered else None,
            unmetered="" if metered else why_unmetered(gpus),
            history=history,
            kernels=kernels,
            tenancy=tenancy,
            work=work,
            split=split_facts(accounts, window),
        )


def why_unmetered(gpus: Sequence[GpuFacts]) -> str:
    """Say in one line why none of these GPUs is being metered, and what to do."""
    if any(gpu.released for gpu in gpus) and not any(gpu.up for gpu in gpus):
        return "the driver was let go of; `wattshed resume` takes it back"
    if not any(gpu.up for gpu in gpus):
        return "no GPU answers; see the log and `nvidia-smi`"
    if all(gpu.energy_source == "none" for gpu in gpus):
        return "no GPU reports energy or power; `wattshed check` says why and what to do"
    return "no GPU gives a usable reading at the moment; see the log and `nvidia-smi`"


def _known_gauges(window: Window) -> list[dict[str, float]]:
    """Return what each GPU shows besides its energy; what is not known of it is left out."""
    found: list[dict[str, float]] = [{} for _ in window.devices]
    for name, column in window.gauges.items():
        for gauges, value in zip(found, column.tolist(), strict=True):
            if not math.isnan(value):
                gauges[name] = value
    return found


def _known_until_us(state: GpuState) -> int:
    """Until when a GPU's energy is known (us): its power read, its counter booked, or a first time read."""
    return max(state.power_us, state.booked_us, state.base_us)


def _energy_source(account: GpuAccount, state: GpuState) -> str:
    """Return what its energy comes from; a source that is lost for the moment still counts."""
    if state.counter_mj >= 0:
        return "counter"
    if state.power_us >= 0:
        return "power"
    return account.method if account.was_read else "none"


def _gpu_facts(
    account: GpuAccount, gauges: dict[str, float], state: GpuState, ended_hnj: int, silent_us: int
) -> GpuFacts:
    """Freeze one GPU's account, with where reconciling its meters stands."""
    device, totals, source = account.device, account.totals, _energy_source(account, state)
    status, why = health_of(account, gauges, silent_us, known=source != "none")
    return GpuFacts(
        uuid=device.uuid,
        index=device.index,
        model=device.model,
        pci_bus_id=device.pci_bus_id,
        driver=device.driver,
        architecture=device.architecture,
        simulated=device.simulated,
        up=account.up,
        released=account.released,
        status=status,
        why=why,
        recovery_action=action_of(gauges),
        energy_source=source,
        energy_hnj=account.energy_hnj,
        sigma_j=gpu_sigma_j(account, state.longest_run_us),
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
        counter_resets=totals.resets,
        rejected=account.rejected,
        gap_us=totals.gap_us + account.silent_us,
        covered_us=account.booked_us,
        ended_hnj=ended_hnj,
        disagreement=account.disagreement,
        flags=(*gpu_flags(account, state.longest_run_us), *power_flags(gauges)),
        peak_w=dict(account.moving.peaks_w()),
        ramp_w_per_s=dict(account.moving.ramps_w_per_s()),
        gauges=gauges,
        last_xid=account.last_xid,
        xids=dict(account.xids),
        mig=device.capabilities.get("mig") == "",
        boundary=account.boundary,
    )


def _jobs(accounts: Accounts, now_us: int, unknown: set[str]) -> Iterator[JobFacts]:
    """Yield the jobs that have series of their own."""
    for job in accounts.ledger.jobs.values():
        if not job.folded:
            yield _job_facts(job, accounts, now_us, unknown)


def _job_facts(job: JobAccount, accounts: Accounts, now_us: int, unknown: set[str]) -> JobFacts:
    told = not unknown or any(key.gpu not in unknown for key in job.lines)
    sigma_j = job_sigma_j(job, accounts.gpus) if told else 0.0
    return JobFacts(
        job=job.key,
        labels={name: text for name, text in job.labels.items() if name not in HISTORY_LABELS},
        active_us=sum(line.active_us for line in job.lines.values()),
        held_us=sum(line.held_us for line in job.lines.values()),
        sigma_j=sigma_j if told else None,
        started_us=job.start_us,
        ended_us=job.end_us if job.end_us < now_us - ENDED_US else None,
        method=method_name(job.method),
        work=tuple(job.work.facts(job.energy_hnj, sigma_j)) if told and job.work is not None else (),
        waiting_hnj=job.work.waiting_hnj if told and job.work is not None else None,
    )
