"""Lay out one owner's time on one GPU: stretches that never overlap, each with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.jobs.reservations import WHOLE_PPM
from wattshed.agent.window import MISSING, Owner

if TYPE_CHECKING:
    from wattshed.agent.window import JobKey


@dataclass(slots=True)
class OwnerClaim:
    """Everything that shows an owner on a GPU within a window, in any order.

    Attributes
    ----------
    live : list of (int, int), us
        When a process of the owner was there; the stretches of several processes may overlap.
    held : list of (int, int, int, str), (us, us, ppm, part)
        What was reserved; the share is -1 if unknown. The same part reported twice counts once.
    work : dict of (int, int) -> int, (us, us) -> SM-us
        Activity, spread evenly over its stretch; one entry for all processes that share the stretch.
    features : two dict of (int, int) -> int, us
        The same of tensor cores and memory, where that is known of all who share the stretch.
    instances : dict of str -> int, ppm
        MIG instances that the owner's processes ran on.
    """

    live: list[tuple[int, int]] = field(default_factory=list)
    held: list[tuple[int, int, int, str]] = field(default_factory=list)
    work: dict[tuple[int, int], int] = field(default_factory=dict)
    features: tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]] = field(default_factory=lambda: ({}, {}))
    instances: dict[str, int] = field(default_factory=dict)

    def add_work(self, from_us: int, to_us: int, sm_us: int, tensor_us: int = MISSING, dram_us: int = MISSING) -> None:
        """Add activity; one stretch is summed before anything is divided, so that splitting a pid changes nothing."""
        fresh = (from_us, to_us) not in self.work
        self.work[from_us, to_us] = self.work.get((from_us, to_us), 0) + sm_us
        for table, used_us in zip(self.features, (tensor_us, dram_us), strict=True):
            if used_us >= 0 and (fresh or (from_us, to_us) in table):
                table[from_us, to_us] = table.get((from_us, to_us), 0) + used_us
            else:
                table.pop((from_us, to_us), None)

    def is_on(self, instance: str) -> bool:
        """Return whether a process of the owner was there; of the GPU instance, if one is named."""
        return bool(self.live) and (not instance or not self.instances or instance in self.instances)


class Claims:
    """All claims of a window, by GPU and owner.

    Attributes
    ----------
    found : dict of (int, JobKey) -> OwnerClaim
    owners : dict of JobKey -> Owner
        With all labels that any claim brought.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[int, JobKey], OwnerClaim] = {}
        self.owners: dict[JobKey, Owner] = {}

    def of(self, gpu: int, owner: Owner) -> OwnerClaim:
        """Return an owner's claim on a GPU, made at first use."""
        known = self.owners.setdefault(owner.key, owner)
        if known is not owner and not owner.labels.keys() <= known.labels.keys():
            self.owners[owner.key] = Owner(owner.key, {**owner.labels, **known.labels})
        return self.found.setdefault((gpu, owner.key), OwnerClaim())


class UsageRow(NamedTuple):
    """One stretch: the last columns of a row of ``agent.window.Usage``."""

    start_us: int
    end_us: int
    activity_us: int
    share_ppm: int
    live: bool
    tensor_us: int = MISSING
    dram_us: int = MISSING


def lay_out(claim: OwnerClaim, start_us: int, end_us: int) -> list[UsageRow]:
    """Cut a claim into rows within the window, ascending in time.

    Parameters
    ----------
    claim : OwnerClaim
    start_us, end_us : int, us

    Returns
    -------
    list of UsageRow
        Not overlapping; neighbours that differ in nothing are one row. Activity is -1 if none was reported, 0 where the
        owner only held the GPU, else the even spread of what was reported over the time that the owner was there.
    """
    live = _union(claim.live, start_us, end_us)
    held = {(max(a, start_us), min(b, end_us), share, part) for a, b, share, part in claim.held}
    cuts = sorted(
        {edge for a, b in live for edge in (a, b)} | {edge for a, b, _, _ in held if a < b for edge in (a, b)}
    )
    mig_ppm = min(WHOLE_PPM, sum(claim.instances.values())) or MISSING
    pieces: list[tuple[int, int, int, bool]] = []
    for a, b in pairwise(cuts):
        here = any(s <= a and b <= e for s, e in live)
        parts: dict[str, int] = {}
        for s, e, share, part in held:
            if s <= a and b <= e:
                parts[part] = max(parts.get(part, MISSING), share)
        if not parts and not here:
            continue
        share = min(WHOLE_PPM, sum(parts.values())) if parts and min(parts.values()) >= 0 else MISSING
        share = mig_ppm if share == MISSING and here else share
        if pieces and pieces[-1][1:] == (a, share, here):
            pieces[-1] = (pieces[-1][0], b, share, here)
        else:
            pieces.append((a, b, share, here))
    there = [(a, b) for a, b, _, here in pieces if here]
    activity = _spread(claim.work, there)
    features = [_spread(table, there) if table else {} for table in claim.features]
    return [
        UsageRow(
            a, b, activity.get((a, b), 0 if claim.work else MISSING) if here else 0, share, here,
            *(table.get((a, b), MISSING) for table in features),
        )
        for a, b, share, here in pieces
    ]  # fmt: skip


def _union(stretches: list[tuple[int, int]], start_us: int, end_us: int) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for a, b in sorted((max(a, start_us), min(b, end_us)) for a, b in stretches):
        if a >= b:
            continue
        if merged and a <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
        else:
            merged.append((a, b))
    return merged


def _spread(work: dict[tuple[int, int], int], rows: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Give each row its part of the work; what is rounded off is less than one SM-microsecond a stretch and row.

    Where reports cover only a part of a row, the rest is taken to have been alike: not reported is not idle.
    """
    parts: dict[tuple[int, int], int] = {}
    for (from_us, to_us), sm_us in work.items():
        for a, b in rows:
            if from_us < to_us:
                part = sm_us * max(0, min(b, to_us) - max(a, from_us)) // (to_us - from_us)
                parts[a, b] = parts.get((a, b), 0) + part
            elif a <= to_us <= b:
                parts[a, b] = parts.get((a, b), 0) + sm_us
                break
    for (a, b), part in parts.items():
        covered = sum(e - s for s, e in _union(list(work), a, b))
        if 0 < covered < b - a:
            parts[a, b] = part * (b - a) // covered
    return parts
