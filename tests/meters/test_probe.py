"""What each architecture offers, found by asking; publication periods, found by watching."""

import ctypes
import types

import pynvml
import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.errors import Fault, MeterError, NoMeter, fault_of
from wattshed.agent.meters.nvml import Nvml, loaded_path
from wattshed.agent.meters.probe import REMEDIES, attempt, is_ga100, power_usage_is_average
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.card import Card
from wattshed.agent.window import MISSING


def node_of(rig, architecture, more="", instant_us=500_000, learn_us=0):
    text = f'gpus = 1\ncycle_s = 600\n[[gpu]]\narchitecture = "{architecture}"\n{more}\n[[job]]\nname = "7"\n'
    text += "load = [[0.7, 60.0, 80], [0.4, 10.0, 20]]\n"
    return rig(text, plain=False, rates=Rates(learn_us=learn_us, burst_us=0, instant_us=instant_us))


@pytest.mark.parametrize(
    ("architecture", "missing"),
    [
        ("pascal", {"energy", "average", "throttle", "gpm", "mig"}),
        ("volta", {"average", "throttle", "gpm", "mig"}),
        ("turing", {"average", "throttle", "gpm", "mig"}),
        ("ga100", {"average", "gpm", "mig"}),
        ("ampere", {"gpm", "mig"}),
        ("ada", {"gpm", "mig"}),
        ("hopper", {"mig"}),
        ("gh200", {"mig"}),
        ("gb200", {"mig"}),
        ("gb10", {"limits", "gpm", "mig"}),
    ],
)
def test_capabilities_by_architecture(rig, architecture, missing):
    able = node_of(rig, architecture).meter.devices[0].capabilities
    scopes = {"hopper": {"module"}, "gh200": {"memory"}, "gb200": set()}.get(architecture, {"module", "memory"})
    assert {name for name, reason in able.items() if reason} - {"gpu_scope"} == missing | scopes | {"accounting"}
    assert able.keys() == REMEDIES.keys()


@pytest.mark.parametrize("architecture", ["pascal", "volta", "turing", "ga100", "ampere", "hopper", "gb200"])
def test_power_is_the_average_where_there_is_one(rig, architecture):
    node = node_of(rig, architecture)
    node.run(10)
    average = architecture in {"ampere", "hopper", "gb200"}
    rows = list(zip(node.column("power_mw"), node.column("instant_mw"), node.column("counter_mj"), strict=True))
    full = rows[::2]
    assert all(MISSING not in {power, instant} for power, instant, _ in full)
    assert all((power == MISSING) == average for power, _, _ in rows[1::2])
    assert any(power != instant for power, instant, _ in full) == average
    assert all((counter == MISSING) == (architecture == "pascal") for _, _, counter in full)
    assert ("power_average_w" in node.windows[-1].gauges) == average


def learned(rig, architecture, more=""):
    """A node after the window that learned, which is its first; and the periods that go with that window."""
    node = node_of(rig, architecture, more, learn_us=1_000_000)
    (window,) = node.run(1)
    return node, window.devices[0].publication_us


def test_publication_periods_are_learned_in_the_first_window(rig):
    _, hopper = learned(rig, "hopper", "counter_period_s = 0.02")
    assert hopper["energy"] == pytest.approx(20_000, abs=4_000)
    assert hopper["instant"] == pytest.approx(100_000, abs=4_000)
    _, volta = learned(rig, "volta")
    assert volta["instant"] == pytest.approx(20_000, abs=4_000)
    assert "average" not in volta


def test_what_is_read_to_learn_is_the_first_window(rig):
    """Every value that was published is there once, at the moment of its first reading; then it goes on as ever."""
    node, _ = learned(rig, "volta", "counter_period_s = 0.1")
    begin_us, counters = node.windows[0].start_us, node.column("counter_mj")
    full = [t for t, c in zip(node.column("time_us"), counters, strict=True) if c != MISSING]
    assert begin_us <= full[0] < begin_us + 4_000, "the first reading is not waited for"
    assert len(full) == pytest.approx(50, abs=5), "power is published every 20 ms"
    assert len(set(counters) - {MISSING}) == pytest.approx(10, abs=1), "the counter every 100"
    told = [node.node.cards[0].sensor.energy_mj(t) for t in full]
    assert [c for c in counters if c != MISSING] == told
    quiet = node.run(5)
    assert {len(window.readings.time_us) for window in quiet} == {2}
    assert node.sampler.late_s == 0


def test_learning_costs_the_pace_nothing(rig):
    """Hundreds of calls in a second are no reason to read less often later, on a driver that is not slow."""
    latency = '[[fault]]\nkind = "latency"\nvalue = 1000\n'
    node = node_of(rig, "hopper", latency, learn_us=1_000_000)
    windows = node.run(15)
    assert len(windows[0].readings.time_us) > 10
    assert node.sampler.duty < 0.01
    assert {len(window.readings.time_us) for window in windows[1:]} == {2}


def test_a_gpu_that_sleeps_is_not_woken_to_learn(rig, tmp_path):
    bus = node_of(rig, "volta").meter.devices[0].pci_bus_id.lower()
    status = tmp_path / "sys/bus/pci/devices" / f"0000:{bus.partition(':')[2]}" / "power/runtime_status"
    status.parent.mkdir(parents=True)
    status.write_text("suspended\n")
    node = rig(rates=Rates(burst_us=0), wake=False, sys_root=tmp_path / "sys")
    node.run(2)
    assert node.column("time_us") == []
    assert node.meter.devices[0].publication_us == {}


def test_scopes_are_read_side_by_side_and_never_added_up(rig):
    node = node_of(rig, "gb200", instant_us=1_000_000)
    node.run(3)
    gauges = {name: column[0] for name, column in node.windows[-1].gauges.items()}
    assert gauges["power_memory_w"] == 30.0
    assert gauges["power_module_w"] == pytest.approx(gauges["power_average_w"] + 180, abs=0.1)
    power = max(p for p in node.column("power_mw") if p != MISSING)
    assert power / 1000 < gauges["power_module_w"] - 100


@pytest.mark.parametrize(("average_w", "fields"), [(49.0, {185}), (0.0, set())])
def test_average_power_of_the_memory_is_enough(rig, monkeypatch, average_w, fields):
    """An H200 refuses the memory's instant power and answers its average."""
    answer, asked = Card.field, set()

    def field(card, number, scope, now_us):
        asked.add((number, scope))
        return (3, 1, 0) if (number, scope) == (185, 2) and not average_w else answer(card, number, scope, now_us)

    monkeypatch.setattr(Card, "field", field)
    node = node_of(rig, "hopper")
    able = node.meter.devices[0].capabilities
    assert able["memory"] == ("" if average_w else "not supported (3)")
    asked.clear()
    node.run(3)
    gauges = node.windows[-1].gauges
    assert gauges["power_memory_w"][0] == average_w if average_w else "power_memory_w" not in gauges
    assert {number for number, scope in asked if scope == 2} == fields, "what is refused is not asked for again"


def test_the_counter_of_a_superchip_is_the_modules(rig):
    node = node_of(rig, "gh200", learn_us=1_000_000)
    (first,) = node.run(1)
    assert "not the GPU's" in first.devices[0].capabilities["gpu_scope"], "so nothing was booked by it before"
    node.windows.clear()
    node.run(11)
    counters = [c for c in node.column("counter_mj") if c != MISSING]
    powers = [p for p in node.column("power_mw") if p != MISSING]
    mean_mw = sum(powers) / len(powers)
    assert (counters[-1] - counters[0]) / (len(counters) - 1) == pytest.approx(mean_mw + 140_000, rel=0.05)
    other = node_of(rig, "gb200", learn_us=1_000_000)
    other.run(1)
    assert other.meter.devices[0].capabilities["gpu_scope"] == ""


@pytest.mark.parametrize("symbol", ["nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEnergyConsumption"])
def test_energy_is_read_the_other_way_where_one_is_missing(rig, symbol):
    node = rig(f'missing = ["{symbol}"]\ngpus = 1\n', plain=False)
    node.run(5)
    counters = [c for c in node.column("counter_mj") if c != MISSING]
    assert len(counters) >= 5
    assert counters == sorted(set(counters))
    assert len([p for p in node.column("power_mw") if p != MISSING]) >= 5
    assert node.meter.devices[0].capabilities["energy"] == ""


def test_every_symbol_but_the_handful_may_be_missing(rig):
    needed = {"nvmlInitWithFlags", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlShutdown"}
    names = sorted(n for n in vars(rig(plain=False).node.library) if n.startswith("nvml") and n not in needed)
    assert len(names) > 30
    text = f"missing = {names!r}\ngpus = 2\n".replace("'", '"')
    node = rig(text, plain=False)
    node.run(3)
    (first, second) = node.meter.devices
    assert first.uuid != second.uuid
    assert all(first.capabilities[name] for name in ("energy", "average", "instant", "processes"))
    assert node.windows[-1].readings.power_mw.tolist() == [MISSING] * len(node.windows[-1].readings.power_mw)
    for name in names:
        one = rig(f'missing = ["{name}"]\ngpus = 1\n', plain=False)
        one.run(1)
        assert one.meter.devices[0].capabilities["energy"] == ""


@pytest.mark.parametrize("answer", [(999, 1, 0), (0, 1, 0)])
def test_a_library_whose_fields_never_answer_is_read_by_other_calls(rig, monkeypatch, answer):
    told = Card.field
    energy_and_power = {83, 185, 186}
    monkeypatch.setattr(
        Card, "field", lambda self, number, *more: answer if number in energy_and_power else told(self, number, *more)
    )
    monkeypatch.setattr(Card, "usage", lambda self: (0, 123_000))
    monkeypatch.setattr(Card, "counter", lambda self, _: (0, 5_000_000))
    node = rig(gpus=1)
    node.run(5)
    assert {p for p in node.column("power_mw") if p != MISSING} == {123_000}
    assert {c for c in node.column("counter_mj") if c != MISSING} == {5_000_000}


def test_three_tries_before_a_no():
    clock, answers = VirtualClock(), []

    def ask(*codes):
        left = list(codes)

        def call():
            code = left.pop(0)
            answers.append(code)
            if code:
                raise MeterError("x", code)

        return call

    assert attempt(clock, ask(3, 3, 0)) == ""
    assert attempt(clock, ask(3, 3, 3)) == "not supported (3)"
    assert attempt(clock, ask(27, 27, 27)) == ""  # busy is no "no"
    assert attempt(clock, ask(6)) == ""  # nothing new is a working answer
    answers.clear()
    assert attempt(clock, ask(13)) == "function not found (13)"
    assert answers == [13]
    with pytest.raises(MeterError):
        attempt(clock, ask(15))


def test_ga100_boards_are_known_by_name():
    for model in ("NVIDIA A100-SXM4-80GB", "A100-PCIE-40GB", "NVIDIA A30", "NVIDIA A800-SXM4-80GB", "NVIDIA A100X"):
        assert is_ga100(model)
        assert not power_usage_is_average("ampere", model)
    for model in ("NVIDIA RTX A3000 Laptop GPU", "NVIDIA A10", "NVIDIA A40", "NVIDIA RTX A6000", "NVIDIA A1000"):
        assert power_usage_is_average("ampere", model)
    assert not power_usage_is_average("turing", "Tesla T4")


def test_the_unofficial_binding_is_refused():
    folder = types.ModuleType("pynvml")
    folder.__path__ = ["/somewhere/pynvml"]
    folder.__file__ = "/somewhere/pynvml/__init__.py"
    with pytest.raises(NoMeter, match=r"/somewhere/pynvml/__init__\.py is not NVIDIA's binding.*pip uninstall"):
        Nvml(VirtualClock(), object(), folder)
    old = types.ModuleType("pynvml")
    with pytest.raises(NoMeter, match="nvidia-ml-py"):
        Nvml(VirtualClock(), object(), old)


def test_no_driver_is_one_line_with_a_remedy():
    with pytest.raises(NoMeter, match=r"no NVML library .*install the NVIDIA driver"):
        Nvml(VirtualClock(), "libnvidia-ml-that-is-nowhere.so.1")


def test_the_loaded_file_is_found_in_the_memory_map(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 00000000 08:01 99   /usr/lib/x86_64-linux-gnu/libc.so.6\n"
        "7f02-7f03 rw-p 00000000 00:00 0 \n"
        "7f04-7f05 r-xp 00000000 08:01 42   /opt/my drivers/libnvidia-ml.so.570.86.10\n"
    )
    assert loaded_path("libnvidia-ml.so.1", maps) == "/opt/my drivers/libnvidia-ml.so.570.86.10"
    assert loaded_path("libnvidia-ml.so.1", tmp_path / "none") == "libnvidia-ml.so.1"


def test_return_codes_of_value_success_and_of_the_future():
    assert fault_of(0) is Fault.NOTHING
    assert fault_of(77) is Fault.TRANSIENT
    assert str(MeterError("nvmlX", 77)) == "nvmlX: error 77 (77)"


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (0, 0x4059000000000000, 100.0),
        (1, 0xDEADBEEF00000064, 100),
        (2, 2**63, 2**63),
        (3, 2**64 - 1, 2**64 - 1),
        (4, 2**64 - 5, -5),
        (5, 0xFFFFFFFF, -1),
        (6, 0xFFFF0007, 7),
    ],
)
def test_the_value_type_names_the_member(rig, monkeypatch, kind, raw, value):
    node = rig()

    monkeypatch.setattr(node.node.cards[0].__class__, "field", lambda *_: (0, kind, raw))
    ((code, found),) = node.meter._nvml.fields(node.meter.gpu_handles[0].handle, [(186, 0)])
    assert (code, found) == (0, value)


def test_an_unknown_value_type_is_a_failed_field(rig, monkeypatch):
    node = rig()

    monkeypatch.setattr(node.node.cards[0].__class__, "field", lambda *_: (0, 9, 7))
    assert node.meter._nvml.fields(node.meter.gpu_handles[0].handle, [(186, 0)]) == [(999, MISSING)]
    sample = node.meter.gpu_handles[0].read_instant()
    assert sample.instant_mw == MISSING


def test_a_field_that_the_driver_skips_has_not_answered(rig, monkeypatch):
    node = rig()
    handle = node.meter.gpu_handles[0].handle
    assert node.meter._nvml.fields(handle, [(83, 0)])[0][0] == 0
    idle = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(lambda *_: 0)
    monkeypatch.setitem(pynvml._nvmlGetFunctionPointer_cache, "nvmlDeviceGetFieldValues", idle)
    assert node.meter._nvml.fields(handle, [(83, 0)]) == [(999, MISSING)]


def test_a_negative_or_absurd_field_never_becomes_a_plausible_one(rig, monkeypatch):
    node = rig()
    board = node.meter.gpu_handles[0]
    for raw, expected in ((-5, MISSING), (2**40, 2**31 - 1), (float("nan"), MISSING), (float("inf"), MISSING)):
        monkeypatch.setattr(node.meter._nvml, "fields", lambda h, wanted, raw=raw: [(0, raw)] * len(wanted))
        sample = board.read()
        assert (sample.power_mw, sample.instant_mw) == (expected, expected)
