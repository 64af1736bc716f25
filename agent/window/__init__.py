"""What flows through the agent: a block of readings, and who held and used each GPU meanwhile.

Live a window covers one or two seconds, replayed it is a stretch of a trace; nothing after it can tell the difference.
That is why a recording replays to the very same joules that the daemon showed. Windows hold what was *read*, never
what was derived from it, so that a later, better model can read history again.

Units are in the names: microseconds on one ascending time line (wall time at the start of the agent, advanced by the
monotonic clock), milliwatts, millijoules. A missing number is -1, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NewType

import numpy as np

from wattshed.agent.missing import MISSING
from wattshed.agent.window.cpu_times import NO_CPU_TIMES, CpuTime, CpuTimes
from wattshed.agent.window.devices import Device, MeteredLoad, MigDevice
from wattshed.agent.window.host_meters import NO_HOST_METERS, HostMeter, HostReadings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.kernels.columns import Columns

__all__ = [
    "FEATURES_OF_USAGE",
    "HISTORY_LABELS",
    "IDLE",
    "MISSING",
    "NO_CPU_TIMES",
    "NO_HOST_METERS",
    "OTHER",
    "SCRAPED",
    "TOLD",
    "UNATTRIBUTED",
    "USAGE",
    "CpuTime",
    "CpuTimes",
    "Device",
    "Event",
    "HostMeter",
    "HostReadings",
    "JobKey",
    "MeteredLoad",
    "MigDevice",
    "Owner",
    "ProcessObservation",
    "Readings",
    "Usage",
    "Window",
    "WindowBatch",
    "WorkRow",
    "former_key",
    "uid_of",
]

IDLE = "_idle"
UNATTRIBUTED = "_unattributed"
OTHER = "_other"
"""Owners that are not jobs: unused static energy; energy nobody can be named for; jobs beyond the series cap."""

_LAST_UID = 4_294_967_294
_DIGITS_OF_A_UID = 10

JobKey = NewType("JobKey", str)


@dataclass(frozen=True, slots=True)
class Readings:
    """Samples of all GPUs, GPU-major: GPU ``i`` owns rows ``offsets[i]:offsets[i + 1]``, ascending in time.

    Attributes
    ----------
    offsets : int64[g + 1]
    time_us : int64[n], us
        Midpoint of the call that read the row.
    power_mw : int32[n], mW
        Mean or instant board power, the best that the GPU offers; what energy is integrated from without a counter.
    counter_mj : int64[n], mJ
        The driver's cumulative energy counter.
    instant_mw : int32[n], mW
        Instant power beside ``power_mw``: peaks and ramps are read from it. May be empty (then ``power_mw`` serves).
    """

    offsets: NDArray[np.int64]
    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    counter_mj: NDArray[np.int64]
    instant_mw: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    @classmethod
    def empty(cls, gpus: int) -> Readings:
        """No reading for any of ``gpus`` GPUs."""
        return cls(np.zeros(gpus + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64))

    def with_room(self, gpus: int) -> Readings:
        """Return them as readings of ``gpus`` GPUs, of which the last have none."""
        more = gpus + 1 - len(self.offsets)
        return replace(self, offsets=np.append(self.offsets, np.repeat(self.offsets[-1:], more))) if more > 0 else self


@dataclass(frozen=True, slots=True)
class Usage:
    """Who held and used the GPUs: a row per GPU, owner and stretch of time; rows of one owner on one GPU never overlap.

    Attributes
    ----------
    gpu : int32[m]
        Index into ``Window.devices``.
    owner : int32[m]
        Index into ``Window.owners``.
    start_us, end_us : int64[m], us
        The stretch, cut at the owner's real start and end where they are known.
    activity_us : int64[m], SM-microseconds
        How long the owner kept (all of) the GPU's SMs busy within the stretch; -1 unknown.
    share_ppm : int32[m], millionths of the GPU
        Reserved share (GRES, shards, MIG SMs / all SMs, Kubernetes allocation); -1 no reservation known.
    live : int8[m]
        1 if a process of the owner was on the GPU, 0 if the GPU was only held for it, 2 if ``share_ppm`` is the most
        that can be the owner's (a jobs table says how many GPUs it had, and not which).
    tensor_us, dram_us : int64[m], us
        How long the owner kept (all of) the GPU's tensor cores, and its memory, busy; -1 unknown. Empty: unknown for
        all rows. Under MIG memory is the part of its bandwidth that was used (GPM), else the time in which it was read
        or written (``memUtil``), which one small copy after the other fills.
    """

    gpu: NDArray[np.int32]
    owner: NDArray[np.int32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    activity_us: NDArray[np.int64]
    share_ppm: NDArray[np.int32]
    live: NDArray[np.int8]
    tensor_us: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    dram_us: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, rows: Sequence[tuple[int, ...]]) -> Usage:
        """Put rows, each with the columns in their order, the last two or not, into columns."""
        dtypes = (np.int32, np.int32, np.int64, np.int64, np.int64, np.int32, np.int8)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(dtypes)
        features = [np.array(column, np.int64) for column in columns[len(dtypes) :]]
        return cls(
            *(np.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=False)),
            *(column if (column >= 0).any() else column[:0] for column in features),
        )

    @classmethod
    def empty(cls) -> Usage:
        """Nobody held or used anything."""
        return cls.of(())


USAGE = ("gpu", "owner", "start_us", "end_us", "activity_us", "share_ppm", "live")
"""Columns of `Usage` that are always there."""
FEATURES_OF_USAGE = ("tensor_us", "dram_us")
"""And those that may be empty."""

HISTORY_LABELS = frozenset({"cluster", "nodes", "restart"})
"""Labels that only the history needs: whose job number it is, on how many nodes it runs, which run it is."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A job as the accounts know it: the key, and the labels of ``wattshed_job_info`` with those of `HISTORY_LABELS`.

    ``key`` is ``slurm:1234``, ``k8s:<pod uid>/<container>``, ``container:<12 hex>``, ``unit:<name>``,
    ``user:<uid>/<command>`` or, in a replay with a jobs file, that file's own job name. ``labels`` (manager, user,
    account, partition, name, namespace, pod, container, unit, ...) may grow from window to window as metadata arrives;
    the key never changes, but for a Slurm job that is known by its SLUID before it is known by its number.
    """

    key: JobKey
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def formerly(self) -> JobKey | None:
        """What the job is called while only its SLUID is known; None if it has none, or no other name yet."""
        return former_key(self.key, self.labels)


def former_key(key: JobKey, labels: Mapping[str, str]) -> JobKey | None:
    """Return what a job of these labels was called before its number was known; see `Owner.formerly`."""
    sluid = labels.get("sluid")
    return JobKey(f"slurm:{sluid}") if sluid and key != f"slurm:{sluid}" else None


def uid_of(text: str) -> int:
    """Read a user id as a label or a file of root's has it; -1 if it is none."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_OF_A_UID else MISSING
    return number if number <= _LAST_UID else MISSING


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a GPU or to the agent, at a time: kept in traces, and passed to the accounts.

    ``kind`` is one of ``lost`` (the GPU cannot be read: ``detail`` says why, after ``sick: `` if its calls take too
    long, and after ``stale: `` if one does not return), ``released`` (it was let go of, for somebody else), ``back``
    (from either), ``driver-reload``, ``xid``, ``restart`` (the agent was down since ``detail``), ``shutdown``.
    """

    time_us: int
    kind: str
    gpu: int = MISSING
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WorkRow:
    """Work that ``owner``, one of the window's owners, did from ``start_us`` to ``end_us``, which is in the window.

    ``unit`` is ``output_tokens``, ``steps`` ...; empty where the row says only whether the owner's servers waited:
    ``waiting`` is whether none had a request in all that time. ``source`` is `TOLD` or `SCRAPED`; ``doubt`` one sigma
    of the count: what was in progress at the end.
    """

    owner: JobKey
    unit: str
    count: int
    source: str
    start_us: int
    end_us: int
    doubt: int = 0
    waiting: bool = False

    @property
    def begins(self) -> bool:
        """Whether counting begins with it, or begins anew: with the first page of a server."""
        return self.source == SCRAPED and not self.count and self.start_us == self.end_us


TOLD, SCRAPED = "told", "scraped"


@dataclass(frozen=True, slots=True)
class Window:
    """A block of readings with the usage that goes with it.

    Attributes
    ----------
    host : str
    seq : int
        Counts up by one; a recording stores it, so that a hole is noticed.
    start_us, end_us : int, us
        Windows of one host touch: ``end_us`` is the next window's ``start_us``. One in which nothing could be read is
        as long as that took, and names no owners but those that a scheduler reports. Usage rows end inside it; the row
        of an owner that was noticed late may begin before it, and counts for energy that is not booked yet.
    devices : tuple of Device
        The same order in every window of a run; a GPU that is lost stays in its place. It may only grow.
    readings : Readings
    busy_us : int64[g], us
        Time that each GPU's SMs were busy with anything; -1 unknown.
    owners : tuple of Owner
    usage : Usage
    events : tuple of Event
    gauges : mapping of name -> float64[g]
        Facts that carry no energy (temperature, clocks, memory, utilisation ...), NaN where unknown; passed on to the
        exporters untouched.
    work : tuple of WorkRow
        What jobs did, where that is known.
    beside : HostReadings
        What meters of the host beside the GPUs' own said.
    cpu : CpuTimes
        CPU time of jobs, where a share of the node is estimated.
    """

    host: str
    seq: int
    start_us: int
    end_us: int
    devices: tuple[Device, ...]
    readings: Readings
    busy_us: NDArray[np.int64]
    owners: tuple[Owner, ...] = ()
    usage: Usage = field(default_factory=Usage.empty)
    events: tuple[Event, ...] = ()
    gauges: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    work: tuple[WorkRow, ...] = ()
    beside: HostReadings = NO_HOST_METERS
    cpu: CpuTimes = NO_CPU_TIMES


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Consecutive windows that hold power readings and nothing else, left as they are in a file.

    Attributes
    ----------
    host : str
    devices : tuple of Device
        The same in all of them.
    seq, start_us, end_us : int64[w]
        As in `Window`.
    columns : kernels.columns.Columns
    instant_mw : int32[m], mW
        Where the instants of all windows lie, if they have any: a GPU with a counter is shaped by them.
    instant_at : int64[w]
        Place of each window's first in ``instant_mw``, or -1; empty if none has one.
    """

    host: str
    devices: tuple[Device, ...]
    seq: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    columns: Columns
    instant_mw: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    instant_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def part(self, first: int, last: int | None = None) -> WindowBatch:
        """Return windows ``first:last`` of it; of all of them itself: a kind of batch may hold more than this."""
        own = slice(first, last)
        if len(self.seq[own]) == len(self.seq):
            return self
        start_us, end_us = self.start_us[own], self.end_us[own]
        columns, instant_at = self.columns.part(own), self.instant_at[own]
        return WindowBatch(
            self.host, self.devices, self.seq[own], start_us, end_us, columns, self.instant_mw, instant_at
        )

    def unread(self, start_us: int, end_us: int) -> Window:
        """Return a window without readings that stands for several of it."""
        busy_us = np.full(len(self.devices), MISSING, np.int64)
        return Window(self.host, 0, start_us, end_us, self.devices, Readings.empty(len(self.devices)), busy_us)

    def windows(self) -> Iterator[Window]:
        """Take it apart."""
        offsets = self.columns.offsets
        nothing = np.full(int(offsets[:, -1].max(initial=0)), MISSING, np.int64)
        busy_us = np.full(len(self.devices), MISSING, np.int64)
        for w in range(len(self.seq)):
            rows = int(offsets[w, -1])
            at = int(self.instant_at[w]) if len(self.instant_at) else MISSING
            instant_mw = self.instant_mw[at : at + rows] if at >= 0 else self.instant_mw[:0]
            readings = Readings(offsets[w], *self.columns.rows(w, 0, rows), nothing[:rows], instant_mw)
            seq, start_us, end_us = int(self.seq[w]), int(self.start_us[w]), int(self.end_us[w])
            yield Window(self.host, seq, start_us, end_us, self.devices, readings, busy_us)


@dataclass(frozen=True, slots=True)
class ProcessObservation:
    """A process seen on a GPU: what a meter reports and a resolver turns into usage.

    Attributes
    ----------
    gpu : int
        Index into the devices.
    pid : int
    sm_us : int, SM-microseconds
        Activity since the last report, spread evenly over [``from_us``, ``to_us``]; -1 unknown.
    tensor_us, dram_us : int, us
        How long it kept (all of) the GPU's tensor cores, and its memory, busy meanwhile; -1 unknown.
    from_us, to_us : int, us
        ``from_us`` is 0 where nobody looked before: it may have been there since it began.
    memory_bytes : int
        -1 unknown.
    instance : str
        ``gpu-instance/compute-instance`` under MIG, else empty.
    instance_ppm : int
        That instance's SMs in millionths of the GPU's; 1_000_000 without MIG.
    exited : bool
        The process is known to have ended at ``to_us`` (accounting, pidfd).
    """

    gpu: int
    pid: int
    from_us: int
    to_us: int
    sm_us: int = MISSING
    memory_bytes: int = MISSING
    instance: str = ""
    instance_ppm: int = 1_000_000
    exited: bool = False
    tensor_us: int = MISSING
    dram_us: int = MISSING
