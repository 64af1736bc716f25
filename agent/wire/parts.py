"""What flows from the accounts into the history, and from hosts to a collector: parts of jobs.

A job is the sum of its parts. A part is what one owner used on one GPU between two cuts: the difference of two
cumulative accounts, so parts add up to them exactly, however often is cut.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_POWER = 1000
"""Characters of a job's power over time."""

END = 1
"""The job ended with this part."""
END_UNKNOWN = 2
"""It is not known when the job ended: nobody looked."""
CLOCK_SKEW = 4
"""The host's clock and the collector's were more than `MOST_SKEW_US` apart: times are the host's."""
REQUEUED = 256
"""No host had the job for a while, and then it began again."""
FLAGS = {END_UNKNOWN: "end_unknown", CLOCK_SKEW: "clock_skew", REQUEUED: "requeued"}
MOST_SKEW_US = 5_000_000

METHODS = {1: "alone", 32: "learned", 2: "utilisation", 4: "share", 8: "equal", 16: "nobody-active"}
"""Bits of how a job's dynamic energy was split, those of `kernels.billing.shares`; the best first."""

SIMULATED = "simulated-"
"""Names of stores begin with it whose meters are simulated: what is in them was drawn by no GPU."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One sigma of an energy, in what adds up differently.

    Attributes
    ----------
    gain_j, split_j, idle_j, unread_j : float, J
        What adds up linearly over parts, GPUs and jobs: the meter's gain, how a GPU's energy was split among jobs, what
        idle power may be off by, and time that nobody read.
    squares_j2 : float, J^2
        What adds up in squares: edges, sampling, estimates.
    """

    gain_j: float = 0.0
    split_j: float = 0.0
    idle_j: float = 0.0
    unread_j: float = 0.0
    squares_j2: float = 0.0

    @property
    def sigma_j(self) -> float:
        """One sigma of all, J."""
        return math.hypot(self.gain_j, self.split_j, self.idle_j, self.unread_j, math.sqrt(max(self.squares_j2, 0.0)))

    def less(self, before: Doubt) -> Doubt:
        """Return what a later doubt of the same account has more than an earlier one: `plus` undoes it."""
        return Doubt(
            self.gain_j - before.gain_j,
            self.split_j - before.split_j,
            self.idle_j - before.idle_j,
            self.unread_j - before.unread_j,
            self.squares_j2 - before.squares_j2,
        )

    def plus(self, other: Doubt) -> Doubt:
        """Return the doubt of the sum."""
        return Doubt(
            self.gain_j + other.gain_j,
            self.split_j + other.split_j,
            self.idle_j + other.idle_j,
            self.unread_j + other.unread_j,
            self.squares_j2 + other.squares_j2,
        )


@dataclass(frozen=True, slots=True)
class JobPart:
    """What one owner used on one GPU from one cut to the next.

    Attributes
    ----------
    seq : int
        1, 2, 3, ... in the store of one host; a part that comes again has the same.
    job : str
        Key of a job, or ``_idle``, ``_unattributed`` or ``_other``.
    run_us : int, us
        When the job began on this host: a key that comes again later is another run. 0 for what is not a job.
    gpu : str
        UUID.
    from_us, to_us : int, us
        The time in which it was used.
    static_hnj, dynamic_hnj : int, hnj
        1 J is 2,000,000,000 hnj.
    active_us, held_us : int, us
    peak_mw : int, mW
        Highest reading since the last cut.
    edges : int
    method : int
        Bits of how the job's energy was split, so far.
    doubt : Doubt
    flags : int
        `END`.
    covered_us : int or None, us
        How much of ``active_us + held_us`` its energy was measured in; in a part of ``_idle``, how long the GPU was
        measured. None: not known, as in a part of an older agent, or told with ``_idle``, as of ``_unattributed``.
    watts_mw : (int, int) or None, mW
        What the job was believed to draw there at full activity, above idle power, when it was cut, and one sigma of
        that. None where nothing was known, as in a part of an older agent.
    """

    seq: int
    job: str
    run_us: int
    gpu: str
    from_us: int
    to_us: int
    static_hnj: int
    dynamic_hnj: int
    active_us: int = 0
    held_us: int = 0
    peak_mw: int = 0
    edges: int = 0
    method: int = 0
    doubt: Doubt = field(default_factory=Doubt)
    flags: int = 0
    covered_us: int | None = None
    watts_mw: tuple[int, int] | None = None

    @property
    def energy_hnj(self) -> int:
        """All that it used, hnj."""
        return self.static_hnj + self.dynamic_hnj

    def followed_by(self, later: JobPart) -> JobPart:
        """Join a later part of the same owner on the same GPU to this one, under the later one's number."""
        return replace(
            later,
            from_us=min(self.from_us, later.from_us),
            to_us=max(self.to_us, later.to_us),
            static_hnj=self.static_hnj + later.static_hnj,
            dynamic_hnj=self.dynamic_hnj + later.dynamic_hnj,
            active_us=self.active_us + later.active_us,
            held_us=self.held_us + later.held_us,
            peak_mw=max(self.peak_mw, later.peak_mw),
            edges=self.edges + later.edges,
            method=self.method | later.method,
            doubt=self.doubt.plus(later.doubt),
            flags=self.flags | later.flags,
            covered_us=sum_if_known(self.covered_us, later.covered_us),
            watts_mw=later.watts_mw or self.watts_mw,
        )


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Who a job is: what its parts do not say.

    Attributes
    ----------
    key : str
    run_us : int, us
    start_us, end_us : int, us
        First and last time that it was seen; the end is -1 while it runs.
    uid : int
        Who may see it; -1 if that is not known, and then only administrators may.
    labels : mapping of str to str
    power : str
        Its power over time so far, as `agent.history.profile` writes it; empty if that is not known.
    work : str
        What it did so far, as `agent.wire.work_text` writes it; empty if nothing tells of any.
    """

    key: str
    run_us: int
    start_us: int
    end_us: int = -1
    uid: int = -1
    labels: Mapping[str, str] = field(default_factory=dict)
    power: str = ""
    work: str = ""


def sum_if_known(one: int | None, other: int | None) -> int | None:
    """Add two numbers; the sum is known if both are."""
    return None if one is None or other is None else one + other


def difference(one: int | None, other: int | None) -> int | None:
    """Subtract the second number; the difference is known if both are."""
    return None if one is None or other is None else one - other


def split_hnj(hnj: int) -> tuple[int, int]:
    """Take an energy apart into whole joules and the rest, as tables keep it.

    One column of hnj would end at 4.6 GJ, and a database's sum() fails there.

    Returns
    -------
    (int, int)
        Joules, and 0 to 1,999,999,999 hnj.
    """
    return divmod(hnj, HNJ_PER_JOULE)


def join_hnj(joules: int, rest: int) -> int:
    """Put together what `split_hnj` took apart, or sums of it."""
    return int(joules) * HNJ_PER_JOULE + int(rest)


def joules(hnj: int) -> str:
    """Write an energy in joules: all of it, as a decimal number without exponent and without needless zeros."""
    whole, rest = divmod(abs(hnj), HNJ_PER_JOULE)
    digits = f"{rest * 5:010d}".rstrip("0")  # half-nanojoules have ten digits behind the point
    return f"{'-' if hnj < 0 else ''}{whole}{f'.{digits}' if digits else ''}"


def hnj_of(text: str) -> int:
    """Read what `joules` wrote.

    Raises
    ------
    ValueError
        If it is something else.
    """
    match = _JOULES.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an energy in joules")
    sign, whole, digits = match.groups()
    rest, odd = divmod(int((digits or "").ljust(10, "0")), 5)
    if odd:
        raise ValueError(f"{text!r} is not a whole number of half-nanojoules")
    return (-1 if sign else 1) * join_hnj(int(whole), rest)


def method_name(bits: int) -> str:
    """Spell the ways in which a job's dynamic energy was split, best first: ``"alone+utilisation"``."""
    return "+".join(name for bit, name in METHODS.items() if bits & bit) or "held"


_JOULES = re.compile(r"(-?)(\d+)(?:\.(\d{1,10}))?", re.ASCII)
