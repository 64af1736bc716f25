"""A host's meters and its node as JSON: the same in the snapshot of an agent and in the answer of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.exporters.units import HNJ_PER_JOULE, MICRO

if TYPE_CHECKING:
    from wattshed.exporters.snapshot import HostEnergy, NodeFacts


def host_meter(one: HostEnergy) -> dict[str, Any]:
    """Write what one meter said; null where it is not known."""
    return {
        "source": one.source,
        "domain": one.domain,
        "part_of": one.part_of,
        "boundary": one.boundary,
        "kind": one.kind,
        "window_s": one.window_us / MICRO if one.window_us >= 0 else None,
        "energy_j": None if one.energy_hnj is None else one.energy_hnj / HNJ_PER_JOULE,
        "sigma_j": one.sigma_j if one.energy_hnj is not None else None,
        "power_w": one.power_w,
        "gap_s": one.gap_us / MICRO,
        "rejected": dict(one.rejected),
        "flags": list(one.flags),
    }


def node_estimate(facts: NodeFacts | None, job: str) -> dict[str, Any] | None:
    """Write what of the node beyond its GPUs may be a job's: an estimate, and in no bill; null without one."""
    parts = facts.estimate_hnj.get(job) if facts else None
    if facts is None or parts is None:
        return None
    return {
        "energy_j": sum(parts.values()) / HNJ_PER_JOULE,
        "parts_j": {part: hnj / HNJ_PER_JOULE for part, hnj in parts.items()},
        "sigma_j": facts.estimate_sigma_j(job),
    }


def node(facts: NodeFacts) -> dict[str, Any]:
    """Write the whole node by parts."""
    return {
        "meter": facts.meter,
        "covered_s": facts.covered_us / MICRO,
        "energy_j": facts.node_hnj / HNJ_PER_JOULE,
        "parts_j": {part: hnj / HNJ_PER_JOULE for part, hnj in facts.parts_hnj.items()},
        "debt_j": facts.debt_hnj / HNJ_PER_JOULE,
        "sigma_j": dict(facts.sigma_j),
        "disagreement": dict(facts.disagreement),
        "flags": list(facts.flags),
    }
