"""What an owner used on a GPU, so far or since it was cut last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.uncertainty import UNLISTED_US, doubt_of, gain_j
from wattshed.agent.window import IDLE
from wattshed.agent.wire.parts import Doubt, difference, sum_if_known
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.wire.parts import JobPart


@dataclass(frozen=True, slots=True)
class AmountUsed:
    """What an owner used on a GPU, in all or in a part of its time; energies in hnj, times in us.

    ``covered_us`` is as in `agent.wire.parts.JobPart`; None where it is not known.
    """

    static_hnj: int = 0
    dynamic_hnj: int = 0
    active_us: int = 0
    held_us: int = 0
    edges: int = 0
    covered_us: int | None = None
    doubt: Doubt = field(default_factory=Doubt)

    def less(self, before: AmountUsed) -> AmountUsed:
        """Return what was used since ``before``."""
        return AmountUsed(
            self.static_hnj - before.static_hnj,
            self.dynamic_hnj - before.dynamic_hnj,
            self.active_us - before.active_us,
            self.held_us - before.held_us,
            self.edges - before.edges,
            difference(self.covered_us, before.covered_us),
            self.doubt.less(before.doubt),
        )

    def plus(self, part: JobPart) -> AmountUsed:
        """Return what was used with a part of it added."""
        return AmountUsed(
            self.static_hnj + part.static_hnj,
            self.dynamic_hnj + part.dynamic_hnj,
            self.active_us + part.active_us,
            self.held_us + part.held_us,
            self.edges + part.edges,
            sum_if_known(self.covered_us, part.covered_us),
            self.doubt.plus(part.doubt),
        )

    @property
    def is_less(self) -> bool:
        """Whether something of it is less than nothing: what was cut is not booked again yet."""
        least = min(self.static_hnj, self.static_hnj + self.dynamic_hnj, self.active_us, self.held_us)
        return min(least, self.covered_us or 0) < 0

    @property
    def is_nothing(self) -> bool:
        """Whether neither time nor energy went by."""
        return not (self.static_hnj or self.dynamic_hnj or self.active_us or self.held_us or self.covered_us)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an owner on one GPU was cut last, and what it had used by then."""

    at_us: int
    used: AmountUsed = field(default_factory=lambda: AmountUsed(covered_us=0))

    def plain(self) -> list[float | None]:
        """Lay it out as a row of `CUT_COLUMNS`; there are thousands of them in each state that is saved."""
        used, doubt = self.used, self.used.doubt
        return [
            self.at_us, used.static_hnj, used.dynamic_hnj, used.active_us, used.held_us, used.edges,
            used.covered_us, doubt.gain_j, doubt.split_j, doubt.idle_j, doubt.unread_j, doubt.squares_j2,
        ]  # fmt: skip

    @classmethod
    def of_plain(cls, row: Sequence[Any]) -> Cut:
        """Read a row of `CUT_COLUMNS`."""
        at_us, static, dynamic, active, held, edges = map(int, row[:6])
        covered = None if row[6] is None else int(row[6])
        return cls(at_us, AmountUsed(static, dynamic, active, held, edges, covered, Doubt(*map(float, row[7:]))))


CUT_COLUMNS = (
    "owner", "gpu", "at_us", "static_hnj", "dynamic_hnj", "active_us", "held_us", "edges", "covered_us", "gain_j",
    "split_j", "idle_j", "unread_j", "squares_j2",
)  # fmt: skip


def used_by(job: JobAccount, gpu: GpuKey, account: GpuAccount) -> AmountUsed:
    """Return what a job used on a GPU so far."""
    line = job.lines[gpu]
    doubt = doubt_of(line, account, short=job.end_us - job.start_us <= UNLISTED_US)
    return AmountUsed(
        line.static_hnj, line.dynamic_hnj, line.active_us, line.held_us, line.edges, line.covered_us, doubt
    )


def used_by_nobody(owner: str, account: GpuAccount) -> AmountUsed:
    """Return what nobody used so far: idle power is static, what nobody is known to have used is not.

    The time that its energy covers is told once for each GPU, with idle power.
    """
    hnj = account.idle_hnj if owner == IDLE else account.unattributed_hnj
    doubt = Doubt(gain_j=gain_j(account, hnj / HNJ_PER_JOULE))
    if owner == IDLE:
        return AmountUsed(static_hnj=hnj, covered_us=account.booked_us, doubt=doubt)
    return AmountUsed(dynamic_hnj=hnj, doubt=doubt)
