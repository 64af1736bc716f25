"""Windows may name the GPUs of a host in any order, and others each time: it changes no bill."""

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.window import Event

T0 = 1_700_000_000 * S
GPUS, SECONDS = 3, 24
WATTS = (300, 410, 520)
ABOUT = tuple(device(i, idle_mw=(60 + i) * 1000) for i in range(GPUS))
LOST = {0: range(6, 14), 1: range(0), 2: range(10, 17)}  # seconds in which a GPU is not read


def windows(orders):
    """A window a second; each job uses one GPU, or shares it, for a while."""
    for n, order in enumerate(orders):
        t = T0 + n * S
        rows, usage = [], []
        for place, gpu in enumerate(order):
            watts, read = WATTS[gpu] + 10 * (n % 3), n not in LOST[gpu]
            power = [(t + S // 4, watts * 1000, sum((WATTS[gpu] + 10 * (m % 3)) * 1000 for m in range(n + 1)))]
            rows.append(power if read else [])
            for key, since, until in (("a", 2, 12), ("b", 8, 24 - gpu), (f"only-{gpu}", 0, 20)):
                if since <= n < until and read:
                    usage.append((place, key, t, t + S, 300_000 + 100_000 * gpu, -1, 1))
        about = tuple(ABOUT[gpu] for gpu in order)
        events = tuple(Event(t, "xid", place, str(40 + gpu)) for place, gpu in enumerate(order) if n == 5)
        yield window(t, t + S, rows, usage, about, busy=[900_000] * len(order), events=events, seq=n)


def bills(accounts):
    gpus = {key: (one.energy_hnj, one.idle_hnj, one.unattributed_hnj, one.booked_us, one.totals, one.last_xid)
            for key, one in accounts.gpus.items()}  # fmt: skip
    return gpus, {
        key: {gpu: asdict(line) for gpu, line in job.lines.items()} for key, job in accounts.ledger.jobs.items()
    }


def booked(orders):
    accounts = Accounts(live=True)
    for one in windows(orders):
        accounts.add(one)
    accounts.finish()
    return bills(accounts)


@pytest.fixture(scope="module")
def in_order():
    return booked([range(GPUS)] * SECONDS)


@settings(deadline=None, max_examples=examples(12))
@given(orders=st.lists(st.permutations(range(GPUS)), min_size=SECONDS, max_size=SECONDS))
def test_the_order_of_gpus_changes_no_bill(in_order, orders):
    assert booked(orders) == in_order


def test_each_has_its_own(in_order):
    gpus, jobs = in_order
    assert len({values[0] for values in gpus.values()}) == GPUS
    assert {key.gpu: values[-1] for key, values in gpus.items()} == {"GPU-0": 40, "GPU-1": 41, "GPU-2": 42}
    assert set(jobs) == {"a", "b", "only-0", "only-1", "only-2"}
    assert all(set(jobs[f"only-{i}"]) == {key for key in gpus if key.gpu == f"GPU-{i}"} for i in range(GPUS))
