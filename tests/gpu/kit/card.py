"""The card through NVIDIA's own binding, or the project's simulated driver below the same binding."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
import time
from pathlib import Path

import pynvml

from .clock import now_ns

FIELD = struct.Struct("<IIqqIIQ")  # field, scope, time stamp us, latency us, value type, return code, value
MEMBERS = {0: "<d", 1: "<I", 2: "<Q", 3: "<Q", 4: "<q", 5: "<i", 6: "<H"}
ENERGY, AVERAGE, INSTANT = 83, 185, 186
INSUFFICIENT_SIZE = 7
TOTAL_POWER = 0  # a kind of nvmlDeviceGetSamples


class Card:
    """One GPU.

    Parameters
    ----------
    kit : Kit
        What says ``simulated`` and has a ``tmp`` folder.
    script : str, optional
        The simulated node's scenario; its schedule begins when the card is opened.

    Attributes
    ----------
    t0_ns : int
        That moment.
    handle
        The binding's.
    node : SimulatedNode
        In simulation only.
    grown : int
        How often the list of process utilisation grew between the binding's two calls.
    """

    def __init__(self, kit, script: str | None = None) -> None:
        self.simulated = kit.simulated
        if kit.simulated:
            self._simulate(kit.tmp / f"node-{now_ns()}", script)
        self.t0_ns = now_ns()
        pynvml.nvmlInit()
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._batches: dict = {}
        self.grown = 0

    def _simulate(self, folder: Path, script: str | None) -> None:
        from wattshed.agent.clock import RealClock
        from wattshed.agent.simulation.node import SimulatedNode

        folder.mkdir()
        path = ""
        if script is not None:
            path = str(folder / "node.toml")
            Path(path).write_text(script)
        self.clock = RealClock()
        self.node = SimulatedNode(self.clock, folder, path)
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml.nvmlLib = self.node.library

    def close(self) -> None:
        """Let the driver go."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def fields(self, wanted) -> list[tuple[int, int, float | int, int, int]]:
        """Read (field, scope) pairs in one call: (code, value type, value, time stamp us, latency us) each."""
        asked = tuple(wanted)
        key = (threading.get_ident(), asked)  # a buffer a thread
        if key not in self._batches:
            blank = b"".join(FIELD.pack(n, s, 0, 0, 0, 999, 0) for n, s in asked)
            function = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetFieldValues")
            self._batches[key] = (ctypes.create_string_buffer(blank, len(blank)), blank, function)
        values, blank, function = self._batches[key]
        values.raw = blank
        code = function(self.handle, ctypes.c_int(len(asked)), values)
        if code:
            return [(code, 0, 0, 0, 0)] * len(asked)
        return [
            (rc, kind, member(kind, raw), stamp, late)
            for _, _, stamp, late, kind, rc, raw in FIELD.iter_unpack(values.raw)
        ]

    def values(self, *numbers: int) -> list:
        """Values of fields of the whole card in one call, None where one was refused."""
        return [value if code == 0 else None for code, _, value, _, _ in self.fields([(n, 0) for n in numbers])]

    def one(self, number: int, scope: int = 0):
        """A field's value, or None."""
        code, _, value, _, _ = self.fields([(number, scope)])[0]
        return value if code == 0 else None

    def counter_mj(self) -> int | None:
        """Return the energy counter, by field or by its own call."""
        value = self.one(ENERGY)
        if value is None:
            with contextlib.suppress(pynvml.NVMLError):
                return pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        return value

    def mean_watts(self, seconds: float) -> float | None:
        """Mean power by the counter between two of its steps, about ``seconds`` apart."""
        first = self.step(0.6)
        if first is None:
            return None
        time.sleep(seconds)
        last = self.step(0.6)
        if last is None or last[0] <= first[0]:
            return None
        return (last[1] - first[1]) / ((last[0] - first[0]) / 1e6)

    def step(self, within_s: float) -> tuple[int, int] | None:
        """Wait for the counter to move: (time ns, value); None if it does not."""
        before = self.counter_mj()
        end = now_ns() + int(within_s * 1e9)
        while before is not None and (t := now_ns()) < end:
            value = self.counter_mj()
            if value != before:
                return t, value
            time.sleep(0.001)
        return None

    def rows(self, since: int) -> tuple[int, list[tuple[int, int, int, int, int, int]]]:
        """Process utilisation newer than ``since``: (code, [(pid, stamp, sm, mem, enc, dec)]).

        The binding asks for the number of rows and then for as many; a row that comes in between makes the second call
        fail with INSUFFICIENT_SIZE. That is counted in ``grown`` and asked again.
        """
        for left in (2, 1, 0):
            try:
                found = pynvml.nvmlDeviceGetProcessUtilization(self.handle, since)
                break
            except pynvml.NVMLError as error:
                if error.value != INSUFFICIENT_SIZE or not left:
                    return error.value, []
                self.grown += 1
        return 0, [(s.pid, s.timeStamp, s.smUtil, s.memUtil, s.encUtil, s.decUtil) for s in found]

    def utilisation(self) -> tuple[int | None, int | None]:
        """Return the whole card's utilisation, percent: of its multiprocessors, of its memory."""
        try:
            rates = pynvml.nvmlDeviceGetUtilizationRates(self.handle)
        except pynvml.NVMLError:
            return None, None
        return rates.gpu, rates.memory

    def pids(self) -> list[int]:
        """Return the processes with a context on the card."""
        try:
            return [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle)]
        except pynvml.NVMLError:
            return []


class PowerSamples:
    """The driver's ring of power samples, read before it overflows and joined without doubles.

    Attributes
    ----------
    found : list of (int, int)
        Time stamp, us of the driver's clock, and power, mW.
    codes : dict of int to int
        How often each refusal came; 6 (not found) where no sample was new.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        self.found: list[tuple[int, int]] = []
        self.codes: dict[int, int] = {}

    def read(self) -> None:
        """Take what is new; if a sample comes between the binding's two calls (see `Card.rows`), ask again."""
        newest = self.found[-1][0] if self.found else 0
        for left in (2, 1, 0):
            try:
                _, ring = pynvml.nvmlDeviceGetSamples(self._card.handle, TOTAL_POWER, newest)
                break
            except pynvml.NVMLError as error:
                self.codes[error.value] = self.codes.get(error.value, 0) + 1
                if error.value != INSUFFICIENT_SIZE or not left:
                    return
        fresh = sorted((s.timeStamp, s.sampleValue.uiVal) for s in ring if s.timeStamp > newest)
        self.found += fresh

    def on_clock(self, offset_ns: int) -> list[tuple[int, int]]:
        """Return the samples as (time ns, mW) on the kit's clock, whose stamps are ``offset_ns`` ahead of it."""
        return [(stamp * 1000 - offset_ns, value) for stamp, value in self.found]


def member(kind: int, raw: int) -> float | int:
    """Return the member of nvmlValue_t that the value type names."""
    code = MEMBERS.get(kind)
    return struct.unpack_from(code, raw.to_bytes(8, "little"))[0] if code else raw


def poll(card: Card, hz: float, until_ns: int, read, each=None) -> list:
    """Call ``read`` at a steady rate until a moment: rows of (time ns, *what it returns).

    The time is the middle of the call. ``each`` is given every row at once. A rate of 0 is back to back.
    """
    rows, next_ns, step_ns = [], now_ns(), int(1e9 / hz) if hz else 0
    while next_ns < until_ns:
        left = next_ns - now_ns()
        if left > 0:
            time.sleep(left / 1e9)
        before = now_ns()
        values = read()
        rows.append(((before + now_ns()) // 2, *values))
        if each is not None:
            each(rows[-1])
        next_ns = max(next_ns + step_ns, now_ns() - step_ns)
    return rows
