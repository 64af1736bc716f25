"""What is published of a host's meters and of its node."""

from __future__ import annotations

from dataclasses import replace
from math import hypot
from typing import TYPE_CHECKING

from wattshed.agent.accounts.node import others
from wattshed.exporters.snapshot import HostEnergy, NodeFacts
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.beside import BesideBooks
    from wattshed.agent.accounts.host_meters import MeterBook
    from wattshed.agent.accounts.node import NodeBook
    from wattshed.agent.window import Device
    from wattshed.exporters.snapshot import GpuFacts

DOUBTED = "parts-above-meter"


def host_energy(accounts: Accounts, host: str, devices: Sequence[Device], now_us: int) -> Iterator[HostEnergy]:
    """Yield what each meter said, those of the driver's counters first that are their module's and belong to no GPU."""
    counted = set()
    for device in devices:
        module = accounts.account(device).module
        if module is not None:
            domain = f"module-{device.index}"
            counted.add(f"nvml/{domain}")
            yield HostEnergy("nvml", domain, module.energy_hnj, boundary="module", kind="counter")
    beside = accounts.beside.get(host)
    for name, book in beside.meters.items() if beside else ():
        if name not in counted:
            yield _meter(book, now_us)


def _meter(book: MeterBook, now_us: int) -> HostEnergy:
    meter, power_mw = book.meter, book.power_at(now_us)
    return HostEnergy(
        meter.source,
        meter.domain,
        book.energy_hnj if book.was_read else None,
        part_of=meter.part_of,
        boundary=meter.boundary,
        kind=meter.kind,
        window_us=meter.window_us,
        power_w=None if power_mw is None else power_mw / 1e3,
        sigma_j=book.sigma_hnj / HNJ_PER_JOULE,
        gap_us=book.gap_at(now_us),
        rejected=dict(book.rejected),
        flags=book.flags,
    )


def node_facts(accounts: Accounts, host: str, gpus: Sequence[GpuFacts]) -> NodeFacts | None:
    """Return what is known of the whole node; None where no meter has it."""
    beside = accounts.beside.get(host)
    if beside is None or not beside.node.covered_us:
        return None
    gpus = [gpu for gpu in gpus if gpu.energy_source != "none"]
    energy_hnj = sum(gpu.energy_hnj for gpu in gpus)
    facts = _node(beside, _ratio(hypot(*(gpu.sigma_j for gpu in gpus)), energy_hnj))
    if not beside.shares.begun:
        return facts
    jobs, ended = dict(accounts.ledger.node_shares()), dict(accounts.ledger.ended_node_hnj)
    return replace(facts, estimate_hnj={**facts.estimate_hnj, **jobs}, ended_estimate_hnj=ended)


def node_of_a_recording(beside: BesideBooks, energy_hnj: int, sigma_j: float) -> NodeFacts | None:
    """Return the same at the end of a replay; the GPUs' energy has this sigma."""
    return _node(beside, _ratio(sigma_j, energy_hnj)) if beside.node.covered_us else None


def _ratio(sigma_j: float, energy_hnj: int) -> float:
    return sigma_j * HNJ_PER_JOULE / energy_hnj if energy_hnj else 0.0


def _node(beside: BesideBooks, gpu_sigma: float) -> NodeFacts:
    node = beside.node
    sigmas = node.sigmas_hnj(beside.meters, gpu_sigma * node.gpu_hnj)
    parts = {part: hnj for part, hnj in node.parts_hnj.items() if hnj or part in {"gpu", "rest"}}  # no meter, no part
    return NodeFacts(
        meter=node.meter,
        covered_us=node.covered_us,
        node_hnj=node.node_hnj,
        parts_hnj=parts,
        debt_hnj=node.debt_hnj,
        sigma_j={part: hnj / HNJ_PER_JOULE for part, hnj in sigmas.items() if part in parts},
        disagreement=_disagreement(beside, node),
        flags=(DOUBTED,) if node.is_doubted else (),
        estimate_hnj={key: dict(parts) for key, parts in beside.shares.nobodys_hnj.items()},
    )


def _disagreement(beside: BesideBooks, node: NodeBook) -> dict[str, float]:
    found = {} if node.disagreement is None else {"parts": node.disagreement}
    mine = beside.meters.get(node.meter)
    if mine is not None and mine.energy_hnj:
        for book in others(beside.meters, node.meter):
            ratio = book.energy_hnj * mine.covered_us / (mine.energy_hnj * book.covered_us)
            found[book.meter.source] = ratio - 1
    return found
