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
    chosen: Sequence[GrowingSeries],
    *,
    quick: bool,
    limit_s: float,
    say: Callable[[str], None],
    far: Callable[[int], None] = lambda _points: None,
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
    far : callable, optional
        Called with how many points are behind it, measured or left out.

    Returns
    -------
    list of dict
        As in the document: ``name``, ``axis``, ``what``, ``points`` of ``size``, ``seconds`` and ``peak_mib``;
        ``slope`` of the last tenfold step, or None; ``stopped``: why it ended before its last size, or "".
    """
    growing = [_Growing(series, limit_s, say, quick=quick) for series in chosen]
    behind = 0
    with tempfile.TemporaryDirectory(prefix="wattshed-growth-") as folder:
        for number, together in enumerate(_together(growing)):
            prepared = _Prepared(Path(folder, str(number)), limit_s)
            for size in dict.fromkeys(size for one in together for size in one.sizes):
                for one in together:
                    one.measure(size, prepared)
                    behind += size in one.sizes
                    far(behind)
            prepared.forget()
    return [one.told() for one in growing]


def _together(growing: Sequence[_Growing]) -> list[list[_Growing]]:
    """Put those together that need the same made beforehand: it is made once, and deleted before the next."""
    groups: dict[str, list[_Growing]] = {}
    for one in growing:
        groups.setdefault(one.series.prepare or one.series.name, []).append(one)
    return list(groups.values())


class _Prepared:
    """Folders with what points need, each made once; of what grows there is one, of the last size."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder, self._limit_s = folder, limit_s
        self._made: dict[int, tuple[Path, float]] = {}

    def folder(self, series: GrowingSeries, size: int) -> tuple[Path, float]:
        """Return the folder of a point, and the seconds that it took to fill.

        Raises
        ------
        ProcessFailedError
        """
        if size not in self._made:
            folder = self._folder / ("growing" if series.grows else f"of-{size}")
            folder.mkdir(parents=True, exist_ok=True)
            command = series.preparation(size, folder)
            seconds = measured(command, limit_s=_OVER * self._limit_s).seconds if command else 0.0
            self._made[size] = folder, seconds
        return self._made[size]

    def forget(self) -> None:
        """Delete them."""
        shutil.rmtree(self._folder, ignore_errors=True)


class _Growing:
    """A series as far as it is measured."""

    def __init__(self, series: GrowingSeries, limit_s: float, say: Callable[[str], None], *, quick: bool) -> None:
        self.series, self._limit_s, self._say = series, limit_s, say
        self.sizes, self._turns = (series.quick, 1) if quick else (series.sizes, 3)
        self._costs: list[dict[str, float]] = []
        self._stopped = ""

    def measure(self, size: int, prepared: _Prepared) -> None:
        """Measure a point, unless the series ended before, or ends here."""
        if self._stopped or size not in self.sizes:
            return
        series, limit_s = self.series, self._limit_s
        room = {"whole_s": limit_s, "prepare_s": limit_s, "peak_mib": _memory_mib(), "disk_mib": _disk_mib()}
        if why := beyond(self._costs, size, room):
            self._stopped = f"{size:,} {series.axis}: {why}"
            return
        self._say(f"{series.name}: {size:,} {series.axis}")
        try:
            folder, prepare_s = prepared.folder(series, size)
            disk_mib = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
            command = series.measured(size, folder)
            found = _point(command, self._turns, limit_s, whole=series.command is not None)
            self._costs.append({"size": size, "prepare_s": prepare_s, "disk_mib": disk_mib, **found})
        except ProcessFailedError as error:
            self._stopped = f"{size:,} {series.axis}: {error}"

    def told(self) -> dict[str, Any]:
        """Return it as the document has it."""
        points = [{name: cost[name] for name in ("size", "seconds", "peak_mib")} for cost in self._costs]
        return {
            "name": self.series.name,
            "axis": self.series.axis,
            "what": self.series.what,
            "points": points,
            "slope": slope(points),
            "stopped": self._stopped,
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
