"""What was probed can change while the agent runs: it is noticed, and it is right in the next windows."""

import itertools

import pytest

from tests.depth import few
from tests.virtual import agent, bills, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.meters.events import RECOVERY_ACTION, Changed
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.card import Card
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

DEAF = 'missing = ["nvmlEventSetCreate"]\n'
MIG = """
gpus = 1
cycle_s = 1200
[[gpu]]
index = 0
mig = [[1, 0, 60], [2, 0, 60]]
{when}
[[job]]
name = "7"
gpus = [0]
instance = "1/0"
start_s = 60
end_s = 1190
load = [[1.0, 300.0, 90]]
[[job]]
name = "8"
gpus = [0]
instance = "2/0"
start_s = 60
end_s = 1190
load = [[1.0, 100.0, 30]]
"""


def changes(node, name, gpu=0):
    """Return the seconds at which a capability of a GPU became another one."""
    told = [w.devices[gpu].capabilities[name] for w in node.windows]
    return [i for i, (a, b) in enumerate(itertools.pairwise(told)) if a != b]


@pytest.mark.parametrize("head", few(["", DEAF]))
@pytest.mark.parametrize("at_s", few([0, 30, 45]))
def test_jobs_get_their_bills_when_mig_is_switched_on_later(tmp_path, at_s, head):
    (tmp_path / "s.toml").write_text(head + MIG.format(when=f"mig_at_s = {at_s}"))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
    one = agent(node, clock, seconds=400, keep_us=10**12, recorder=recorder)
    one.daemon.run()
    one.close()
    recorder.close()
    begun, end = one.windows[0].start_us, one.windows[-1].end_us
    real = {key: (s + d) / 1e9 for (key, _), (s, d) in node.truth.jobs_nj(begun, end).items() if key != "_idle"}
    got = {
        job.key: sum(line.static_hnj + line.dynamic_hnj for line in job.lines.values()) / 2e9
        for job in one.accounts.ledger.jobs.values()
    }
    assert got == {key: pytest.approx(value, rel=0.03) for key, value in real.items()}
    assert one.windows[-1].devices[0].capabilities["mig"] == ""
    assert "not supported" in one.windows[-1].devices[0].capabilities["utilisation"]
    again = Accounts()
    for chain in find([str(tmp_path / "recording")], Options()):
        for window in chain.windows(Options()):
            again.add(window)
    again.finish()
    live = bills(one.accounts)
    assert bills(again)[1] == live[1], "a replay says the same"


def test_mig_switched_off_again(rig):
    node = rig(MIG.format(when="mig_at_s = 20\nmig_off_at_s = 100"), plain=False)
    node.run(140)
    on, off = changes(node, "mig")
    assert 18 <= on <= 22
    assert 98 <= off <= 131
    able = node.windows[-1].devices[0].capabilities
    assert (able["utilisation"], able["process_utilisation"]) == ("", "")
    assert node.meter.watches[0].instances == []
    assert node.meter.mig() == {}
    assert all(w.gauges["gpu_util"][0] >= 0 for w in node.windows[-5:])


def test_instances_that_are_arranged_anew(rig):
    node = rig(MIG.format(when=""), plain=False)
    node.run(70)
    card = node.node.cards[0]
    card.instances = [(1, 0, 30), (2, 0, 90)]
    node.run(10)
    assert sorted(one.share_ppm for one in node.meter.mig().values()) == [30 * 10**6 // 132, 90 * 10**6 // 132]


MIG_CALLS = (
    "nvmlDeviceGetAttributes_v2", "nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetNumGpuCores",
)  # fmt: skip


@pytest.mark.parametrize("code", few([3, 10, 999]))
@pytest.mark.parametrize("call", MIG_CALLS)
def test_instances_stay_while_a_call_that_lists_them_is_refused(rig, call, code):
    broken = f'[[fault]]\nkind = "error"\nat_s = 70\nfor_s = 40\nvalue = {code}\ncall = "{call}"\n'
    node = rig(MIG.format(when="") + broken, plain=False)
    node.run(130)
    told = [{(s.instance, s.instance_ppm) for s in seen} for seen in node.observations[66:]]
    assert told == [{("1/0", 60 * 10**6 // 132), ("2/0", 60 * 10**6 // 132)}] * len(told)
    assert all(s.sm_us > 0 for seen in node.observations[66:] for s in seen)
    assert len(node.meter.mig()) == 2


@pytest.mark.parametrize("head", ["", DEAF])
def test_accounting_that_is_switched_on_later_finds_short_jobs(rig, head):
    node = rig(
        head
        + """
gpus = 1
cycle_s = 600
[[gpu]]
accounting_at_s = 20
[[job]]
name = "9"
start_s = 80.2
end_s = 80.9
load = [[1.0, 300.0, 90]]
""",
        plain=False,
    )
    node.run(90)
    (at_s,) = changes(node, "accounting")
    assert 18 <= at_s <= 51
    found = [one for seen in node.observations for one in seen if one.exited and one.sm_us >= 0]  # the list's: -1
    assert [one.to_us - one.from_us for one in found] == [700_000]


def test_what_was_refused_at_the_start_is_asked_for_again_in_time(rig):
    text = "".join(
        f'\n[[fault]]\nkind = "error"\ngpu = {gpu}\nat_s = 0\nfor_s = 10\nvalue = 3\n'
        'call = "nvmlDeviceGetUtilizationRates"\n'
        for gpu in (0, 1)
    )
    node = rig(text, gpus=3, rates=Rates(learn_us=0, burst_us=0))
    before = node.meter.watches[0]
    node.run(320)
    assert all("not supported" in d.capabilities["utilisation"] for d in node.windows[0].devices[:2])
    seconds = [changes(node, "utilisation", gpu) for gpu in (0, 1)]
    assert all(len(found) == 1 and found[0] <= 302 for found in seconds)
    assert seconds[0] != seconds[1], "one GPU after the other"
    assert node.meter.watches[0] is before
    assert node.windows[-1].gauges["gpu_util"][0] > 0
    late = [t % 500_000 for t in node.column("time_us", 2)]
    assert max(late) - min(late) == 0, "no tick is late for it"


@pytest.mark.parametrize("how", ["xid", "event", "unknown GPU", "hangup"])
def test_who_says_that_something_changed_is_heard_at_once(rig, monkeypatch, how):
    refused = '\n[[fault]]\nkind = "error"\ngpu = 1\nat_s = 0\nfor_s = 10\nvalue = 3\n'
    refused += 'call = "nvmlDeviceGetUtilizationRates"\n'
    xid = '\n[[fault]]\nkind = "xid"\ngpu = 1\nat_s = 20\nvalue = 154\n'
    node = rig(refused + (xid if how == "xid" else ""), gpus=2)
    node.run(21)
    if how in {"event", "unknown GPU"}:
        news = [Changed(1 if how == "event" else -1)]
        monkeypatch.setattr(node.meter, "wait_event", lambda _: news.pop() if news else None)
    if how == "hangup":
        node.sampler.look()
    node.run(5)
    assert changes(node, "utilisation", 1) in ([18], [19], [20], [21], [22])
    assert node.events("lost") == []


def test_only_events_that_the_driver_knows_are_asked_for(rig, monkeypatch):
    asked = []
    node = rig(gpus=1)
    ask = node.meter._nvml.ask

    def spy(name, *args):
        if name == "nvmlDeviceGetSupportedEventTypes":
            return 0x8 | RECOVERY_ACTION
        if name == "nvmlDeviceRegisterEvents":
            asked.append(args[1])
        return ask(name, *args)

    monkeypatch.setattr(node.meter._nvml, "ask", spy)
    node.meter.reopen([0])
    assert asked == [0x8 | RECOVERY_ACTION]


def test_modes_are_asked_for_every_half_minute_and_no_answer_is_no_change(rig, monkeypatch):
    node = rig(DEAF + "gpus = 1\n", plain=False)
    node.run(30)
    before = node.sampler.calls()["nvmlDeviceGetMigMode"].counts[-1]
    monkeypatch.setattr(Card, "can_mig", False)
    node.run(120)
    assert node.sampler.calls()["nvmlDeviceGetMigMode"].counts[-1] - before <= 6
    assert changes(node, "energy") == []


def test_a_driver_that_is_reloaded_is_looked_for_soon(rig):
    holes = {}
    for length in (2, 4, 9, 40):
        node = rig(f'\n[[fault]]\nkind = "driver-reload"\nat_s = 10\nfor_s = {length}\n')
        node.run(80)
        (lost,), (back,) = node.events("lost"), node.events("back")
        holes[length] = (back.time_us - lost.time_us) / 1e6
    assert holes[2] <= 4
    assert holes[4] <= 8
    assert holes[9] <= 19
    assert holes[40] <= 51


def test_what_readings_told_outlives_a_new_session(rig):
    node = rig('gpus = 1\n[[gpu]]\narchitecture = "gh200"\n', plain=False)
    node.run(3)
    board = node.meter.gpu_handles[0]
    scope = "the counter runs at 500 W, the module's 500 W and not the GPU's 300 W"
    board.device = type(board.device)(**{
        **{n: getattr(board.device, n) for n in board.device.__slots__},
        "capabilities": {**board.device.capabilities, "gpu_scope": scope},
    })  # fmt: skip
    node.sampler.look()
    node.run(3)
    assert node.windows[-1].devices[0].capabilities["gpu_scope"] == scope
