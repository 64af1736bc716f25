"""A simulated node of known CPU use: the estimate of each job's share of it, live, replayed, and over a restart."""

import json

import pytest

from tests.accounts.test_modules import book
from tests.virtual import agent, simulated
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.exporters.web.api import document

SCRIPT = """
gpus = 4
cycle_s = 6000
[[job]]
name = "7"
gpus = [0, 1]
start_s = 0
end_s = 45
cores = 36
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "train.service"
manager = "systemd"
gpus = [3]
start_s = 0
end_s = 5000
cores = 18
load = [[1.0, 200.0, 80]]
[host]
cpu = [95, 0.0]
rest = [420, 0.12]
[[host_meter]]
source = "rapl"
[[host_meter]]
source = "cray"
"""
SLURM, UNIT = "slurm:7", "unit:train.service"
BEYOND = ("cpu", "memory", "rest")


def node_of(tmp_path):
    (tmp_path / "s.toml").write_text(SCRIPT)
    return simulated(tmp_path, str(tmp_path / "s.toml"))


def estimates(accounts):
    found = {job.key: dict(job.node_hnj) for job in accounts.ledger.jobs.values()}
    return found | {key: dict(parts) for key, parts in accounts.beside["sim"].shares.nobodys_hnj.items()}


def sums(accounts):
    """Return what is shared out of each part, that of closed accounts too."""
    every = [*estimates(accounts).values(), accounts.ledger.ended_node_hnj]
    return {part: sum(parts.get(part, 0) for parts in every) for part in BEYOND}


def beyond(accounts):
    return {part: accounts.beside["sim"].node.parts_hnj[part] for part in BEYOND}


def replayed(folder):
    (source,) = find([str(folder)], Options())
    return book(source.windows(Options()))


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """A minute of the node, recorded, in which one of two jobs ends; and what the books said after 10 and 40 s."""
    tmp_path = tmp_path_factory.mktemp("shares")
    node, clock = node_of(tmp_path)
    recorder = Recorder(tmp_path / "recording", "sim")
    one = agent(node, clock, seconds=60, share=True, recorder=recorder)
    early = []
    for until_us in (10_000_000, 40_000_000, 60_000_000):
        while one.daemon.step().end_us - node.begun_us < until_us:
            pass
        early.append((estimates(one.accounts), beyond(one.accounts)))
    one.daemon.close()
    one.close()
    recorder.close()
    return node, one, early[:2], tmp_path / "recording"


def test_jobs_and_nobody_sum_to_the_node_beyond_its_gpus(life):
    _, one, _, _ = life
    assert sums(one.accounts) == beyond(one.accounts)
    assert min(beyond(one.accounts).values()) > 0


def test_cpu_energy_is_by_known_cpu_time(life):
    node, _, ((before, beyond_before), (after, beyond_after)), _ = life
    for key, cores in ((SLURM, 36), (UNIT, 18)):
        for part in ("cpu", "memory"):
            share = (after[key][part] - before[key][part]) / (beyond_after[part] - beyond_before[part])
            assert share == pytest.approx(cores / node.cgroups.cpus, rel=0.01)


def test_all_rest_counts_as_fixed_at_first_and_goes_by_gpus(life):
    _, _, ((before, beyond_before), (after, beyond_after)), _ = life
    rest = beyond_after["rest"] - beyond_before["rest"]
    for key, gpus in ((SLURM, 2), (UNIT, 1), ("_idle", 1)):
        assert (after[key]["rest"] - before[key]["rest"]) / rest == pytest.approx(gpus / 4, rel=0.01)


def test_after_its_last_reading_a_job_gets_no_cpu_energy(life):
    """It ends at 45 s; what its CPUs use after the last reading, and all after, is nobody's."""
    _, one, (_, (at_40_s, _)), _ = life
    of_5_s = (estimates(one.accounts)[SLURM]["cpu"] - at_40_s[SLURM]["cpu"]) / at_40_s[SLURM]["cpu"]
    assert 4 / 40 < of_5_s < 6 / 36


def test_the_replay_says_the_same_integers(life):
    _, one, _, recording = life
    again = replayed(recording)
    assert estimates(again) == estimates(one.accounts)
    assert again.beside["sim"].shares.plain() == one.accounts.beside["sim"].shares.plain()


def test_what_is_published(life):
    _, one, _, _ = life
    snapshot = one.board.current()
    jobs = {job["job"]: job["node_energy_estimate"] for job in json.loads(document(snapshot, {}))["jobs"]}
    assert jobs[UNIT]["parts_j"]["cpu"] == estimates(one.accounts)[UNIT]["cpu"] / 2e9
    assert jobs[UNIT]["sigma_j"] > 0
    assert sum(job["energy_j"] for job in jobs.values() if job) == pytest.approx(sum(sums(one.accounts).values()) / 2e9)
    assert snapshot.gpus[0].energy_hnj + snapshot.gpus[1].energy_hnj == sum(
        share.static_hnj + share.dynamic_hnj for share in snapshot.energy if share.gpu_uuid[-1] in "01"
    )  # the bills know nothing of it


def test_off_reads_and_says_nothing(tmp_path):
    node, clock = node_of(tmp_path)
    one = agent(node, clock, seconds=3, beside=True)
    one.daemon.run()
    one.close()
    assert not any(window.cpu.cpus for window in one.windows)
    assert one.board.current().node.estimate_hnj == {}


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_it_goes_on_after_a_restart(tmp_path, boot):
    node, clock = node_of(tmp_path)
    recorder = Recorder(tmp_path / "recording", "sim")
    first = agent(node, clock, share=True, recorder=recorder, state=tmp_path / "state")
    first.daemon.restore()
    first.live(12_000_000, killed=True)
    before = estimates(first.accounts)
    clock.sleep_until(clock.now_us() + 7_000_000)
    second = agent(node, clock, share=True, recorder=recorder, state=tmp_path / "state", boot=boot)
    second.daemon.restore()
    second.live(8_000_000)
    second.close()
    recorder.close()
    after = estimates(second.accounts)
    assert all(after[key][part] >= hnj for key, parts in before.items() for part, hnj in parts.items())
    assert after[UNIT]["cpu"] > before[UNIT]["cpu"]
    assert sums(second.accounts) == beyond(second.accounts)
    again = replayed(tmp_path / "recording")
    assert estimates(again) == after
    assert sums(again) == beyond(again)


def test_closed_accounts_stay_in_the_sum(tmp_path):
    node, clock = node_of(tmp_path)
    one = agent(node, clock, seconds=58, share=True, keep_us=2_000_000)
    one.daemon.run()
    one.close()
    assert SLURM not in estimates(one.accounts)
    assert one.accounts.ledger.ended_node_hnj["cpu"] > 0
    assert sums(one.accounts) == beyond(one.accounts)
    assert SLURM not in one.board.current().node.estimate_hnj
