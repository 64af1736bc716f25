"""What GPUs a job had, as Slurm's accounting counts them: trackable resources, or the older generic ones.

https://slurm.schedmd.com/tres.html , https://slurm.schedmd.com/gres.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PPM = 1_000_000
_GRES = re.compile(r"\b(gpu|shard|mps)((?::[^:,()]+)?):(\d+)")
# 1g.10gb, nvidia_a100_3g.20gb, a100-1g_5gb, 1g10gb+me, and 1c.2g.20gb: one compute slice of an instance that has two.
_MIG = re.compile(r"(?:(?<![0-9a-z])(?P<compute>[1-7])c[._-]?)?(?<![0-9])(?P<slices>[1-7])g[._-]?(?P<memory>[0-9]+)gb")
# Of the A30 and RTX PRO 6000, which are cut into four, not seven; 1g.24gb is both the latter's and H100's.
_FOUR_SLICES = {(1, 6), (2, 12), (4, 24), (2, 48), (4, 96)}
_FOUR = re.compile(r"(?<![0-9a-z])(?:a30|rtx[._-]?pro)(?![0-9])")
_MOST_GPUS = 1 << 24
_MOST_PARTS = 1 << 12


@dataclass(frozen=True, slots=True)
class AllocatedGpus:
    """GPUs that a job had on one node.

    Attributes
    ----------
    count : int
        Whole ones.
    parts : tuple of int, millionths of a GPU
        Beside these: instances of MIG and shares of MPS, each of one GPU.
    shards : int
        Shards, all of one GPU; what part of it one is, the accounting does not say.
    dealt : int
        Whole ones on all nodes of the job, of which these are taken as an even part; 0 where they are known.
    """

    count: int = 0
    parts: tuple[int, ...] = ()
    shards: int = 0
    dealt: int = 0

    def __bool__(self) -> bool:
        return bool(self.count or self.parts or self.shards)


def demand_of(row: Mapping[str, str], nodes: int) -> AllocatedGpus:
    """Read a job's GPUs on all of its nodes: TRES count all, the older GRES count one node's.

    ``gres/gpu=2`` counts again what ``gres/gpu:TYPE=2`` names; instances of MIG are recognised by their type.
    """
    named: dict[str, int] = {}
    text = row.get("AllocTRES", "") or row.get("ReqTRES", "")
    for entry in text.split(","):
        name, sign, value = entry.strip().partition("=")
        if not sign:
            name, _, value = name.rpartition(":")
        if name.startswith("gres/") and value.isdecimal():
            named[name[5:].lower()] = min(int(value), _MOST_GPUS)
    if not text:
        for name, kind, value in _GRES.findall(row.get("AllocGRES", "") or row.get("ReqGRES", "")):
            named[(name + kind).lower()] = min(int(value), _MOST_GPUS) * nodes
    typed = {name: count for name, count in named.items() if name.startswith("gpu:")}
    parts: list[int] = []
    for name, count in typed.items():
        profile = _MIG.search(name)
        if profile is not None:
            four = (int(profile["slices"]), int(profile["memory"])) in _FOUR_SLICES or _FOUR.search(name)
            mine = int(profile["compute"] or profile["slices"])
            parts += [min(mine * _PPM // (4 if four else 7), _PPM)] * min(count, _MOST_PARTS)
    whole = max(_counted(named, "gpu") - len(parts), 0)
    mps = min(_counted(named, "mps"), 100 * _MOST_PARTS)
    parts += [_PPM] * (mps // 100) + [mps % 100 * _PPM // 100] * (mps % 100 > 0)
    return AllocatedGpus(whole, tuple(parts), _counted(named, "shard"))


def _counted(named: Mapping[str, int], kind: str) -> int:
    """Count one kind of GRES: the plain entry counts again what those with a type name."""
    typed = sum(count for name, count in named.items() if name.startswith(f"{kind}:"))
    return max(named.get(kind, 0), typed)


def spread(total: AllocatedGpus, nodes: int) -> AllocatedGpus:
    """Take one node's part of what a job had on several, of which the accounting has the sum alone.

    Slurm deals evenly unless it is told or forced otherwise; what does not divide counts as a part on every node.
    """
    if nodes <= 1:
        return total
    parts = sorted(total.parts, reverse=True)
    each = len(parts) // nodes
    mine = parts[: each * nodes : nodes]
    mine += [part // nodes for part in parts[each * nodes :]]
    if total.count % nodes:
        mine.append(total.count % nodes * _PPM // nodes)
    dealt = 0 if total.parts or total.shards else total.count
    return AllocatedGpus(total.count // nodes, tuple(mine), -(-total.shards // nodes), dealt)
