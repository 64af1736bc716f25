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
_PARTS_A_HOST = 20
_JOBS_A_HOST = 1_000
_MANY_GPUS = 10_000


def stream(size: int, folder: Path) -> float:
    """Integrate samples in blocks, as they come; returns the seconds in the kernel."""
    del folder
    import numpy as np

    from wattshed.agent.bench.made_files import powers
    from wattshed.agent.bench.made_windows import S
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
    """Write the recording that is replayed, or let the smaller one that is there grow."""
    from wattshed.agent.bench.made_files import write_recording

    write_recording(folder, size, after=_before(folder))
    _now_there(folder, size)


def live_second(size: int, folder: Path) -> float:
    """Book a second of so many GPUs, eight a host, two readings and an owner each; returns the median seconds.

    Of five seconds, the first left out; of very many GPUs of three.
    """
    del folder
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.bench.made_windows import live_windows

    accounts, times = Accounts(live=True), []
    for second in range(5 if size <= _MANY_GPUS else 3):
        windows = live_windows(size, second)
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
    """Make a site's history of so many jobs, a host for a thousand, or let the smaller one that is there grow."""
    from wattshed.agent.bench.site_work import grow_site

    before = _before(folder)
    grow_site(folder / "history.db", size, _hosts_of(size), (before, _hosts_of(before)))
    _now_there(folder, size)


def _hosts_of(jobs: int) -> int:
    """Return how many hosts a site of so many jobs has: more of them whenever it grows."""
    return max(jobs // _JOBS_A_HOST, len(str(jobs)) - 1)


def _before(folder: Path) -> int:
    """Return what size is there already."""
    there = folder / "size"
    return int(there.read_text(encoding="ascii")) if there.exists() else 0


def _now_there(folder: Path, size: int) -> None:
    (folder / "size").write_text(str(size), encoding="ascii")


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
