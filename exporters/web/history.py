"""Power of the last hour, day and week for the page, per GPU and per job, from snapshots: see `PowerStep`.

Each step is made of two snapshots, and longer ones of shorter ones, so that nothing between two points is missed and a
job that ends within a long step is in it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.exporters.web.power_steps import PowerStep, columns, energy_by_owner, small

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.exporters.snapshot import Snapshot

PATIENCE = 3
"""Steps that a step may last until all GPUs have something to tell: sampling may be slower than the steps."""

MOST_NAMES = 1_000
"""Names of jobs that are kept before those are forgotten that are not in the last hour."""

LONGER = ((86_400.0, 240.0), (604_800.0, 1800.0))
"""Time that is kept in longer steps, and their length, s."""


class _Books(NamedTuple):
    """What a snapshot says: per GPU its energy (hnj) and the time that this covers (us), and the shares of it."""

    time_us: int
    gpus: dict[str, tuple[int, int]]
    shares: dict[tuple[str, str], int]  # (job, GPU) -> hnj
    up: frozenset[str]

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Books:
        shares: dict[tuple[str, str], int] = {}
        for share in snapshot.energy:
            key = share.job, share.gpu_uuid
            shares[key] = shares.get(key, 0) + share.static_hnj + share.dynamic_hnj
        return cls(
            snapshot.time_us,
            {g.uuid: (g.energy_hnj, g.covered_us) for g in snapshot.gpus},
            shares,
            frozenset(g.uuid for g in snapshot.gpus if g.up and g.energy_source != "none"),
        )


class _Kept:
    """The newest steps of one length, the last of which may still grow."""

    def __init__(self, span_s: float, step_s: float) -> None:
        self.span_us, self._step_us = round(span_s * 1e6), round(step_s * 1e6)
        self._steps: deque[PowerStep] = deque(maxlen=int(span_s / step_s))
        self._open: PowerStep | None = None

    def add(self, step: PowerStep) -> None:
        joined = step if self._open is None else self._open.joined(step).folded()
        self._open = joined
        if joined.to_us - joined.from_us >= self._step_us * 0.9:
            self._steps.append(joined)
            self._open = None
        while self._steps and step.to_us - self._steps[0].to_us >= self.span_us:
            self._steps.popleft()

    def steps(self) -> list[PowerStep]:
        return [*self._steps, *([self._open] if self._open is not None else [])]


class History:
    """Keeps the last ``span_s`` in steps of ``step_s``, or a little longer where readings are rare, and `LONGER`.

    Parameters
    ----------
    span_s, step_s : float, s
    """

    def __init__(self, span_s: float = 3600.0, step_s: float = 10.0) -> None:
        self.step_s = step_s
        self._kept = [_Kept(*lengths) for lengths in ((span_s, step_s), *LONGER)]
        self._last: _Books | None = None
        self._names: dict[str, str] = {}  # of jobs that may have been in the last hour
        self.last_w: Mapping[str, float] = {}  # mean power of every owner in the last step

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot; one that is less than a step younger than the last is skipped."""
        if snapshot.seq == 0:
            return
        if self._last is None:
            self._last = _Books.of(snapshot)
            return
        elapsed_s = (snapshot.time_us - self._last.time_us) / 1e6
        if elapsed_s < self.step_s * 0.9:
            return
        now, then = _Books.of(snapshot), self._last
        covered_us = _covered_us(now.gpus, then.gpus)
        if not now.up & then.gpus.keys() <= covered_us.keys() and elapsed_s < self.step_s * PATIENCE:
            return
        self._last = now
        self._names.update((job.job, name) for job in snapshot.jobs if (name := job.labels.get("name")))
        step = PowerStep(
            then.time_us,
            now.time_us,
            {uuid: (_rise(now.gpus[uuid][0], then.gpus[uuid][0]), us) for uuid, us in covered_us.items()},
            {key: _rise(hnj, then.shares.get(key, 0)) for key, hnj in now.shares.items() if key[1] in covered_us},
        )
        self.last_w = step.owner_w()
        for kept in self._kept:
            kept.add(step.folded())
        if len(self._names) > MOST_NAMES:
            there = energy_by_owner(self._kept[0].steps())
            self._names = {owner: name for owner, name in self._names.items() if owner in there}

    def steps(self, span_s: float) -> Sequence[PowerStep]:
        """Return the shortest steps that are kept for so long, the longest if none are; in order.

        Parameters
        ----------
        span_s : float, s
        """
        for kept in self._kept:
            if kept.span_us >= span_s * 1e6:
                return kept.steps()
        return self._kept[-1].steps()

    def columns(self) -> dict[str, Any]:
        """Give the hour as columns: ``time_s``, and watts by GPU and by job; None where nothing is known.

        ``names`` are those of the jobs, ended ones too, that have any.
        """
        steps = self._kept[0].steps()
        names = small(energy_by_owner(steps))
        told = columns([step.renamed(names) for step in steps])
        called = {owner: self._names[owner] for owner in told["jobs"] if owner in self._names}
        return {"step_s": self.step_s, "time_s": [step.to_us / 1e6 for step in steps], **told, "names": called}

    def no_columns(self) -> dict[str, Any]:
        """Give the same without a step."""
        return {"step_s": self.step_s, "time_s": [], **columns([]), "names": {}}


def covered_s(now: Mapping[str, tuple[int, int]], then: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Return by GPU how long the joules between two snapshots took; GPUs without any are left out.

    Parameters
    ----------
    now, then : mapping of UUID to (hnj, us)
        Energy, and the time that it covers.

    Returns
    -------
    dict of UUID to float, s
    """
    return {uuid: us / 1e6 for uuid, us in _covered_us(now, then).items()}


def _covered_us(now: Mapping[str, tuple[int, int]], then: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    # A GPU that appears may bring restored joules along, so it shows nothing yet.
    both = ((uuid, covered_us - then[uuid][1]) for uuid, (_, covered_us) in now.items() if uuid in then)
    return {uuid: us for uuid, us in both if us > 0}


def _rise(now_hnj: int, then_hnj: int) -> int:
    """Return the rise of a counter; one that fell restarted at 0."""
    return now_hnj - then_hnj if now_hnj >= then_hnj else now_hnj
