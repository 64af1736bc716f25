"""Books tables of runs: each run is a job with the energy that the table says, in accounts without readings.

Nothing is known of power over time, so there are no windows: energies go to the accounts as they are, to the last
microjoule, and runs at the same time on one GPU take nothing from each other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.ledger import GpuKey
from wattshed.agent.errors import counted
from wattshed.agent.replay.extremes import Extremes
from wattshed.agent.traces.foreign.gpus import gpu_name
from wattshed.agent.traces.foreign.settled_runs import overlap_uj
from wattshed.agent.window import MISSING, Device, JobKey
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.shares import ALONE

if TYPE_CHECKING:
    from wattshed.agent.replay.books import Part
    from wattshed.agent.traces.foreign.runs import TabledRun
    from wattshed.agent.traces.options import Options
    from wattshed.agent.traces.sources import Chain

_HNJ_PER_UJ = HNJ_PER_JOULE // 1_000_000
_PPM = 1_000_000
OVERLAPPING = "overlapping_runs"


def book_runs(chain: Chain, options: Options, part: Part) -> None:
    """Book the tables of a chain.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    runs = chain.runs(options)
    part.reports += chain.reports
    part.windows += 1  # what was read, as far as the answer asks
    by_gpu: dict[tuple[str, str, str], list[TabledRun]] = defaultdict(list)
    for run in runs:
        by_gpu[run.host, run.gpu, "" if run.gpu else run.model].append(run)
    taken: set[tuple[str, int]] = set()
    for (host, gpu, _), mine in sorted(by_gpu.items()):
        _book_gpu(_device(host, gpu, mine[0].model, taken), mine, part, named=bool(gpu))
    note = chain.reports[-1].note
    note(f"{counted(len(runs), 'run')} with the energy that the table says; between runs nothing is known")
    if not all(run.gpu for run in runs):
        note("no column says which GPU a run had: gpus[] has one entry for all GPUs of a model")
    for report in chain.reports:
        report.gpus = len(by_gpu)
    if any(OVERLAPPING in account.device.flags for account in part.accounts.gpus.values()):
        note(
            "runs took place at the same time: if they were on the same GPUs, as trackers of one machine are, this "
            "energy is counted more than once, and the sigma covers that; replay one of them, or say FILE@HOST"
        )


def _device(host: str, gpu: str, model: str, taken: set[tuple[str, int]]) -> Device:
    """Make a device of what the table calls a GPU; without a name, it has the next free index."""
    name = gpu_name(gpu) if gpu else {}
    index = name.get("index", MISSING)
    if index < 0:
        index = next(i for i in range(len(taken) + 1) if (host, i) not in taken)
    taken.add((host, index))
    return Device(host, index, name.get("uuid", ""), model, name.get("pci", ""))


def _book_gpu(device: Device, runs: list[TabledRun], part: Part, *, named: bool) -> None:
    total_uj = sum(run.energy_uj for run in runs)
    over_uj = 0 if named and not any(run.part_of for run in runs) else overlap_uj(runs)
    if over_uj:
        sigma = round(math.hypot(device.sigma_gain_ppm, over_uj / total_uj * _PPM))
        device = replace(device, sigma_gain_ppm=sigma, flags=(OVERLAPPING,))
    key = GpuKey(device.host, device.uuid or str(device.index))
    first_us, last_us = min(run.start_us for run in runs), max(run.end_us for run in runs)
    covered_us = _union_us(runs)
    energy_hnj = total_uj * _HNJ_PER_UJ
    account = GpuAccount(device)
    happened = Diagnostics(gap_us=last_us - first_us - covered_us, counter_hnj=energy_hnj, by_counter_hnj=energy_hnj)
    account.add(happened, energy_hnj, covered_us, 0, 0)
    part.accounts.gpus[key] = account
    part.extremes[key] = Extremes(MISSING, MISSING, 0, first_us, last_us)
    for run in runs:
        lasted_us = run.end_us - run.start_us
        job = part.accounts.ledger.job(JobKey(run.job), run.labels)
        job.seen(run.start_us, run.end_us)
        job.method |= ALONE
        line = job.line(key)
        line.dynamic_hnj += run.energy_uj * _HNJ_PER_UJ
        line.active_us += lasted_us
        line.peak_mw = max(line.peak_mw, run.energy_uj * 1000 // lasted_us if lasted_us else 0)
        part.times.note(run.job, run.start_us, run.end_us)


def _union_us(runs: list[TabledRun]) -> int:
    """Return for how long any of them took place, us."""
    covered, until = 0, None
    for run in sorted(runs, key=lambda one: one.start_us):
        begin = run.start_us if until is None else max(run.start_us, until)
        covered += max(run.end_us - begin, 0)
        until = run.end_us if until is None else max(until, run.end_us)
    return covered
