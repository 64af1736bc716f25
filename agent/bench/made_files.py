"""Files that users have, made up in any size: a recording, a table of jobs, a sample of a fleet, loads of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.bench.made_windows import BEGIN_US, HOST, S, devices, power_window
from wattshed.agent.traces.native.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_WINDOW_ROWS = 2_000
"""Rows of a GPU in a window: at a reading a second their times still fit 32 bits."""
_BITE = 100_000
_SCREEN = 8
"""Rounds of rows between two headers of a monitor."""


def powers(count: int, seed: int = 1) -> NDArray[np.int32]:
    """Make readings of a GPU that trains, and rests at times: int32[count], mW."""
    rng = np.random.default_rng(seed)
    works = np.repeat(rng.random(count // 50 + 1) < 0.7, 50)[:count]
    return (np.where(works, 650_000, 120_000) + rng.integers(-40_000, 40_000, count)).astype(np.int32)


def write_recording(folder: Path, samples: int, gpus: int = 8, *, after: int = 0) -> None:
    """Write a native recording of a reading a second of each GPU, in windows as they come, whatever its length.

    Parameters
    ----------
    folder : Path
    samples : int
        Of all GPUs together.
    gpus : int
    after : int
        So many of them are there already, and the rest follow.
    """
    recorder = Recorder(folder, HOST, segment_s=float("inf"), sync_s=float("inf"))
    jitter = np.random.default_rng(2).integers(-50, 50, _WINDOW_ROWS) * 1_000
    steps = after // gpus
    of, rest, begin_us, power = (
        devices(gpus),
        samples // gpus - steps,
        BEGIN_US + steps * S,
        powers(_WINDOW_ROWS * gpus),
    )
    seq = -(-steps // _WINDOW_ROWS)
    while rest > 0:
        rows = min(rest, _WINDOW_ROWS)
        times = np.tile(begin_us + np.arange(rows) * S + jitter[:rows] + 100_000, gpus)
        offsets = np.arange(gpus + 1, dtype=np.int64) * rows
        until_us = begin_us + rows * S
        columns = times, np.roll(power, 7 * seq)[: rows * gpus]
        recorder.append(power_window(seq, (begin_us, until_us), of, offsets, columns))
        rest, begin_us, seq = rest - rows, until_us, seq + 1
    recorder.close()


def write_nvidia_smi(path: Path, samples: int, gpus: int = 8) -> None:
    """Write what ``nvidia-smi --query-gpu=timestamp,index,uuid,power.draw,utilization.gpu --format=csv -l 1`` would."""
    power, steps = powers(samples), samples // gpus
    begin = np.datetime64("2026-03-01T00:00:00.000")
    uuids = [f"GPU-{gpu:08x}-5f5c-4b1e-9d3a-0123456789ab" for gpu in range(gpus)]
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("timestamp, index, uuid, power.draw [W], utilization.gpu [%]\n")
        for first in range(0, steps, _BITE):
            count = min(_BITE, steps - first)
            stamps = np.datetime_as_string(begin + np.arange(first, first + count) * 1_000, unit="ms").tolist()
            watts = (power[first * gpus : (first + count) * gpus] / 1e3).tolist()
            file.writelines(
                f"{stamp[:10].replace('-', '/')} {stamp[11:]}, {gpu}, {uuids[gpu]}, {watts[row * gpus + gpu]:.2f} W, "
                f"{97 if watts[row * gpus + gpu] > 300 else 3} %\n"
                for row, stamp in enumerate(stamps)
                for gpu in range(gpus)
            )


def write_dmon(path: Path, samples: int, gpus: int = 8) -> None:
    """Write what ``nvidia-smi dmon -s pu -o DT`` would, with its header on every screen."""
    watts, steps = (powers(samples) // 1000).tolist(), samples // gpus
    begin = np.datetime64("2026-03-01T00:00:00")
    header = "#Date       Time        gpu    pwr  gtemp  mtemp     sm    mem    enc    dec\n"
    header += "#YYYYMMDD   HH:MM:SS    Idx      W      C      C      %      %      %      %\n"
    with path.open("w", encoding="ascii", newline="\n") as file:
        for first in range(0, steps, _BITE):
            stamps = np.datetime_as_string(begin + np.arange(first, min(first + _BITE, steps)), unit="s").tolist()
            for row, stamp in enumerate(stamps, start=first):
                file.write(header if row % _SCREEN == 0 else "")
                time = f" {stamp[:10].replace('-', '')}   {stamp[11:]}"
                file.writelines(
                    f"{time}      {gpu}  {power:5}     41     38  {97 if power > 300 else 3:5}      9      0      0\n"
                    for gpu, power in enumerate(watts[row * gpus : (row + 1) * gpus])
                )


def write_jobs(path: Path, jobs: int, span_s: int, gpus: int = 8) -> None:
    """Write a table of jobs that take turns on each GPU of the recording, with a little overlap."""
    length_s = max(1.0, span_s * gpus / jobs)
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("job,host,gpu,start,end,user\n")
        for job in range(jobs):
            start_s = BEGIN_US / 1e6 + span_s * (job // gpus) * gpus / jobs
            file.write(f"{job},bench,{job % gpus},{start_s:.3f},{start_s + 1.1 * length_s:.3f},user{job % 50}\n")


def write_sample(folder: Path, gpus: int) -> None:
    """Write a sample of a fleet, 8 GPUs a host, and the population of ten times as many hosts."""
    hosts, watts = max(gpus // 8, 1), (powers(gpus) / 1e3).tolist()
    with (folder / "sample.csv").open("w", encoding="ascii", newline="\n") as file:
        file.write("stratum,host,unit,value\n")
        file.writelines(
            f"{('h100', 'a100')[gpu // 8 % 2]},node{gpu // 8},{gpu % 8},{watts[gpu]:.1f}\n" for gpu in range(gpus)
        )
    half = hosts // 2
    text = f"stratum,hosts\nh100,{10 * (hosts - half)}\n" + (f"a100,{10 * half}\n" if half else "")
    (folder / "population.csv").write_text(text, encoding="ascii")


def write_loads(path: Path, hosts: int, steps: int = 60) -> None:
    """Write the power of hosts, a row per host and ten seconds."""
    watts = (powers(hosts * steps) / 100).tolist()
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("time,host,power_w\n")
        for step in range(steps):
            stamp = BEGIN_US // S + 10 * step
            file.writelines(f"{stamp},node{host:05d},{watts[step * hosts + host]:.1f}\n" for host in range(hosts))
