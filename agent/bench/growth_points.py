"""Measures the points of growing series, and ends a series before a point that would take too long or too much."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.process import ProcessFailedError, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.bench.growth_series import GrowingSeries

_SHORT_S = 1.0
"""What takes less is done three times, and the shortest counts."""
_OVER = 3.0
"""A process that takes so many times the limit is ended: it grew faster than it had before."""
_SHARE = 0.8
"""Of what memory and disk have left."""
_TENFOLD = 9.9
_WORDS = {"whole_s": "s", "prepare_s": "s to prepare it", "peak_mib": "MiB of memory", "disk_mib": "MiB of disk"}


def grow(
    chosen: Sequence[GrowingSeries], *, quick: bool, limit_s: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure series, one after the other.

    Parameters
    ----------
    chosen : sequence of GrowingSeries
    quick : bool
        The small sizes.
    limit_s : float, s
    say : callable
        Called with what is being done.

    Returns
    -------
    list of dict
        As in the document: ``name``, ``axis``, ``what``, ``points`` of ``size``, ``seconds`` and ``peak_mib``;
        ``slope`` of the last tenfold step, or None; ``stopped``: why it ended before its last size, or "".
    """
    with tempfile.TemporaryDirectory(prefix="wattshed-growth-") as folder:
        prepared = _Prepared(Path(folder), limit_s)
        grown = []
        for number, series in enumerate(chosen):
            grown.append(_grow(series, prepared, limit_s, say, quick=quick))
            prepared.forget({one.prepare for one in chosen[number + 1 :]})
    return grown


class _Prepared:
    """Folders with what points need, each made once."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder, self._limit_s = folder, limit_s
        self._made: dict[tuple[str, int], tuple[Path, float]] = {}

    def folder(self, series: GrowingSeries, size: int) -> tuple[Path, float]:
        """Return the folder of a point, and the seconds that it took to fill.

        Raises
        ------
        ProcessFailedError
        """
        place = series.prepare or series.name, size
        if place not in self._made:
            folder = self._folder / f"{place[0]}-{size}"
            folder.mkdir()
            command = series.preparation(size, folder)
            seconds = measured(command, limit_s=_OVER * self._limit_s).seconds if command else 0.0
            self._made[place] = folder, seconds
        return self._made[place]

    def forget(self, needed: set[str]) -> None:
        """Delete what no later series needs."""
        for place in [one for one in self._made if one[0] not in needed]:
            shutil.rmtree(self._made.pop(place)[0])


def _grow(
    series: GrowingSeries, prepared: _Prepared, limit_s: float, say: Callable[[str], None], *, quick: bool
) -> dict[str, Any]:
    costs: list[dict[str, float]] = []
    stopped = ""
    for size in series.quick if quick else series.sizes:
        room = {"whole_s": limit_s, "prepare_s": limit_s, "peak_mib": _memory_mib(), "disk_mib": _disk_mib()}
        if why := beyond(costs, size, room):
            stopped = f"{size:,} {series.axis}: {why}"
            break
        say(f"{series.name}: {size:,} {series.axis}")
        try:
            folder, prepare_s = prepared.folder(series, size)
            disk_mib = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
            found = _point(series.measured(size, folder), 1 if quick else 3, limit_s, whole=series.command is not None)
            costs.append({"size": size, "prepare_s": prepare_s, "disk_mib": disk_mib, **found})
        except ProcessFailedError as error:
            stopped = f"{size:,} {series.axis}: {error}"
            break
    points = [{name: cost[name] for name in ("size", "seconds", "peak_mib")} for cost in costs]
    return {
        "name": series.name,
        "axis": series.axis,
        "what": series.what,
        "points": points,
        "slope": slope(points),
        "stopped": stopped,
    }


def _point(command: Sequence[str], turns: int, limit_s: float, *, whole: bool) -> dict[str, float]:
    """Measure a command, the whole of it or what it says that its work took; a short one so many times."""
    found: dict[str, float] = {}
    for _ in range(turns):
        spent = measured(command, limit_s=_OVER * limit_s)
        seconds = spent.seconds if whole else float(json.loads(spent.output)["seconds"])
        found = {
            "seconds": min(seconds, found.get("seconds", math.inf)),
            "whole_s": min(spent.seconds, found.get("whole_s", math.inf)),
            "peak_mib": min(spent.peak_mib, found.get("peak_mib", math.inf)),
        }
        if spent.seconds > _SHORT_S:
            break
    return found


def beyond(costs: Sequence[Mapping[str, float]], size: int, room: Mapping[str, float]) -> str:
    """Say why a point of a size would be too much, from how those before grew; empty if it would not.

    Parameters
    ----------
    costs : sequence of mapping
        Of each point so far ``size``, and what it cost by the names of ``room``.
    size : int
    room : mapping of str to float
        What there is of each.
    """
    if not costs:
        return ""
    for name, there in room.items():
        expected = _expected(costs, name, size)
        if expected > there:
            return f"would take about {expected:,.0f} {_WORDS[name]}, and there are {there:,.0f}"
    return ""


def _expected(costs: Sequence[Mapping[str, float]], name: str, size: int) -> float:
    """Go on as the last step grew: by as much for each more, or as steeply, whatever is more."""
    last, times = costs[-1], size / costs[-1]["size"]
    if len(costs) == 1:
        return last[name] * times if name == "disk_mib" else last[name]
    before = costs[-2]
    ahead = (size - last["size"]) / (last["size"] - before["size"])
    straight = last[name] + (last[name] - before[name]) * ahead
    if min(before[name], last[name]) <= 0:
        return straight
    steepness = math.log(last[name] / before[name]) / math.log(last["size"] / before["size"])
    return max(straight, last[name] * math.exp(steepness * math.log(times)))


def slope(points: Sequence[Mapping[str, float]]) -> dict[str, float] | None:
    """Return the slope, in logarithms, of the last step of size that is tenfold or more; None if there is none."""
    earlier = [point for point in points if point["size"] * _TENFOLD <= points[-1]["size"]]
    if not earlier:
        return None
    first, last = earlier[-1], points[-1]
    step = math.log(last["size"] / first["size"])
    return {name: math.log(max(last[name], 1e-9) / max(first[name], 1e-9)) / step for name in ("seconds", "peak_mib")}


def _memory_mib() -> float:
    """Return what a process may take."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _SHARE * free / 2**20


def _disk_mib() -> float:
    return _SHARE * shutil.disk_usage(tempfile.gettempdir()).free / 2**20
