"""Readers in processes of their own: what they leave, how long they wait, and how they end."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.host.bmc import ONE, PASSWORD, USER, Bmc, metrics
from wattshed.agent.errors import Faults
from wattshed.agent.host import polling
from wattshed.agent.host.dropped import Dropped
from wattshed.agent.host.exchange import boot_of
from wattshed.agent.host.ipmi import NoPowerError, PowerReading
from wattshed.agent.host.polling import OpenedFile, RenamedFile, document, poll

READING = PowerReading(412_500, "dc", 2_000, 250_000)


def told(folder):
    """What the agent takes of a folder."""
    dropped = Dropped(folder, "boot", lambda: 2_000_000, os.geteuid())
    sensors, refused = dropped.look()
    return [(sensor.meter, sensor.read()) for sensor in sensors], refused


def whole(reading=READING):
    return document("ipmi", "node", reading, boot_id="boot", monotonic_us=1_500_000, period_us=5_000_000)


def test_what_a_reader_leaves_is_what_the_agent_takes(tmp_path):
    tmp_path.chmod(0o755)
    sink = RenamedFile(tmp_path, "ipmi")
    for _ in range(2):
        sink.put(whole())
    assert [path.name for path in tmp_path.iterdir()] == ["ipmi.json"]
    ((meter, reading),), refused = told(tmp_path)
    assert refused == []
    assert (meter.name, meter.boundary, meter.sigma_ppm, meter.window_us) == ("ipmi/node", "dc", 2_000, 250_000)
    assert (meter.period_us, meter.flags) == (5_000_000, ())
    assert reading == (412_500, 500_000)


def test_a_file_that_was_opened_is_written_over_whole(tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "redfish.json"
    with path.open("wb") as file:
        path.chmod(0o644)
        sink = OpenedFile(file.fileno())
        sink.put(whole(PowerReading(10**9, "ac", 999_999, 10**9)))
        sink.put(whole(PowerReading(7)))
    ((meter, reading),), refused = told(tmp_path)
    assert (reading.value, meter.flags, refused) == (7, ("sigma-assumed",), [])


class Waits(threading.Event):
    """Notes how long is waited, and ends after so many times."""

    def __init__(self, times):
        super().__init__()
        self.times, self.waited = times, []

    def wait(self, timeout=None):
        self.waited.append(round(timeout))
        return len(self.waited) >= self.times


def test_after_failures_it_is_asked_later_and_later(caplog):
    answers = itertools.chain([READING], itertools.repeat(None, 8), [READING, READING])

    def read():
        if (reading := next(answers)) is None:
            raise NoPowerError("0 W")
        return reading

    stop, put, faults = Waits(11), [], Faults()
    poll(read, lambda reading, _: put.append(reading), 5.0, faults, stop, part="ipmi")
    assert stop.waited == [5, 10, 20, 40, 80, 160, 300, 300, 300, 5, 5]
    assert (put, faults.counts["ipmi"]) == ([READING] * 3, 8)
    assert [record.message for record in caplog.records] == ["ipmi: 0 W; it is asked again"]


def test_a_folder_that_is_full_ends_nothing(caplog):
    def put(_reading, _time_us):
        raise OSError(28, "No space left on device")

    stop, faults = Waits(2), Faults()
    poll(lambda: READING, put, 5.0, faults, stop, part="ipmi")
    assert stop.waited == [10, 20]
    assert faults.counts["ipmi"] == 2
    assert len(caplog.records) == 1


def reader(bmc, tmp_path, *flags, **more):
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    given = ["--url", bmc.url, "--login", USER, "--password-file", str(secret), *flags]
    return subprocess.Popen([sys.executable, "-m", "wattshed", "meters", "redfish", *given], **more)


@pytest.mark.parametrize("into", ["folder", "standard output"])
def test_the_process_leaves_readings_and_its_session_at_the_end(tmp_path, into):
    folder = tmp_path / "meters"
    folder.mkdir(mode=0o755)
    path = folder / "redfish.json"
    with Bmc(ONE | metrics(Accuracy=1.5)) as bmc, path.open("wb") as file:
        path.chmod(0o644)
        flags = ("--into", str(folder) if into == "folder" else "-", "--period", "1")
        running = reader(bmc, tmp_path, *flags, stdout=file if into != "folder" else None)
        try:
            ends = time.monotonic() + 20
            while not path.read_bytes() and time.monotonic() < ends:
                time.sleep(0.02)
            dropped = Dropped(folder, boot_of(), lambda: time.monotonic_ns() // 1000, os.geteuid())
            ((sensor,), refused) = dropped.look()
            assert refused == []
            assert (sensor.meter.name, sensor.meter.sigma_ppm, sensor.read().value) == ("redfish/node", 15_000, 412_500)
            assert len(bmc.sessions) == 1
        finally:
            running.send_signal(signal.SIGTERM)
            code = running.wait(20)
        assert (code, bmc.sessions) == (0, {})


def test_once_prints_one_reading(tmp_path):
    with Bmc(ONE | metrics(Accuracy=1.5)) as bmc:
        done = reader(bmc, tmp_path, "--once", stdout=subprocess.PIPE, text=True)
        assert done.communicate(timeout=30)[0] == "412.5 W (ac, sigma 1.5 %)\n"
        assert (done.returncode, bmc.sessions) == (0, {})


def test_a_document_is_whole_numbers(tmp_path):
    found = json.loads(whole())
    assert all(type(found[key]) is int for key in ("monotonic_us", "period_us", "power_mw", "sigma_ppm", "window_us"))
    assert polling.LONGEST_S == 300
