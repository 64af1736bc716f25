"""Made-up recordings for the kernels, of any size: columns of readings, and who used the GPUs."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 20  # rows that are drawn; longer recordings repeat them
START_US = 1_700_000_000_000_000


def recording(n: int, gpus: int, *, dirty: bool = False):
    """Columns of about ``n`` readings, a second apart with jitter and a few holes; in dirty ones some are none."""
    rng = np.random.default_rng(n)
    each = max(n // gpus, 2)
    block = min(each, BLOCK)
    step = rng.integers(900_000, 1_100_000, block)
    step[rng.random(block) < 1e-4] = 60_000_000
    power = rng.integers(60_000, 700_000, block).astype(np.int32)
    if dirty:
        power[rng.random(block) < 0.01] = -1
    times, turns = np.cumsum(step), -(-each // block)
    own_us = np.concatenate([times + k * (int(times[-1]) + 1_000_000) for k in range(turns)])[:each]
    own_mw = np.tile(power, turns)[:each]
    time_us = np.concatenate([START_US + gpu + own_us for gpu in range(gpus)])
    power_mw = np.concatenate([np.roll(own_mw, 17 * gpu) for gpu in range(gpus)])
    return time_us, power_mw, np.arange(gpus + 1, dtype=np.int64) * each


def usage(time_us, offsets, jobs: int):
    """Jobs on every GPU, some at once: what ``job_energy`` takes after the readings."""
    rng = np.random.default_rng(jobs)
    start, end = [], []
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        a, b = int(time_us[first]), int(time_us[last - 1])
        begun = np.sort(rng.integers(a, b, jobs))
        start.append(begun)
        end.append(np.minimum(begun + rng.integers(1, max(2, (b - a) // 3), jobs), b + 1))
    gpus = len(offsets) - 1
    unknown = np.full(gpus * jobs, -1, np.int64)
    return (
        np.full(gpus, 70_000, np.int64),
        np.arange(gpus + 1, dtype=np.int64) * jobs,
        np.concatenate(start),
        np.concatenate(end),
        rng.integers(0, 1_000_000, gpus * jobs),
        unknown,
        unknown.copy(),
        np.ones(gpus * jobs, np.int8),
    )


def same(left, right) -> bool:
    """Whether two answers are the same integers of the same types, in the same shapes."""
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left.dtype == right.dtype and np.array_equal(left, right)
