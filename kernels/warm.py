"""Compile every kernel ahead of need, so that the first answer comes from a warm cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels import arrow_messages, bandwidth, columns, energy, ensemble, jobs, quantiles, windows
from wattshed.kernels.billing import histogram, power_only, reconcile, split
from wattshed.kernels.cache import cache_folder, prune_cache
from wattshed.kernels.columns import PARALLEL_FROM
from wattshed.kernels.jit import MODE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

_GAP_US = 5_000_000


def _recording(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make one GPU's steady readings, once a second, with one broken."""
    power = np.full(rows, 100_000, np.int32)
    power[rows // 2] = 0
    return np.arange(rows, dtype=np.int64) * 1_000_000, power, np.array([0, rows], np.int64)


def _job_energy(rows: int) -> jobs.JobEnergy:
    zero, unknown = np.zeros(1, np.int64), np.full(1, -1, np.int64)
    return jobs.job_energy(
        *_recording(rows), _GAP_US,
        zero + 70_000, np.array([0, 1]), zero, zero + 3_000_000, unknown, unknown, unknown, np.ones(1, np.int8),
    )  # fmt: skip


def _live_path() -> None:
    time_us, power_mw, offsets = _recording(8)
    bounds = (np.full(1, 20_000_000, np.int64), np.full(1, -1, np.int64), np.full(1, _GAP_US, np.int64))
    intervals = reconcile.merge(offsets, time_us, power_mw, time_us // 10_000, reconcile.new_state(1), *bounds)
    zero, unknown = np.zeros(1, np.int64), np.full(1, -1, np.int64)
    split.split(
        intervals.starts, intervals.counts, intervals.t0_us, intervals.t1_us, intervals.energy_hnj,
        zero + 70_000, np.array([0, 1]), zero, zero + 3_000_000, unknown, unknown, unknown, np.ones(1, np.int8),
    )  # fmt: skip


def _plain(rows: int) -> None:
    time_us, power_mw, offsets = _recording(rows)
    one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
    for times in (time_us, time_us.astype(np.uint32)):
        laid_out = columns.Columns(offsets.reshape(1, 2), times, none, none, power_mw, none)
        powers = [histogram.PowerHistogram(few=0)]
        power_only.book_power_only(
            laid_out, reconcile.new_state(1), one * 20_000_000, one * _GAP_US, one * 70_000, powers
        )


def _histogram() -> None:
    filled = histogram.PowerHistogram()
    filled.extend(*_recording(8)[:2], 20_000_000, _GAP_US)
    filled.quantiles()


def _segments() -> None:
    nothing = arrow_messages.spread([(0, 0, arrow_messages.TEXT, 1)])
    arrow_messages.look_through(np.zeros(64, np.uint8), 0, 64, nothing, 4)


def _ensemble() -> None:
    ensemble.bootstrap(np.ones((2, 8), np.int64), 2, 1)
    ensemble.bootstrap(np.full((2, 8), 1 << 52, np.int64), 2, 1)


def steps() -> dict[str, Callable[[], object]]:
    """Name each group of kernels and give a call that compiles it, for one thread and for all; the live path first."""
    small, large = 8, PARALLEL_FROM
    return {
        "live path": _live_path,
        "plain path": lambda: _plain(small),
        "energy": lambda: [energy.integrate(*_recording(n), _GAP_US) for n in (small, large)],
        "jobs": lambda: [_job_energy(n) for n in (small, large)],
        "windows": lambda: [windows.windows(*_recording(n), 60_000_000, _GAP_US) for n in (small, large)],
        "quantiles": lambda: [quantiles.quantiles(*_recording(n), _GAP_US) for n in (small, large)],
        "histogram": _histogram,
        "segments": _segments,
        "ensemble": _ensemble,
        "bandwidth probe": lambda: [bandwidth.read_once(np.ones(64, np.int64), n) for n in (1, 2)],
    }


BOOKING = ("live path", "plain path", "histogram", "segments")
"""What a replay needs."""


def warm_up(
    progress: Callable[[str, int, int, float], None] | None = None, only: Collection[str] | None = None
) -> Path | None:
    """Compile all kernels, or load them from the cache, and drop the caches of other versions.

    Parameters
    ----------
    only : collection of str, optional
        Groups to compile, as `steps` names them; the default is all.
    progress : callable, optional
        Told the name of each group when it is done, its number, how many there are, and its seconds.

    Returns
    -------
    Path or None
        The folder that now holds them; None if there is no safe place, or nothing to compile.
    """
    if MODE == "off":
        return None
    todo = {name: compile_it for name, compile_it in steps().items() if only is None or name in only}
    for number, (name, compile_it) in enumerate(todo.items(), start=1):
        start = time.perf_counter()
        compile_it()
        if progress:
            progress(name, number, len(todo), time.perf_counter() - start)
    prune_cache()
    return cache_folder()
