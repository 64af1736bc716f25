"""Meters that come, go, hang and refuse: what is collected of them, what is said, and that nobody waits."""

import errno
import os
import threading
import time
from collections import Counter

import numpy as np
import pytest

from tests.host import trees
from tests.host.trees import Tree, zone
from wattshed.agent.clock import RealClock, VirtualClock
from wattshed.agent.errors import Faults
from wattshed.agent.host.dropped import Dropped
from wattshed.agent.host.ipmi import PowerReading
from wattshed.agent.host.lane import HANGS_US, Correction
from wattshed.agent.host.meters import HostMeters
from wattshed.agent.host.polling import RenamedFile, document
from wattshed.agent.host.sysfs import kernel_sources

SECOND_US = 1_000_000
PACKAGE = "class/powercap/intel-rapl:0/energy_uj"


class Collected:
    """Meters of a tree, under a clock that moves when it is told to."""

    def __init__(self, tree, **more):
        self.clock, self.tree, self.faults = VirtualClock(), Tree(tree), Faults(lambda: 0.0)
        self.meters = HostMeters(kernel_sources(self.tree), self.clock, self.faults, close=self.tree.close, **more)

    def start(self):
        self.meters.start(self.clock)
        return self

    def window(self, seconds=1):
        self.clock.sleep_until(self.clock.now_us() + round(seconds * SECOND_US))
        return self.meters.collect(self.clock.now_us())


def rows(readings, name):
    """(time, value) of one meter."""
    (place,) = [place for place, meter in enumerate(readings.meters) if meter.name == name]
    own = slice(readings.offsets[place], readings.offsets[place + 1])
    return list(zip(readings.time_us[own].tolist(), readings.value[own].tolist(), strict=True))


def test_each_meter_is_read_in_its_period_and_handed_over_once():
    run = Collected(trees.SERVER | trees.UNLABELLED)
    begun_us = run.clock.now_us()
    run.start()
    first = run.window(4.5)
    assert [time_us - begun_us for time_us, _ in rows(first, "rapl/package-0")] == [0, *np.arange(1, 5) * SECOND_US]
    assert [time_us - begun_us for time_us, _ in rows(first, "hwmon/power_meter")] == [0]
    run.tree.write(PACKAGE, 6_000_000)
    second = run.window(1.5)
    assert rows(second, "rapl/package-0") == [
        (begun_us + 5 * SECOND_US, 6_000_000),
        (begun_us + 6 * SECOND_US, 6_000_000),
    ]
    assert [time_us - begun_us for time_us, _ in rows(second, "hwmon/power_meter")] == [5 * SECOND_US]
    assert second.meters == first.meters
    assert run.faults.counts == {}


def test_what_is_configured_of_a_meter_goes_before_what_its_kind_is_known_for():
    known = {"rapl/package-0": Correction(-20_000, 10_000, "device"), "rapl/dram-0": Correction(boundary="cpu")}
    first = Collected(trees.SERVER, corrections=known).start().window()
    meters = {meter.name: meter for meter in first.meters}
    package, memory = meters["rapl/package-0"], meters["rapl/dram-0"]
    assert (package.gain_ppm, package.sigma_ppm, package.boundary, package.flags) == (-20_000, 10_000, "device", ())
    assert (memory.gain_ppm, memory.sigma_ppm, memory.boundary) == (0, 100_000, "cpu")
    assert memory.flags == ("sigma-assumed",)
    chosen = Collected(trees.CRAY, corrections={"cray/node": Correction(node=True)}).start().window()
    assert {meter.name: meter.flags for meter in chosen.meters}["cray/node"] == ("sigma-assumed", "node-meter")


def test_permission_denied_is_one_line_a_metric_and_a_remedy_until_it_is_granted(caplog):
    run = Collected(trees.SERVER)
    counters = [path for path in run.tree.files if path.endswith("energy_uj")]
    run.tree.fails = dict.fromkeys(counters, errno.EACCES)
    run.start()
    first = run.window(20)
    assert first.meters == ()
    assert {(name, reason): count for name, reason, count in first.rejected}[("rapl/package-0", "denied")] == 1
    assert {refusal.name for refusal in run.meters.refusals} == {
        "rapl/package-0", "rapl/package-1", "rapl/dram-0", "rapl/dram-1",
    }  # fmt: skip
    assert all("wattshed-rapl" in refusal.remedy for refusal in run.meters.refusals)
    assert len(caplog.records) == 1
    assert run.faults.counts["host"] > 0
    run.tree.fails = {}
    later = run.window(20)
    assert len(later.meters) == 4
    assert run.meters.refusals == []
    assert len(caplog.records) == 1


def test_a_sensor_that_vanishes_stays_in_its_place_and_goes_on_when_it_comes_back(caplog):
    run = Collected(trees.SERVER).start()
    before = run.window(2)
    gone = {path: run.tree.files.pop(path) for path in list(run.tree.files) if "intel-rapl:1" in path}
    without = run.window(60)
    assert without.meters == before.meters
    assert rows(without, "rapl/package-1") == []
    assert len(rows(without, "rapl/package-0")) == 60
    assert ("rapl/package-1", "gone", 1) in without.rejected
    assert [record.message for record in caplog.records if "package-1 is gone" in record.message] != []
    run.tree.files |= gone
    back = run.window(40)
    assert back.meters == before.meters
    assert rows(back, "rapl/package-1")


def test_a_meter_that_comes_later_is_found_and_put_behind():
    run = Collected(trees.SERVER).start()
    before = run.window(2)
    run.tree.files |= Tree(trees.UNLABELLED).files
    after = run.window(31)
    assert after.meters[: len(before.meters)] == before.meters
    assert [meter.name for meter in after.meters[len(before.meters) :]] == ["hwmon/power_meter"]


def test_firmware_that_cannot_tell_its_power_is_asked_three_times(caplog):
    run = Collected(trees.UNLABELLED)
    path = "class/hwmon/hwmon2/device/power1_average"
    run.tree.fails[path] = errno.EIO
    run.start()
    readings = run.window(600)
    assert run.tree.reads.count(path) == 3
    assert readings.rejected == (("hwmon/power_meter", "error", 3),)
    assert [refusal.name for refusal in run.meters.refusals] == ["hwmon/power_meter"]
    assert len(caplog.records) == 1


def test_a_meter_that_speaks_nonsense_is_said_once_and_counted(caplog):
    run = Collected(trees.SERVER).start()
    run.window(1)
    run.tree.write(PACKAGE, "garbage")
    readings = run.window(100)
    assert ("rapl/package-0", "text", 100) in readings.rejected
    assert len(caplog.records) == 1


def test_a_source_that_breaks_is_noted_and_looked_at_again(caplog):
    run = Collected(trees.SERVER)

    def broken(folder):
        raise RuntimeError(folder)

    whole, run.tree.names = run.tree.names, broken
    run.start()
    assert run.window(10).meters == ()
    assert run.faults.counts["host"] == 5
    run.tree.names = whole
    assert len(run.window(31).meters) == 4
    assert {record.message for record in caplog.records} == {"host: RuntimeError: class/powercap; continuing"}


def test_a_bmc_that_hangs_for_a_minute_is_one_line_and_comes_back(caplog, tmp_path):
    """Its reader writes nothing meanwhile: the last reading is soon none of now."""
    tmp_path.chmod(0o755)
    clock, faults, sink = VirtualClock(), Faults(lambda: 0.0), RenamedFile(tmp_path, "ipmi")
    begun_us = clock.now_us()
    tree = Tree(trees.SERVER)
    dropped = Dropped(tmp_path, "boot", clock.now_us, os.geteuid())
    meters = HostMeters([*kernel_sources(tree), dropped], clock, faults)
    meters.start(clock)
    watts, package, rejected = [], [], Counter()
    for second in range(120):
        if second % 5 == 0 and not 30 <= second < 90:
            reading = PowerReading(1_000 * (second + 1))
            sink.put(
                document("ipmi", "node", reading, boot_id="boot", monotonic_us=clock.now_us(), period_us=5 * SECOND_US)
            )
        clock.sleep_until(clock.now_us() + SECOND_US)
        readings = meters.collect(clock.now_us())
        names = {meter.name for meter in readings.meters}
        watts += rows(readings, "ipmi/node") if "ipmi/node" in names else []
        package += rows(readings, "rapl/package-0")
        rejected.update({reason: count for name, reason, count in readings.rejected if name == "ipmi/node"})
    assert [(time_us - begun_us) // SECOND_US for time_us, _ in watts] == [*range(0, 30, 5), *range(90, 120, 5)]
    assert [value for _, value in watts] == [1_000 * (at + 1) for at in (*range(0, 30, 5), *range(90, 120, 5))]
    assert rejected.keys() == {"stale"}
    assert 45 <= rejected["stale"] <= 55, "after three periods"
    assert len(package) == 121, "nothing else waited"
    assert [record.message for record in caplog.records] == ["host: ipmi/node: no reading (stale); it is asked again"]


class Stuck(Tree):
    """A tree of which one file never answers."""

    def __init__(self, files, path):
        super().__init__(files)
        self.path, self.let_go = path, threading.Event()

    def read(self, path):
        if path == self.path:
            self.let_go.wait(30)
        return super().read(path)


class Late(RealClock):
    """A clock that can be put forward."""

    ahead_us = 0

    def now_us(self):
        return super().now_us() + self.ahead_us


def until(holds):
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.005)
    pytest.fail("it did not come about in 5 s")


def test_a_file_that_hangs_stops_its_own_source_and_nobody_else(caplog):
    tree = Stuck(trees.SERVER | trees.UNLABELLED, "class/hwmon/hwmon2/device/power1_average")
    clock, faults = Late(), Faults()
    meters = HostMeters(kernel_sources(tree), clock, faults, close=tree.close)
    meters.start()
    try:
        seen = []
        until(lambda: seen.append(meters.collect(clock.now_us())) or len(meters.meters) == 4)
        assert faults.counts == {}
        clock.ahead_us = HANGS_US + SECOND_US
        rejected = [rejection for _ in range(3) for rejection in meters.collect(clock.now_us()).rejected]
        assert rejected == [("hwmon/power_meter", "hangs", 1)]
        assert [record.message for record in caplog.records] == [
            "host: hwmon/power_meter has not answered for 11 s; it goes on without it"
        ]
        began = time.monotonic()
        meters.close()
        assert time.monotonic() - began < 5
        assert not tree.closed, "a file that somebody still reads is left open"
    finally:
        tree.let_go.set()


def test_in_real_time_threads_read_and_end(tmp_path):
    tree = Tree(zone("0", "package-0", 5))
    meters = HostMeters(kernel_sources(tree), RealClock(), Faults(), close=tree.close)
    meters.start()
    until(lambda: meters.collect(RealClock().now_us() + SECOND_US).meters)
    meters.close()
    assert tree.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("host ")]
