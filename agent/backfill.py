"""A replay as OpenMetrics text for ``promtool tsdb create-blocks-from openmetrics`` and for VictoriaMetrics.

The counters are those that the daemon publishes, starting at 0 with the trace: ``wattshed_gpu_energy_joules_total``
and ``wattshed_job_energy_joules_total``, one point every 15 s and at both ends, each series in the order of time.
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

import numpy as np

from agent.replay_books import book, finish, new_part, pieces_of
from agent.window import IDLE, UNATTRIBUTED, InputError, Readings, Usage, Window
from exporters.snapshot import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.accounts.attribution import Accounts
    from agent.replay_books import Part, Settings
    from agent.traces.sources import Chain

STEP_US = 15_000_000
_POINT = np.dtype([("series", "<i4"), ("time_us", "<i8"), ("joules", "<f8")])
_FAMILIES = {
    "wattshed_gpu_energy_joules": "Energy of the GPU since the start of the trace.",
    "wattshed_job_energy_joules": "Energy of the job on the GPU since the start of the trace.",
}


def cut(window: Window, step_us: int = STEP_US) -> Iterator[Window]:
    """Cut a window at multiples of ``step_us``, so that the books can be looked at in between."""
    first = window.start_us // step_us + 1
    edges = [window.start_us, *range(first * step_us, window.end_us, step_us), window.end_us]
    if len(edges) <= 2:
        yield window
        return
    readings, usage, gpus = window.readings, window.usage, len(window.devices)
    owner_of = np.repeat(np.arange(gpus), np.diff(readings.offsets))
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        last = i == len(edges) - 2
        here = (readings.time_us >= start if i else True) & ((readings.time_us < end) | last)
        held = (usage.start_us < end) & (usage.end_us > start)
        starts, ends = np.maximum(usage.start_us[held], start), np.minimum(usage.end_us[held], end)
        whole = np.maximum(usage.end_us[held] - usage.start_us[held], 1)
        activity = usage.activity_us[held]
        share = np.where(activity >= 0, activity * (ends - starts) // whole, activity)
        busy = window.busy_us
        yield replace(
            window,
            start_us=start,
            end_us=end,
            readings=Readings(
                np.searchsorted(owner_of[here], np.arange(gpus + 1)).astype(np.int64),
                readings.time_us[here],
                readings.power_mw[here],
                readings.counter_mj[here],
                readings.instant_mw[here] if readings.instant_mw.size else readings.instant_mw,
            ),
            usage=Usage(
                usage.gpu[held], usage.owner[held], starts, ends, share, usage.share_ppm[held], usage.live[held]
            ),
            busy_us=np.where(busy >= 0, busy * (end - start) // max(window.end_us - window.start_us, 1), busy),
            events=window.events if not i else (),
        )


class Points:
    """Points of many series on disk, written in the order of time and read series by series."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="wattshed-backfill-")  # noqa: SIM115 - closed by `close`
        self._series: dict[tuple[str, str], int] = {}
        self._last: dict[int, tuple[int, float]] = {}

    def add(self, family: str, labels: str, time_us: int, joules: float, start_us: int) -> None:
        """Add a point; a series begins at 0 when the trace does, so that its first joules count."""
        key = (family, labels)
        rows = []
        if key not in self._series:
            self._series[key] = len(self._series)
            if start_us < time_us:
                rows.append((self._series[key], start_us, 0.0))
        series = self._series[key]
        if self._last.get(series, (-1, 0.0))[0] < time_us:
            rows.append((series, time_us, joules))
            self._last[series] = (time_us, joules)
        self._file.write(np.array(rows, _POINT).tobytes())

    def write(self, out: TextIO) -> None:
        """Write all series, family by family, and the end mark."""
        self._file.flush()
        size = self._file.tell()
        points = np.memmap(self._file, _POINT, "r") if size else np.empty(0, _POINT)
        order = np.argsort(points["series"], kind="stable")
        bounds = np.searchsorted(points["series"][order], np.arange(len(self._series) + 1))
        for family, text in _FAMILIES.items():
            out.write(f"# TYPE {family} counter\n# UNIT {family} joules\n# HELP {family} {text}\n")
            for (name, labels), number in self._series.items():
                if name == family:
                    for point in points[order[bounds[number] : bounds[number + 1]]]:
                        seconds, micros = divmod(int(point["time_us"]), 1_000_000)
                        out.write(f"{family}_total{{{labels}}} {point['joules']:.6f} {seconds}.{micros:06d}\n")
        out.write("# EOF\n")

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()


def book_with_backfill(
    chains: list[Chain],
    settings: Settings,
    path: Path,
    tell: Callable[[Part, Window], None],
    stop: Callable[[], bool] = lambda: False,
) -> list[Part]:
    """Book all chains in this process and write the backfill beside.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    points = Points()
    try:
        with path.open("w", encoding="utf-8") as out:
            done = [_one(chain, settings, points, tell=tell, stop=stop) for chain in chains]
            points.write(out)
    except OSError as error:
        raise InputError(f"the backfill cannot be written ({error.strerror or error})", str(path)) from error
    finally:
        points.close()
    return done


def _one(
    chain: Chain,
    settings: Settings,
    points: Points,
    *,
    tell: Callable[[Part, Window], None],
    stop: Callable[[], bool],
) -> Part:
    part = new_part(settings)
    start: dict[str, int] = {}
    end: dict[str, int] = {}

    def note(books: Part, window: Window) -> None:
        start.setdefault(window.host, window.start_us)
        end[window.host] = window.end_us
        _take(points, books.accounts, window.host, window.end_us, start[window.host])
        tell(books, window)

    for piece in pieces_of(chain):
        book(piece, settings, part, tell=note, cut=cut, stop=stop)
    finish(part)
    for host, time_us in end.items():
        _take(points, part.accounts, host, time_us + 1000, start[host])  # what was booked at the very end
    return part


def _take(points: Points, accounts: Accounts, host: str, time_us: int, start_us: int) -> None:
    """Write one host's energies as they stand."""

    def label(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    names = {}
    for key, account in accounts.gpus.items():
        if key.host == host:
            device = account.device
            names[key] = (
                f'host="{label(host)}",gpu="{device.index}",gpu_uuid="{label(device.uuid or str(device.index))}"'
            )
            points.add("wattshed_gpu_energy_joules", names[key], time_us, account.energy_hnj / HNJ_PER_JOULE, start_us)
    family = "wattshed_job_energy_joules"
    for key, name in names.items():
        account = accounts.gpus[key]
        for owner, component, energy in (
            (IDLE, "static", account.idle_hnj),
            (UNATTRIBUTED, "dynamic", account.unattributed_hnj),
        ):
            text = f'{name},job="{owner}",component="{component}"'
            points.add(family, text, time_us, energy / HNJ_PER_JOULE, start_us)
    for job, gpu, static, dynamic in accounts.ledger.shares():
        if gpu in names:
            for component, energy in (("static", static), ("dynamic", dynamic)):
                text = f'{names[gpu]},job="{label(job)}",component="{component}"'
                points.add(family, text, time_us, energy / HNJ_PER_JOULE, start_us)
