"""Recordings of a shared GPU through the accounts: what each job is billed, beside what it drew."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.bench.split.patterns import IDLE_W, LIMIT_W, told
from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.bench.split.patterns import SharedGpu

SECOND_US = 1_000_000
BEGIN_US = 1_700_000_000_000_000
DEVICE = Device(
    "simulated", 0, "GPU-0", model="NVIDIA H100 80GB HBM3", architecture="hopper", limit_mw=round(LIMIT_W * 1e3),
    idle_mw=round(IDLE_W * 1e3), simulated=True,
)  # fmt: skip


class SplitBill(NamedTuple):
    """One job's dynamic energy, J, one sigma of how it was split, and what it drew of what was billed."""

    pattern: str
    job: str
    billed_j: float
    sigma_j: float
    drawn_j: float

    @property
    def error(self) -> float:
        """How far off the bill is, relative to what the job drew."""
        return self.billed_j / self.drawn_j - 1


def windows(recording: SharedGpu) -> Iterator[Window]:
    """Return the windows of a second that an agent would have seen."""
    jobs, seconds = recording.activity.shape
    owners = tuple(Owner(JobKey(f"slurm:{job + 1}")) for job in range(jobs))
    power_mw = np.round(recording.board_w * 1e3).astype(np.int32)
    counter_mj = np.round(np.concatenate([[0.0], np.cumsum(recording.board_w)]) * 1e3).astype(np.int64)
    active_us = np.asfortranarray(np.round(recording.activity * SECOND_US).astype(np.int64))
    features = [
        np.asfortranarray(np.round(one * SECOND_US).astype(np.int64))
        for one in (recording.tensor, recording.dram)
        if one is not None
    ]
    offsets, begun = np.array([0, 1]), np.array([0, 2])
    for second in range(seconds):
        start_us = BEGIN_US + second * SECOND_US
        end_us = start_us + SECOND_US
        at = slice(second, second + 2) if second == 0 else slice(second + 1, second + 2)
        times = np.array([start_us, end_us], np.int64)[-(at.stop - at.start) :]
        readings = Readings(
            begun if second == 0 else offsets, times, np.repeat(power_mw[second], len(times)), counter_mj[at]
        )
        busy_us = np.array([min(int(active_us[:, second].sum()), SECOND_US)], np.int64)
        there = np.arange(jobs, dtype=np.int32)
        usage = Usage(
            np.zeros(jobs, np.int32), there, np.full(jobs, start_us), np.full(jobs, end_us), active_us[:, second],
            np.full(jobs, -1, np.int32), np.ones(jobs, np.int8), *(one[:, second] for one in features),
        )  # fmt: skip
        yield Window("simulated", second, start_us, end_us, (DEVICE,), readings, busy_us, owners, usage)


def bills(pattern: str, ratio: float, seed: int, seconds: int, rule: SplitRule) -> list[SplitBill]:
    """SplitBill one recording of a pattern; who drew nothing to speak of is left out.

    Shares are compared: what the jobs drew is scaled to what was billed to them all, since a meter's gain, and energy
    above idle that no job drew, are no faults of a split.
    """
    return billed(pattern, told(pattern, ratio, seed, seconds), rule)


def billed(pattern: str, recording: SharedGpu, rule: SplitRule) -> list[SplitBill]:
    """SplitBill one recording, see `bills`."""
    accounts = Accounts(split=rule)
    for window in windows(recording):
        accounts.add(window)
    accounts.finish()
    lines = {key: next(iter(job.lines.values())) for key, job in accounts.ledger.jobs.items()}
    drawn = recording.drawn_w.sum(axis=1)
    keys = [JobKey(f"slurm:{job + 1}") for job in range(len(drawn))]
    billed = np.array([lines[key].dynamic_hnj / HNJ_PER_JOULE if key in lines else 0.0 for key in keys])
    drawn *= billed.sum() / drawn.sum()
    return [
        SplitBill(pattern, key, float(billed[job]), lines[key].split_hnj / HNJ_PER_JOULE, float(drawn[job]))
        for job, key in enumerate(keys)
        if drawn[job] > 0.005 * drawn.sum()
    ]
