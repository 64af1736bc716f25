"""What each job of a host draws at full activity, as it is learned from window to window; see `kernels.billing.watts`.

The state is the accounts' own: it is fed by what they book, so that a replay learns what the live agent learned. What
windows show is only collected; it is entered in the slots at once when slots are closed, and before anything is asked,
saved or renamed. When it is entered makes no difference, as slots are sums. When slots are closed does: only where a
window passes the end of one. Energy of a slot is split by what was known two slots before, or, where it is booked later
than that, by the newest that is known: nothing is revised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.accounts.collected import Collected
from wattshed.agent.accounts.watts_arrays import MOST_W, NEVER_US, WattsArrays
from wattshed.agent.accounts.watts_places import MOST_JOBS, GpuPlaces, JobWatts, PlaceTable
from wattshed.agent.window import JobKey
from wattshed.kernels.billing import watts as kernel
from wattshed.kernels.billing.learned_doubt import doubt
from wattshed.kernels.billing.learning import ASKED, LEFT, learn
from wattshed.kernels.billing.slots import SLOT_US

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.window import Device, Window
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

KEPT_US = 3_600_000_000
"""How long a job that is not seen any more keeps its place."""
SHOWN_TOGETHER = 4
"""So many slots are closed at once where nobody is billed by them."""
UNKNOWN_PRIOR_W = 250.0
FORM = 2
"""Of what is saved; another form is learned anew. The first one told no number, and nothing of late rows."""
FEATURES = kernel.FEATURES
_NONE = np.empty(0, np.int64)


def ends_of_slots(window: Window) -> Sequence[int]:
    """Return where a window that is longer than a slot is cut (us), so that each is learned from before the next."""
    if window.end_us - window.start_us <= SLOT_US:
        return ()
    return range((window.start_us // SLOT_US + 1) * SLOT_US, window.end_us, SLOT_US)


class HostLearning:
    """What is learned on one host's GPUs.

    Parameters
    ----------
    rule : SplitRule
    """

    def __init__(self, rule: SplitRule) -> None:
        self.rule = rule
        self._together_us = SLOT_US * (1 if rule.learned else SHOWN_TOGETHER)
        self._kept = max(1.0 - SLOT_US / rule.remember_us, 0.0)
        self._gpus: list[GpuPlaces] = []
        self._arrays = WattsArrays.of(0, 0)
        self._limit_w = np.empty(0)
        self._collected = Collected()
        self._owners, self._billed = PlaceTable(), PlaceTable()
        self._believed: list[JobWatts] | None = None  # when a slot was closed last

    def arrange(self, moved: Mapping[int, int], count: int) -> None:
        """Renumber the GPUs by ``moved`` (old to new), of which there are ``count`` now."""
        self._change()
        old, self._gpus = self._gpus, [GpuPlaces() for _ in range(count)]
        for before, now in moved.items():
            if before < len(old):
                self._gpus[now] = old[before]
        self._arrays = self._arrays.moved(moved, count)

    def meet(self, devices: Sequence[Device]) -> None:
        """Take note of the GPUs that are here: what is believed before anything is known depends on their limits."""
        self._change()
        self._make_room(len(devices))
        self._limit_w = np.array([device.limit_mw / 1e3 for device in devices])
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
        self._change()
        self._gpus[gpu] = GpuPlaces(idle_mw=self._gpus[gpu].idle_mw, divided=self._gpus[gpu].divided)
        self._arrays.forget(gpu)

    def restart(self, devices: Sequence[Device]) -> None:
        """Go on after the agent was down: what the driver counted meanwhile says nothing of a window.

        Of a GPU that nobody has used nothing was saved: it is met as if it were new.
        """
        self._change()
        self._arrays.held_s[:] = np.nan
        for gpu, one in enumerate(self._gpus):
            if self._is_unused(one, gpu):
                self._gpus[gpu] = GpuPlaces()
                self._arrays.forget(gpu)
        self.meet(devices)

    def _is_unused(self, one: GpuPlaces, gpu: int) -> bool:
        return not (one.jobs or one.past or self._arrays.uses[gpu].any())

    def see(self, window: Window, rows: PendingUsage) -> None:
        """Take note of a window's usage."""
        if len(rows.gpu) and not self._owners.names(rows.owners):
            self._enter()
            self._owners.name(rows.owners)
        self._collected.windows.append((window, rows))

    def is_due(self, window: Window) -> bool:
        """Return whether slots are closed after a window: where one ends, or, if watts are only shown, some of them."""
        return window.end_us // self._together_us > window.start_us // self._together_us

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
        return rows.keep(at).but(start_us=np.where(nth == 0, rows.start_us[at], begin), end_us=end)

    def told(self, rows: PendingUsage) -> NDArray[np.int64]:
        """Return by what weights these rows' energy is split (int64[4, m]), see `kernels.billing.watts.weigh`."""
        self._billed.name(rows.owners)
        told = np.empty((4, len(rows.gpu)), np.int64)
        if self._weigh(rows, told):  # somebody is new, and has a place from the first energy on
            self._enter()
            self._weigh(rows, told)
        return told

    def _weigh(self, rows: PendingUsage, told: NDArray[np.int64]) -> int:
        states, prior_w = self._arrays.states, self._arrays.beliefs.prior_w
        places = self._billed.of(self._gpus)
        return kernel.weigh(  # type: ignore[no-any-return]
            rows.table, places, states.slot, states.mean, prior_w, self.rule.bound, told
        )

    def book(
        self, rows: PendingUsage, parts: Split, holes: EnergyIntervals | None, told: NDArray[np.int64] | None
    ) -> None:
        """Take note of what rows got; where they got it by learned weights (``told``), write down one sigma of that."""
        self._collected.splits.append((rows, parts))
        if holes is not None:
            self._collected.add_holes(holes)
        if told is not None and told.size:
            arrays = self._arrays
            doubt(
                rows.table, told, parts.dynamic_hnj, parts.method, parts.unlike_hnj, parts.guessed_hnj,
                arrays.states.mean, arrays.states.covariance, arrays.beliefs.prior_w, self.rule.spread, *arrays.late,
                np.empty(told.shape[1]),
            )  # fmt: skip

    def close(self, known_us: NDArray[np.int64], now_us: int) -> None:
        """Learn from every slot that ends before the energy of a GPU is known until (``known_us``, us)."""
        if len(self._gpus):
            self._enter(known_us, now_us - KEPT_US)
            self._believed = None

    def jobs(self) -> Iterator[JobWatts]:
        """Return what is believed of each job, W."""
        self._enter()
        for gpu, one in enumerate(self._gpus):
            for job, place in one.jobs.items():
                yield self._watts(job, gpu, place)
            yield from (past._replace(gpu=gpu) for past in one.past.values())

    def of_job(self, job: JobKey, gpu: int) -> JobWatts | None:
        """Return what is believed of a job on a GPU; None if it never had a place there."""
        self._enter()
        if gpu >= len(self._gpus):
            return None
        place = self._gpus[gpu].jobs.get(job)
        return self._gpus[gpu].past.get(job) if place is None else self._watts(job, gpu, place)

    def believed(self) -> Sequence[JobWatts]:
        """Return the same as it was when the last slot was closed: it is asked for with every window."""
        if self._believed is None:
            self._believed = list(self.jobs())
        return self._believed

    def retire(self, jobs: Collection[JobKey]) -> None:
        """Forget what was learned of jobs whose accounts are closed, and that are not seen any more."""
        self._change()
        for gpu, one in enumerate(self._gpus):
            for job in jobs:
                one.past.pop(job, None)
                if job in one.jobs:
                    one.closed[job] = int(self._arrays.seen_us[gpu, one.jobs[job]])

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
        self._change()
        for table in (one.jobs for one in self._gpus):
            for old, new in keys.items():
                if old in table and new not in table:
                    table[new] = table.pop(old)

    @property
    def uses(self) -> NDArray[np.int64]:
        """How many slots of each GPU were good for what (int64[g, 6]); see `kernels.billing.watts.USES`."""
        return self._arrays.uses

    def plain(self, gpu: int) -> tuple[dict[str, Any], list[list[int]]] | None:
        """Lay out what was learned on a GPU as plain values: what changes once a slot, and what with every window."""
        self._enter()
        one = self._gpus[gpu] if gpu < len(self._gpus) else GpuPlaces()
        if gpu >= len(self._gpus) or self._is_unused(one, gpu):
            return None
        places, slot = list(one.jobs.values()), int(self._arrays.states.slot[gpu, 0])
        now = slot, one.idle_mw, list(one.jobs), list(one.past), dict(one.closed)
        if one.laid_out is None or one.laid_out[0] != now:
            values = {
                "form": FORM,
                "jobs": dict(one.jobs),
                "past": {job: list(past[2:]) for job, past in one.past.items()},
                "closed": dict(one.closed),
                "idle_mw": one.idle_mw,
                "divided": one.divided,
                **self._arrays.plain(gpu, places),
            }
            one.laid_out = now, values
        return one.laid_out[1], [self._arrays.seen_us[gpu, places].tolist(), *self._arrays.open_slots(gpu, places)]

    def restore(self, gpu: int, values: Any, open_slots: Any) -> str:
        """Take over what `plain` laid out; if it is not that, nothing, and return why: then it is learned anew."""
        try:
            one, arrays = self._read(gpu, values, open_slots)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            return str(error)
        self._make_room(gpu + 1, arrays.places)
        self._gpus[gpu] = one
        self._arrays.take(gpu, arrays)
        return ""

    @staticmethod
    def _read(gpu: int, values: Any, open_slots: Any) -> tuple[GpuPlaces, WattsArrays]:
        """Read what `plain` laid out."""
        if (form := values.get("form")) != FORM:
            raise ValueError("an older wattshed learned them" if form is None else f"of form {form!r}, not {FORM}")
        jobs = {JobKey(str(key)): int(place) for key, place in values["jobs"].items()}
        places = set(jobs.values())
        if len(places) < len(jobs) or not all(FEATURES <= place < FEATURES + MOST_JOBS for place in places):
            raise ValueError(f"places of jobs are {sorted(jobs.values())}")
        past = {
            JobKey(str(key)): JobWatts(JobKey(str(key)), gpu, float(watts), float(sigma), int(alone), int(shared))
            for key, (watts, sigma, alone, shared) in values["past"].items()
        }
        if not all(abs(one.watts) < MOST_W and 0 <= one.sigma_w < MOST_W for one in past.values()):
            raise ValueError("watts of jobs that left are none")
        closed = {JobKey(str(key)): int(seen_us) for key, seen_us in values["closed"].items()}
        one = GpuPlaces(jobs, past, closed, int(values["idle_mw"]), values["divided"])
        return one, WattsArrays.of_plain(list(jobs.values()), values, open_slots)

    def _make_room(self, gpus: int, places: int = 0) -> None:
        """Have room for so many GPUs, and so many jobs on each."""
        self._arrays = self._arrays.with_room(gpus, places)
        while len(self._gpus) < gpus:
            self._gpus.append(GpuPlaces())

    def _change(self) -> None:
        """Enter what was collected before GPUs, jobs or places are other ones."""
        self._enter()
        self._forget_places()
        self._believed = None

    def _enter(self, known_us: NDArray[np.int64] = _NONE, since_us: int = 0) -> None:
        """Enter what was collected in the slots, and close those that end before ``known_us``."""
        collected, self._collected = self._collected, Collected()
        if not (collected.windows or collected.splits or len(known_us)):
            return
        seen, booked = collected.seen(), collected.booked()
        found = self._learn(seen, booked, known_us, since_us)
        if found == ASKED:
            self._give_places(collected)
            found = self._learn(seen, booked, known_us, since_us)
        if found == LEFT:
            self._leave(since_us)

    def _learn(
        self, seen: Sequence[NDArray[Any]], booked: Sequence[NDArray[Any]], known_us: NDArray[np.int64], since_us: int
    ) -> int:
        arrays = self._arrays
        return learn(  # type: ignore[no-any-return]
            *seen, self._owners.of(self._gpus), self._limit_w, *booked, known_us, since_us, self._kept,
            self.rule.spread, *arrays.learned(), np.empty((2, FEATURES + arrays.places)),
        )  # fmt: skip

    def _give_places(self, collected: Collected) -> None:
        """Give those a place who are used for the first time, as long as there is room."""
        for _, rows in collected.windows:
            for row in np.flatnonzero(rows.live > 0).tolist():
                gpu, key = int(rows.gpu[row]), rows.key(row)
                one = self._gpus[gpu]
                if key not in one.jobs and (free := one.free()) is not None:
                    self._make_room(0, free - FEATURES + 1)
                    self._arrays.begin(gpu, free, self.rule.spread)
                    one.jobs[key] = free
                    one.past.pop(key, None)
        self._forget_places()

    def _leave(self, since_us: int) -> None:
        """Take their places from those that were not seen since then (us)."""
        for gpu, place in np.argwhere(self._arrays.seen_us < since_us).tolist():
            one = self._gpus[gpu]
            key = next(key for key, its in one.jobs.items() if its == place)
            seen_us = int(self._arrays.seen_us[gpu, place])
            if one.closed.pop(key, -1) != seen_us:
                one.past[key] = self._watts(key, gpu, place)
            del one.jobs[key]
            self._arrays.seen_us[gpu, place] = NEVER_US
        self._forget_places()

    def _forget_places(self) -> None:
        for table in (self._owners, self._billed):
            table.forget()
