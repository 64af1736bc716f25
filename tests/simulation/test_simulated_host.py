"""Meters of a simulated host: the trees are those of real kernels, and the parts sum to the node."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.clock import VirtualClock
from wattshed.agent.inputs.toml import InputError
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.simulation.scenario import read_scenario

S = 1_000_000
HGX = """
gpus = 4
[[job]]
name = "7"
gpus = [0, 1, 2]
cores = 12
start_s = 10
end_s = 280
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
"""
METERS = {
    "rapl": '[[host_meter]]\nsource = "rapl"\n',
    "grace": '[[gpu]]\narchitecture = "gb200"\n[[host_meter]]\nsource = "grace"\n',
    "cray": '[[host_meter]]\nsource = "cray"\n',
    "hwmon": '[[host_meter]]\nsource = "hwmon"\n',
    "ipmi": '[[host_meter]]\nsource = "ipmi"\nlag_s = 4\n',
}
ENERGY, FIRST = "class/powercap/intel-rapl:0/energy_uj", "class/hwmon/hwmon1/device/power1_average"


def node_of(tmp_path, text):
    clock, root = VirtualClock(), tmp_path / "node"
    (tmp_path / "s.toml").write_text(text)
    root.mkdir()
    return SimulatedNode(clock, root, str(tmp_path / "s.toml")), clock


def fault(kind, meter, at_s=10, for_s=20):
    return f'[[fault]]\nkind = "{kind}"\nmeter = "{meter}"\nat_s = {at_s}\nfor_s = {for_s}\n'


def move(clock, seconds):
    clock.sleep_until(clock.now_us() + round(seconds * S))


@settings(max_examples=examples(20), deadline=None)
@given(start_s=st.integers(0, 900), us=st.integers(0, 700 * S), kind=st.sampled_from(["hopper", "gh200", "gb200"]))
def test_the_parts_sum_to_the_node_and_no_energy_falls(tmp_path_factory, start_s, us, kind):
    node, clock = node_of(tmp_path_factory.mktemp("n"), HGX + f'[[gpu]]\narchitecture = "{kind}"\n')
    begin, end = clock.now_us() + start_s * S, clock.now_us() + start_s * S + us
    nj = {part: node.beside.nj(part, begin, end) for part in ("node", "gpu", "cpu", "memory", "rest")}
    assert nj["node"] == sum(nj.values()) - nj["node"]
    assert min(nj.values()) >= 0
    assert nj["gpu"] == sum(node.truth.gpu_nj(gpu, begin, end) for gpu in range(4))
    packages = range(node.beside.host.packages)
    assert nj["cpu"] == sum(node.beside.nj(f"package-{n}", begin, end) for n in packages)
    if kind != "hopper":
        for n in packages:
            module, grace = (node.beside.nj(f"{name}-{n}", begin, end) for name in ("module", "grace"))
            own = sum(node.beside.nj(f"accel{gpu}", begin, end) for gpu, m in enumerate(node.beside.packages) if m == n)
            assert module >= own + grace


def test_a_package_counts_what_flows(tmp_path):
    node, clock = node_of(tmp_path, HGX + METERS["rapl"])
    assert node.sys.names("class/powercap") == [
        "intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0",
    ]  # fmt: skip
    assert node.sys.read("class/powercap/intel-rapl:1/name") == b"package-1\n"
    assert node.sys.read("class/powercap/intel-rapl:1:0/name") == b"dram\n"
    begin, before = clock.now_us(), int(node.sys.read(ENERGY))
    move(clock, 100)
    after = int(node.sys.read(ENERGY))
    assert after - before == pytest.approx(node.beside.nj("package-0", begin, clock.now_us()) / 1000, abs=62)
    assert node.beside.nj("package-0", begin, begin + 10 * S) == 10 * 95 * 10**9, "nothing runs yet"
    assert node.beside.nj("package-0", begin + 100 * S, begin + 101 * S) > (95 + 12 * 3.5) * 10**9
    assert node.sys.names("class/nothing") == []
    with pytest.raises(FileNotFoundError):
        node.sys.read("class/powercap/intel-rapl:7/energy_uj")


def test_a_counter_wraps_when_it_is_told_to(tmp_path):
    node, clock = node_of(tmp_path, HGX + METERS["rapl"] + fault("wrap", "rapl/package-0"))
    values = []
    for _ in range(20):
        values.append(int(node.sys.read(ENERGY)))
        move(clock, 1)
    falls = [i for i in range(1, 20) if values[i] < values[i - 1]]
    assert falls in ([10], [11])
    assert max(values) < 262_143_328_850


def test_a_superchip_is_shown_as_acpi_does(tmp_path):
    node, clock = node_of(tmp_path, HGX + METERS["grace"])
    move(clock, 30.2)
    shown = {}
    for folder in node.sys.names("class/hwmon"):
        label = node.sys.read(f"class/hwmon/{folder}/device/power1_oem_info").decode().strip()
        shown[label] = int(node.sys.read(f"class/hwmon/{folder}/device/power1_average"))
        assert node.sys.read(f"class/hwmon/{folder}/name") == b"power_meter\n"
    names = ("Module", "Grace", "CPU", "SysIO")
    assert set(shown) == {f"{name} Power Socket {n}" for n in (0, 1) for name in names}, "two GPUs share a module"
    assert shown["Grace Power Socket 1"] >= shown["CPU Power Socket 1"] + shown["SysIO Power Socket 1"]
    at = clock.now_us() // 50_000 * 50_000
    assert shown["Module Power Socket 0"] == node.beside.nj("module-0", at - 50_000, at) // 5_000_000 * 100_000
    third = node.sys_root / "bus/pci/devices/0000:19:00.0/local_cpulist"
    assert third.read_text() == "72-143\n"


def test_a_cray_shows_joules_ten_times_a_second(tmp_path):
    node, clock = node_of(tmp_path, HGX + METERS["cray"])
    begin, before = clock.now_us(), node.sys.read("cray/pm_counters/energy").split()
    fresh = int(node.sys.read("cray/pm_counters/freshness"))
    move(clock, 60)
    after = node.sys.read("cray/pm_counters/energy").split()
    assert int(after[0]) - int(before[0]) == pytest.approx(node.beside.nj("node", begin, clock.now_us()) / 1e9, abs=1)
    assert after[1:] == [b"J", str(clock.now_us()).encode(), b"us"]
    assert int(node.sys.read("cray/pm_counters/freshness")) == fresh + 600
    assert "accel3_energy" in node.sys.names("cray/pm_counters")


def test_a_bmc_leaves_files_and_is_late(tmp_path):
    node, clock = node_of(tmp_path, HGX + METERS["ipmi"])
    move(clock, 60.5)
    told = json.loads((node.drop_dir / "ipmi-node.json").read_text())
    of = clock.now_us() // S * S - 4 * S
    assert told["power_mw"] == node.beside.nj("node", of - S, of) // 10**9 * 1000
    assert told["monotonic_us"] == clock.now_us() // S * S, "it does not know how late it is"
    assert told["boot_id"] == (node.proc_root / "sys/kernel/random/boot_id").read_text().strip()
    assert (node.drop_dir / "ipmi-node.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("kind", "error"), [("denied", PermissionError), ("gone", OSError), ("hung", None), ("frozen", None)]
)
def test_a_meter_of_the_kernel_fails_and_is_well_again(tmp_path, kind, error):
    node, clock = node_of(tmp_path, HGX + METERS["rapl"] + fault(kind, "rapl/package-0"))
    before = int(node.sys.read(ENERGY))
    move(clock, 15)
    other = int(node.sys.read("class/powercap/intel-rapl:1/energy_uj"))
    if error:
        with pytest.raises(error):
            node.sys.read(ENERGY)
        assert ("intel-rapl:0" in node.sys.names("class/powercap")) == (kind == "denied")
    else:
        assert int(node.sys.read(ENERGY)) > before
        assert (clock.now_us() - node.begun_us) // S == (30 if kind == "hung" else 15)
    if kind == "frozen":
        first = node.sys.read(ENERGY)
        move(clock, 5)
        assert node.sys.read(ENERGY) == first
        assert int(node.sys.read("class/powercap/intel-rapl:1/energy_uj")) > other
    move(clock, 20)
    assert int(node.sys.read(ENERGY)) > before


def test_what_is_not_known_is_the_number_for_that(tmp_path):
    text = HGX + METERS["ipmi"] + METERS["hwmon"] + '[[fault]]\nkind = "unknown-power"\nat_s = 10\n'
    node, clock = node_of(tmp_path, text)
    assert int(node.sys.read(FIRST)) < 10**10
    move(clock, 12)
    assert node.sys.read(FIRST) == b"4294967295000\n"
    assert json.loads((node.drop_dir / "ipmi-node.json").read_text())["power_mw"] == 0


def test_a_bmc_that_is_gone_leaves_no_file_and_one_that_hangs_an_old_one(tmp_path):
    text = HGX + METERS["ipmi"] + fault("gone", "ipmi/node") + fault("hung", "ipmi/node", at_s=60)
    node, clock = node_of(tmp_path, text)
    move(clock, 15)
    assert list(node.drop_dir.iterdir()) == []
    move(clock, 50)
    told = json.loads((node.drop_dir / "ipmi-node.json").read_text())
    assert clock.now_us() - told["monotonic_us"] >= 5 * S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (METERS["rapl"] * 2, "rapl/package-0 is there twice"),
        ('[[host_meter]]\nsource = "rapl"\ndomain = "package-9"\n', "must be one of node"),
        ('[[host_meter]]\nsource = "grace"\n', "is only on a node with gb200 or gh200 GPUs"),
        ('[[host_meter]]\nsource = "ipmi"\nwrap = 5\n', "shows power, which does not wrap"),
        ("[host]\ncpu = [5]\n", "must be two numbers"),
        ('[host]\npackages = 2\n[[gpu]]\narchitecture = "gh200"\n', "a superchip's package is its module"),
        ("[[gpu]]\nmodule = 1\n", "does not sit on a module"),
        (METERS["rapl"] + fault("gone", "rapl/psys"), "must be one of rapl/package-0"),
        (METERS["rapl"] + fault("gpu-lost", "rapl/package-0"), "is only for faults of host meters"),
    ],
)
def test_what_no_host_can_be_is_refused(tmp_path, text, message):
    (tmp_path / "s.toml").write_text(HGX + text)
    with pytest.raises(InputError, match=message):
        read_scenario(tmp_path / "s.toml")
