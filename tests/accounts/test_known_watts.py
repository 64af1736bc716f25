"""What parts tell of a job's watts: what was known of them while the job was there."""

import json
from dataclasses import replace

from tests.accounts.test_learned_split import HOUR, LEARNS, booked, recorded, vars_of
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.uncut import uncut_parts
from wattshed.agent.bench.split.running import BEGIN_US
from wattshed.agent.window import Usage


def test_parts_tell_what_was_known_of_a_job_when_it_was_cut():
    """Of jobs that are closed, too; and nothing of whom nothing was learned."""
    those = recorded()
    accounts, cuts = booked(those), Cuts()
    cuts.watts.ask = accounts.watts.milliwatts
    known = {
        (key, gpu.gpu): (round(one.watts * 1e3), round(one.sigma_w * 1e3))
        for (key, gpu), one in accounts.watts.jobs().items()
    }
    jobs, now_us = accounts.ledger.jobs, those[-1].end_us
    left = list(uncut_parts(cuts, jobs, accounts.gpus, BEGIN_US, now_us))
    assert {(one.job, one.gpu): one.watts_mw for one in left if one.watts_mw} == known
    for job in jobs.values():
        job.shown_hnj = job.energy_hnj
    retired = accounts.retire(now_us + HOUR // 60, 0)
    cuts.close(retired, accounts.gpus)
    assert {(one.job, one.gpu): one.watts_mw for one in cuts.outbox} == known
    assert accounts.watts.milliwatts("nobody", next(iter(accounts.gpus))) is None
    assert booked(those, None).watts.milliwatts(retired[0].key, next(iter(accounts.gpus))) is None


def without(window, owner):
    """The same window without the rows of an owner."""
    kept = window.usage.owner != owner
    return replace(window, usage=Usage(*(column[kept] for column in vars_of(window.usage))))


def test_what_was_known_of_a_job_does_not_fade_once_it_has_left():
    those, cuts = recorded(), Cuts(HOUR)
    accounts = Accounts(split=LEARNS)
    cuts.watts.ask = accounts.watts.milliwatts
    job = those[0].owners[0].key

    def follow(window):
        accounts.add(window)
        cuts.follow(accounts.ledger.jobs, accounts.gpus, BEGIN_US, window.end_us)

    for window in those[:30]:
        follow(window)
    (gpu,) = accounts.gpus
    known = accounts.watts.milliwatts(job, gpu)
    assert cuts.watts.of(job, gpu) == known
    for window in those[30:]:
        follow(without(window, 0))
    assert accounts.watts.milliwatts(job, gpu)[1] > known[1]
    assert cuts.watts.of(job, gpu) == known
    saved = cuts.plain()
    assert Cuts.of_plain(gpu.host, json.loads(json.dumps(saved))).watts.of(job, gpu) == known
    del saved["known_watts"]  # as an older agent leaves it
    assert Cuts.of_plain(gpu.host, saved).watts.of(job, gpu) is None
    back = replace(those[0], start_us=those[-1].end_us, end_us=those[-1].end_us + 1_000_000)
    usage = replace(back.usage, start_us=back.usage.start_us + 60_000_000, end_us=back.usage.end_us + 60_000_000)
    follow(replace(back, usage=usage))
    assert cuts.watts.of(job, gpu) == accounts.watts.milliwatts(job, gpu)
