"""What a BMC says over IPMI: the answer's bytes, and the one request as the kernel's driver takes it."""

import ctypes
import errno
import fcntl
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.errors import InputError
from wattshed.agent.host.ipmi import Ipmi, NoPowerError, PowerReading, decoded

ACTIVE = bytes.fromhex("00dc" + "e803" + "f401" + "dc05" + "e703" + "00112233" + "e8030000" + "40")


def test_an_active_measurement_is_the_power_of_now():
    assert decoded(ACTIVE) == PowerReading(1_000_000)
    assert decoded(ACTIVE + b"more").power_mw == 1_000_000


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ACTIVE[:-1] + b"\x00", "the measurement is deactivated"),
        (bytes.fromhex("00dc") + bytes(17), "the measurement is deactivated"),
        (ACTIVE[:2] + bytes(2) + ACTIVE[4:], "0 W"),
        (ACTIVE[:2] + b"\xff\xff" + ACTIVE[4:], "65535 W"),
        (b"\xc0", r"the BMC answers 0xc0 \(busy\)"),
        (b"\xff", r"the BMC answers 0xff \(error\)"),
        (ACTIVE[:9], "the answer has 9 bytes, and not 19 of DCMI's"),
        (b"\x00\xdd" + ACTIVE[2:], "of DCMI's"),
        (b"", "empty answer"),
    ],
)
def test_what_is_no_power_says_why(answer, why):
    with pytest.raises(NoPowerError, match=why):
        decoded(answer)


def test_a_bmc_that_knows_no_such_request_never_will():
    with pytest.raises(InputError, match="0xc1: it does not know DCMI's power reading"):
        decoded(b"\xc1")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_power_or_none(answer):
    try:
        power_mw = decoded(answer).power_mw
    except (NoPowerError, InputError):
        return
    assert 0 < power_mw < 65_535_000


class Driver:
    """What the kernel's driver does with the two calls, for a device that is a pipe."""

    def __init__(self, path):
        os.mkfifo(path)
        self.answers, self.sent, self.fails = [], [], 0

    def __call__(self, device, request, structure):
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        if request == 0x8028690D:
            assert ctypes.sizeof(structure) == 40
            address = ctypes.string_at(structure.addr, structure.addr_len)
            assert address == bytes.fromhex("0c000000" + "0f00" + "0000"), "the BMC, over the system's interface"
            message = structure.msg
            self.sent.append((message.netfn, message.cmd, ctypes.string_at(message.data, message.data_len)))
            self.number = structure.msgid
            if self.answers:
                os.write(device, b"x")
        else:
            assert request == 0xC030690B
            assert ctypes.sizeof(structure) == 48
            late, answer = self.answers.pop(0)
            if not self.answers:
                os.read(device, 1)
            ctypes.memmove(structure.msg.data, answer, len(answer))
            structure.msg.data_len, structure.msgid = len(answer), self.number - late
        return 0


@pytest.fixture
def driver(tmp_path, monkeypatch):
    driver = Driver(tmp_path / "ipmi0")
    monkeypatch.setattr(fcntl, "ioctl", driver)
    return driver


def test_one_fixed_request_is_sent_and_its_own_answer_taken(driver, tmp_path):
    bmc = Ipmi(str(tmp_path / "ipmi0"), 5.0)
    driver.answers = [(1, b"\xc0"), (0, ACTIVE)]  # the first is to an earlier request
    assert bmc.read().power_mw == 1_000_000
    driver.answers = [(0, ACTIVE)]
    assert bmc.read().power_mw == 1_000_000
    bmc.close()
    assert driver.sent == [(0x2C, 0x02, b"\xdc\x01\x00\x00")] * 2


def test_no_answer_is_no_reading(driver, tmp_path):
    bmc = Ipmi(str(tmp_path / "ipmi0"), 0.05)
    with pytest.raises(NoPowerError, match=r"no answer within 0\.05 s"):
        bmc.read()
    driver.fails = errno.EIO
    with pytest.raises(NoPowerError, match="Input/output error"):
        bmc.read()
    bmc.close()


def test_without_a_device_the_way_to_one_is_told(tmp_path):
    with pytest.raises(InputError, match="modprobe ipmi_si ipmi_devintf"):
        Ipmi(str(tmp_path / "none"))
