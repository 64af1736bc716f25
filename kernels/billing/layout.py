"""The records of what bills: where the accounts of a GPU stand, what happened, and the booked energy intervals.

What is done with them is `kernels.billing.reconcile`'s. Each is a dataclass of whole numbers, and a structured array of
int64 fields of the same names (`kernels.records`): ``state["counter_mj"]`` of all GPUs, ``state.counter_mj`` of
one in a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.records import dtype_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Suspect(IntEnum):
    """What a reading of the counter that is held back may be."""

    NONE = 0  # no reading is held back
    DIP = 1  # it fell: a bad reading, or the counter restarted
    JUMP = 2  # it rose by more than a board can use
    STALE = 3  # the first one after a hole: it may be as old as the hole


@dataclass(slots=True)
class GpuState:
    """Where reconciling the counter and the power of one GPU stands; -1 is "none".

    Attributes
    ----------
    last_us, first_us : int, us
        The last row that was taken in, and the first with a reading.
    power_us, power_mw : int, us and mW
        The last power that was believed.
    lowest_mw, highest_mw : int, mW
        Of all that were.
    run_since_us, longest_run_us : int, us
        Since when power repeats the very same value, and for how long it ever did.
    shape_us : int, us
        Until then power gave energy its shape.
    counter_mj, base_us : int, mJ and us
        The reading of the counter that its next difference is from.
    seen_us : int, us
        When it was read last.
    booked_us : int, us
        Until then energy is booked.
    booked_since_hnj : int, hnj
        What power booked since ``base_us``, or the counter booked too much: the next difference makes up for it.
    still_since_us, still_pause_us, stuck_us : int, us
        Since when the counter repeats itself, the longest pause between readings that did, when it was last seen to be
        stuck.
    suspect : int
        `Suspect`.
    suspect_mj, suspect_us, suspect_booked_hnj : int, mJ, us, hnj
        The reading that is held back, and what power booked since.
    high_water_mj, high_water_us, high_water_booked_hnj : int, mJ, us, hnj
        The level that the counter had before it restarted, and what is booked since: it may come back.
    open_since_us, open_until_us, open_hnj, open_begin_mw, open_end_mw : int
        What is open at the end of a window, as one interval; with a suspect, what lies before it.
    after_since_us, after_until_us, after_hnj : int
        And what lies after it.
    mean_mw : int, mW
        Mean power of the last seconds, by the counter.
    before_mw, back_mw : int, mW
        Power before and after the last hole.
    level_us, level_mw : int, us and mW
        The last average power beside a counter: what power says over longer times is its integral.
    level_since_us, level_hnj : int, us and hnj
        That integral, and since when.
    """

    last_us: int = -1
    power_us: int = -1
    power_mw: int = -1
    shape_us: int = -1
    run_since_us: int = -1
    longest_run_us: int = 0
    lowest_mw: int = -1
    highest_mw: int = -1
    counter_mj: int = -1
    base_us: int = -1
    booked_us: int = -1
    booked_since_hnj: int = 0
    seen_us: int = -1
    suspect_mj: int = -1
    suspect_us: int = -1
    suspect: int = 0
    high_water_mj: int = -1
    high_water_us: int = -1
    high_water_booked_hnj: int = 0
    open_until_us: int = -1
    open_hnj: int = 0
    after_until_us: int = -1
    after_hnj: int = 0
    first_us: int = -1
    suspect_booked_hnj: int = 0
    open_since_us: int = -1
    after_since_us: int = -1
    still_since_us: int = -1
    still_pause_us: int = -1
    stuck_us: int = -1
    mean_mw: int = -1
    before_mw: int = -1
    back_mw: int = -1
    open_begin_mw: int = -1
    open_end_mw: int = -1
    level_us: int = -1
    level_mw: int = -1
    level_since_us: int = -1
    level_hnj: int = 0


@dataclass(slots=True)
class Diagnostics:
    """What happened to the readings of one GPU: in one window as a record, in all so far as numbers of any size.

    Attributes
    ----------
    samples, covered_us, gap_us, gaps : int
        Powers that were believed, the time between those that are bridged, and the others.
    power_hnj, counter_hnj : int, hnj
        What power alone says, and the counter alone.
    resets, stuck : int
        How often the counter restarted, and was seen to be stuck.
    rejected_zero, rejected_negative, rejected_high : int
        Powers that were not believed.
    rejected_time : int
        Rows of a time before the one before.
    rejected_step, rejected_dip : int
        Readings of the counter that were not believed.
    by_counter_hnj, by_power_hnj : int, hnj
        What is booked, by what measured it.
    compared_us, compared_power_hnj, compared_counter_hnj : int
        Times that both of them saw whole.
    estimated_us, unknown_us : int, us
        Holes that nothing measured: estimated by power; booked as nothing.
    """

    samples: int = 0
    covered_us: int = 0
    gap_us: int = 0
    gaps: int = 0
    power_hnj: int = 0
    counter_hnj: int = 0
    resets: int = 0
    rejected_zero: int = 0
    rejected_negative: int = 0
    rejected_high: int = 0
    rejected_time: int = 0
    rejected_step: int = 0
    rejected_dip: int = 0
    stuck: int = 0
    by_counter_hnj: int = 0
    by_power_hnj: int = 0
    compared_us: int = 0
    compared_power_hnj: int = 0
    compared_counter_hnj: int = 0
    estimated_us: int = 0
    unknown_us: int = 0

    def add(self, other: Diagnostics) -> None:
        """Add those of another time, or of another part."""
        for name in DIAGNOSTICS.names or ():
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Open:
    """Which intervals are open, shaped by power and not booked yet: ``first`` up to ``end``.

    With a suspect, those up to ``mark`` lie before it, and the others after it; without, ``mark`` is ``end``.
    """

    first: int = 0
    mark: int = 0
    end: int = 0


GPU_STATE = dtype_of(GpuState)
DIAGNOSTICS = dtype_of(Diagnostics)
OPEN = dtype_of(Open)


class IntervalColumns(NamedTuple):
    """Energy intervals, column by column: int64[*] each; see `EnergyIntervals`."""

    t0_us: NDArray[np.int64]
    t1_us: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    begin_mw: NDArray[np.int64]
    end_mw: NDArray[np.int64]
    hole: NDArray[np.int64]


class EnergyIntervals(NamedTuple):
    """Booked energy, interval by interval.

    Attributes
    ----------
    starts, counts : int64[g]
        GPU ``i`` owns intervals ``starts[i]:starts[i] + counts[i]``.
    t0_us, t1_us, energy_hnj : int64[*]
        The intervals, ascending in time within a GPU.
    begin_mw, end_mw : int64[*], mW
        Power at the two ends of each interval, which is taken to be straight between them; -1 unknown.
    hole : int64[*]
        Not 0 where no reading covers the interval, which is longer than readings may bridge; its two powers are those
        before and after it. 1: the counter gives its energy; more: for so many us of it that is an estimate. Below 0:
        so many us of it are booked as nothing.
    diagnostics : DIAGNOSTICS[g]
        What happened in this window, to be added up by the caller.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    t0_us: NDArray[np.int64]
    t1_us: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    begin_mw: NDArray[np.int64]
    end_mw: NDArray[np.int64]
    hole: NDArray[np.int64]
    diagnostics: NDArray[np.void]

    @property
    def columns(self) -> IntervalColumns:
        """What is of one interval each."""
        return IntervalColumns(self.t0_us, self.t1_us, self.energy_hnj, self.begin_mw, self.end_mw, self.hole)


class Books(NamedTuple):
    """What one GPU's rows are booked with: records that change, and what its readings are measured by.

    Attributes
    ----------
    state, diagnostics, open : records
    intervals : IntervalColumns
        Of all GPUs.
    ceiling_mw, bound_mw, max_gap_us : int
        No power above the first is believed; no board uses more than 1.5 times the second; readings further apart than
        the third are not bridged.
    """

    state: GpuState
    diagnostics: Diagnostics
    open: Open
    intervals: IntervalColumns
    ceiling_mw: int
    bound_mw: int
    max_gap_us: int
