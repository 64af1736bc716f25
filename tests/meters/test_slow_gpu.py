"""One GPU whose calls take seconds: the others start and go on without it, and it comes back when it is well."""

import itertools
import math
import time
from types import SimpleNamespace

import pytest

from tests.depth import deep, few
from tests.virtual import agent, simulated
from wattshed.agent.clock import RealClock, VirtualClock
from wattshed.agent.commands import check
from wattshed.agent.daemon.capabilities import report
from wattshed.agent.meters.costs import CallCosts
from wattshed.agent.meters.errors import MeterError, TooSlow
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.reprobing import Reprobing
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation import card as simulated_card
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.window import MISSING

EIGHT = """
gpus = 8
cycle_s = 1200
[[job]]
name = "7"
gpus = [0, 1, 2, 3, 4, 5, 6, 7]
load = [[1.0, 400.0, 80]]
"""


def slow(seconds, code=0, at_s=0.0, for_s=100_000.0, gpu=1):
    return f"""
[[fault]]
kind = "slow-gpu"
gpu = {gpu}
value = {round(seconds * 1e6)}
code = {code}
at_s = {at_s}
for_s = {for_s}
"""


def read_seconds(node, gpu, since_us=None):
    return {(t - (since_us or node.windows[0].start_us)) // 1_000_000 for t in node.column("time_us", gpu)}


@pytest.mark.parametrize(("seconds", "code"), few([(7, 10), (45, 10), (45, 0), (7, 0), (2, 0)], plain=2))
def test_the_others_start_after_one_slow_call_at_most(rig, seconds, code):
    clock = VirtualClock()
    begun_us = clock.now_us()
    node = rig(EIGHT + slow(seconds, code), plain=False, clock=clock)
    assert clock.now_us() - begun_us <= (seconds + 1) * 1_000_000
    node.run(5)
    assert len(node.windows[-1].devices) == 8
    assert [d.index for d in node.windows[-1].devices] == list(range(8))
    sick = node.windows[-1].devices[1]
    assert sick.uuid == node.node.cards[1].uuid
    assert (sick.minor, sick.model) == (1, node.windows[-1].devices[0].model)
    assert set(sick.capabilities.values()) == {f"sick: a call took {seconds} s (nvmlDeviceGetFieldValues)"}
    assert node.column("time_us", 1) == []
    assert [e.gpu for e in node.events("lost")] == [1]
    for gpu in (0, 2, 7):
        assert read_seconds(node, gpu) == set(range(5))


@deep
def test_it_is_asked_again_alone_and_ever_more_seldom(rig):
    node = rig(EIGHT + slow(7, 10), plain=False)
    node.run(1500)
    times = sorted(node.column("time_us", 0))
    stalls = [b for a, b in itertools.pairwise(times) if b - a > 3_000_000]
    waits = [round((b - a) / 60e6) for a, b in itertools.pairwise([node.windows[0].start_us, *stalls])]
    assert waits == [1, 2, 4, 8, 10][: len(waits)]
    assert len(waits) == 4
    assert node.sampler.calls()["nvmlInitWithFlags"].counts[-1] == 1, "in the same session"
    assert node.column("time_us", 1) == []


def test_one_that_is_well_again_is_metered_like_any_other(rig):
    node = rig(EIGHT + slow(7, 10, for_s=30), plain=False)
    node.run(100)
    (back,) = node.events("back")
    assert back.gpu == 1
    assert 60 <= (back.time_us - node.windows[0].start_us) / 1e6 <= 62
    first, second = node.windows[-1].devices[:2]
    assert second.capabilities == first.capabilities, "no stale no"
    assert (second.limit_mw, second.ceiling_mw) == (first.limit_mw, first.ceiling_mw)
    assert set(range(63, 100)) <= read_seconds(node, 1)
    assert len([c for c in node.column("counter_mj", 1) if c != MISSING]) >= 36


@pytest.mark.parametrize(("seconds", "code"), few([(45, 10), (7, 0), (1.5, 0)]))
def test_readings_that_become_slow_hold_up_the_others_once(rig, seconds, code, caplog):
    node = rig(EIGHT + slow(seconds, code, at_s=20, for_s=60), plain=False)
    node.run(300)
    assert [e.gpu for e in node.events("lost")] == [1]
    assert [e.gpu for e in node.events("back")] == [1]
    gaps = [b - a for a, b in itertools.pairwise(sorted(node.column("time_us", 4))) if b - a > 1_000_000]
    assert len(gaps) <= 2
    assert max(gaps) <= (seconds + 1.1) * 1e6
    assert node.sampler.faults["slow_call"] == 1
    assert len([r for r in caplog.records if "sick: a call took" in r.getMessage()]) == 1
    assert set(range(250, 300)) <= read_seconds(node, 1)


@deep
def test_one_that_falls_sick_again_and_again_is_not_believed_at_once(rig):
    text = "".join(slow(3, at_s=at_s, for_s=20) for at_s in (20, 120, 220, 320))
    node = rig(EIGHT + text, plain=False)
    node.run(700)
    away = [(b.time_us - a.time_us) / 1e6 for a, b in zip(node.events("lost"), node.events("back"), strict=True)]
    assert away[0] == pytest.approx(61, abs=3)
    assert away[1] == pytest.approx(121, abs=3)
    assert away[2] == pytest.approx(241, abs=3)


def test_the_bill_while_a_gpu_is_sick_and_after(tmp_path):
    (tmp_path / "s.toml").write_text(EIGHT + slow(7, 10, at_s=100, for_s=50))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=400, keep_us=10**12)
    shown, show = [], one.board.show
    one.board.show = lambda snapshot: (shown.append(snapshot), show(snapshot))
    one.daemon.run()
    one.close()
    begun, end = one.windows[0].start_us, one.windows[-1].end_us
    after = one.board.current().gpus
    assert [facts.up for facts in after] == [True] * 8
    for facts in after:
        real = node.truth.gpu_nj(facts.index, begun, end) / 1e9
        assert facts.energy_hnj / 2e9 == pytest.approx(real, rel=0.01)
    during = next(s for s in shown if s.time_us - begun > 130_000_000)
    assert [facts.up for facts in during.gpus] == [i != 1 for i in range(8)]
    assert during.up
    assert dict(during.faults)["slow_call"] == 1


QUICK = Rates(window_us=100_000, sample_us=50_000, instant_us=50_000, burst_us=0, learn_us=0, stale_us=60_000_000)


@deep
def test_in_real_time_a_sick_gpu_is_asked_in_a_thread_of_its_own(rig):
    begun = time.monotonic()
    node = rig(EIGHT.replace("8", "3", 1).replace(", 3, 4, 5, 6, 7", "") + slow(2.5, for_s=2.0), plain=False,
               rates=QUICK, clock=RealClock())  # fmt: skip
    assert time.monotonic() - begun < 2.4, "the others do not wait for its call"
    assert node.meter.gpu_handles[1].sick
    node.run(1.0)
    assert {e.gpu for e in node.events("lost")} == {1}
    assert len(node.column("time_us", 0)) >= 5
    assert node.column("time_us", 1) == []
    node.run(4.5)  # its call returns, and a second opinion costs the others nothing
    assert {e.gpu for e in node.events("back")} == {1}
    assert node.column("time_us", 1)
    assert not node.meter.gpu_handles[1].sick
    assert node.meter.devices[1].capabilities == node.meter.devices[0].capabilities
    assert max(b - a for a, b in itertools.pairwise(node.column("time_us", 0))) < 2_000_000


def test_no_session_ends_under_a_call(rig):
    node = rig(EIGHT.replace("8", "2", 1).replace(", 2, 3, 4, 5, 6, 7", "") + slow(2.0, for_s=1.5), plain=False,
               rates=QUICK, clock=RealClock())  # fmt: skip
    assert node.meter.busy
    node.sampler.look()
    node.run(0.4)
    assert node.sampler.calls()["nvmlInitWithFlags"].counts[-1] == 1
    node.run(3.0)
    assert node.sampler.calls()["nvmlInitWithFlags"].counts[-1] == 2


def test_all_of_one_sick_gpu_is_not_no_gpu(rig):
    node = rig("gpus = 1\n" + slow(20, 10, for_s=10, gpu=0), plain=False)
    assert node.meter.devices[0].uuid == node.node.cards[0].uuid
    node.run(100)
    assert [e.gpu for e in node.events("back")] == [0]
    assert set(range(70, 100)) <= read_seconds(node, 0)


def test_who_does_not_even_say_who_it_is_comes_later(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_card, "KEPT", frozenset())
    script = tmp_path / "s.toml"
    script.write_text("gpus = 3\n" + slow(45, 10, for_s=20))
    clock, root = VirtualClock(), tmp_path / "node"
    root.mkdir()
    begun_us = clock.now_us()
    node = SimulatedNode(clock, root, str(script))
    meter = NvmlMeter(Nvml(clock, node.library), clock, "h", simulated=True, proc_root=node.proc_root)
    meter.open()
    assert clock.now_us() - begun_us < 50_000_000
    assert [d.index for d in meter.devices] == [0, 2]
    meter.close()


def test_a_check_tells_what_it_is_sick_of(tmp_path, capsys):
    script = tmp_path / "s.toml"
    script.write_text("gpus = 2\n" + slow(1.2))
    tree = report(f"simulated:{script}")
    assert tree["can_measure"]
    assert "GPU 1 is sick: a call took 1 s" in tree["reason"]
    assert "XID 119" in tree["reason"]
    assert "RMA" in tree["reason"]
    assert tree["gpus"][1]["energy_source"] == "none"
    assert all(one["reason"].startswith("sick: a call") for one in tree["gpus"][1]["capabilities"].values())
    check.print_tables(tree)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("sick: a call") == 2, "in its table and at the end, and not for each of what it could tell"
    assert printed.count(" instant (every ") == 1, "the healthy one's readings are named"


def test_the_end_of_a_patience():
    clock = VirtualClock()
    costs = CallCosts(clock)

    def call(took_us):
        begun = costs.begin("x")
        clock.sleep_until(clock.now_us() + took_us)
        costs.end("x", begun)

    def calls(*took_us, code=0):
        for one in took_us:
            call(one)
        if code:
            raise MeterError("x", code)

    def patient(*took_us, budget_us=math.inf, code=0):
        with costs.patience(budget_us, 1_000_000):
            calls(*took_us, code=code)

    calls(5_000_000)  # nobody waits
    patient(999_999, 999_999)
    with pytest.raises(TooSlow, match="took 2 s"):
        patient(2_000_000)
    begun_us = clock.now_us()
    with pytest.raises(TooSlow, match="in total"):
        patient(600_000, 600_000, 600_000, budget_us=1_000_000)
    assert clock.now_us() - begun_us == 1_200_000, "no third call begins"
    with pytest.raises(TooSlow):
        patient(2_000_000, code=10)
    with pytest.raises(MeterError):
        patient(2_000_000, code=15)  # lost is worse than slow
    calls(5_000_000)


def question(index, begun_us, ended_us=MISSING, error=None):
    """A question that is under way, or over."""
    return SimpleNamespace(
        index=index,
        begun_us=begun_us,
        ended_us=ended_us,
        over=ended_us != MISSING,
        age_us=0,
        gpu_handle=None,
        error=error,
    )


def test_who_waits_for_the_driver_while_a_sick_gpu_is_asked_is_not_sick(rig):
    node = rig('\n[[fault]]\nkind = "wedged"\ngpu = 0\nat_s = 10\nfor_s = 20\n', gpus=2)
    node.run(9)
    node.meter.asked.append(question(1, node.clock.now_us()))
    node.run(40)
    assert node.sampler.faults["held_up"] == 1
    assert not node.meter.gpu_handles[0].sick
    assert set(range(32, 49)) <= read_seconds(node, 0)


class Ward:
    """A meter whose GPUs are all sick, and whose questions end when the test says so."""

    def __init__(self, count, clock):
        self.gpu_handles = [SimpleNamespace(sick="sick", session_index=i) for i in range(count)]
        self.present, self.clock = [True] * count, clock
        self.asked, self.over = [], []

    def place(self, index):
        return index

    def ask_again(self, index):
        self.asked.append(question(index, self.clock.now_us()))

    def end(self, index):
        (one,) = [one for one in self.asked if one.index == index]
        one.ended_us, one.over, one.error = self.clock.now_us(), True, TooSlow("a call took long")
        self.asked.remove(one)
        self.over.append(one)

    def answered(self):
        ended, self.over = self.over, []
        return ended


def test_sick_gpus_are_asked_one_at_a_time_and_who_only_waited_soon_again():
    clock = VirtualClock()
    ward = Ward(2, clock)
    again = Reprobing(ward, clock, [SimpleNamespace(sick=False) for _ in ward.gpu_handles], None, None, None)
    again.start_over()

    def turn(seconds):
        clock.sleep_until(clock.now_us() + seconds * 1_000_000)
        again.turn(lambda _: False)
        return [one.index for one in ward.asked]

    assert turn(59) == []
    assert turn(2) == [0]
    assert turn(30) == [0], "one at a time"
    ward.ask_again(1)  # as at the start, where all are asked
    clock.sleep_until(clock.now_us() + 15_000_000)
    ward.end(0)
    ward.end(1)
    assert turn(0) == []
    assert turn(2) == [1], "who only waited for another is asked again at once"
    ward.end(1)
    assert turn(0) == []
    assert turn(100) == []
    assert turn(19) == [0], "two minutes after it answered"
    ward.end(0)
    assert turn(2) == [1], "it was alone, and it was slow"
