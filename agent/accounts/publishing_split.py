"""What is published of the watts that are learned of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.accounts.split_rule import COMMON, LEARNED
from wattshed.exporters.split_facts import SplitFacts, SplitOfGpu, WattsOfJob
from wattshed.kernels.billing.slots import SLOT_US
from wattshed.kernels.billing.watts import USES

if TYPE_CHECKING:
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.window import Window

_SLOT_S = SLOT_US // 1_000_000


def split_facts(accounts: Accounts, window: Window) -> SplitFacts:
    """Freeze what is believed of the jobs and GPUs of a window's host; of a GPU without jobs so far, nothing is."""
    watts = accounts.watts.of(window.host)
    if watts is None:
        return SplitFacts()
    gpus, jobs = [], []
    for place, device in enumerate(window.devices):
        slots = watts.uses[place].tolist()
        if any(slots):
            seconds = tuple((use, count * _SLOT_S) for use, count in zip(USES, slots, strict=True))
            gpus.append(SplitOfGpu(device.uuid, watts.common_w(place), seconds))
    keys = accounts.keys_of(window.host)
    for one in watts.believed():
        job = accounts.ledger.jobs.get(one.job)
        if job is None or job.folded or keys[one.gpu] not in job.lines or not one.alone_us + one.shared_us:
            continue
        doubt_hnj = job.lines[keys[one.gpu]].split_hnj
        jobs.append(WattsOfJob(one.job, keys[one.gpu].gpu, one.watts, one.sigma_w, doubt_hnj))
    return SplitFacts(LEARNED if watts.rule.learned else COMMON, tuple(gpus), tuple(jobs))
