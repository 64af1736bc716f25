"""What is found in a tree: every meter by name, with what it meters, what holds it, and what it says."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host import trees
from tests.host.trees import NARROW, WIDE, Tree, socket, zone
from wattshed.agent.host.hwmon import Hwmon
from wattshed.agent.host.rapl import Rapl
from wattshed.agent.host.sensors import MOST_SENSORS, NoReadingError
from wattshed.agent.host.sysfs import given_files, kernel_sources


def told(tree):
    """(name, kind, boundary, part of, value, sigma in per mille) of every meter that is found."""
    found = []
    for source in kernel_sources(Tree(tree)):
        sensors, refused = source.look()
        assert refused == []
        for sensor in sensors:
            meter = sensor.meter
            value = sensor.read().value
            found.append((meter.name, meter.kind, meter.boundary, meter.part_of, value, meter.sigma_ppm // 1000))
    return found


@pytest.mark.parametrize(
    ("tree", "meters"),
    [
        (
            trees.SERVER,
            [
                ("rapl/package-0", "counter", "cpu", "", 5_000_111, 50),
                ("rapl/dram-0", "counter", "memory", "", 900_000, 100),
                ("rapl/package-1", "counter", "cpu", "", 7_000_222, 50),
                ("rapl/dram-1", "counter", "memory", "", 800_000, 100),
            ],
        ),
        (
            trees.LAPTOP,
            [
                ("rapl/package-0", "counter", "cpu", "psys", 41, 50),
                ("rapl/core-0", "counter", "cpu", "package-0", 11, 50),
                ("rapl/uncore-0", "counter", "cpu", "package-0", 12, 50),
                ("rapl/dram-0", "counter", "memory", "psys", 13, 100),
                ("rapl/psys", "counter", "device", "", 99, 50),
            ],
        ),
        (
            trees.EPYC,
            [
                ("rapl/package-0", "counter", "cpu", "", 64_000_000_000, 100),
                ("rapl/core-0", "counter", "cpu", "package-0", 30_000_000_000, 100),
                ("rapl/package-1", "counter", "cpu", "", 1_000, 100),
                ("rapl/core-1", "counter", "cpu", "package-1", 500, 100),
            ],
        ),
        (
            trees.TWO_DIES,
            [
                ("rapl/package-0-die-0", "counter", "cpu", "", 1, 50),
                ("rapl/dram-0-die-0", "counter", "memory", "", 2, 100),
                ("rapl/package-0-die-1", "counter", "cpu", "", 3, 50),
                ("rapl/dram-0-die-1", "counter", "memory", "", 4, 100),
            ],
        ),
        (
            trees.SUPERCHIP,
            [
                ("grace/module-0", "gauge", "module", "", 500_000, 100),
                ("grace/grace-0", "gauge", "cpu", "module-0", 120_000, 100),
                ("grace/cpu-0", "gauge", "cpu", "grace-0", 60_001, 100),
                ("grace/sysio-0", "gauge", "device", "grace-0", 20_000, 50),
            ],
        ),
        (
            trees.TRAY,
            [
                (f"grace/{part}-{place}", "gauge", boundary, part_of and f"{part_of}-{place}", watts * 1000, 100)
                for place in (0, 1)
                for part, boundary, part_of, watts in (
                    ("cpu", "cpu", "grace", 110),
                    ("grace", "cpu", "", 140),
                    ("sysio", "device", "grace", 8),
                )
            ],
        ),
        (trees.UNLABELLED, [("hwmon/power_meter", "gauge", "ac", "", 700_000, 100)]),
        (
            trees.CHIPS,
            [
                ("hwmon/ina3221-vdd-in", "gauge", "device", "", 4_000, 50),
                ("hwmon/ina3221-vdd-in-2", "gauge", "device", "", 6_000, 50),
                ("hwmon/amd_energy-esocket0", "counter", "cpu", "", 1_000, 100),
                ("hwmon/adm1278-power1", "gauge", "device", "", 7_000, 50),
            ],
        ),
        (
            trees.CRAY,
            [
                ("cray/accel0", "counter", "device", "node", 300_000_000, 30),
                ("cray/accel3", "counter", "device", "node", 310_000_000, 30),
                ("cray/cpu", "counter", "cpu", "node", 200_000_000, 30),
                ("cray/node", "counter", "dc", "", 1_000_000_000, 30),
                ("cray/memory", "counter", "memory", "node", 50_000_000, 30),
            ],
        ),
        ({}, []),
    ],
    ids=["server", "laptop", "epyc", "two-dies", "superchip", "tray", "unlabelled", "chips", "cray", "nothing"],
)
def test_every_meter_of_a_tree_is_known(tree, meters):
    assert sorted(told(tree)) == sorted(meters)


def test_what_lies_in_what_leads_to_a_meter_that_is_there():
    for tree in (trees.SERVER, trees.LAPTOP, trees.SUPERCHIP, trees.TRAY, trees.CRAY):
        names = {name for name, *_ in told(tree)}
        assert {f"{name.split('/')[0]}/{part_of}" for name, _, _, part_of, *_ in told(tree) if part_of} <= names


def test_a_counter_wraps_where_its_zone_says_and_memory_has_a_ceiling_by_its_size():
    meters = {sensor.meter.domain: sensor.meter for sensor in Rapl(Tree(trees.SERVER)).look()[0]}
    assert {name: meter.wrap_uj for name, meter in meters.items()} == {
        "package-0": WIDE, "package-1": WIDE, "dram-0": NARROW, "dram-1": NARROW,
    }  # fmt: skip
    assert meters["dram-0"].ceiling_mw == 1500 * 64  # of 128 GiB, two domains
    assert meters["package-0"].ceiling_mw == 1_000_000


def test_a_mean_over_50_ms_that_is_read_each_second_is_said_to_alias():
    meters = {sensor.meter.domain: sensor.meter for sensor in Hwmon(Tree(trees.SUPERCHIP), "grace").look()[0]}
    assert meters["cpu-0"].flags == ("may-alias", "sigma-assumed")
    assert (meters["cpu-0"].window_us, meters["sysio-0"].window_us) == (50_000, 1_000_000)
    assert meters["sysio-0"].flags == ("sigma-assumed",)


def test_an_unlabelled_meter_is_read_seldom_and_given_up():
    (sensor,), _ = Hwmon(Tree(trees.UNLABELLED), "acpi").look()
    assert (sensor.meter.period_us, sensor.tries) == (5_000_000, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"-1\n", "negative"), (b"abc\n", "text"), (b"NaN\n", "text"), (b"1e9\n", "text"), (b"", "empty"),
        (b"\n", "empty"), (b"9" * 4096, "huge"), (b"\xff\xfe", "text"), (str(WIDE + 1).encode(), "huge"),
        (b"0x10", "text"), ("٣".encode(), "text"),
    ],
)  # fmt: skip
def test_what_is_no_energy_is_no_reading(text, reason):
    tree = Tree(trees.SERVER)
    sensors, _ = Rapl(tree).look()
    tree.files["class/powercap/intel-rapl:0/energy_uj"] = text
    with pytest.raises(NoReadingError, match=f"^{reason}$"):
        sensors[0].read()


@given(st.binary(max_size=40))
def test_any_bytes_are_a_whole_number_or_no_reading(text):
    tree = Tree(trees.SERVER)
    sensors, _ = Rapl(tree).look()
    tree.files["class/powercap/intel-rapl:0/energy_uj"] = text
    try:
        value, reason = sensors[0].read().value, ""
    except NoReadingError as error:
        value, reason = -1, str(error)
    assert reason in {"", "negative", "text", "empty", "huge"}
    assert reason or (0 <= value <= WIDE and value == int(text.split()[0]))


def test_the_power_that_acpi_does_not_know_is_none():
    (sensor,), _ = Hwmon(Tree(socket(1, "", 4_294_967_295_000, 1000)), "acpi").look()
    with pytest.raises(NoReadingError, match=r"^unknown$"):
        sensor.read()


def test_a_counter_of_a_cray_that_is_not_renewed_is_stale():
    tree = Tree(trees.CRAY)
    (source,) = (source for source in kernel_sources(tree) if source.name == "cray")
    node = next(sensor for sensor in source.look()[0] if sensor.meter.domain == "node")
    assert node.read().value == 1_000_000_000
    with pytest.raises(NoReadingError, match=r"^stale$"):
        node.read()
    tree.write("cray/pm_counters/freshness", 8)
    assert node.read().value == 1_000_000_000


def test_names_that_are_none_are_refused_and_the_others_read():
    tree = Tree(
        trees.SERVER | zone("2", "package-2\nrapl forged", 1) | zone("3", "x" * 300, 1) | zone("4:0", "dram", 1)
    )
    sensors, refused = Rapl(tree).look()
    assert len(sensors) == 4
    assert {refusal.name for refusal in refused} == {"rapl/intel-rapl:2", "rapl/intel-rapl:3", "rapl/intel-rapl:4:0"}


def test_two_zones_of_one_name_are_one_meter():
    sensors, refused = Rapl(Tree(trees.SERVER | zone("7", "package-0", 1))).look()
    assert len(sensors) == 4
    assert [(r.name, r.reason) for r in refused] == [("rapl/package-0", "two zones have this name")]


def test_a_tree_without_end_is_read_in_part():
    many = {}
    for number in range(3000):
        many |= zone(number, f"package-{number}", number)
    tree = Tree(many)
    sensors, (refused,) = Rapl(tree).look()
    assert len(sensors) == MOST_SENSORS
    assert "3000" in refused.reason
    assert len(tree.reads) < 4 * MOST_SENSORS


def test_a_domain_stays_with_its_file_while_chips_come_and_go():
    tree = Tree(trees.CHIPS)
    source = Hwmon(tree, "hwmon")
    before = {sensor.meter.domain for sensor in source.look()[0]}
    for path in [path for path in tree.files if path.startswith("class/hwmon/hwmon1/")]:
        del tree.files[path]
    after = {sensor.meter.domain for sensor in source.look()[0]}
    assert before - after == {"ina3221-vdd-in"}


def test_names_and_files_that_cannot_be_read_end_nothing():
    tree = Tree(trees.LAPTOP)
    tree.fails = dict.fromkeys(tree.files, errno.EIO)
    sensors, refused = Rapl(tree).look()
    assert sensors == []
    assert len(refused) == 5


def test_files_that_the_service_manager_opened_are_known_by_their_names():
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "4", "LISTEN_FDNAMES": "rapl-0:web:rapl-0-1:rapl-x"}
    assert given_files(environ, 7) == {
        "class/powercap/intel-rapl:0/energy_uj": 3,
        "class/powercap/intel-rapl:0:1/energy_uj": 5,
    }
    assert given_files(environ, 8) == {}
    assert given_files({}, 7) == {}
