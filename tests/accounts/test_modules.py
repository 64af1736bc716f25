"""Superchips: the GPU is billed by its own power, the module's counter is published beside it, and both are kept."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from tests.virtual import agent, bills, simulated, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.uncertainty import disagrees, gpu_sigma_j, job_sigma_j
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import Event
from wattshed.exporters.formats import prometheus
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.web import api

T0 = 1_700_000_000 * S
JOB_J = 100_150
GH200 = """
gpus = 1
cycle_s = 300
[[gpu]]
index = 0
architecture = "gh200"
[[job]]
name = "7"
gpus = [0]
start_s = 20
end_s = 280
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
"""


def life(tmp_path, script=GH200, seconds=290, **more):
    (tmp_path / "s.toml").write_text(script)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=seconds, **more)
    one.daemon.run()
    one.close()
    return one, node


def test_a_gh200_is_billed_by_its_own_power(tmp_path):
    one, node = life(tmp_path)
    (account,) = one.accounts.gpus.values()
    job = one.accounts.ledger.jobs["slurm:7"]
    begin, end = one.windows[0].start_us, one.windows[-1].end_us
    truth_j = node.truth.gpu_nj(0, begin, end) / 1e9
    assert job.energy_hnj / 2e9 == pytest.approx(JOB_J, rel=0.005)
    assert account.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.005)
    assert account.module.energy_hnj / 2e9 == pytest.approx(truth_j + 140 * (end - begin) / 1e6, rel=0.01)
    facts = one.board.current().gpus[0]
    assert (facts.energy_source, facts.boundary, facts.flags, facts.disagreement) == ("power", "board", (), None)
    assert account.method == "power"
    assert facts.sigma_j == pytest.approx(np.hypot(0.04, 0.01) * account.energy_hnj / 2e9, rel=0.01)
    assert max(one.windows[5].readings.counter_mj) > 0  # as it was read


def test_it_is_published_beside_the_gpu(tmp_path):
    one, _ = life(tmp_path, seconds=30)
    snapshot = one.board.current()

    def fail(name, error):
        raise AssertionError(name) from error

    page = Writer(openmetrics=False, on_fault=fail).write(snapshot, prometheus.families(snapshot)).decode()
    (line,) = [line for line in page.splitlines() if line.startswith("wattshed_host_energy_joules_total")]
    assert 'source="nvml",domain="module-0"' in line
    (account,) = one.accounts.gpus.values()
    assert float(line.rpartition(" ")[2]) == pytest.approx(account.module.energy_hnj / 2e9)
    assert 'energy_source="power",boundary="board"' in page
    (entry,) = json.loads(api.document(snapshot, {}))["host_energy"]
    told = {"source": "nvml", "domain": "module-0", "boundary": "module", "kind": "counter"}
    assert told.items() <= entry.items()
    assert entry["energy_j"] == account.module.energy_hnj / 2e9


def test_a_gb200_counts_for_itself(tmp_path):
    one, node = life(tmp_path, GH200.replace("gh200", "gb200"), seconds=120)
    (account,) = one.accounts.gpus.values()
    begin_us = one.windows[0].start_us
    truth_j = node.truth.gpu_nj(0, begin_us, begin_us + account.booked_us) / 1e9
    assert account.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.005)
    assert (account.method, account.boundary, account.module) == ("counter", "board", None)
    beside = one.accounts.beside["sim"].meters
    module, memory = beside["nvml/module-0"], beside["nvml/memory-0"]
    module_j = node.beside.nj("module-0", begin_us, begin_us + module.covered_us) / 1e9
    assert module.energy_hnj / 2e9 == pytest.approx(module_j, rel=0.01)
    assert memory.energy_hnj / 2e9 == pytest.approx(30 * memory.covered_us / S, rel=0.01)
    assert module.energy_hnj >= account.energy_hnj + memory.energy_hnj
    assert [one.domain for one in one.board.current().host_energy] == ["module-0", "memory-0"]


def test_a_recording_replays_to_the_same_bill(tmp_path):
    recorder = Recorder(tmp_path / "recording", "sim")
    one, _ = life(tmp_path, seconds=60, recorder=recorder)
    recorder.close()
    (source,) = find([str(tmp_path / "recording")], Options())
    again = book(source.windows(Options()))
    assert bills(again) == bills(one.accounts)
    assert [a.module.energy_hnj for a in again.gpus.values()] == [
        a.module.energy_hnj for a in one.accounts.gpus.values()
    ]
    (beside,) = one.accounts.beside.values()
    assert again.beside["sim"].plain() == beside.plain()


def test_both_go_on_after_a_restart(tmp_path):
    (tmp_path / "s.toml").write_text(GH200)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    begin_us, before = clock.now_us(), 0
    for seconds in (100, 60, 60):
        one = agent(node, clock, state=tmp_path / "state", seconds=seconds)
        one.daemon.restore()
        one.daemon.run()
        one.close()
        (account,) = one.accounts.gpus.values()
        assert account.module.energy_hnj > before
        before = account.module.energy_hnj
        whole, parts = sums(one.accounts)
        assert whole == parts
        clock.sleep_until(clock.now_us() + 5 * S)
    span_us = one.windows[-1].end_us - begin_us
    truth_j = node.truth.gpu_nj(0, begin_us, one.windows[-1].end_us) / 1e9
    assert before / 2e9 == pytest.approx(truth_j + 140 * span_us / 1e6, rel=0.02)  # the counter goes on over the holes


@pytest.mark.parametrize("same_boot", [True, False])
def test_a_module_over_a_restart(same_boot):
    accounts = book(superchip(0, 10))
    (account,) = accounts.gpus.values()
    first_j = account.module.energy_hnj / 2e9
    assert first_j == pytest.approx(9 * 500)
    restart = "same-boot" if same_boot else "new-boot"
    base = 0 if same_boot else -19_000
    book(superchip(20, 10, restart=restart, base=base), accounts)
    assert account.module.energy_hnj / 2e9 == pytest.approx(first_j + (20 if same_boot else 9) * 500)


def superchip(start, seconds, found=lambda _: True, gpu_w=300, module_w=500, restart="", base=0, jobs=("a",), **able):
    """Windows of a GPU that draws 300 W on a module that draws 500 W, whose counter is the module's."""
    able = {"average": "", "instant": "", "energy": ""} | able
    for n in range(start, start + seconds):
        t = T0 + n * S
        card = device(capabilities=able | {"gpu_scope": "the module's" if found(n) else ""})
        rows = [
            (t + 1000, gpu_w * 1000, module_w * 1000 * n + 1_000_000_000 + base * 1000),
            (t + S // 2, gpu_w * 1000, -1),
        ]
        usage = [(0, key, t, t + S, -1, -1, 1) for key in jobs]
        one = window(t, t + S, [rows], usage, devices=(card,), seq=n)
        if restart and n == start:
            one = dataclasses.replace(one, events=(Event(t, "restart", detail=restart),))
        yield one


def book(windows, accounts=None):
    accounts = accounts or Accounts(live=True)
    for one in windows:
        accounts.add(one)
    return accounts


@pytest.mark.parametrize("found_s", [0, 1, 7, 30])
def test_a_counter_that_is_found_out_late(found_s):
    accounts = book(superchip(0, 60, found=lambda n: n >= found_s))
    accounts.finish()
    (account,) = accounts.gpus.values()
    counted_s = max(found_s - 1, 0)
    assert account.energy_hnj / 2e9 == pytest.approx(500 * counted_s + 300 * (59.5 - counted_s), abs=1)
    assert account.booked_us == pytest.approx(59.5 * S, abs=2000)
    assert account.module.energy_hnj / 2e9 == pytest.approx(500 * 59)
    whole, parts = sums(accounts)
    assert whole == parts
    assert (account.method, account.disagreement) == ("power", None)
    assert not disagrees(account)
    assert gpu_sigma_j(account) >= abs(account.energy_hnj / 2e9 - 300 * 59.5)
    (job,) = accounts.ledger.jobs.values()
    assert job_sigma_j(job, accounts.gpus) >= abs(job.energy_hnj / 2e9 - 300 * 59.5)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 39), st.integers(1, 39), st.lists(st.integers(1, 600), min_size=40, max_size=40))
def test_whenever_it_is_found_out_no_joule_is_lost(found_s, saved_s, watts):
    """Through the state file, too: what was known is known after it, and the parts are the whole."""

    def windows(start, end):
        for n in range(start, end):
            yield from superchip(n, 1, found=lambda n: n >= found_s, gpu_w=watts[n], module_w=500)

    accounts = book(windows(0, 40))
    (account,) = accounts.gpus.values()
    whole, parts = sums(accounts)
    assert whole == parts
    assert account.module.energy_hnj == 2_000_000 * 500 * 1000 * 39
    with tempfile.TemporaryDirectory() as folder:
        half = book(windows(0, saved_s))
        StateFile(Path(folder), "h", "boot").save(half, Calibrator(), T0)
        other = Accounts(live=True)
        assert StateFile(Path(folder), "h", "boot").restore(other, Calibrator()).found
        (there,), (back,) = half.gpus.values(), other.gpus.values()
        assert (there.module is None) == (back.module is None)
        if there.module is not None:
            assert there.module.energy_hnj == back.module.energy_hnj
            assert there.module.state.tolist() == back.module.state.tolist()


def test_what_was_found_out_is_known_after_a_restart_even_if_it_cannot_be_seen_at_once():
    accounts = book(superchip(0, 10))
    book(superchip(10, 10, found=lambda _: False), accounts)
    (account,) = accounts.gpus.values()
    assert account.method == "power"
    assert account.energy_hnj / 2e9 == pytest.approx(300 * 19.5, abs=1)


def test_without_power_of_its_own_the_module_is_billed_and_says_so():
    refused = {"average": "not supported (3)", "instant": "not supported (3)"}
    windows = [
        dataclasses.replace(w, readings=dataclasses.replace(w.readings, power_mw=w.readings.power_mw * 0 - 1))
        for w in superchip(0, 20, **refused)
    ]
    accounts = book(windows)
    (account,) = accounts.gpus.values()
    assert (account.method, account.boundary, account.module) == ("counter", "module", None)
    assert account.energy_hnj / 2e9 == pytest.approx(500 * 19)


def test_what_the_start_could_not_tell_is_billed_by_the_gpus_own_power(tmp_path):
    """Without the second of learning at the start nothing shows yet that a GH200's counter is its module's."""
    one, node = life(tmp_path, seconds=120, rates=Rates(learn_us=0))
    able = [bool(w.devices[0].capabilities["gpu_scope"]) for w in one.windows]
    assert all(able)
    (account,) = one.accounts.gpus.values()
    begin, end = one.windows[0].start_us, one.windows[-1].end_us
    truth_j = node.truth.gpu_nj(0, begin, begin + account.booked_us) / 1e9
    assert account.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.01)
    assert account.module.energy_hnj / 2e9 == pytest.approx(truth_j + 140 * (end - begin) / 1e6, rel=0.01)
    assert abs(account.energy_hnj / 2e9 - truth_j) < one.board.current().gpus[0].sigma_j
    whole, parts = sums(one.accounts)
    assert whole == parts
    assert one.board.current().gpus[0].flags == ()
