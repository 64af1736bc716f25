"""What a trace shows of each GPU between the starts and ends of a jobs table: its evidence of who had which GPU.

One pass over the readings before they are booked, made only for a table that does not name its GPUs, or a recording
that knows owners of its own. Sums alone are kept, so that surveys of parts of a trace add up, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import MISSING, Window
from wattshed.kernels.columns import dealt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.traces.options import Options
    from wattshed.agent.traces.sources import Chain
    from wattshed.agent.window import Device, WindowBatch

ANONYMOUS = "pid:"
"""Beginning of owners that a trace knows by nothing but a process id: a jobs table says more."""
OTHER_NAMES = ("array", "sluid")
"""Labels by which an owner may be known before its job's id is, or in a table that lacks raw ids."""
_NEVER = np.iinfo(np.int64)
_SUMS = ("samples", "powers", "power_mw", "utils", "util_ppm")
_LEAST = ("first_us", "first_mj")
_MOST = ("last_us", "last_mj")


@dataclass(slots=True)
class SurveyedGpu:
    """One GPU, stretch by stretch: stretch ``i`` ends with the host's edge ``i``, which belongs to it.

    Attributes
    ----------
    samples : int64[s]
        Readings of power or counter.
    powers, power_mw : int64[s]
        Readings of power, and their sum.
    utils, util_ppm : int64[s]
        The same of utilisation.
    first_us, last_us, first_mj, last_mj : int64[s]
        Least and most of times and counters.
    owned : bool[s]
        The recording knows whose it was.
    """

    device: Device
    samples: NDArray[np.int64]
    powers: NDArray[np.int64]
    power_mw: NDArray[np.int64]
    utils: NDArray[np.int64]
    util_ppm: NDArray[np.int64]
    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    first_mj: NDArray[np.int64]
    last_mj: NDArray[np.int64]
    owned: NDArray[np.bool_]

    @classmethod
    def nothing(cls, device: Device, stretches: int) -> SurveyedGpu:
        """Begin."""

        def column(value: int = 0) -> NDArray[np.int64]:
            return np.full(stretches, value, np.int64)

        least, most = _NEVER.max, _NEVER.min
        return cls(
            device, column(), column(), column(), column(), column(),
            column(least), column(most), column(least), column(most), np.zeros(stretches, bool),
        )  # fmt: skip

    def add(self, other: SurveyedGpu) -> None:
        """Add what another part of the trace shows."""
        for names, join in ((_SUMS, np.add), (_LEAST, np.minimum), (_MOST, np.maximum), (("owned",), np.logical_or)):
            for name in names:
                setattr(self, name, join(getattr(self, name), getattr(other, name)))

    def mean_mw(self) -> NDArray[np.int64]:
        """Mean power by stretch, of its readings or else of the counter; -1 unknown."""
        mean = np.where(self.powers > 0, self.power_mw // np.maximum(self.powers, 1), MISSING)
        counted = (self.powers == 0) & (self.last_mj > self.first_mj) & (self.last_us > self.first_us)
        # In floats: what a counter that was reset seems to have done does not fit in a word.
        rise = (self.last_mj.astype(float) - self.first_mj.astype(float)) * 1e6
        spans = np.where(counted, self.last_us.astype(float) - self.first_us.astype(float), 1.0)
        power = np.where(counted, rise / spans, -1.0)
        plausible = counted & (power <= self.device.ceiling_mw)
        return np.where(plausible, np.minimum(power, 2**31), mean).astype(np.int64)

    def mean_ppm(self) -> NDArray[np.int64]:
        """Mean utilisation by stretch; -1 unknown."""
        return np.where(self.utils > 0, self.util_ppm // np.maximum(self.utils, 1), MISSING).astype(np.int64)

    def observed_us(self) -> NDArray[np.int64]:
        """How long each stretch was watched, from its first reading to its last."""
        several = self.samples > 1
        return np.where(several, np.where(several, self.last_us, 0) - np.where(several, self.first_us, 0), 0)


@dataclass(slots=True)
class SurveyedHost:
    """One host of the trace: its GPUs by (index, UUID), and the jobs whose owners the recording knows."""

    edges_us: NDArray[np.int64]
    gpus: dict[tuple[int, str], SurveyedGpu] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    other_names: dict[str, str] = field(default_factory=dict)  # array task or SLUID -> key

    def gpu(self, device: Device) -> SurveyedGpu:
        """Return what was seen of a GPU so far."""
        key = (device.index, device.uuid)
        if key not in self.gpus:
            self.gpus[key] = SurveyedGpu.nothing(device, len(self.edges_us) + 1)
        return self.gpus[key]


class Survey:
    """What was seen of every host.

    Parameters
    ----------
    edges_of : callable
        The ascending times between which a host's readings are summed up.
    readings : bool
        False looks at owners alone: the readings of a table that names its GPUs are not asked for.
    """

    def __init__(self, edges_of: Callable[[str], NDArray[np.int64]], *, readings: bool = True) -> None:
        self._edges_of, self._readings = edges_of, readings
        self.hosts: dict[str, SurveyedHost] = {}

    def __getstate__(self) -> dict[str, SurveyedHost]:
        """Travel as what was seen alone."""
        return self.hosts

    def __setstate__(self, hosts: Mapping[str, SurveyedHost]) -> None:
        """Arrive; nothing is added by reading any more."""
        self.hosts = dict(hosts)

    def read(self, chain: Chain, options: Options, stop: Callable[[], bool] = lambda: False) -> Survey:
        """Look at all readings of a chain."""
        if chain.native:
            for item in chain.batches(options, stop):
                self._window(item)
            return self
        for devices, rows in chain.samples(options):
            if stop():
                break
            power = rows.filled("power_mw")
            power = np.where(power > 0, power, rows.filled("instant_mw")).astype(np.int64)
            util = np.where(rows.has("pid"), MISSING, rows.filled("util_ppm")).astype(np.int64)
            counter = rows.filled("counter_mj")
            order, offsets = dealt(rows.gpu, len(devices))
            for gpu in np.flatnonzero(np.diff(offsets)).tolist():
                mine = order[offsets[gpu] : offsets[gpu + 1]]
                self._add(devices[gpu], rows.time_us[mine], power[mine], counter[mine], util[mine])
        return self

    def merge(self, other: Survey) -> None:
        """Add what was seen elsewhere."""
        for name, theirs in other.hosts.items():
            mine = self.hosts.setdefault(name, SurveyedHost(theirs.edges_us))
            for seen in theirs.gpus.values():
                mine.gpu(seen.device).add(seen)
            mine.known |= theirs.known
            mine.other_names.update(theirs.other_names)

    def _host(self, name: str) -> SurveyedHost:
        if name not in self.hosts:
            self.hosts[name] = SurveyedHost(self._edges_of(name))
        return self.hosts[name]

    def _window(self, item: Window | WindowBatch) -> None:
        if not isinstance(item, Window):
            for window in item.windows() if self._readings else ():
                self._window(window)
            return
        if self._readings:
            self._sum_up(item)
        self._know(item)

    def _sum_up(self, window: Window) -> None:
        """Add a window's readings."""
        readings, length = window.readings, max(window.end_us - window.start_us, 1)
        for gpu, device in enumerate(window.devices):
            mine = slice(int(readings.offsets[gpu]), int(readings.offsets[gpu + 1]))
            time_us = readings.time_us[mine]
            busy = int(window.busy_us[gpu])
            util = np.full(time_us.size, min(busy * 1_000_000 // length, 1_000_000) if busy >= 0 else MISSING, np.int64)
            self._add(device, time_us, readings.power_mw[mine].astype(np.int64), readings.counter_mj[mine], util)

    def _know(self, window: Window) -> None:
        """Note whom a window knows, and when their GPUs were theirs."""
        usage = window.usage
        named = np.array([not owner.key.startswith(ANONYMOUS) for owner in window.owners], bool)[usage.owner]
        for gpu in np.unique(usage.gpu[named]).tolist():
            device, mine = window.devices[gpu], named & (usage.gpu == gpu)
            host = self._host(device.host)
            for place in np.unique(usage.owner[mine]).tolist():
                owner = window.owners[place]
                host.known.add(owner.key)
                host.other_names.update({owner.labels[name]: owner.key for name in OTHER_NAMES if name in owner.labels})
            if self._readings:
                first = np.searchsorted(host.edges_us, usage.start_us[mine], "right").tolist()
                last = np.searchsorted(host.edges_us, usage.end_us[mine] - 1, "right").tolist()
                owned = host.gpu(device).owned
                for begin, end in set(zip(first, last, strict=True)):
                    owned[begin : end + 1] = True

    def _add(
        self,
        device: Device,
        time_us: NDArray[np.int64],
        power_mw: NDArray[np.int64],
        counter_mj: NDArray[np.int64],
        util_ppm: NDArray[np.int64],
    ) -> None:
        host = self._host(device.host)
        seen, stretches = host.gpu(device), len(host.edges_us) + 1
        seen.device = device
        # A reading is of the time before it, so one that falls on an edge belongs to what ends there.
        place = np.searchsorted(host.edges_us, time_us, "left")
        good = (power_mw > 0) & (power_mw <= device.ceiling_mw)
        for which, number, total, values in (
            (good, "powers", "power_mw", power_mw),
            (util_ppm >= 0, "utils", "util_ppm", util_ppm),
        ):
            here = place[which]
            getattr(seen, number)[:] += np.bincount(here, minlength=stretches)
            # Sums of whole numbers below 2**53: exact, and the same in any order.
            getattr(seen, total)[:] += np.bincount(here, values[which], stretches).astype(np.int64)
        real = good | (counter_mj >= 0)
        seen.samples += np.bincount(place[real], minlength=stretches)
        np.minimum.at(seen.first_us, place[real], time_us[real])
        np.maximum.at(seen.last_us, place[real], time_us[real])
        counted = counter_mj >= 0
        np.minimum.at(seen.first_mj, place[counted], counter_mj[counted])
        np.maximum.at(seen.last_mj, place[counted], counter_mj[counted])
