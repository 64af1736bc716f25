"""The power of a host as its BMC tells it over IPMI: one fixed request of DCMI, and nothing else.

Whoever may open ``/dev/ipmi0`` can also switch the host off. So this runs in a process of its own, which takes no input
and sends "Get Power Reading" only (DCMI 1.5, 6.6.1), by the kernel's interface (linux/ipmi.h).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import time
from dataclasses import dataclass

from wattshed.agent.errors import InputError

SEND_COMMAND, RECEIVE_MESSAGE_TRUNCATED = 0x8028690D, 0xC030690B
SYSTEM_INTERFACE, BMC_CHANNEL = 0x0C, 0x0F
GROUP_EXTENSION, GET_POWER_READING = 0x2C, 0x02
REQUEST = bytes((0xDC, 0x01, 0x00, 0x00))  # DCMI, mode 1: system power, no attributes
ANSWER_BYTES = 19
_NO_WATTS = (0, 0xFFFF)
_DONE, _DCMI, _ACTIVE = 0x00, 0xDC, 0x40
_LASTING = {0xC1: "it does not know DCMI's power reading", 0xD4: "the driver's user may not ask"}
_PASSING = {0xC0: "busy", 0xC3: "timeout", 0xCE: "busy", 0xD0: "busy", 0xD5: "busy", 0xFF: "error"}


class NoPowerError(Exception):
    """The BMC has no power to tell now; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What a BMC says.

    Attributes
    ----------
    power_mw : int, mW
    boundary : str
        ``"ac"`` or ``"dc"``.
    sigma_ppm : int
        One sigma of its gain, as it says itself; -1: it does not.
    window_us : int, us
        Over what it averages; -1: it does not say.
    energy_kwh : float, kWh
        Its own coarse counter; -1: none.
    """

    power_mw: int
    boundary: str = "ac"
    sigma_ppm: int = -1
    window_us: int = -1
    energy_kwh: float = -1.0


def decoded(answer: bytes) -> PowerReading:
    """Read the answer to "Get Power Reading", from its completion code on.

    Raises
    ------
    NoPowerError
        There is no reading in it now. Deactivated, or 0 W of a host that runs, is none (phosphor-host-ipmid#167).
    InputError
        There will never be one.
    """
    code = answer[0] if answer else -1
    if code in _LASTING:
        raise InputError(f"the BMC answers {code:#04x}: {_LASTING[code]}; try `wattshed meters redfish`")
    if code != _DONE:
        raise NoPowerError(f"the BMC answers {code:#04x} ({_PASSING.get(code, 'error')})" if answer else "empty answer")
    if len(answer) < ANSWER_BYTES or answer[1] != _DCMI:
        raise NoPowerError(f"the answer has {len(answer)} bytes, and not {ANSWER_BYTES} of DCMI's")
    watts = int.from_bytes(answer[2:4], "little")
    if not answer[18] & _ACTIVE:
        raise NoPowerError("the measurement is deactivated")
    if watts in _NO_WATTS:
        raise NoPowerError(f"{watts} W")
    return PowerReading(1000 * watts)


class _Message(ctypes.Structure):
    _fields_ = (
        ("netfn", ctypes.c_ubyte),
        ("cmd", ctypes.c_ubyte),
        ("data_len", ctypes.c_ushort),
        ("data", ctypes.c_void_p),
    )


class _Request(ctypes.Structure):
    _fields_ = (("addr", ctypes.c_void_p), ("addr_len", ctypes.c_uint), ("msgid", ctypes.c_long), ("msg", _Message))


class _Received(ctypes.Structure):
    _fields_ = (
        ("recv_type", ctypes.c_int),
        ("addr", ctypes.c_void_p),
        ("addr_len", ctypes.c_uint),
        ("msgid", ctypes.c_long),
        ("msg", _Message),
    )


class _Address(ctypes.Structure):
    _fields_ = (("addr_type", ctypes.c_int), ("channel", ctypes.c_short), ("lun", ctypes.c_ubyte))


class Ipmi:
    """The BMC behind the kernel's device.

    Parameters
    ----------
    path : str
        ``/dev/ipmi0``.
    timeout_s : float, s
        For one answer.

    Raises
    ------
    InputError
        The device cannot be opened.
    """

    def __init__(self, path: str, timeout_s: float = 5.0) -> None:
        self._timeout_s, self._number = timeout_s, 0
        try:
            self._device = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            hint = "; modprobe ipmi_si ipmi_devintf" if isinstance(error, FileNotFoundError) else ""
            raise InputError(f"cannot be opened ({error.strerror}){hint}", path) from None

    def close(self) -> None:
        """Close it."""
        os.close(self._device)

    def read(self) -> PowerReading:
        """Ask once.

        Raises
        ------
        NoPowerError, InputError
            As `decoded`.
        """
        self._number += 1
        address, data = _Address(SYSTEM_INTERFACE, BMC_CHANNEL, 0), ctypes.create_string_buffer(REQUEST, len(REQUEST))
        message = _Message(GROUP_EXTENSION, GET_POWER_READING, len(REQUEST), ctypes.addressof(data))
        request = _Request(ctypes.addressof(address), ctypes.sizeof(address), self._number, message)
        try:
            fcntl.ioctl(self._device, SEND_COMMAND, request)
            return decoded(self._answer())
        except OSError as error:
            raise NoPowerError(f"the driver answers: {error.strerror}") from None

    def _answer(self) -> bytes:
        """Wait for the answer to the last request; one to an earlier request, which came too late, is thrown away."""
        ends_s = time.monotonic() + self._timeout_s
        waiting = select.poll()
        waiting.register(self._device, select.POLLIN)
        while (left_s := ends_s - time.monotonic()) > 0 and waiting.poll(1000 * left_s):
            address, data = ctypes.create_string_buffer(64), ctypes.create_string_buffer(256)
            message = _Message(0, 0, len(data), ctypes.addressof(data))
            received = _Received(0, ctypes.addressof(address), len(address), 0, message)
            fcntl.ioctl(self._device, RECEIVE_MESSAGE_TRUNCATED, received)
            if received.msgid == self._number:
                return data.raw[: received.msg.data_len]
        raise NoPowerError(f"no answer within {self._timeout_s:g} s")
