"""A replay as points of counters, and these as OpenMetrics text for ``promtool`` and VictoriaMetrics.

The counters are those that the daemon publishes, one point every 15 s and at both ends, each series in the order of
time. Their laws hold as well: at every point the jobs sum to their GPU, and none rises faster than it. So a job begins
at 0 one point before its first joules. Its series goes on to the end of the trace, where the totals are to be found: no
job is ever ended in the daemon's sense, and ``wattshed_ended_jobs_energy_joules_total`` stays 0.
`OpenMetricsFile` is one way out for them, ``agent/wire/remote_write.py`` the other.
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

import heapq
import itertools
import struct
import tempfile
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal, TextIO

import numpy as np

from wattshed.agent.cutting import cut
from wattshed.agent.errors import InputError
from wattshed.agent.replay.books import book, finish, new_part, pieces_of
from wattshed.agent.window import IDLE, UNATTRIBUTED
from wattshed.agent.wire.protobuf import Series
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.replay.books import Part, Settings, Tell
    from wattshed.agent.replay.power import PowerOverTime
    from wattshed.agent.replay.work_feed import WorkFeed
    from wattshed.agent.traces.sources import Chain
    from wattshed.agent.window import Readings, Window

STEP_US = 15_000_000
_POINT = np.dtype([("series", "<i4"), ("time_us", "<i8"), ("joules", "<f8")])
_PACKED = struct.Struct("<iqd")  # the same, point by point
_RUN = 1 << 20  # points that are sorted by time at once
_AHEAD = 512  # points of each run that are held while runs are merged
_FAMILIES = {
    "wattshed_gpu_energy_joules": "Energy of the GPU since the start of the trace.",
    "wattshed_job_energy_joules": "Energy of the job on the GPU since the start of the trace.",
    "wattshed_ended_jobs_energy_joules": "Energy of jobs on the GPU that have no series of their own any more: none.",
}


def at_steps(window: Window, step_us: int = STEP_US) -> Iterator[Window]:
    """Cut a window at multiples of ``step_us``, so that the accounts can be looked at in between.

    Each piece has readings of every GPU of which the window has any: to the accounts, a GPU of which a window tells
    nothing could not be read meanwhile, and they would book its time otherwise.
    """
    edges = range((window.start_us // step_us + 1) * step_us, window.end_us, step_us)
    return cut(window, _between_readings(window.readings, edges) if edges else ())


def _between_readings(readings: Readings, edges_us: range) -> list[int]:
    """Return those edges, as early ones as there are, between which every GPU is read that is read at all."""
    rows = np.diff(readings.offsets)
    gpu = np.repeat(np.cumsum(rows > 0) - 1, rows)
    gpus = int((rows > 0).sum())
    seen = np.zeros((len(edges_us) + 1, gpus), bool)
    seen[np.searchsorted(edges_us, readings.time_us, "right"), gpu] = True
    kept, so_far = [], np.zeros(gpus, bool)
    for edge_us, cell in zip(edges_us, seen[:-1], strict=True):
        so_far |= cell
        if so_far.all():
            kept.append(edge_us)
            so_far[:] = False
    if kept and not (so_far | seen[-1]).all():
        kept.pop()  # what is left is too little for a piece of its own
    return kept


class Points:
    """Points of many series on disk; once all are added, they are read series by series or in the order of time."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="wattshed-backfill-")  # noqa: SIM115 - closed by `close`
        self._numbers: dict[Series, int] = {}
        self._last: dict[int, tuple[int, float]] = {}  # not yet written: a point of the same time replaces it

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __len__(self) -> int:
        """Count the points."""
        self._write_last()
        return self._file.tell() // _POINT.itemsize

    @property
    def series(self) -> list[Series]:
        """All series, in the order in which they came; `by_time` names them by their place here."""
        return list(self._numbers)

    def add(self, series: Series, time_us: int, joules: float, start_us: int) -> None:
        """Add a point, no earlier than the one before; the later of two at one time counts.

        A series begins at 0 at ``start_us``, so that its first joules count.
        """
        number = self._numbers.setdefault(series, len(self._numbers))
        last = self._last.get(number, (start_us, 0.0))
        if last[0] < time_us:
            self._file.write(_PACKED.pack(number, *last))
        if last[0] <= time_us:
            self._last[number] = time_us, joules

    def _write_last(self) -> None:
        self._file.writelines(_PACKED.pack(number, *point) for number, point in self._last.items())
        self._last.clear()
        self._file.flush()

    def by_series(self) -> Iterator[tuple[Series, Iterator[tuple[int, int, float]]]]:
        """Yield each series, family by family, with its points (place, us, J) in the order of time."""
        points = self._mapped("r")
        order = np.argsort(points["series"], kind="stable")
        bounds = np.searchsorted(points["series"][order], np.arange(len(self._numbers) + 1))
        for series in sorted(self._numbers, key=attrgetter("family")):
            number = self._numbers[series]
            yield series, _rows(points[order[bounds[number] : bounds[number + 1]]])

    def by_time(self) -> Iterator[tuple[int, int, float]]:
        """Yield (place of the series, us, J) of all series in the order of time.

        Runs are sorted in the file and then merged: memory hardly grows with the number of points.
        """
        points = self._mapped("r+")
        runs = [points[first : first + _RUN] for first in range(0, points.size, _RUN)]
        for run in runs:
            run[:] = run[np.argsort(run["time_us"], kind="stable")]
        return heapq.merge(*map(_rows, runs), key=itemgetter(1))

    def _mapped(self, mode: Literal["r", "r+"]) -> NDArray[Any]:
        return np.memmap(self._file, _POINT, mode) if len(self) else np.empty(0, _POINT)


def _rows(points: NDArray[Any]) -> Iterator[tuple[int, int, float]]:
    """Yield points as tuples, some at a time: one by one, numpy takes ten times as long."""
    for first in range(0, points.size, _AHEAD):
        yield from points[first : first + _AHEAD].tolist()


class OpenMetricsFile:
    """A file for points, opened at once.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._out = path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._refused(error) from error

    def write(self, points: Points, stop: Callable[[], bool] = lambda: False) -> None:
        """Write all series, family by family, and the end mark; nothing more once ``stop`` says so."""
        try:
            with self._out as out:
                for family, members in itertools.groupby(points.by_series(), key=lambda member: member[0].family):
                    out.write(f"# TYPE {family} counter\n# UNIT {family} joules\n# HELP {family} {_FAMILIES[family]}\n")
                    for series, own in members:
                        if stop():
                            return
                        _write_series(series, own, out)
                out.write("# EOF\n")
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> InputError:
        return InputError(f"the backfill cannot be written ({error.strerror or error})", str(self._path))


def _write_series(series: Series, points: Iterator[tuple[int, int, float]], out: TextIO) -> None:
    def pair(name: str, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{name}="{escaped}"'

    name = f"{series.family}_total{{{','.join(itertools.starmap(pair, series.labels))}}}"
    for _, time_us, joules in points:
        seconds, micros = divmod(time_us, 1_000_000)
        out.write(f"{name} {joules:.6f} {seconds}.{micros:06d}\n")


def book_with_points(
    chain: Chain,
    settings: Settings,
    points: Points,
    *,
    tell: Tell,
    see: Callable[[Window], None] | None = None,
    stop: Callable[[], bool],
    power: PowerOverTime | None = None,
    feed: WorkFeed | None = None,
) -> Part:
    """Book a chain in this process, and note its energies every 15 s and at the end, and its power if wanted."""
    part = new_part(settings)
    end: dict[str, int] = {}
    taken: dict[str, tuple[int, int]] = {}  # times of the last two points; at first, of the start

    def note(books: Part, host: str, start_us: int, end_us: int) -> None:
        end[host] = end_us
        _, last_us = taken.setdefault(host, (start_us, start_us))
        if last_us // STEP_US < end_us // STEP_US:
            taken[host] = last_us, end_us
            _take(points, books.accounts, host, end_us, last_us)
        tell(books, host, start_us, end_us)

    follower = None if power is None else power.follow(part.accounts)

    def pieces(window: Window) -> Iterator[Window]:
        for at_step in at_steps(window):
            yield from [at_step] if follower is None else follower.cut(at_step)

    for piece in pieces_of(chain):
        book(piece, settings, part, tell=note, cut=pieces, see=see, stop=stop, feed=feed)
    finish(part)
    if follower is not None:
        follower.take()
    for host, time_us in end.items():
        before_us, last_us = taken[host]
        since_us = last_us if last_us < time_us else before_us
        _take(points, part.accounts, host, time_us, since_us)  # with what was booked at the very end
    return part


def _take(points: Points, accounts: Accounts, host: str, time_us: int, start_us: int) -> None:
    """Note one host's energies as they stand; what is new began at 0 at ``start_us``, the point before."""
    names = {}
    for key, account in accounts.gpus.items():
        if key.host == host:
            device = account.device
            name = (("host", host), ("gpu", str(device.index)), ("gpu_uuid", device.uuid or str(device.index)))
            mark = (("simulated", "1"),) if device.simulated else ()
            names[key] = tuple((label, _encodable(value)) for label, value in (*name, *mark))
            whole = Series("wattshed_gpu_energy_joules", names[key])
            points.add(whole, time_us, account.energy_hnj / HNJ_PER_JOULE, start_us)
            ended_hnj = accounts.ledger.ended_hnj.get(key, 0)
            ended = Series("wattshed_ended_jobs_energy_joules", names[key])
            points.add(ended, time_us, ended_hnj / HNJ_PER_JOULE, start_us)

    def share(gpu: GpuKey, job: str, component: str, energy_hnj: int) -> None:
        labels = (*names[gpu], ("job", _encodable(job)), ("component", component))
        points.add(Series("wattshed_job_energy_joules", labels), time_us, energy_hnj / HNJ_PER_JOULE, start_us)

    for key in names:
        share(key, IDLE, "static", accounts.gpus[key].idle_hnj)
        share(key, UNATTRIBUTED, "dynamic", accounts.gpus[key].unattributed_hnj)
    for job, gpu, static_hnj, dynamic_hnj in accounts.ledger.shares():
        if gpu in names:
            share(gpu, job, "static", static_hnj)
            share(gpu, job, "dynamic", dynamic_hnj)


def _encodable(text: str) -> str:
    """Replace what is not UTF-8, as a file name may hold."""
    return text.encode(errors="replace").decode()
