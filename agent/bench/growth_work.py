"""What is measured of growing sizes: ``python -m wattshed.agent.bench.growth_work WHAT SIZE FOLDER``.

Each is done in a process of its own. What prepares files has ended before what reads them begins. Those that are not a
command of wattshed print the seconds of the work alone, in JSON; of a command the whole process counts, as for a user.
"""

# Imported where they are used: each process has only what its own work needs, so that its memory is its own.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS_SAMPLES = 1_000_000
"""Samples of the recording on which jobs grow."""
_BLOCK = 1_000_000
_GAP_US = 5_000_000
_GPUS_A_HOST = 8
_PARTS_A_HOST = 20


def stream(size: int, folder: Path) -> float:
    """Integrate samples in blocks, as they come; returns the seconds in the kernel."""
    del folder
    import numpy as np

    from wattshed.agent.bench.made_files import S, powers
    from wattshed.kernels.energy import extend, new_state, read

    power_mw, seconds, done = powers(_BLOCK), 0.0, 0
    time_us = np.arange(_BLOCK, dtype=np.int64) * S
    offsets, state = np.array([0, _BLOCK], np.int64), new_state(1)
    extend(
        new_state(1), time_us[:10], power_mw[:10], np.array([0, 10], np.int64), _GAP_US
    )  # whatever the first call does
    while done < size:
        upto = min(_BLOCK, size - done)
        begun_s = time.perf_counter()
        extend(state, time_us[:upto], power_mw[:upto], np.minimum(offsets, upto), _GAP_US)
        seconds += time.perf_counter() - begun_s
        time_us += _BLOCK * S
        done += upto
    read(state)
    return seconds


def record(size: int, folder: Path) -> None:
    """Write the recording that is replayed."""
    from wattshed.agent.bench.made_files import write_recording

    write_recording(folder, size)


def live_second(size: int, folder: Path) -> float:
    """Book a second of so many GPUs, eight a host, two readings and an owner each; returns the median seconds."""
    del folder
    import numpy as np

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window

    accounts, times = Accounts(live=True), []
    hosts = [(f"node{at // _GPUS_A_HOST}", min(_GPUS_A_HOST, size - at)) for at in range(0, size, _GPUS_A_HOST)]
    devices = {
        host: tuple(Device(host, i, f"GPU-{host}-{i}", limit_mw=700_000, idle_mw=70_000) for i in range(gpus))
        for host, gpus in hosts
    }
    for second in range(5):
        begin_us = 1_700_000_000_000_000 + second * 1_000_000
        windows = []
        for host, gpus in hosts:
            at = np.tile(np.array([begin_us + 250_000, begin_us + 750_000]), gpus)
            power = np.full(2 * gpus, 500_000, np.int32)
            counter = np.tile(np.array([500_000 * second + 250, 500_000 * second + 500]), gpus)
            readings = Readings(np.arange(gpus + 1, dtype=np.int64) * 2, at, power, counter)
            usage = Usage.of([(i, i, begin_us, begin_us + 1_000_000, 900_000, -1, 1) for i in range(gpus)])
            owners = tuple(Owner(JobKey(f"slurm:{host}-{i}")) for i in range(gpus))
            busy = np.full(gpus, 900_000, np.int64)
            windows.append(
                Window(host, second, begin_us, begin_us + 1_000_000, devices[host], readings, busy, owners, usage)
            )
        begun_s = time.perf_counter()
        for window in windows:
            accounts.add(window)
        times.append(time.perf_counter() - begun_s)
    return statistics.median(times[1:])


def sample(size: int, folder: Path) -> None:
    """Write the sample that a fleet is estimated from."""
    from wattshed.agent.bench.made_files import write_sample

    write_sample(folder, size)


def jobs_table(size: int, folder: Path) -> None:
    """Write a recording, and the table of jobs that it is shared among."""
    from wattshed.agent.bench.made_files import write_jobs, write_recording

    write_recording(folder, JOBS_SAMPLES)
    write_jobs(folder / "jobs.csv", size, JOBS_SAMPLES // 8)


def history(size: int, folder: Path) -> None:
    """Write a site's history of so many jobs, as its collector does."""
    from wattshed.agent.bench.site_work import fill

    fill(str(folder / "history.db"), size, hosts=max(1, min(100, size // 10)))


def loads(size: int, folder: Path) -> None:
    """Write the power of so many hosts."""
    from wattshed.agent.bench.made_files import write_loads

    write_loads(folder / "loads.csv", size)


def collect(size: int, folder: Path) -> float:
    """Take a page of each of so many hosts into a site's database; returns the seconds of that."""
    from wattshed.agent.bench.site_work import fill

    place = Path(tempfile.mkdtemp(dir=folder), "site.db")  # a new one each time: what is there is not taken again
    return fill(str(place), size * _PARTS_A_HOST, hosts=size).seconds


WORK: dict[str, Callable[[int, Path], float | None]] = {
    one.__name__: one for one in (stream, record, live_second, sample, jobs_table, history, loads, collect)
}


def main() -> None:
    """Do one of `WORK`."""
    what, size, folder = sys.argv[1:]
    seconds = WORK[what](int(size), Path(folder))
    if seconds is not None:
        sys.stdout.write(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
