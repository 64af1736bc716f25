"""What each job of a host draws at full activity, as it is learned from window to window; see `kernels.billing.watts`.

The state is the accounts' own: it is fed by what they book, in the order in which they book it, so that a replay learns
what the live agent learned. Energy of a slot is split by what was known two slots before, or, where it is booked
later than that, by the newest that is known: nothing is revised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.accounts.watts_arrays import WattsArrays
from wattshed.agent.window import JobKey
from wattshed.kernels.billing import watts as kernel
from wattshed.kernels.billing.learned_doubt import doubt
from wattshed.kernels.billing.shares import BY_ACTIVITY, LEARNED
from wattshed.kernels.billing.slots import SLOT_US, book, see

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.window import Device, Window
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

MOST_JOBS = 32
"""Of whom watts are learned on one GPU; of further ones the common line is used."""
KEPT_US = 3_600_000_000
"""How long a job that is not seen any more keeps its place."""
UNKNOWN_PRIOR_W = 250.0
NEAR_LIMIT = 0.97
HELD_BACK = 0.02
"""Part of a window for which a board was at its power limit, above which its watts teach nothing."""
FEATURES = kernel.FEATURES


class JobWatts(NamedTuple):
    """What one job draws on one GPU at full activity above idle, W, one sigma of that, and what it was learned from.

    ``alone_us`` and ``shared_us`` are the slots in which the job used the GPU.
    """

    job: JobKey
    gpu: int
    watts: float
    sigma_w: float
    alone_us: int
    shared_us: int


class WeightedRows(NamedTuple):
    """What is known of usage rows when their energy is split.

    Attributes
    ----------
    place : int64[m]
        Of the owner among the GPU's; -1: it has none.
    which : int64[m]
        Which of the two states that are kept counts for the row.
    feature : int64[2, m]
        Tensor cores and memory, in the unit of the activities; -1 unknown.
    cut, bare : int64[m], 1024ths
        Weight per activity within the bound, and as estimated.
    """

    place: NDArray[np.int64]
    which: NDArray[np.int64]
    feature: NDArray[np.int64]
    cut: NDArray[np.int64]
    bare: NDArray[np.int64]


def ends_of_slots(window: Window) -> Sequence[int]:
    """Return where a window that is longer than a slot is cut (us), so that each is learned from before the next."""
    if window.end_us - window.start_us <= SLOT_US:
        return ()
    return range((window.start_us // SLOT_US + 1) * SLOT_US, window.end_us, SLOT_US)


@dataclass(slots=True)
class _Gpu:
    """Who has a place on a GPU, when each was seen last, and by what its readings are judged."""

    jobs: dict[JobKey, int] = field(default_factory=dict)
    seen_us: dict[JobKey, int] = field(default_factory=dict)
    past: dict[JobKey, JobWatts] = field(default_factory=dict)  # what was believed of those that have none any more
    closed: set[JobKey] = field(default_factory=set)  # who have one, and no account any more: nobody asks for them
    idle_mw: int = -1
    held_s: float = math.nan  # by its power limit, as the driver counts it
    divided: bool | None = None  # whether MIG was on when it was met last
    laid_out: tuple[Any, dict[str, Any]] | None = None


class HostLearning:
    """What is learned on one host's GPUs.

    Parameters
    ----------
    rule : SplitRule
    """

    def __init__(self, rule: SplitRule) -> None:
        self.rule = rule
        self._kept = max(1.0 - SLOT_US / rule.remember_us, 0.0)
        self._gpus: list[_Gpu] = []
        self._arrays = WattsArrays.of(0, 0)

    def arrange(self, moved: Mapping[int, int], count: int) -> None:
        """Renumber the GPUs by ``moved`` (old to new), of which there are ``count`` now."""
        old, self._gpus = self._gpus, [_Gpu() for _ in range(count)]
        for before, now in moved.items():
            if before < len(old):
                self._gpus[now] = old[before]
        self._arrays = self._arrays.moved(moved, count)

    def meet(self, devices: Sequence[Device]) -> None:
        """Take note of the GPUs that are here: what is believed before anything is known depends on their limits."""
        self._make_room(len(devices))
        for gpu, device in enumerate(devices):
            divided, before = device.capabilities.get("mig") == "", self._gpus[gpu].divided
            if before is not None and divided != before:
                self.forget(gpu)
            self._gpus[gpu].divided = divided
            idle_mw, known = max(device.idle_mw, 0), self._gpus[gpu].idle_mw
            if known == idle_mw:
                continue
            prior_w = (device.limit_mw - idle_mw) / 2e3 if device.limit_mw > idle_mw else UNKNOWN_PRIOR_W
            self._arrays.meet(gpu, prior_w if known < 0 else None)  # dynamic power begins elsewhere now
            self._gpus[gpu].idle_mw = idle_mw

    def forget(self, gpu: int) -> None:
        """Begin anew with a GPU: its driver was reloaded, or it was divided anew."""
        self._gpus[gpu] = _Gpu(idle_mw=self._gpus[gpu].idle_mw, divided=self._gpus[gpu].divided)
        self._arrays.forget(gpu)

    def restart(self) -> None:
        """Go on after the agent was down: what the driver counted meanwhile says nothing of a window."""
        for one in self._gpus:
            one.held_s = math.nan

    def see(self, window: Window, rows: PendingUsage) -> None:
        """Take note of a window's usage."""
        limited = self._limited(window)
        live = np.flatnonzero(rows.live > 0)
        if not len(live):
            return
        rows = rows.keep(live[np.argsort(rows.gpu[live], kind="stable")])
        place = self._placed(rows, window.end_us)
        see(
            rows.gpu, place, rows.start_us, rows.end_us, self._rates(window, rows), rows.features(),
            limited, max(window.end_us - window.start_us, 1), *self._arrays.slots,
        )  # fmt: skip

    def cut(self, rows: PendingUsage) -> PendingUsage:
        """Cut rows where slots end, so that each has one weight."""
        first, last = rows.start_us // SLOT_US, (rows.end_us - 1) // SLOT_US
        if not (last > first).any():
            return rows
        times = np.maximum(last - first, 0) + 1
        at = np.repeat(np.arange(len(rows.gpu)), times)
        nth = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
        begin = np.maximum(rows.start_us[at], (first[at] + nth) * SLOT_US)
        end = np.minimum(rows.end_us[at], (first[at] + nth + 1) * SLOT_US)
        return rows.keep(at).at(np.where(nth == 0, rows.start_us[at], begin), end)

    def told(self, rows: PendingUsage) -> WeightedRows:
        """Return by what weights these rows' energy is split."""
        place = np.array(
            [
                self._gpus[gpu].jobs.get(rows.owners[owner].key, -1)
                for gpu, owner in zip(rows.gpu.tolist(), rows.owner.tolist(), strict=True)
            ],
            np.int64,
        )
        slot, states = rows.start_us // SLOT_US, self._arrays.states
        which = (states.slot[rows.gpu, 1] == slot - 2).astype(np.int64)
        told = WeightedRows(place, which, rows.features(), np.empty_like(place), np.empty_like(place))
        kernel.weigh(
            rows.gpu, place, which, slot, rows.activity_ppm, told.feature, states.mean, self._arrays.beliefs.prior_w,
            self.rule.bound, told.cut, told.bare,
        )  # fmt: skip
        return told

    def book(self, rows: PendingUsage, parts: Split, intervals: EnergyIntervals, told: WeightedRows | None) -> None:
        """Take note of what rows got; where they got it by learned weights (``told``), write down one sigma of that."""
        holes = np.flatnonzero(intervals.hole)
        of = np.searchsorted(intervals.starts, holes, "right") - 1
        real = holes < (intervals.starts + intervals.counts)[of] if len(holes) else np.empty(0, bool)
        book(
            rows.gpu, rows.start_us, rows.end_us, parts.dynamic_hnj,
            of[real].astype(np.int64), intervals.t0_us[holes[real]], intervals.t1_us[holes[real]],
            parts.unattributed_hnj, *self._arrays.slots,
        )  # fmt: skip
        if told is None or not len(rows.gpu):
            return
        shared = (parts.method & BY_ACTIVITY) != 0
        sigma = np.zeros(len(rows.gpu), np.int64)
        doubt(
            rows.gpu, told.place, told.which, rows.start_us, rows.end_us, parts.dynamic_hnj, parts.method,
            rows.activity_ppm, told.feature, told.cut, told.bare, self._arrays.states.mean,
            self._arrays.states.covariance, self._arrays.beliefs.prior_w, self.rule.spread,
            *self._arrays.late, sigma, np.empty(len(sigma)),
        )  # fmt: skip
        parts.unlike_hnj[shared] = 0
        parts.guessed_hnj[shared] += sigma[shared]
        parts.method[shared] ^= BY_ACTIVITY | LEARNED

    def close(self, known_us: NDArray[np.int64]) -> None:
        """Learn from every slot that ends before the energy of a GPU is known until (``known_us``, us)."""
        if not len(self._gpus):
            return
        rule, arrays = self.rule, self._arrays
        kernel.close(
            known_us.astype(np.int64), self._kept, rule.spread, *arrays.slots, *arrays.beliefs, *arrays.states,
            arrays.uses, arrays.spent, np.empty((2, FEATURES + arrays.places)),
        )  # fmt: skip

    def jobs(self) -> Iterator[JobWatts]:
        """Return what is believed of each job, W."""
        for gpu, one in enumerate(self._gpus):
            for job, place in one.jobs.items():
                yield self._watts(job, gpu, place)
            yield from (past._replace(gpu=gpu) for past in one.past.values())

    def retire(self, jobs: Collection[JobKey]) -> None:
        """Forget what was learned of jobs whose accounts are closed, and that are not seen any more."""
        for one in self._gpus:
            one.closed.update(one.jobs.keys() & set(jobs))
            for job in jobs:
                one.past.pop(job, None)

    def _watts(self, job: JobKey, gpu: int, place: int) -> JobWatts:
        mean, covariance = self._arrays.beliefs.mean[gpu], self._arrays.beliefs.covariance[gpu]
        variance = covariance[0, 0] + 2 * covariance[0, place] + covariance[place, place]
        sigma = (max(float(variance), 0.0) * float(self._arrays.beliefs.inflation[gpu])) ** 0.5
        alone, shared = (self._arrays.spent[gpu, place] * SLOT_US).tolist()
        return JobWatts(job, gpu, float(mean[0] + mean[place]), sigma, alone, shared)

    def common_w(self, gpu: int) -> float:
        """Return what a job of whom nothing is known is taken to draw at full activity on a GPU, W."""
        return float(self._arrays.beliefs.mean[gpu, 0])

    def renamed(self, keys: Mapping[JobKey, JobKey]) -> None:
        """Give jobs their new keys (old to new)."""
        for table in (table for one in self._gpus for table in (one.jobs, one.seen_us)):
            for old, new in keys.items():
                if old in table and new not in table:
                    table[new] = table.pop(old)

    @property
    def uses(self) -> NDArray[np.int64]:
        """How many slots of each GPU were good for what (int64[g, 6]); see `kernels.billing.watts.USES`."""
        return self._arrays.uses

    def plain(self, gpu: int) -> tuple[dict[str, Any], list[list[int]]] | None:
        """Lay out what was learned on a GPU as plain values: what changes once a slot, and what with every window."""
        one = self._gpus[gpu] if gpu < len(self._gpus) else _Gpu()
        if not one.jobs:
            return None
        places, slot = list(one.jobs.values()), int(self._arrays.states.slot[gpu, 0])
        if one.laid_out is None or one.laid_out[0] != (slot, list(one.jobs)):
            values = {
                "jobs": dict(one.jobs),
                "idle_mw": one.idle_mw,
                "divided": one.divided,
                **self._arrays.plain(gpu, places),
            }
            one.laid_out = (slot, list(one.jobs)), values
        return one.laid_out[1], [[*one.seen_us.values()], *self._arrays.open_slots(gpu, places)]

    def restore(self, gpu: int, values: Mapping[str, Any], open_slots: Sequence[Sequence[int]]) -> None:
        """Take over what `plain` laid out.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is not that.
        """
        jobs = {JobKey(str(key)): int(place) for key, place in values["jobs"].items()}
        if not all(FEATURES <= place < FEATURES + MOST_JOBS for place in jobs.values()):
            raise ValueError(f"places {sorted(jobs.values())} of jobs")
        self._make_room(gpu + 1, max(jobs.values(), default=FEATURES) - FEATURES + 1)
        seen_us = dict(zip(jobs, map(int, open_slots[0]), strict=True))
        self._gpus[gpu] = _Gpu(jobs, seen_us, idle_mw=int(values["idle_mw"]), divided=values.get("divided"))
        self._arrays.restore(gpu, list(jobs.values()), values, open_slots[1:])

    def _make_room(self, gpus: int, places: int = 0) -> None:
        """Have room for so many GPUs, and so many jobs on each."""
        self._arrays = self._arrays.with_room(gpus, places)
        while len(self._gpus) < gpus:
            self._gpus.append(_Gpu())

    def _placed(self, rows: PendingUsage, now_us: int) -> NDArray[np.int64]:
        """Return each row's owner's place; one that is used for the first time gets one, if there is room."""
        found = np.full(len(rows.gpu), -1, np.int64)
        for row, (gpu, owner) in enumerate(zip(rows.gpu.tolist(), rows.owner.tolist(), strict=True)):
            key = rows.owners[owner].key
            one = self._gpus[gpu]
            place = one.jobs.get(key)
            if place is None and (place := self._free(gpu, now_us)) is not None:
                one.jobs[key] = place
                self._arrays.begin(gpu, place, self.rule.spread)
            if place is not None:
                one.seen_us[key], found[row] = now_us, place
                one.closed.discard(key)
        return found

    def _free(self, gpu: int, now_us: int) -> int | None:
        """Return a place on a GPU for one more job; None if there is none."""
        one = self._gpus[gpu]
        for key in [key for key in one.jobs if one.seen_us[key] < now_us - KEPT_US]:
            if key not in one.closed:
                one.past[key] = self._watts(key, gpu, one.jobs[key])
            one.closed.discard(key)
            del one.jobs[key], one.seen_us[key]
        taken = set(one.jobs.values())
        if len(taken) == MOST_JOBS:
            return None
        if len(taken) == self._arrays.places:
            self._make_room(0, max(2, min(2 * self._arrays.places, MOST_JOBS)))
        return next(place for place in range(FEATURES, FEATURES + MOST_JOBS) if place not in taken)

    @staticmethod
    def _rates(window: Window, rows: PendingUsage) -> NDArray[np.int64]:
        """Return the activities; of an owner who is alone and not asked for, the GPU's own."""
        rate = rows.activity_ppm
        for gpu in np.unique(rows.gpu[rate < 0]).tolist():
            mine = np.flatnonzero(rows.gpu == gpu)
            busy_us = int(window.busy_us[gpu]) if gpu < len(window.busy_us) else -1
            if busy_us >= 0 and len({rows.key(row) for row in mine.tolist()}) == 1:
                rate = rate.copy() if rate is rows.activity_ppm else rate
                rate[mine] = min(busy_us * 1_000_000 // max(window.end_us - window.start_us, 1), 1_000_000)
        return rate

    def _limited(self, window: Window) -> NDArray[np.int64]:
        """Return 1 for each GPU that was held back by its power limit."""
        found = np.zeros(len(self._gpus), np.int64)
        limit_w, held_s = window.gauges.get("limit_enforced_w"), window.gauges.get("throttle_power_cap_s")
        at = window.readings.offsets.tolist()
        for gpu, device in enumerate(window.devices):
            own_w = float(limit_w[gpu]) if limit_w is not None and limit_w[gpu] > 0 else device.limit_mw / 1e3
            power_mw = window.readings.power_mw[at[gpu] : at[gpu + 1]] if gpu + 1 < len(at) else ()
            near = own_w > 0 and len(power_mw) > 0 and int(np.max(power_mw)) > NEAR_LIMIT * own_w * 1e3
            if held_s is not None:
                longer_s = float(held_s[gpu]) - self._gpus[gpu].held_s
                near = near or longer_s > HELD_BACK * (window.end_us - window.start_us) / 1e6
                self._gpus[gpu].held_s = float(held_s[gpu])
            found[gpu] = near
        return found
