"""How Slurm writes generic resources: which GPUs of a node a job was given, and how much of each.

``gpu:h100:2(IDX:0-1)``: whole devices, counted in the order of gres.conf. ``shard:h100:6(0/8,6/8)``, ``mps:50(50/100)``
(since 23.11.2): for each device in turn, what the job was given and what the device has. ``shard:6(IDX:1)`` (before):
on which devices the shards are, not how many on each. ``gpu:2``, ``gpu(CNT:2)``, ``(IDX:N/A)``: no device is named.
The type's name is the administrator's; several of these stand side by side, with commas between and inside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.jobs.reservations import WHOLE_PPM
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ITEM = re.compile(
    r"(?:gres[:/])?(?P<name>gpu|shard|mps)(?::(?:\(null\)|(?P<type>[^:()]+)))?:(?P<count>[0-9]{1,18})(?P<unit>[KMGTP]?)(?:\((?P<where>[^()]*)\))?"
)
_COMMA = re.compile(r",(?![^(]*\))")
# 1g.10gb, nvidia_a100_3g.20gb, 1c.2g.20gb, 1g.10gb+me: profiles of instances, as AutoDetect or an administrator writes.
_MIG = re.compile(r"(?:.*[^0-9a-z])?[1-9][0-9]?g[._-]?[1-9][0-9]*gb(?:[^0-9a-z].*)?", re.IGNORECASE)
_PART = re.compile(r"(?P<used>[0-9]{1,18})/(?P<all>[0-9]{1,18})")
_LONGEST_RANGE = 4096


def per_gpu(text: str) -> dict[str, int]:
    """Read ``scontrol -o show node``: how many shards and MPS shares one GPU of the node has.

    Returns
    -------
    dict of str -> int
        By name (``shard``), and by name and type (``shard:h100``) where types are known. What does not come out even is
        left out: then not every GPU has as many. ``mig``: how many MIG instances the node has, if any.
    """
    line = re.search(r"(?:^|\s)Gres=(\S+)", text)
    items = _items(line[1] if line else "")
    totals: dict[str, int] = {}
    for item in items:
        for name in {item["name"], _typed(item)}:
            totals[name] = totals.get(name, 0) + _count(item)
    parts = {}
    for name, total in totals.items():
        kind, colon, model = name.partition(":")
        gpus = totals.get(f"gpu{colon}{model}", 0)
        if kind != "gpu" and gpus and total % gpus == 0:
            parts[name] = total // gpus
    instances = sum(_count(item) for item in items if _MIG.fullmatch(item["type"] or ""))
    return parts | ({"mig": instances} if instances else {})


def devices(text: str) -> int:
    """Read ``scontrol -o show node``: how many GPUs Slurm counts there, MIG instances as such; -1 unknown."""
    line = re.search(r"(?:^|\s)Gres=(\S+)", text)
    counts = [_count(item) for item in _items(line[1] if line else "") if item["name"] == "gpu"]
    return sum(counts) if counts else MISSING


def shares(detail: str, parts: Mapping[str, int]) -> dict[int, int]:
    """Return which GPUs a job was given on one node.

    Parameters
    ----------
    detail : str
        The node's entry of ``gres_detail``.
    parts : mapping of str to int
        From :func:`per_gpu`.

    Returns
    -------
    dict of int -> int, index -> ppm
        -1 where the share is not known. Empty where the node or the job has MIG instances: an index counts these too,
        in the order of gres.conf, and which GPU they are on Slurm does not say.
    """
    items = _items(detail)
    if parts.get("mig") or any(_MIG.fullmatch(item["type"] or "") for item in items):
        return {}
    found: dict[int, int] = {}
    for item in items:
        where = item["where"] or ""
        if where.startswith("IDX:"):
            given = _by_index(item, ranges(where.removeprefix("IDX:")), parts)
        elif item["name"] != "gpu":
            given = _by_device(where)
        else:
            continue
        for index, share in given.items():
            # Shards of two types, or a whole GPU and a share of it: what is certain of either.
            known = max(found.get(index, 0), 0) + share
            found[index] = min(WHOLE_PPM, known) if share >= 0 else found.get(index, MISSING)
    return found


def ranges(text: str) -> list[int]:
    """Read ``0-2,5``."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if _digits(first) and (not dash or _digits(last)):
            found.extend(range(int(first), min(int(last) if dash else int(first), int(first) + _LONGEST_RANGE) + 1))
    return found


def _by_index(item: re.Match[str], indices: list[int], parts: Mapping[str, int]) -> dict[int, int]:
    if item["name"] == "gpu":
        return dict.fromkeys(indices, WHOLE_PPM)
    per = parts.get(_typed(item)) or parts.get(item["name"], 0)
    if not indices or not per or _count(item) > per * len(indices):
        # More than the devices would have: they do not have equally many.
        return dict.fromkeys(indices, MISSING)
    # Several GPUs at once share the count evenly: this spelling does not say how it was laid out.
    return dict.fromkeys(indices, _count(item) * WHOLE_PPM // (per * len(indices)))


def _by_device(where: str) -> dict[int, int]:
    found = {}
    for index, part in enumerate(where.split(",")):
        told = _PART.fullmatch(part.strip())
        if told and 0 < int(told["used"]) <= int(told["all"]):
            found[index] = int(told["used"]) * WHOLE_PPM // int(told["all"])
        elif told and int(told["used"]):
            found[index] = MISSING
    return found


def _items(text: str) -> list[re.Match[str]]:
    found = (_ITEM.fullmatch(part.strip()) for part in _COMMA.split(text))
    return [item for item in found if item]


def _typed(item: re.Match[str]) -> str:
    return f"{item['name']}:{item['type']}" if item["type"] else item["name"]


def _count(item: re.Match[str]) -> int:
    return int(item["count"]) << 10 * " KMGTP".index(item["unit"] or " ")


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
