"""The node by parts: they are the meter and the debt in every window, and none of them ever falls."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.host_meters import MeterBook, MeterBooks
from wattshed.agent.accounts.node import CHOSEN, PARTS, choose, counted
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event
from wattshed.agent.window.host_meters import COUNTER, GAUGE, HostMeter, HostReadings

T0 = 1_700_000_000 * S
J = 2_000_000_000
NODE = HostMeter("ipmi", "node", GAUGE, "ac", period_us=S)
CPU = HostMeter("rapl", "package-0", COUNTER, "cpu", wrap_uj=262_143_328_850, ceiling_mw=1_000_000)
DRAM = HostMeter("rapl", "dram-0", COUNTER, "memory", wrap_uj=65_532_610_987, ceiling_mw=100_000)
METERS = (NODE, CPU, DRAM)


def told(second, node_mw=None, gpu_mw=300_000, cpu_w=100, dram_w=20, meters=METERS, events=(), devices=None):
    """One second of a host: a node's power, and what its parts draw."""
    at = T0 + second * S
    rows = [(1, at, second * cpu_w * 10**6), (2, at, second * dram_w * 10**6)]
    rows += [(0, at, node_mw)] if node_mw is not None else []
    beside = HostReadings.of(meters, rows if meters == METERS else [(0, at, node_mw)])
    said = [[(at, gpu_mw, -1)] if gpu_mw else []]
    return replace(window(at, at + S, said, devices=devices, events=events), beside=beside)


def booked(windows):
    accounts = Accounts()
    for one in windows:
        accounts.add(one)
    return accounts, accounts.beside["h"].node


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(1, 2_000_000)), st.integers(0, 900_000), st.integers(0, 500)),
        min_size=2,
        max_size=25,
    )
)
@settings(max_examples=examples(50), deadline=None)
def test_parts_are_the_meter_and_the_debt_in_every_window_and_none_falls(seconds):
    accounts, before = Accounts(), dict.fromkeys(PARTS, 0)
    cpu_uj = 0
    for second, (node_mw, gpu_mw, cpu_w) in enumerate(seconds):
        at = T0 + second * S
        cpu_uj += cpu_w * 10**6
        rows = [(1, at, cpu_uj), *([(0, at, node_mw)] if node_mw is not None else [])]
        one = window(at, at + S, [[(at, gpu_mw, -1)] if gpu_mw else []])
        accounts.add(replace(one, beside=HostReadings.of(METERS, rows)))
        node = accounts.beside["h"].node
        parts = node.parts_hnj
        assert sum(parts.values()) == node.node_hnj + node.debt_hnj
        assert node.debt_hnj >= 0
        assert all(parts[name] >= before[name] for name in PARTS)
        before = parts
    assert before["gpu"] <= next(iter(accounts.gpus.values())).energy_hnj


def test_a_steady_node_is_known_by_parts():
    _, node = booked(told(s, 700_000) for s in range(31))
    assert node.parts_hnj == {"gpu": 9000 * J, "cpu": 3000 * J, "memory": 600 * J, "rest": 8400 * J}
    assert (node.covered_us, node.debt_hnj) == (30 * S, 0)


@pytest.mark.parametrize(("lag", "debt_j"), [(4, 800), (20, 4000)])
def test_a_meter_that_lags_makes_a_debt_that_later_rest_pays(lag, debt_j):
    def power(s):
        return 300_000 + 200_000 * (s // 60 % 2)

    windows = [told(s, power(max(s - lag, 0)) + 400_000, gpu_mw=power(s)) for s in range(1, 1200)]
    accounts, debts = Accounts(), []
    for one in windows:
        accounts.add(one)
        debts.append(accounts.beside["h"].node.debt_hnj)
    node = accounts.beside["h"].node
    assert max(debts) <= debt_j * J
    assert node.rest_hnj == pytest.approx(280 * 1198 * J, rel=0.02)


def test_in_a_gap_of_the_meter_no_part_advances():
    quiet = [told(s, 700_000 if s < 10 or s > 60 else None) for s in range(71)]
    _, node = booked(quiet)
    assert node.covered_us == 18 * S
    assert node.parts_hnj == {"gpu": 5400 * J, "cpu": 1800 * J, "memory": 360 * J, "rest": 5040 * J}


def test_parts_that_are_above_the_meter_for_ten_minutes_are_told():
    accounts, node = booked(told(s, 350_000) for s in range(590))
    assert (node.is_doubted, node.disagreement) == (False, None)
    for s in range(590, 1321):
        accounts.add(told(s, 350_000))
    assert node.disagreement == pytest.approx(420 / 350 - 1)
    assert node.is_doubted
    for s in range(1321, 2200):
        accounts.add(told(s, 500_000))
    assert (node.is_doubted, node.disagreement) == (False, 0)


def test_no_node_meter_no_parts():
    accounts, node = booked(
        replace(told(s), beside=HostReadings.of((CPU,), [(0, T0 + s * S, s * 10**8)])) for s in range(5)
    )
    assert (node.meter, node.covered_us) == ("", 0)
    assert accounts.beside["h"].meters["rapl/package-0"].was_read


def test_a_gpu_of_which_nothing_is_known_leaves_the_rest_unknown():
    _, node = booked(told(s, 700_000, gpu_mw=0) for s in range(20))
    assert node.parts_hnj == dict.fromkeys(PARTS, 0)


def test_a_gpu_whose_energy_holds_the_cpus_is_counted_once():
    about = device(capabilities={"gpu_scope": "the module's", "average": "no", "instant": "no", "energy": ""})
    rows = [
        replace(told(s, 700_000, devices=(about,)), readings=window(0, 1, [[(T0 + s * S, -1, s * 400_000)]]).readings)
        for s in range(30)
    ]
    _, node = booked(rows)
    assert (node.cpu_hnj, node.memory_hnj) == (0, 0)
    assert node.rest_hnj == pytest.approx(300 * 29 * J, rel=0.05)


def test_a_restart_loses_no_part(tmp_path):
    accounts, node = booked(told(s, 700_000) for s in range(11))
    StateFile(tmp_path, "h", "boot").save(accounts, Calibrator(), T0 + 11 * S)
    again = Accounts()
    StateFile(tmp_path, "h", "boot").restore(again, Calibrator())
    before, after = node.parts_hnj, again.beside["h"].node
    assert after.parts_hnj == before
    again.add(told(100, 700_000, events=(Event(T0 + 100 * S, "restart", detail="same-boot"),)))
    assert after.parts_hnj == before  # what was used meanwhile is not known of the node
    for s in range(101, 111):
        again.add(told(s, 700_000))
    assert after.parts_hnj["cpu"] == before["cpu"] + 10 * 100 * J


def meters(*of, last_us=T0):
    books = MeterBooks({one.name: MeterBook(one) for one in of})
    for book in books.values():
        book.read(last_us, 10)
        book.read(last_us + 1, 11)
    return books


def node_of(source, kind=GAUGE, boundary="ac", **more):
    return HostMeter(source, "node", kind, boundary, **more)


def test_the_nodes_meter_is_the_first_of_an_order():
    all_of = [node_of(name) for name in ("redfish", "ipmi", "pdu-7", "cray", "hwmon", "rapl")]
    for first in ("cray", "pdu-7", "ipmi", "redfish"):
        assert choose(meters(*all_of), "", T0) == f"{first}/node"
        all_of = [one for one in all_of if one.source != first]
    assert choose(meters(*all_of), "", T0) is None
    assert choose(meters(*all_of, replace(node_of("hwmon"), domain="psu", flags=(CHOSEN,))), "", T0) == "hwmon/psu"
    assert choose(meters(node_of("redfish", COUNTER)), "", T0) is None
    assert choose(meters(HostMeter("pdu", "outlet-1", GAUGE, "ac", "outlets")), "", T0) is None


def test_another_meter_takes_over_only_from_one_that_is_silent_for_minutes():
    books = meters(node_of("ipmi"), node_of("redfish"))
    books["redfish/node"].read(T0 + 290 * S, 20)
    assert choose(books, "ipmi/node", T0 + 290 * S) == "ipmi/node"
    assert choose(books, "ipmi/node", T0 + 310 * S) == "redfish/node"
    assert choose(books, "ipmi/node", T0 + 3100 * S) == "ipmi/node"


def test_processors_and_memory_are_counted_once():
    grace = [
        HostMeter("grace", "module-0", GAUGE, "module"),
        HostMeter("grace", "grace-0", GAUGE, "cpu", "module-0"),
        HostMeter("grace", "cpu-0", GAUGE, "cpu", "grace-0"),
        HostMeter("grace", "dram-0", GAUGE, "memory", "grace-0"),
        HostMeter("nvml", "memory-0", GAUGE, "memory", "module-0"),
    ]
    rapl = [
        CPU,
        DRAM,
        HostMeter("rapl", "core-0", COUNTER, "cpu", "package-0"),
        HostMeter("rapl", "psys", COUNTER, "dc"),
    ]
    cray = [HostMeter("cray", "cpu", COUNTER, "cpu", "node"), HostMeter("cray", "memory", COUNTER, "memory", "node")]

    def names(*of):
        return [[book.meter.name for book in part] for part in counted(meters(*of))]

    assert names(*grace) == [["grace/grace-0"], []]
    assert names(*rapl) == [["rapl/package-0"], ["rapl/dram-0"]]
    assert names(*cray) == [["cray/cpu"], ["cray/memory"]]
    assert names(*cray, CPU, *grace) == [["rapl/package-0"], ["cray/memory"]]
