"""How the simulated driver's handles, buffers and structures look; layouts and return codes are nvml.h's."""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_uint, c_void_p
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OK, INVALID, UNSUPPORTED, NOT_FOUND, TOO_SMALL, TIMEOUT, NO_DATA, OTHER_VERSION = 0, 2, 3, 6, 7, 10, 21, 25
HANDLE, MIG_HANDLE, EVENT_SET, SYSTEM_SET, GPM_SAMPLE = (
    0x10000,
    0x20000,
    0x30000,
    0x30001,
    0x40000,
)  # never dereferenced; low bits say which
SYSTEM_SET = EVENT_SET + 1
FIELD_ASKED = struct.Struct("<II")
FIELD_TOLD = struct.Struct("<qqIIQ")
PROCESS = struct.Struct("<I4xQII")
UTILISATION = struct.Struct("<I4xQIIII")
SAMPLE = struct.Struct("<QQ")
SYSTEM_SET_AT = 8  # where nvmlSystemEventSetCreateRequest_v1_t has the set
SYSTEM_REGISTER = struct.Struct("<I4xQQ")  # version, event types, set
SYSTEM_WAIT = struct.Struct("<IIQQII")  # version, timeout, set, data, size of it, events in it
SYSTEM_EVENT = struct.Struct("<QI4x")  # event type, GPU id

Symbols = dict[str, tuple[tuple[type, ...], "Callable[..., int]"]]


def place_of(handle: object) -> int:
    """Return the place in the session of the GPU behind a handle, a MIG device's parent's too; -1 for anything else."""
    number = handle if isinstance(handle, int) else 0
    if MIG_HANDLE <= number < EVENT_SET:
        return (number - MIG_HANDLE) >> 4
    return number - HANDLE if HANDLE <= number < MIG_HANDLE else -1


def buffer(address: int, size: int) -> ctypes.Array[ctypes.c_char]:
    """Return the caller's memory."""
    return (ctypes.c_char * size).from_address(address)


def set_uint(address: int, value: int) -> int:
    """Write an unsigned int; success."""
    c_uint.from_address(address).value = value
    return OK


def set_text(address: int, size: int, text: str) -> int:
    """Write a text that ends with a zero; success."""
    data = text.encode()[: size - 1] + b"\0"
    ctypes.memmove(address, data, len(data))
    return OK


def address_of(callback: object) -> int:
    """Return where a callback begins."""
    return ctypes.cast(callback, c_void_p).value or 0  # type: ignore[arg-type]
