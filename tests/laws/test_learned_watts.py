"""Learned watts by the whole agent on a simulated node in virtual time: bills, a restart between, and the replay."""

from collections import defaultdict

import numpy as np
import pytest

from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

LEARNED = SplitRule(learned=True)
NODE = """
gpus = 2
cycle_s = 600
[[gpu]]
index = 1
mig = [[1, 0, 60], [2, 0, 60]]
[[job]]
name = "100"
gpus = [0]
load = [[7.0, 70.0, 35], [4.0, 0.0, 0]]
[[job]]
name = "200"
gpus = [0]
load = [[5.0, 280.0, 35], [6.0, 20.0, 3]]
dram = 0.7
[[job]]
name = "300"
gpus = [1]
instance = "1/0"
load = [[6.0, 60.0, 30], [5.0, 0.0, 0]]
tensor = 0.0
dram = 0.8
[[job]]
name = "400"
gpus = [1]
instance = "2/0"
load = [[4.0, 200.0, 30], [3.0, 0.0, 0]]
tensor = 0.9
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """Two lives of an agent that learns, with their recording: (node, accounts, windows, folder of the recording)."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "node.toml").write_text(NODE)
    node, clock = simulated(folder, str(folder / "node.toml"))
    windows = []
    for seconds in (80, 100):
        recorder = Recorder(folder / "recording", "sim", max_bytes=0, max_age_s=0)
        one = agent(
            node, clock, seconds=seconds, recorder=recorder, state=folder / "state", keep_us=10**12, split=LEARNED
        )
        one.daemon.restore()
        one.daemon.run()
        one.close()
        recorder.close()
        assert not one.faults.counts
        windows += one.windows
    return node, one.accounts, windows, folder / "recording"


def dynamic_of(accounts):
    return {
        key: sum(line.dynamic_hnj for line in job.lines.values()) / 2e9 for key, job in accounts.ledger.jobs.items()
    }


def replayed(folder, split=None):
    accounts, options = Accounts(split=split), Options()
    for chain in find([str(folder)], options):
        for window in chain.windows(options):
            accounts.add(window)
    accounts.finish()
    return accounts


def test_unlike_jobs_are_billed_more_nearly_what_they_drew(lived):
    node, accounts, windows, folder = lived
    whole, parts = sums(accounts)
    assert whole == parts
    common, truth = replayed(folder), defaultdict(float)
    for (key, _), (_, dynamic) in node.truth.jobs_nj(windows[0].start_us, windows[-1].end_us).items():
        truth[key] += dynamic / 1e9
    for key, billed in dynamic_of(accounts).items():
        far, farther = (abs(one - truth[key]) / truth[key] for one in (billed, dynamic_of(common)[key]))
        assert far < 0.25, key
        assert far < 0.5 * farther, key


def test_a_replay_learns_what_the_agent_learned(lived):
    _, accounts, _, folder = lived
    again = replayed(folder, LEARNED)
    assert bills(again) == bills(accounts)
    assert again.watts.jobs() == accounts.watts.jobs()


def test_instances_say_what_else_they_kept_busy(lived):
    _, _, windows, _ = lived
    known = [
        (window.owners[owner].key, activity, tensor, dram)
        for window in windows
        if len(window.usage.tensor_us)
        for owner, activity, tensor, dram in zip(
            window.usage.owner.tolist(), window.usage.activity_us.tolist(), window.usage.tensor_us.tolist(),
            window.usage.dram_us.tolist(), strict=True,
        )
        if tensor >= 0 and activity > 100_000
    ]  # fmt: skip
    assert len(known) > 50
    assert {key for key, *_ in known} == {"slurm:300", "slurm:400"}
    for key, activity, tensor, dram in known:
        parts = {"slurm:300": (0.0, 0.8), "slurm:400": (0.9, 0.3)}[key]
        assert (tensor / activity, dram / activity) == pytest.approx(parts, abs=0.02)


def test_processes_that_take_turns_say_how_long_memory_was_busy(lived):
    """Of this kind of board a row says what the whole GPU did while the process was on it."""
    _, _, windows, _ = lived
    found = defaultdict(list)
    for window in windows:
        usage = window.usage
        for row in np.flatnonzero(usage.gpu == 0).tolist():
            assert not len(usage.tensor_us) or usage.tensor_us[row] < 0
            if usage.activity_us[row] > 100_000:
                found[window.owners[usage.owner[row]].key].append(usage.dram_us[row] / usage.activity_us[row])
    # Both at once keep memory busy for half of the time; the second alone works too little to count here.
    assert [max(parts) for parts in found.values()] == pytest.approx([0.5, 0.5], abs=0.02)
    assert min(found["slurm:100"]) == pytest.approx(0.3, abs=0.05)
