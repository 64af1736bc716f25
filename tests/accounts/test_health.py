"""How a GPU is, and why: the same of a recording as live; what is counted stays over restarts."""

from dataclasses import replace

import pytest

from tests.virtual import agent, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.health import STATUSES, action_of, unmeterable
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.meters.release import ReleaseDesk
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.exporters.formats import readings
from wattshed.exporters.formats.exposition import Writer

S = 1_000_000
HEAD = "gpus = 2\n[[gpu]]\nindex = 1\n{gpu}\n"
FAULTS = {
    "ok": "",
    "sick": '[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 3e6\nat_s = 5\n',
    "lost": '[[fault]]\nkind = "gpu-lost"\ngpu = 1\nat_s = 5\n',
    "stale": '[[fault]]\nkind = "error"\ngpu = 1\nvalue = 10\nat_s = 5\n',
}


def life(tmp_path, text, seconds=30, **more):
    (tmp_path / "s.toml").write_text(text)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=seconds, **more)
    one.daemon.run()
    one.close()
    return one, node, clock


def replayed(recording):
    """What the end of a recording shows."""
    (source,) = find([str(recording)], Options())
    accounts, publisher = Accounts(live=True), Publisher("sim", "test", "trace", "", 0)
    for window in source.windows(Options()):
        accounts.add(window)
    return publisher.publish(accounts, window, calls={}, late_s=0.0, duty=0.0, faults={})


def page(snapshot):
    return Writer(openmetrics=False, on_fault=print).write(snapshot, readings.READINGS).decode()


@pytest.mark.parametrize("status", FAULTS)
def test_what_a_gpu_is_and_why(tmp_path, status):
    one, _, _ = life(tmp_path, HEAD.format(gpu="") + FAULTS[status])
    first, second = one.board.current().gpus
    assert (first.status, first.why, first.answers) == ("ok", "", True)
    assert (second.status, second.answers) == (status, status == "ok")
    assert bool(second.why) == (status != "ok")
    assert f'wattshed_gpu_status{{gpu_uuid="{second.uuid}",status="{status}"}} 1' in page(one.board.current())
    assert not set(FAULTS) - set(STATUSES)


def test_one_that_is_let_go_of_says_so(tmp_path):
    (tmp_path / "s.toml").write_text(HEAD.format(gpu=""))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    desk = ReleaseDesk(clock.now_us)
    desk.ask(600 * S, frozenset({node.cards[1].uuid}), "a reset")
    one = agent(node, clock, seconds=20, desk=desk)
    one.daemon.run()
    one.close()
    second = one.board.current().gpus[1]
    assert (second.status, second.why, second.answers) == ("released", "a reset", False)


def test_one_without_any_meter_has_no_energy_and_a_reason(tmp_path):
    one, _, _ = life(tmp_path, HEAD.format(gpu="counter = false\naverage = false\ninstant = false"), 10)
    second = one.board.current().gpus[1]
    assert (second.status, second.energy_source, second.answers) == ("unmeterable", "none", True)
    assert second.why.startswith("energy: ")
    assert second.why == unmeterable(one.windows[-1].devices[1])
    assert not [share for share in one.board.current().energy if share.gpu_uuid == second.uuid]


def test_one_that_is_read_seldom_is_not_stale_in_between(tmp_path):
    (tmp_path / "s.toml").write_text(HEAD.format(gpu="") + FAULTS["stale"].replace("at_s = 5", "at_s = 45"))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    rates = Rates(sample_us=10 * S, instant_us=10 * S, burst_us=0, gauges_us=10 * S, learn_us=0)
    one = agent(node, clock, rates=rates)
    seen = []
    for _ in range(75):
        one.daemon.step()
        seen.append([gpu.status for gpu in one.board.current().gpus])
    one.daemon.close()
    assert {first for first, _ in seen} == {"ok"}
    assert {second for _, second in seen[:45]} == {"ok"}
    assert seen[-1][1] == "stale"


@pytest.mark.parametrize("wake", [False, True])
def test_one_that_the_kernel_put_to_sleep_is_asleep_until_it_wakes(tmp_path, wake):
    (tmp_path / "s.toml").write_text(HEAD.format(gpu=""))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    folder = node.sys_root / "bus/pci/devices" / node.cards[1].pci_bus_id.lower()[4:] / "power"
    folder.mkdir(parents=True)
    one = agent(node, clock, wake=wake)
    for state, asleep in (("active", False), ("suspended", not wake), ("active", False)):
        (folder / "runtime_status").write_text(f"{state}\n")
        for _ in range(4):
            one.daemon.step()
        first, second = one.board.current().gpus
        assert (first.status, second.status) == ("ok", "asleep" if asleep else "ok")
        assert (first.answers, second.answers) == (True, not asleep)
        assert bool(second.power_w) == (not asleep)
        assert ("wake it" in second.why) == asleep
    one.daemon.close()


def test_what_shapes_power_is_told_as_flags(tmp_path):
    about = 'architecture = "gb200"\npower_smoothing = true\npower_profiles = [1, 254]'
    recorder = Recorder(tmp_path / "recording", "sim")
    one, _, _ = life(tmp_path, HEAD.format(gpu=about), 10, recorder=recorder)
    recorder.close()
    first, second = one.board.current().gpus
    assert first.flags == ()
    assert second.flags == ("power_smoothing", "power_profile_max_q", "power_profile_254")
    assert replayed(tmp_path / "recording").gpus[1].flags == second.flags


def test_one_that_lost_its_meters_says_which_and_why(tmp_path):
    (tmp_path / "s.toml").write_text(HEAD.format(gpu=""))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    for status in ("ok", "unmeterable"):
        one = agent(node, clock, state=tmp_path / "state", seconds=10)
        one.daemon.restore()
        one.daemon.run()
        one.close()
        second = one.board.current().gpus[1]
        assert (second.status, second.energy_hnj > 0) == (status, True)
        card = node.cards[1]
        card.architecture = replace(card.architecture, energy=False, average=False, instant=False)
    assert second.why.startswith("energy: not supported (3); average: ")


def test_the_drivers_advice_is_told_as_it_changes(tmp_path):
    one, _, _ = life(tmp_path, HEAD.format(gpu="recovery = [[8, 4]]"), 15)
    first, second = one.board.current().gpus
    assert (first.recovery_action, second.recovery_action) == ("none", "drain_and_reset")
    line = f'wattshed_gpu_recovery_action{{gpu_uuid="{second.uuid}",action="drain_and_reset"}} 1'
    assert line in page(one.board.current())
    assert action_of({"recovery_action": 99.0}) == "99", "one that this version does not know"
    assert action_of({}) is None


def test_xid_errors_are_counted_over_restarts(tmp_path):
    fault = '[[fault]]\nkind = "xid"\ngpu = 1\nvalue = {}\nat_s = {}\n'
    (tmp_path / "s.toml").write_text(
        HEAD.format(gpu="") + fault.format(31, 4) + fault.format(999, 6) + fault.format(31, 14)
    )
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    for xids in ({31: 1, 999: 1}, {31: 2, 999: 1}):
        one = agent(node, clock, state=tmp_path / "state", seconds=10)
        one.daemon.restore()
        one.daemon.run()
        one.close()
        assert one.board.current().gpus[1].xids == xids
    assert 'xid="999"} 1' in page(one.board.current())


def test_a_recording_says_the_same(tmp_path):
    recorder = Recorder(tmp_path / "recording", "sim")
    one, _, _ = life(tmp_path, HEAD.format(gpu="recovery = [[8, 1]]") + FAULTS["sick"], recorder=recorder)
    recorder.close()
    again = replayed(tmp_path / "recording")
    told = [[(gpu.status, gpu.why, gpu.recovery_action) for gpu in s.gpus] for s in (again, one.board.current())]
    assert told[0] == told[1]
    assert told[0][1][0] == "sick"
