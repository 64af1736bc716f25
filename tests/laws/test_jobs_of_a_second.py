"""Jobs of a second at random moments: found every time where process lists are cheap, and read as before where not."""

import random

import pytest

from tests.depth import few
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.ledger import Ledger

LISTS = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3")
COUNT, EVERY_S = 40, 6
NAMED_AFTER_S, FORGOTTEN_BEFORE_S, OPENING_S = 0.2, 0.035, 0.37


def node_of(tmp_path, seed, list_us):
    """An H200 on which a process of its own unit starts in every six seconds, and is listed for 0.6 to 1.2 s."""
    draw = random.Random(seed)
    text = (
        f"gpus = 1\ncycle_s = {COUNT * EVERY_S + 40}\n[[gpu]]\nidle_w = 78\ncontext_w = 42\nlinger_s = 1.6\n"
        f"named_after_s = {NAMED_AFTER_S}\nforgotten_before_s = {FORGOTTEN_BEFORE_S}\n"
        f'[[fault]]\nkind = "slow-counter"\nvalue = 3000\n'
        f'[[fault]]\nkind = "latency"\ncall = "{LISTS[0]}"\nvalue = {list_us}\n'
    )
    for number in range(COUNT):
        start_s = 20 + EVERY_S * (number + draw.random() / 2)
        listed_s = draw.uniform(0.6, 1.2)
        text += (
            f'[[job]]\nname = "job{number}.service"\nmanager = "systemd"\nstart_s = {start_s:.6f}\n'
            f"end_s = {start_s + NAMED_AFTER_S + listed_s + FORGOTTEN_BEFORE_S:.6f}\n"
            f"load = [[{OPENING_S}, 0, 0], [9, 540, 100]]\n"
        )
    script = tmp_path / f"jobs{seed}.toml"
    script.write_text(text)
    folder = tmp_path / f"seed{seed}"
    folder.mkdir()
    return simulated(folder, str(script))


def lived(node, clock):
    """Let an agent live there: how often each list was asked for, what jobs were billed, and the truth (J)."""
    one = agent(node, clock, seconds=COUNT * EVERY_S + 36, keep_us=10**12)
    one.daemon.run()
    calls = one.sampler.calls()
    one.close()
    billed = {job.key: job.energy_hnj / 2e9 for job in one.accounts.ledger.jobs.values()}
    truth = node.truth.jobs_nj(one.windows[0].start_us, one.windows[-1].end_us)
    jobs = {key: sum(parts) / 1e9 for (key, _), parts in truth.items() if key.startswith("unit:")}
    whole, parts = sums(one.accounts)
    assert whole == parts
    assert not one.faults.counts
    again = Accounts(ledger=Ledger(10_000), live=False)
    for window in one.windows:
        again.add(window)
    assert bills(again) == bills(one.accounts), "a replay says the same"
    return [calls[name].counts[-1] for name in LISTS], billed, jobs


@pytest.mark.parametrize("seed", few(list(range(4))))
def test_where_lists_are_cheap_they_are_found_every_time_and_billed_what_they_drew(tmp_path, seed):
    (compute, graphics), billed, jobs = lived(*node_of(tmp_path, seed, 40))
    assert len(jobs) == COUNT
    assert set(billed) == set(jobs)
    assert all(0.7 < billed[key] / jobs[key] < 1.3 for key in jobs), "a reading every half second cuts them"
    assert sum(billed.values()) == pytest.approx(sum(jobs.values()), rel=0.03)
    assert (compute - graphics) * 40e-6 < 0.002 * (COUNT * EVERY_S + 36)


@pytest.mark.parametrize("seed", few(list(range(2))))
def test_where_lists_are_dear_they_are_read_when_something_changed_and_not_glanced_at(tmp_path, seed):
    (compute, graphics), billed, jobs = lived(*node_of(tmp_path, seed, 2_000))
    assert compute - 1 == graphics, "all lists together, or none; once it was asked whether there is a list"
    assert set(billed) <= set(jobs)
