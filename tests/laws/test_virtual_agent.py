"""The whole agent on a simulated node in virtual time: conservation, truth, restarts, and replay equals live."""

import random
from collections import defaultdict

import pytest

from tests.depth import deep, examples, few
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

SHORT = """
gpus = 2
cycle_s = 60
[[gpu]]
rows = "interval"
[[job]]
name = "100"
gpus = [0]
start_s = 11.3
end_s = 19.3
load = [[3.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "200"
gpus = [1]
load = [[1.0, 250.0, 50]]
start_s = 2.0
end_s = 58.0
[[job]]
name = "300"
gpus = [1]
start_s = 30.7
end_s = 38.7
load = [[1.0, 200.0, 40]]
"""

KILLS = examples(100)


def truth_by_job(node, windows):
    """What each job really used (J), with container names as the agent can know them."""
    found = defaultdict(float)
    for (key, _), (static, dynamic) in node.truth.jobs_nj(windows[0].start_us, windows[-1].end_us).items():
        found[key.partition("/")[0] if key.startswith("k8s:") else key] += (static + dynamic) / 1e9
    return found


def test_ten_minutes_cost_each_job_what_it_really_used(tmp_path):
    node, clock = simulated(tmp_path)
    one = agent(node, clock, seconds=600, keep_us=10**12)
    one.daemon.run()
    one.close()
    whole, parts = sums(one.accounts)
    assert whole == parts
    truth = truth_by_job(node, one.windows)
    end_us = one.windows[-1].end_us
    compared = 0
    for job in one.accounts.ledger.jobs.values():
        if job.end_us >= end_us or job.end_us - job.start_us < 60_000_000:
            continue  # still running when the run ended, or short
        compared += 1
        assert job.energy_hnj / 2e9 == pytest.approx(truth[job.key], rel=0.02), job.key
    assert compared >= 4
    for gpu, card in enumerate(node.cards):
        (account,) = [a for k, a in one.accounts.gpus.items() if k.gpu == one.windows[0].devices[gpu].uuid]
        real = node.truth.gpu_nj(gpu, one.windows[0].start_us, end_us) / 1e9
        assert account.energy_hnj / 2e9 == pytest.approx(real, rel=0.003), card  # up to a second at either end


def test_every_window_obeys_the_law_and_no_counter_falls(tmp_path):
    node, clock = simulated(tmp_path)
    one = agent(node, clock, seconds=180, keep_us=20_000_000, cap=4)
    shown = {}
    show = one.board.show

    def check(snapshot):
        for gpu in snapshot.gpus:
            assert gpu.energy_hnj == sum(
                e.static_hnj + e.dynamic_hnj for e in snapshot.energy if e.gpu_uuid == gpu.uuid
            )
            assert gpu.energy_hnj >= shown.get(gpu.uuid, 0)
            shown[gpu.uuid] = gpu.energy_hnj
        for entry in snapshot.energy:
            for component in ("static_hnj", "dynamic_hnj"):
                key = (entry.job, entry.gpu_uuid, component)
                assert getattr(entry, component) >= shown.get(key, 0)
                shown[key] = getattr(entry, component)
        show(snapshot)

    one.board.show = check
    one.daemon.run()
    one.close()
    assert not one.faults.counts
    assert len(shown) > 16


@deep
def test_a_recording_replays_to_the_same_integers(tmp_path):
    node, clock = simulated(tmp_path)
    recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
    one = agent(node, clock, seconds=240, recorder=recorder, keep_us=10**12)
    one.daemon.run()
    one.close()
    recorder.close()
    assert not one.faults.counts
    again = Accounts()
    options = Options()
    for chain in find([str(tmp_path / "recording")], options):
        for window in chain.windows(options):
            again.add(window)
    again.finish()
    assert bills(again) == bills(one.accounts)


def test_kills_lose_nothing_and_count_nothing_twice(tmp_path):
    node, clock = simulated(tmp_path)
    chance = random.Random(7)
    shown, first_us, last = {}, None, None
    for _ in range(KILLS):
        one = agent(node, clock, state=tmp_path / "state", keep_us=10**12)
        one.daemon.restore()
        first_us = first_us or clock.now_us()
        for _ in range(chance.randint(1, 8)):
            one.daemon.step()
            for gpu in one.board.current().gpus:
                assert gpu.energy_hnj >= shown.get(gpu.uuid, 0)
                shown[gpu.uuid] = gpu.energy_hnj
            whole, parts = sums(one.accounts)
            assert whole == parts
        last = one
        if chance.random() < 0.3:  # killed while writing: the half-written file lies beside the whole one
            (tmp_path / "state/state.fresh").write_bytes(b"wattshed-state 1 dead")
        one.kill()
        clock.sleep_until(clock.now_us() + chance.randint(0, 5_000_000))
    for gpu in range(len(node.cards)):
        real = node.truth.gpu_nj(gpu, first_us, last.windows[-1].end_us) / 1e9
        (account,) = [a for k, a in last.accounts.gpus.items() if k.gpu == last.windows[0].devices[gpu].uuid]
        assert account.energy_hnj / 2e9 == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("later_s", few([0.35, 0.0, 0.8]))
def test_short_jobs_are_billed_from_their_real_start_to_their_real_end(tmp_path, later_s):
    script = tmp_path / "short.toml"
    script.write_text(SHORT.replace("11.3", f"{11.3 + later_s}").replace("19.3", f"{19.3 + later_s}"))
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=150, keep_us=10**12)
    one.daemon.run()
    one.close()
    truth = truth_by_job(node, one.windows)
    ended = [j for j in one.accounts.ledger.jobs.values() if j.end_us < one.windows[-1].end_us - 2_000_000]
    eights = [j for j in ended if j.end_us - j.start_us < 10_000_000]
    assert len(eights) >= 3
    for job in eights:
        assert job.energy_hnj / 2e9 == pytest.approx(truth[job.key], rel=0.05), job.key


def test_told_to_end_while_the_first_window_is_accounted_it_accounts_no_other(tmp_path):
    """SIGTERM raises SystemExit where it finds the loop, which is the compiler for tens of seconds."""
    node, clock = simulated(tmp_path)
    one = agent(node, clock, state=tmp_path / "state", seconds=5)
    windows = []

    def add(window):
        windows.append(window)
        raise SystemExit(0)

    one.accounts.add = add
    with pytest.raises(SystemExit):
        one.daemon.run()
    one.close()
    assert len(windows) == 1
    assert one.board.current().seq == 0
