"""GPUs that are let go of: a second program can do with them what it likes, and they are read again afterwards."""

import shutil
from pathlib import Path

import pytest

from tests.rig import Rig, Rigs
from wattshed.agent.clock import VirtualClock
from wattshed.agent.daemon.release_file import ReleaseFile
from wattshed.agent.meters.device_nodes import holders, of_gpu, open_nodes
from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.release import LONGEST_US, Release, ReleaseDesk
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.meters.system_events import slot_of
from wattshed.agent.simulation.others import InUseError, OtherProgram

S = 1_000_000


class Released:
    """A rig with a desk, and a program beside it."""

    def __init__(self, tmp_path, text="", gpus=3, *, plain=True):
        self.clock = VirtualClock()
        self.desk = ReleaseDesk(self.clock.now_us)
        self.rig = Rigs(tmp_path)(text, gpus=gpus, plain=plain, clock=self.clock, desk=self.desk)
        self.node, self.run = self.rig.node, self.rig.run
        self.other = OtherProgram(self.node.root)
        self.uuids = [card.uuid for card in self.node.cards]
        self.run(3)

    def open(self):
        return open_nodes(dev_root=self.node.dev_root)

    def kinds(self):
        return [(event.kind, event.gpu) for event in self.rig.events()]

    def read(self, gpu, windows):
        return sum(counter >= 0 for counter in self.rig.column("counter_mj", gpu, windows))


@pytest.fixture
def released(tmp_path):
    made = []

    def make(text="", gpus=3, **more):
        made.append(Released(tmp_path, text, gpus, **more))
        return made[-1]

    yield make
    for one in made:
        one.rig.sampler.close()


ALL = {"nvidiactl", "nvidia0", "nvidia1", "nvidia2"}


def test_a_second_program_is_refused_before_and_served_after(released):
    one = released()
    assert one.open() == ALL
    for refused in (lambda: one.other.reset(1), lambda: one.other.repartition(1, [(1, 0, 60)]), one.other.unload):
        with pytest.raises(InUseError):
            refused()
    one.desk.ask(60 * S)
    windows = one.run(5)
    assert one.open() == set()
    assert not any(one.read(gpu, windows[1:]) for gpu in range(3))
    one.other.unload()
    one.other.repartition(0, [(1, 0, 60), (2, 0, 60)])
    one.other.reset(1)
    one.other.unbind(2)
    one.run(60)
    assert one.open() == ALL - {"nvidia2"}
    assert one.node.cards[0].instances
    assert one.rig.column("counter_mj", 1)[-1] < 60 * 700_000  # it began at zero
    assert one.kinds()[:5] == [*(("released", gpu) for gpu in range(3)), ("back", 0), ("back", 1)]
    assert ("lost", 2) in one.kinds()
    one.other.bind(2)
    windows = one.run(35)
    assert one.read(2, windows)


def test_one_gpu_is_let_go_of_and_the_others_are_read_on(released):
    one = released()
    one.desk.ask(20 * S, frozenset({one.uuids[1]}))
    windows = one.run(10)
    assert one.open() == ALL - {"nvidia1"}
    one.other.reset(1)
    with pytest.raises(InUseError):
        one.other.reset(0)
    assert one.read(1, windows[1:]) == 0
    assert [one.read(gpu, windows) for gpu in (0, 2)] == [10, 10]
    one.run(15)
    assert one.kinds() == [("released", 1), ("back", 1)]
    assert one.open() == ALL


def test_resume_takes_them_back_at_once_and_a_new_session_over_a_part_of_them_does_not(released):
    one = released()
    one.desk.ask(600 * S, frozenset({one.uuids[0]}))
    one.run(2)
    one.rig.sampler.look()  # SIGHUP, a GPU that came, one that was lost: each starts a session
    one.run(2)
    assert one.open() == ALL - {"nvidia0"}
    one.desk.resume()
    one.run(2)
    assert one.open() == ALL


def test_the_only_gpu_is_the_whole_driver_and_wishes_add_up(released):
    one = released()
    for uuid in one.uuids:
        one.desk.ask(30 * S, frozenset({uuid}))
    one.run(2)
    assert one.desk.obeyed.whole
    assert one.open() == set()


def test_a_node_that_the_library_keeps_is_let_go_of_with_the_process(released):
    one = released('[[fault]]\nkind = "held"\ngpu = 1\nat_s = 0\nfor_s = 600')
    one.desk.ask(30 * S, frozenset({one.uuids[1]}))  # it stays open over the new session, so all are let go of
    with pytest.raises(RestartNeeded, match="nvidia1 still open"):
        one.run(2)
    assert one.desk.wanted().whole


@pytest.mark.parametrize("for_s", [5, 40])
def test_a_gpu_that_somebody_unbinds_is_let_go_of_and_metered_when_it_is_bound_again(released, for_s):
    one = released(f'[[fault]]\nkind = "unbind"\ngpu = 1\nat_s = 10.5\nfor_s = {for_s}')
    windows = one.run(80)
    assert {gpu for _, gpu in one.kinds()} == {1}
    assert [one.read(gpu, windows) for gpu in (0, 2)] == [80, 80]  # the driver says which one it is
    assert one.kinds()[0] == ("released", 1)
    assert one.kinds()[-1] == ("back", 1)
    assert one.read(1, one.run(2)) == 2


def test_of_a_gpu_in_a_slot_that_nobody_knows_all_are_let_go_of(released, monkeypatch):
    monkeypatch.setattr("wattshed.agent.meters.letting_go.slot_of", lambda _: -1)
    one = released('[[fault]]\nkind = "unbind"\ngpu = 1\nat_s = 10.5\nfor_s = 40')
    one.run(20)
    assert [kind for kind, gpu in one.kinds() if gpu == 0] == ["released"]
    assert one.desk.obeyed.whole


@pytest.mark.parametrize(
    ("address", "slot"),
    [("00000000:1B:00.0", 0x1B00), ("0009:01:00.0", 0x90100), ("00010001:C1:1F.0", 0x1C11F), ("", -1), ("1B:00.0", -1)],
)
def test_the_drivers_id_of_a_gpu_is_its_address(address, slot):
    assert slot_of(address) == slot


def test_a_new_process_leaves_alone_what_an_earlier_one_let_go_of(released, tmp_path):
    """It knows the GPUs by what was kept, and meters the others from its first window on."""
    one = released()
    one.desk.ask(60 * S, frozenset({one.uuids[1]}), "reset")
    one.run(2)
    keeper = ReleaseFile(tmp_path / "released.json", "boot")
    keeper.save(one.desk.wanted())
    one.rig.sampler.close()
    again = after(one, ReleaseDesk(one.clock.now_us, keeper))
    windows = again.run(5)
    assert one.open() == ALL - {"nvidia1"}
    assert [[device.uuid for device in window.devices] for window in windows] == [one.uuids] * 5
    one.other.reset(1)
    assert [sum(c >= 0 for c in again.column("counter_mj", gpu, windows)) for gpu in range(3)] == [5, 0, 5]
    again.run(60)
    assert one.open() == ALL
    assert [(event.kind, event.gpu) for event in again.events()] == [("released", 1), ("back", 1)]
    again.sampler.close()


def after(one, desk):
    """The reading part of the next process of an agent, on the same node."""
    node, clock = one.node, one.clock
    roots = {"proc_root": node.proc_root, "dev_root": node.dev_root}
    meter = NvmlMeter(Nvml(clock, node.library), clock, "host", simulated=True, **roots)
    meter.leave(desk.wanted().devices)
    meter.open()
    sampler = Sampler(meter, clock, "host", Rates(learn_us=0), alive=lambda _: True, desk=desk)
    return Rig(clock, node, meter, sampler)


def test_a_library_without_events_of_its_own_is_read_all_the_same(released):
    one = released('gpus = 3\nmissing = ["nvmlSystemEventSetCreate", "nvmlInitWithFlags"]', plain=False)
    # It takes no flags either: every session opens every GPU, so that one is let go of with all.
    one.desk.ask(10 * S, frozenset({one.uuids[1]}))
    one.run(3)
    assert one.open() == set()
    assert one.desk.obeyed.whole
    one.run(10)
    assert one.open() == ALL


def test_a_gpu_that_fell_off_the_bus_is_left_to_whoever_mends_it(released):
    one = released('[[fault]]\nkind = "xid"\ngpu = 1\nat_s = 5.5\nfor_s = 1\nvalue = 79')
    one.run(6)
    one.other.reset(1)
    windows = one.run(70)
    assert one.kinds()[:2] == [("lost", 1), ("xid", 1)] or one.kinds()[:2] == [("xid", 1), ("lost", 1)]
    assert one.read(1, windows[-2:]) == 2


def test_the_desk_joins_wishes_and_ends_them():
    clock, kept = VirtualClock(0), []

    class Keeper:
        def save(self, release):
            kept.append(release)

        def load(self, now_us):
            return Release(now_us + 5 * S)

    desk = ReleaseDesk(clock.now_us, Keeper())
    assert desk.wanted() == Release(5 * S)
    clock.sleep_until(5 * S)
    assert desk.wanted() is None
    desk.ask(10 * S, frozenset({"a"}), "one")
    desk.ask(5 * S, frozenset({"b"}), "two")
    assert desk.wanted() == Release(15 * S, frozenset({"a", "b"}), "two")
    desk.ask(10**15)
    assert desk.wanted() == Release(5 * S + LONGEST_US)
    desk.resume()
    assert desk.wanted() is None
    assert kept[0] is None
    assert kept[-1] is None


def test_capability_nodes_and_maps_count_and_processes_that_hide_are_counted(tmp_path):
    dev, proc = tmp_path / "dev", tmp_path / "proc"
    for pid, links, maps in (
        ("7", ["nvidia0", "nvidia-caps/nvidia-cap2", "null"], ""),
        ("8", [], f"x {dev}/nvidia1\n"),
    ):
        (proc / pid / "fd").mkdir(parents=True)
        for number, name in enumerate(links):
            (proc / pid / "fd" / str(number)).symlink_to(dev / name)
        (proc / pid / "maps").write_text(maps)
        (proc / pid / "cmdline").write_bytes(b"python\0train.py\0")
    (proc / "self").mkdir()
    found, hidden = holders(proc, dev)
    assert [(one.pid, one.nodes, one.command) for one in found] == [
        (7, ("nvidia-caps/nvidia-cap2", "nvidia0"), "python train.py"),
        (8, ("nvidia1",), "python train.py"),
    ]
    assert hidden == 0
    nodes = {"nvidia0", "nvidia1", "nvidiactl", "nvidia-caps/nvidia-cap2"}
    assert of_gpu(nodes, 1, proc) == {"nvidia1", "nvidia-caps/nvidia-cap2"}  # whose it is, nobody says
    folder = proc / "driver/nvidia/capabilities/gpu1/mig/gi1"
    folder.mkdir(parents=True)
    (folder / "access").write_text("DeviceFileMinor: 3\nDeviceFileMode: 292\n")
    assert of_gpu(nodes, 1, proc) == {"nvidia1"}
    assert of_gpu(nodes, -1, Path("/nowhere")) == {"nvidia0", "nvidia1", "nvidia-caps/nvidia-cap2"}


def test_a_gpu_for_which_the_driver_wants_a_reset_is_left_to_whoever_does_it(released):
    """An action that passes by itself within a minute is waited for; the GPU is looked at again after ten."""
    one = released("[[gpu]]\nindex = 0\nrecovery = [[10, 1], [60, 0], [100, 1], [300, 0]]")
    one.run(92)
    assert one.desk.obeyed is None
    one.run(80)
    assert one.open() == ALL - {"nvidia0"}
    assert one.desk.obeyed.why == "the driver advises gpu_reset"
    one.other.reset(0)
    one.run(600)
    assert one.open() == ALL
    assert one.kinds() == [("released", 0), ("back", 0)]


def test_a_driver_that_is_unloaded_is_looked_for(released):
    one = released()
    shutil.rmtree(one.node.proc_root / "driver")
    one.run(35)
    assert {event.detail for event in one.rig.events("lost")} == {"the driver was unloaded"}


def test_modes_are_asked_for_again_without_opening_what_was_let_go_of(released):
    """By its UUID a GPU is found only by opening those before it."""
    one = released("[[gpu]]\nindex = 2\nmig = [[1, 0, 60]]\nmig_at_s = 10")
    one.desk.ask(200 * S, frozenset({one.uuids[0]}))
    one.run(40)
    assert one.open() == ALL - {"nvidia0"}
    assert one.rig.sampler.devices[2].capabilities["mig"] == ""
