"""GPUs that come after the agent, and go: found without a restart, and without a joule lost by the others."""

from pathlib import Path

import pytest

from tests.depth import few
from tests.virtual import agent, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.errors import NoMeter
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

TWO = """
gpus = 2
cycle_s = 1200
[[gpu]]
architecture = "{architecture}"
counter = {counter}
[[job]]
name = "7"
gpus = [0, 1]
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
"""


def scenario(tmp_path, architecture="hopper", *, counter=True):
    script = tmp_path / "scenario.toml"
    script.write_text(TWO.format(architecture=architecture, counter=str(counter).lower()))
    return str(script)


def at(clock, begun_us, plan):
    """Let things happen at moments (s) of a virtual run."""
    left, sleep = sorted(plan.items()), clock.sleep_until

    def sleep_until(time_us, stop=None):
        sleep(time_us, stop)
        while left and clock.now_us() - begun_us >= left[0][0] * 1_000_000:
            left.pop(0)[1]()

    clock.sleep_until = sleep_until


@pytest.mark.parametrize("counter", few([True, False]))
@pytest.mark.parametrize("place", [0, 1])
def test_a_gpu_that_comes_is_metered_and_no_other_loses_a_joule(tmp_path, place, counter):
    node, clock = simulated(tmp_path, scenario(tmp_path, counter=counter))
    cards = node.cards
    late = cards.pop(place)
    stays = cards[0]
    recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
    one = agent(node, clock, seconds=300, keep_us=10**12, recorder=recorder)
    at(clock, clock.now_us(), {60: lambda: cards.insert(place, late)})
    one.daemon.run()
    one.close()
    recorder.close()
    assert not one.faults.counts
    shown = {gpu.uuid: gpu for gpu in one.board.current().gpus}
    assert shown.keys() == {stays.uuid, late.uuid}
    assert all(gpu.up for gpu in shown.values())
    begun, end = one.windows[0].start_us, one.windows[-1].end_us
    real = node.truth.gpu_nj(stays.index, begun, end) / 1e9
    # Of 300 s, up to a second at either end.
    assert shown[stays.uuid].energy_hnj / 2e9 == pytest.approx(real, rel=0.007)
    if counter:
        assert (shown[stays.uuid].gap_us, shown[stays.uuid].counter_resets) == (0, 0)
    came = next(w for w in one.windows if len(w.devices) == 2)
    assert (came.start_us - begun) / 1e6 <= 60 + 31
    assert [d.uuid for d in came.devices] == [stays.uuid, late.uuid], "the one that was here keeps its place"
    assert {d.uuid: d.index for d in came.devices} == {card.uuid: card.index for card in cards}, (
        "numbers are NVML's own"
    )
    real = node.truth.gpu_nj(late.index, came.start_us, end) / 1e9
    assert shown[late.uuid].energy_hnj / 2e9 == pytest.approx(real, rel=0.02)
    # The bill of the job on both is what flowed while each was metered, and a replay says the same.
    again = Accounts()
    for chain in find([str(tmp_path / "recording")], Options()):
        for window in chain.windows(Options()):
            again.add(window)
    again.finish()
    assert {k.gpu: a.energy_hnj for k, a in again.gpus.items()} == {
        k.gpu: a.energy_hnj for k, a in one.accounts.gpus.items()
    }


def test_a_gpu_that_goes_is_lost_and_one_that_returns_is_the_same_one(tmp_path):
    node, clock = simulated(tmp_path, scenario(tmp_path))
    cards = node.cards
    first, second = cards
    one = agent(node, clock, seconds=400)
    at(clock, clock.now_us(), {60: lambda: cards.remove(second), 200: lambda: cards.append(second)})
    one.daemon.run()
    one.close()
    seconds = {
        event.kind: (event.time_us - one.windows[0].start_us) // 1_000_000
        for window in one.windows
        for event in window.events
        if event.gpu == 1
    }
    assert 60 <= seconds["lost"] <= 63
    assert 200 <= seconds["back"] <= 261
    assert {len(window.devices) for window in one.windows} == {2}
    shown = {gpu.uuid: gpu for gpu in one.board.current().gpus}
    real = node.truth.gpu_nj(0, one.windows[0].start_us, one.windows[-1].end_us) / 1e9
    assert shown[first.uuid].energy_hnj / 2e9 == pytest.approx(real, rel=0.004)
    assert shown[second.uuid].up


def test_whoever_is_asked_looks_at_once(tmp_path):
    node, clock = simulated(tmp_path, scenario(tmp_path))
    cards = node.cards
    late = cards.pop()
    one = agent(node, clock, seconds=40)
    at(clock, clock.now_us(), {32: lambda: cards.append(late), 35: one.sampler.look})
    one.daemon.run()
    one.close()
    came = next(w for w in one.windows if len(w.devices) == 2)
    assert (came.start_us - one.windows[0].start_us) / 1e6 <= 37


def test_where_the_kernel_lists_no_gpus_a_session_is_not_opened_again_and_again(tmp_path):
    node, clock = simulated(tmp_path, scenario(tmp_path))
    meter = NvmlMeter(Nvml(clock, node.library), clock, "h", simulated=True, proc_root=tmp_path / "nothing")
    meter.open()
    assert not meter.arrived()
    assert meter.costs.histograms()["nvmlInitWithFlags"].counts[-1] == 1
    meter.close()


def test_a_session_does_not_see_what_came_later_and_one_that_failed_is_closed(tmp_path):
    clock, root = VirtualClock(), tmp_path / "node"
    root.mkdir()
    node = SimulatedNode(clock, root, scenario(tmp_path))
    cards = list(node.cards)
    node.cards.clear()
    meter = NvmlMeter(Nvml(clock, node.library), clock, "h", simulated=True, proc_root=node.proc_root)
    for _ in range(2):
        with pytest.raises(NoMeter, match="no GPU responds to the NVIDIA driver"):
            meter.open()
    node.cards.append(cards[0])
    meter.open()
    assert [d.uuid for d in meter.devices] == [cards[0].uuid]
    node.cards.append(cards[1])
    assert meter._nvml.ask("nvmlDeviceGetCount") == 1
    assert meter.arrived()
    meter.reopen([0])
    assert [d.uuid for d in meter.devices] == [card.uuid for card in cards]
    assert not meter.arrived()
    meter.close()


def test_the_driver_state_of_a_gpu_is_held_over_the_new_session(tmp_path):
    """The last client that leaves a GPU without persistence mode resets its energy counter."""
    clock, root, dev = VirtualClock(), tmp_path / "node", tmp_path / "dev"
    root.mkdir()
    dev.mkdir()
    (dev / "nvidia0").touch()
    node = SimulatedNode(clock, root, scenario(tmp_path))
    meter = NvmlMeter(Nvml(clock, node.library), clock, "h", proc_root=node.proc_root, dev_root=dev)
    meter.open()
    held = []

    def open_nodes():
        return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()]

    close = meter.close
    meter.close = lambda: (held.append([f for f in open_nodes() if f.startswith(str(dev))]), close())
    meter.reopen([0, 1])  # the second has no node here: that is no reason not to go on
    assert held == [[str(dev / "nvidia0")]]
    assert not [f for f in open_nodes() if f.startswith(str(dev))]
    close()


FAULTS = {
    "lost": 'kind = "gpu-lost"\nat_s = 20.2\nfor_s = 30',
    "driver away": 'kind = "driver-reload"\nat_s = 20.2\nfor_s = 30',
    "counter not ready": 'kind = "not-ready"\nat_s = 20.2\nfor_s = 30',
    "power reads 0": 'kind = "zero-power"\nat_s = 20.2\nfor_s = 30',
    "nothing answers": 'kind = "error"\nat_s = 20.2\nfor_s = 30\nvalue = 10',
}


@pytest.mark.parametrize("counter", few([True, False]))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_is_lost_for_a_while_takes_no_counter_away(tmp_path, fault, counter):
    script = tmp_path / "s.toml"
    script.write_text(
        f"gpus = 1\n[[gpu]]\ncounter = {str(counter).lower()}\n"
        f'[[job]]\nname = "7"\nload = [[1.0, 300.0, 80]]\n[[fault]]\n{FAULTS[fault]}\n'
    )
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=180)
    shown, show = [], one.board.show
    one.board.show = lambda snapshot: (shown.append(snapshot), show(snapshot))
    one.daemon.run()
    one.close()
    assert {gpu.energy_source for s in shown[1:] for gpu in s.gpus} <= {"counter", "power"}
    energies = [gpu.energy_hnj for s in shown for gpu in s.gpus]
    assert energies == sorted(energies)
    up = {s.seq: s.up for s in shown}
    assert all(up[seq] for seq in range(2, 20))
    assert up[len(shown)], "and it is metered again"
    if fault in {"lost", "driver away", "nothing answers"} or (fault == "power reads 0" and not counter):
        assert not up[45]
        assert any(s.unmetered for s in shown)


def test_a_gpu_that_comes_and_does_not_answer_at_first_is_metered_once_it_does(tmp_path):
    script = tmp_path / "scenario.toml"
    script.write_text(
        """
gpus = 3
cycle_s = 1200
[[gpu]]
index = 1
late_s = 37
[[job]]
name = "7"
gpus = [0, 1, 2]
load = [[1.0, 400.0, 80]]
[[fault]]
kind = "wedged"
gpu = 1
at_s = 41
for_s = 47
"""
    )
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=240, keep_us=10**12)
    one.daemon.run()
    one.close()
    assert not one.faults.counts
    assert [facts.up for facts in one.board.current().gpus] == [True] * 3
    begun, end = one.windows[0].start_us, one.windows[-1].end_us
    came = next(w for w in one.windows if len(w.devices) == 3).start_us
    for facts in one.board.current().gpus:
        card = int(facts.uuid[-12:])
        real = node.truth.gpu_nj(card, came if card == 1 else begun, end) / 1e9
        assert facts.energy_hnj / 2e9 == pytest.approx(real, abs=3 * facts.sigma_j)
        assert facts.energy_hnj > 0
