"""What a snapshot says of the books: who is metered, what is doubtful, who has ended, in the units of its fields."""

import pytest

from tests.accounts.made import S, device, window
from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.publishing import ENDED_US, FRESH_US, Publisher, why_unmetered
from wattshed.agent.accounts.uncertainty import FROZEN_US, gpu_flags
from wattshed.agent.window import Event
from wattshed.agent.wire.parts import method_name
from wattshed.kernels.billing import shares

T0 = 1_700_000_000 * S


def published(
    seconds, *, rows=None, devices=None, usage=lambda t: (), events=lambda n: (), fresh_us=FRESH_US, prepare=None
):
    """The last snapshot of so many windows of a second; ``rows(n, t)`` are the readings of each GPU in one."""
    accounts, publisher = Accounts(live=True), Publisher("h", "1", "nvml", "lib", T0, fresh_us=fresh_us)
    rows = rows or (lambda n, t: [[(t, 300_000, 300_000 * n + 7), (t + S // 2, 300_000, -1)]])
    snapshot = publisher.empty(T0)
    assert (snapshot.seq, snapshot.time_us, snapshot.host, snapshot.started_us) == (0, T0, "h", T0)
    for n in range(seconds):
        t = T0 + n * S
        one = window(t, t + S, rows(n, t), usage(t), devices=devices, events=events(n), seq=n)
        accounts.add(one)
        if prepare:
            prepare(accounts)
        snapshot = publisher.publish(accounts, one, calls={}, late_s=0.25, duty=0.5, faults={"x": 3}, notes=("n",))
    return snapshot


def silent_after(last):
    """Readings that end with window ``last``."""
    return lambda n, t: [[(t, 300_000, 300_000 * n + 7)] if n <= last else []]


@pytest.mark.parametrize(("more", "metered"), [(0, True), (9, True), (10, False), (20, False)])
def test_a_gpu_is_metered_while_its_energy_is_known_up_to_ten_seconds_ago(more, metered):
    """The last reading is at the beginning of its window."""
    assert bool(published(5 + more, rows=silent_after(4)).unmetered) != metered


def test_one_that_is_read_seldom_is_given_its_own_gap():
    seldom = (device(max_gap_us=15 * S),)
    assert not published(5 + 14, rows=silent_after(4), devices=seldom).unmetered
    assert published(5 + 15, rows=silent_after(4), devices=seldom).unmetered
    assert not published(5 + 20, rows=silent_after(4), fresh_us=21 * S).unmetered


def test_one_of_two_is_enough_and_one_that_is_down_is_not():
    both = lambda n, t: [[], [(t, 300_000, -1)]]
    assert not published(20, rows=both).unmetered
    lost = lambda n: (Event(T0, "lost", gpu=1),) if n == 3 else ()
    assert published(20, rows=both, events=lost).unmetered
    assert "no GPU gives a usable reading" in published(20, rows=both, events=lost).unmetered


def test_why_nothing_is_metered():
    nothing = published(3, rows=lambda n, t: [[]])
    assert "no GPU reports energy or power" in nothing.unmetered
    assert nothing.energy == ()
    assert (nothing.gpus[0].energy_source, nothing.gpus[0].energy_hnj) == ("none", 0)
    lost = published(3, rows=lambda n, t: [[]], events=lambda n: (Event(T0, "lost", gpu=0),) if n == 1 else ())
    assert "no GPU answers" in lost.unmetered
    assert "no GPU answers" in why_unmetered(())


def test_the_snapshot_carries_what_it_was_given():
    found = published(4)
    assert (found.seq, found.time_us, found.counters_since_us) == (4, T0 + 4 * S, T0)
    assert (found.late_s, found.duty, found.faults, found.notes) == (0.25, 0.5, {"x": 3}, ("n",))


@pytest.mark.parametrize(
    ("bits", "name"),
    [
        (0, "held"),
        (shares.ALONE, "alone"),
        (shares.BY_ACTIVITY | shares.ALONE, "alone+utilisation"),
        (shares.BY_SHARE, "share"),
        (shares.EQUAL | shares.NOBODY_ACTIVE, "equal+nobody-active"),
    ],
)
def test_ways_to_split_have_names(bits, name):
    assert method_name(bits) == name


@pytest.mark.parametrize(
    ("what", "flag"),
    [
        ("resets", "counter_reset"),
        ("stuck", "counter_stuck"),
        ("rejected_step", "counter_rejected"),
        ("rejected_dip", "counter_rejected"),
    ],
)
def test_each_doubt_has_its_own_flag(what, flag):
    account = GpuAccount(device())
    assert gpu_flags(account, FROZEN_US) == ()
    setattr(account.totals, what, 1)
    assert gpu_flags(account, FROZEN_US) == (flag,)
    assert set(gpu_flags(account, FROZEN_US + 1)) == {flag, "frozen_sensor"}


@pytest.mark.parametrize(
    ("power", "seconds", "flagged"),
    [(119, 30, False), (121, 30, True), (121, 29, False), (76, 30, False), (74, 30, True)],
)
def test_counter_and_power_that_differ_are_flagged_after_half_a_minute(power, seconds, flagged):
    account = GpuAccount(device())
    account.totals.compared_counter_hnj, account.totals.compared_power_hnj = 100, power
    account.totals.compared_us = seconds * S
    assert gpu_flags(account, 0) == (("disagreement",) if flagged else ())


def test_a_job_has_ended_once_it_was_not_seen_for_two_seconds():
    def usage(t):
        return [(0, "a", t, t + S, -1, -1, 1)] if t < T0 + 3 * S else [(0, "b", t, t + S, -1, -1, 0)]

    after = ENDED_US // S
    for seconds, ended in ((3 + after, None), (4 + after, T0 + 3 * S)):
        found = {job.job: job for job in published(seconds, usage=usage).jobs}
        assert found["a"].ended_us == ended
        assert (found["a"].started_us, found["a"].active_us, found["a"].held_us) == (T0, 3 * S, 0)
        assert found["b"].ended_us is None
        assert (found["b"].active_us, found["b"].held_us) == (0, (seconds - 3) * S)


def test_nobody_has_a_bill_on_a_gpu_that_tells_nothing():
    usage = lambda t: [(0, "a", t, t + S, -1, -1, 1), (1, "b", t, t + S, -1, -1, 1), (1, "a", t, t + S, -1, -1, 1)]
    found = published(5, rows=lambda n, t: [[(t, 300_000, -1)], []], usage=usage)
    assert {share.gpu_uuid for share in found.energy} == {"GPU-0"}
    sigma = {job.job: job.sigma_j for job in found.jobs}
    assert sigma["b"] is None
    assert sigma["a"] is not None


def test_parts_are_where_they_belong():
    usage = lambda t: [(0, "a", t, t + S, -1, -1, 1)] if t >= T0 + 5 * S else ()
    found = published(10, usage=usage)
    parts = {share.job: (share.static_hnj, share.dynamic_hnj) for share in found.energy}
    assert sum(a + b for a, b in parts.values()) == found.gpus[0].energy_hnj
    assert parts["_idle"][1] == parts["_unattributed"][0] == 0
    assert parts["_idle"][0] > 0
    assert parts["_unattributed"][1] > parts["_idle"][0], "230 W beside 70 W"
    assert found.gpus[0].energy_source == "counter"


def test_a_modules_energy_stands_beside_and_its_number_is_the_gpus():
    def prepare(accounts):
        accounts.gpus[next(key for key in accounts.gpus if key.gpu == "GPU-1")].module = Module(77)

    found = published(2, rows=lambda n, t: [[(t, 300_000, -1)], [(t, 300_000, -1)]], prepare=prepare)
    assert [(one.source, one.domain, one.energy_hnj) for one in found.host_energy] == [("nvml", "module-1", 77)]


def test_labels_that_only_the_history_needs_are_kept_and_not_published():
    told = {"manager": "slurm", "user": "alice", "uid": "1000", "cluster": "east", "nodes": "2", "restart": "1"}
    accounts = []

    def name(all_):
        all_.ledger.jobs["slurm:7"].labels.update(told)
        accounts.append(all_)

    snapshot = published(2, usage=lambda t: [(0, "slurm:7", t, t + S, 10, 1_000_000, 1)], prepare=name)
    (job,) = snapshot.jobs
    assert job.labels == {"manager": "slurm", "user": "alice", "uid": "1000"}
    assert accounts[-1].ledger.jobs["slurm:7"].labels == told
