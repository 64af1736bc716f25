"""Every list that the driver fills for us, growing while it is asked for: each call gives the whole of it."""

import ctypes
import struct
from ctypes import c_uint, c_void_p

import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters import filling
from wattshed.agent.meters.nvml import Nvml

TOO_SMALL = 7
NOWHERE = 0xFFFFFFFF
PROCESS, OLD_PROCESS = struct.Struct("<I4xQII"), struct.Struct("<I4xQ")
UTILISATION, SAMPLE, PID = struct.Struct("<I4xQIIII"), struct.Struct("<QQ"), struct.Struct("<I")


def processes(kind, version):
    """Return symbol, where its arguments hold count and entries, entry by number, the question, and its answer."""
    entry, told = (PROCESS, (5, NOWHERE, NOWHERE)) if version else (OLD_PROCESS, (5,))
    return (
        f"nvmlDeviceGet{kind}RunningProcesses{version}",
        (1, 2),
        lambda n: entry.pack(n, *told),
        lambda nvml: nvml.processes(c_void_p(1), kind),
        lambda n: (n, 5, NOWHERE, NOWHERE),
    )


CALLS = [
    *(processes(kind, version) for kind in ("Compute", "Graphics", "MPSCompute") for version in ("_v3", "_v2", "")),
    (
        "nvmlDeviceGetProcessUtilization",
        (2, 1),
        lambda n: UTILISATION.pack(n, 10 + n, 40, 20, 0, 0),
        lambda nvml: nvml.process_utilisation(c_void_p(1), 0),
        lambda n: (n, 10 + n, 40, 20),
    ),
    (
        "nvmlDeviceGetSamples",
        (4, 5),
        lambda n: SAMPLE.pack(n, 300_000),
        lambda nvml: nvml.power_samples(c_void_p(1), 0),
        lambda n: (n, 300_000),
    ),
    ("nvmlDeviceGetAccountingPids", (1, 2), PID.pack, lambda nvml: nvml.accounting_pids(c_void_p(1)), lambda n: n),
]
TYPES = {"nvmlDeviceGetProcessUtilization": 4, "nvmlDeviceGetSamples": 6}


class Library:
    """Has one symbol, whose list grows by so many entries at every call until it holds ``most``."""

    path = "a driver"

    def __init__(self, symbol, places, entry, *, first, step, most):
        self.rooms, self.length = [], first

        def call(*args):
            count, at = (args[place] for place in places)
            room = c_uint.from_address(count)
            self.rooms.append(room.value)
            length, self.length = self.length, min(most, self.length + step)
            given, room.value = room.value, length
            if given < length:
                return TOO_SMALL
            ctypes.memmove(at, b"".join(entry(n) for n in range(1, length + 1)), len(entry(1)) * length)
            return 0

        # As a loaded library's symbol: an address without argument types.
        self._alive = ctypes.CFUNCTYPE(ctypes.c_int, *[c_void_p] * TYPES.get(symbol, 3))(call)
        setattr(self, symbol, ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.cast(self._alive, c_void_p).value))


@pytest.mark.parametrize(("symbol", "places", "entry", "ask", "answer"), CALLS, ids=[call[0] for call in CALLS])
@pytest.mark.parametrize(("first", "step", "most"), [(3, 1, 9), (1, 40, 200), (8, 0, 8)])
def test_what_comes_while_a_list_is_asked_for_is_in_it(
    monkeypatch, symbol, places, entry, ask, answer, first, step, most
):
    monkeypatch.setattr(filling, "ROOM", 2)
    library = Library(symbol, places, entry, first=first, step=step, most=most)
    nvml = Nvml(VirtualClock(), library)
    found = ask(nvml)
    assert found == [answer(n) for n in range(1, len(found) + 1)]
    assert first <= len(found) <= most
    assert library.rooms[0] == 2
    for _ in range(10):
        found = ask(nvml)
    assert found == [answer(n) for n in range(1, most + 1)], "and no later one is cut"
    library.rooms.clear()
    assert ask(nvml) == found
    assert len(library.rooms) == 1, "once it is known how long it gets, one call is enough"
