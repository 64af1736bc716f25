"""Windows that no GPU was read for: of power alone, as recordings have them, and of busy nodes, as agents read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BEGIN_US = 1_700_000_000_000_000
HOST = "bench"
S = 1_000_000
_GPUS_A_HOST = 8


def devices(gpus: int, max_gap_us: int = -1) -> tuple[Device, ...]:
    """Make the GPUs of a recording; -1 leaves the gap to who replays it."""
    return tuple(Device(HOST, i, f"GPU-{i}", limit_mw=1_000_000, max_gap_us=max_gap_us) for i in range(gpus))


def power_window(
    seq: int,
    times_us: tuple[int, int],
    of: Sequence[Device],
    offsets: NDArray[np.int64],
    columns: tuple[NDArray[np.int64], NDArray[np.int32]],
) -> Window:
    """Make a window of times and powers, GPU-major; ``times_us`` are its start and its end."""
    time_us, power_mw = columns
    unknown = np.full(len(of), -1, np.int64)
    readings = Readings(offsets, time_us, power_mw, np.full(len(time_us), -1, np.int64))
    return Window(HOST, seq, *times_us, tuple(of), readings, unknown)


def live_windows(gpus: int, second: int) -> list[Window]:
    """Make a second of so many GPUs, eight a host: two readings with the counter, and a job on each."""
    begin_us, made = BEGIN_US + second * S, []
    for first in range(0, gpus, _GPUS_A_HOST):
        host, count = f"node{first // _GPUS_A_HOST}", min(_GPUS_A_HOST, gpus - first)
        mine = tuple(Device(host, i, f"GPU-{host}-{i}", limit_mw=700_000, idle_mw=70_000) for i in range(count))
        readings = Readings(
            np.arange(count + 1, dtype=np.int64) * 2,
            np.tile(np.array([begin_us + 250_000, begin_us + 750_000]), count),
            np.full(2 * count, 500_000, np.int32),
            np.tile(np.array([500_000 * second + 125_000, 500_000 * second + 375_000]), count),
        )
        usage = Usage.of([(i, i, begin_us, begin_us + S, 900_000, -1, 1) for i in range(count)])
        owners = tuple(Owner(JobKey(f"slurm:{host}-{i}")) for i in range(count))
        busy = np.full(count, 900_000, np.int64)
        made.append(Window(host, second, begin_us, begin_us + S, mine, readings, busy, owners, usage))
    return made
