"""What meters of hosts beside the GPUs' own said, in the answer of a replay: in no total of it, since they overlap."""

from __future__ import annotations

from math import hypot
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.host_facts import host_energy, node_of_a_recording
from wattshed.agent.accounts.uncertainty import gpu_sigma_j
from wattshed.agent.printing.figures import printable
from wattshed.agent.printing.tables import Column
from wattshed.exporters.web.host_api import host_meter, node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.attribution import Accounts

METER_COLUMNS = (
    Column("host", leaves=1),
    Column("meter"),
    Column("energy of", least=8, leaves=3),
    Column("part of", leaves=4),
    Column("energy J", right=True),
    Column("± J", right=True, leaves=2),
    Column("gaps s", right=True, leaves=5),
    Column("flags", least=13, leaves=6, folds=True),
)
NODE_COLUMNS = (
    Column("host", leaves=1),
    Column("meter", leaves=2),
    Column("node J", right=True),
    Column("GPUs J", right=True),
    Column("CPUs J", right=True),
    Column("memory J", right=True),
    Column("rest J", right=True),
    Column("± rest J", right=True, leaves=3),
    Column("above the meter J", right=True, leaves=4),
    Column("covered s", right=True, leaves=5),
)
HOST_CSV_COLUMNS = ("boundary", "part_of")
"""Of meters of hosts and of nodes, beside those that all rows of a CSV have."""
OVERLAP = "Meters of a host include each other: their energies are not added up, and no job is billed for them."
BOUNDARIES = {
    "ac": "node, at the mains", "dc": "node, behind its supplies", "cpu": "CPUs", "memory": "memory",
    "module": "superchip", "device": "device",
}  # fmt: skip


def host_document(accounts: Accounts, rounded: Callable[[int, dict[str, int]], tuple[int, dict[str, int]]],
                  joules: Callable[[int], Any]) -> dict[str, Any]:  # fmt: skip
    """Make ``host_energy`` and ``nodes`` of the document; what there is none of is left out.

    Parameters
    ----------
    accounts : Accounts
        Closed.
    rounded : callable
        Rounds a whole and its parts (hnj) to microjoules, so that they still agree.
    joules : callable
        Writes microjoules as joules.
    """
    of_host: dict[str, list[GpuAccount]] = {}
    for key, account in accounts.gpus.items():
        of_host.setdefault(key.host, []).append(account)
    meters, nodes = [], []
    for host in sorted({*of_host, *accounts.beside}):
        gpus = of_host.get(host, [])
        beside = accounts.beside.get(host)
        end_us = max((book.last_us for book in beside.meters.values()), default=0) if beside else 0
        devices = sorted((gpu.device for gpu in gpus), key=lambda device: device.index)
        for one in host_energy(accounts, host, devices, end_us):
            found = {"host": host} | host_meter(one)
            if one.energy_hnj is not None:
                found["energy_j"] = joules(rounded(one.energy_hnj, {})[0])
            del found["power_w"]
            meters.append(found)
        sigma_j = hypot(*(gpu_sigma_j(gpu) for gpu in gpus))
        facts = node_of_a_recording(beside, sum(gpu.energy_hnj for gpu in gpus), sigma_j) if beside else None
        if facts is not None:
            whole_uj, parts = rounded(facts.node_hnj + facts.debt_hnj, dict(facts.parts_hnj))
            debt_uj = rounded(facts.debt_hnj, {})[0]
            energies = {"energy_j": joules(whole_uj - debt_uj), "debt_j": joules(debt_uj)}
            parts_j = {part: joules(uj) for part, uj in parts.items()}
            nobodys = {
                key: {part: joules(uj) for part, uj in sorted(rounded(sum(parts.values()), dict(parts))[1].items())}
                for key, parts in facts.estimate_hnj.items()
            }
            estimate = {"nobodys_estimate_j": nobodys} if nobodys else {}
            nodes.append({"host": host} | node(facts) | energies | {"parts_j": parts_j} | estimate)
    return ({"host_energy": meters} if meters else {}) | ({"nodes": nodes} if nodes else {})


def node_estimate_of(
    parts_hnj: dict[str, int],
    nodes: Sequence[Mapping[str, Any]],
    rounded: Callable[[int, dict[str, int]], tuple[int, dict[str, int]]],
    joules: Callable[[int], Any],
) -> dict[str, Any]:
    """Write what of the nodes beyond their GPUs may be a job's: an estimate, in no bill.

    Parameters
    ----------
    parts_hnj : dict of str -> int, hnj
    nodes : sequence of mapping
        Of `host_document`: their sigmas are taken in proportion.
    rounded, joules : callable
        As for that.
    """
    whole_uj, parts = rounded(sum(parts_hnj.values()), parts_hnj)
    sigma_j = 0.0
    for part, uj in parts.items():
        of_nodes_uj = sum(one["parts_j"][part].uj for one in nodes if part in one["parts_j"])
        if of_nodes_uj:
            sigma_j += sum(one["sigma_j"].get(part, 0.0) for one in nodes) * uj / of_nodes_uj
    parts_j = {part: joules(uj) for part, uj in sorted(parts.items())}
    return {"energy_j": joules(whole_uj), "parts_j": parts_j, "sigma_j": round(sigma_j, 6)}


def meter_rows(
    meters: list[dict[str, Any]], joules: Callable[[Any], str], doubt: Callable[[float], str]
) -> Iterator[dict[str, str]]:
    """Yield the meters of which any energy is known, as rows for people."""
    for one in meters:
        if one["energy_j"] is not None:
            yield {
                "host": printable(one["host"]),
                "meter": printable(f"{one['source']}/{one['domain']}"),
                "energy of": BOUNDARIES.get(one["boundary"], ""),
                "part of": printable(one["part_of"]),
                "energy J": joules(one["energy_j"]),
                "± J": "" if one["sigma_j"] is None else doubt(one["sigma_j"]),
                "gaps s": f"{one['gap_s']:,.1f}",
                "flags": " ".join(one["flags"]),
            }


def node_row(one: Mapping[str, Any], joules: Callable[[Any], str], doubt: Callable[[float], str]) -> dict[str, str]:
    """Write a node by parts as a row for people; empty where a part has no meter."""
    parts = {part: joules(energy) for part, energy in one["parts_j"].items()}
    return {
        "host": printable(one["host"]),
        "meter": printable(one["meter"]),
        "node J": joules(one["energy_j"]),
        "GPUs J": parts.get("gpu", ""),
        "CPUs J": parts.get("cpu", ""),
        "memory J": parts.get("memory", ""),
        "rest J": parts.get("rest", ""),
        "± rest J": doubt(one["sigma_j"].get("rest", 0.0)),
        "above the meter J": joules(one["debt_j"]) if one["debt_j"].uj else "",
        "covered s": f"{one['covered_s']:,.1f}",
    }


def host_rows(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield meters of hosts (``host_meter``), nodes (``node``), their parts (``node_part``) and debts, for a CSV.

    The parts of a node sum to the node and its debt; nothing else here may be added up.
    """
    for one in answer.get("host_energy", ()):
        yield {
            "kind": "host_meter",
            "name": f"{one['source']}/{one['domain']}",
            "host": one["host"],
            "energy_j": one["energy_j"],
            "sigma_j": one["sigma_j"],
            "method": one["kind"],
            "flags": " ".join(one["flags"]),
            "boundary": one["boundary"],
            "part_of": one["part_of"],
        }
    for one in answer.get("nodes", ()):
        about = {"host": one["host"], "boundary": "node"}
        flags = " ".join(one["flags"])
        mean_w = f"{one['energy_j'].uj / 1e6 / one['covered_s']:.3f}"
        node = {"name": one["meter"], "energy_j": one["energy_j"], "mean_w": mean_w, "flags": flags}
        yield about | {"kind": "node"} | node
        for part, energy in one["parts_j"].items():
            yield about | {
                "kind": "node_part", "name": part, "energy_j": energy, "sigma_j": one["sigma_j"].get(part),
                "part_of": one["meter"],
            }  # fmt: skip
        yield about | {"kind": "node_debt", "energy_j": one["debt_j"], "part_of": one["meter"]}
