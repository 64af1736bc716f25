"""How time and memory grow: with the number of samples, up to a billion, and with the number of job edges."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.bench.rivals import BenchSamples
from wattshed.exporters.own_process import own_process
from wattshed.kernels.energy import extend, new_state, read
from wattshed.kernels.jobs import job_energy

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 8_000_000
_GAP_US = 5_000_000
_SAMPLES = (10_000_000, 30_000_000, 100_000_000, 300_000_000, 1_000_000_000)
_EDGES = (100, 1_000, 10_000, 100_000, 1_000_000)


def _resident_mib() -> float:
    """Memory of this process now; 0 where it cannot be read."""
    return (own_process().resident_bytes or 0) / 2**20


def scaling(
    *,
    say: Callable[[str], None],
    samples: tuple[int, ...] = _SAMPLES,
    edges: tuple[int, ...] = _EDGES,
) -> dict[str, list[dict[str, float]]]:
    """Measure a stream of samples in blocks, and energy per job with ever more jobs.

    Parameters
    ----------
    say : callable
        Called with what is being done.
    samples, edges : tuple of int
        How many of each.

    Returns
    -------
    dict
        ``samples``: points of samples, seconds in the kernel, peak resident memory; ``edges``: edges, seconds.
    """
    block = BenchSamples.make(_BLOCK, 1, 1)
    offsets = np.array([0, _BLOCK], np.int64)
    step = int(block.time_us[-1] - block.time_us[0]) + 1_000_000
    grown = []
    for size in samples:
        say(f"streaming {size:,} samples")
        state, seconds, peak, done = new_state(1), 0.0, 0.0, 0
        time_us = block.time_us.copy()
        while done < size:
            upto = min(_BLOCK, size - done)
            start = time.perf_counter()
            extend(state, time_us[:upto], block.power_mw[:upto], np.minimum(offsets, upto), _GAP_US)
            seconds += time.perf_counter() - start
            peak = max(peak, _resident_mib())
            time_us += step
            done += upto
        read(state)
        grown.append({"samples": size, "seconds": seconds, "rss_mib": peak})
    joined = []
    for count in edges:
        say(f"{count:,} job edges")
        data = BenchSamples.make(_BLOCK, 8, count // 2)
        jobs = len(data.start_us)
        length = np.maximum((data.end_us - data.start_us) * min(1.0, 2_000 / max(jobs, 1)), 1_000_000).astype(np.int64)
        unknown, live, idle = np.full(jobs, -1, np.int64), np.ones(jobs, np.int8), np.full(8, 70_000, np.int64)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            job_energy(
                data.time_us, data.power_mw, data.offsets, _GAP_US,
                idle, data.rows, data.start_us, data.start_us + length, unknown, unknown, unknown, live,
            )  # fmt: skip
            times.append(time.perf_counter() - start)
        joined.append({"edges": count, "seconds": statistics.median(times)})
    return {"samples": grown, "edges": joined}
