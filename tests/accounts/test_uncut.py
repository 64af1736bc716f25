"""What has not been cut yet, beside the parts: together they are the accounts, and looking changes nothing."""

import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S
from tests.accounts.test_cuts import T0, lives, run, seconds, summed
from tests.depth import examples
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.uncertainty import job_sigma_j
from wattshed.agent.accounts.uncut import open_records, uncut_parts
from wattshed.agent.wire.parts import Doubt


def uncut(accounts, cuts, now_us):
    return list(uncut_parts(cuts, accounts.ledger.jobs, accounts.gpus, accounts.since_us, now_us))


@settings(max_examples=examples(60), deadline=None)
@given(lives(), st.sampled_from([1, 3, 7, 3600]), st.integers(0, 4))
def test_parts_and_what_is_uncut_are_all_there_is(schedule, slot_s, keep_s):
    accounts, cuts = run(seconds(schedule), Cuts(slot_s * S), keep_s * S)
    now_us = max(job.end_us for job in accounts.ledger.jobs.values()) if accounts.ledger.jobs else T0 + 99 * S
    before = json.dumps(cuts.plain())
    left = uncut(accounts, cuts, now_us)
    assert json.dumps(cuts.plain()) == before
    both = summed([*cuts.outbox, *left])
    assert dict(both) == {key.gpu: account.energy_hnj for key, account in accounts.gpus.items() if key.gpu in both}
    assert all(key.gpu in both for key, account in accounts.gpus.items() if account.energy_hnj)
    times = defaultdict(int)
    for part in [*cuts.outbox, *left]:
        assert part.from_us <= part.to_us
        times[part.job] += part.active_us + part.held_us
    for job in accounts.ledger.jobs.values():
        own = sum(line.active_us + line.held_us for line in job.lines.values())
        assert times[job.key] >= own  # and of its earlier runs
    assert set(open_records(cuts, accounts.ledger.jobs, now_us, now_us)) >= {
        (part.job, part.run_us) for part in left if not part.job.startswith("_")
    }


def test_the_sigma_of_a_job_that_runs_is_that_of_its_account():
    accounts, cuts = run(seconds([("a", 0, 0, 9), ("a", 1, 0, 9), ("b", 0, 3, 9)]), Cuts(2 * S), 60 * S)
    for job in accounts.ledger.jobs.values():
        doubt = Doubt()
        for part in [*cuts.outbox, *uncut(accounts, cuts, T0 + 12 * S)]:
            doubt = doubt.plus(part.doubt) if part.job == job.key else doubt
        assert abs(doubt.sigma_j - job_sigma_j(job, accounts.gpus)) < 1e-6


def test_who_was_not_seen_lately_has_ended():
    accounts, cuts = run(seconds([("a", 0, 0, 4), ("b", 1, 0, 9)]), Cuts(3600 * S), 60 * S)
    records = open_records(cuts, accounts.ledger.jobs, T0 + 6 * S, T0 + 8 * S)
    assert {key: record.end_us for (key, _), record in records.items()} == {"a": T0 + 4 * S, "b": -1}
