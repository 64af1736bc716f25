"""Joules by NVML in the process itself, where no agent tells them: those of whole GPUs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.measuring.curve import CounterLine, PowerLine
from wattshed.agent.measuring.points import EdgeValue
from wattshed.agent.measuring.visible import ListedGpu, WrongGpusError, named, visible
from wattshed.agent.meters.errors import Fault, MeterError, NoMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.meters.nvml import Nvml

ENERGY, INSTANT = 83, 186  # field ids of nvml.h
DEFAULT_GAIN = 0.04
"""One sigma of the gain of a board's own meter that nobody calibrated (docs/metering.md)."""
READ_NS = 100_000_000
"""Between two readings, 10 Hz."""
CLOSE_READ_NS = 4_000_000
LONGEST_BURST_NS = 450_000_000
BURSTS_APART_NS = 500_000_000
"""Around the edges of windows the meter is read closely until it has published once, but not more often than this."""
REOPEN_NS = 1_000_000_000
LEARNED_BY = 3
"""Publications after which the period is known."""


class _Gpu:
    """One GPU that is read."""

    def __init__(self, handle: object, uuid: str, gain: float) -> None:
        self.handle, self.uuid = handle, uuid
        self.counter, self.power = CounterLine(gain), PowerLine(gain)
        self.by_power: bool | None = None  # not known before the first reading
        self.trouble = ""
        self.shared = False

    @property
    def line(self) -> CounterLine | PowerLine:
        return self.power if self.by_power else self.counter


class OwnMeter:
    """Reads the GPUs of this process.

    Parameters
    ----------
    nvml : Nvml
        Not opened yet.
    now_ns : callable, ns
    wanted : sequence of int or str, or None
        The driver's numbers or UUIDs; None: what CUDA_VISIBLE_DEVICES leaves.
    environ : mapping
    gain : float
        One sigma of the meters' gain.
    simulated : bool
    keeps : object
        Lives as long as this.

    Raises
    ------
    NoMeter
        There is no driver, or no GPU.
    WrongGpusError
        It cannot be said which GPUs are meant.
    """

    scope, continuous = "gpu", True

    def __init__(
        self,
        nvml: Nvml,
        now_ns: Callable[[], int],
        wanted: Sequence[int | str] | None,
        environ: Mapping[str, str],
        *,
        gain: float = DEFAULT_GAIN,
        simulated: bool = False,
        keeps: object = None,
    ) -> None:
        self._nvml, self._now_ns, self._simulated, self._keeps = nvml, now_ns, simulated, keeps
        self.source = "simulated" if simulated else "nvml"
        try:
            nvml.open()
        except MeterError as error:
            raise NoMeter(f"the driver does not answer: {error}") from None
        handles = _handles(nvml)
        listed = [ListedGpu(_text(nvml, "nvmlDeviceGetUUID", h), _text(nvml, "nvmlDeviceGetName", h)) for h in handles]
        mig = _instances(nvml, handles)
        try:
            places = visible(environ, listed, mig) if wanted is None else named(wanted, listed, mig)
        except WrongGpusError:
            nvml.close()
            raise
        if not places:
            nvml.close()
            raise NoMeter("CUDA_VISIBLE_DEVICES leaves no GPU" if handles else "there is no GPU")
        self._gpus = [_Gpu(handles[place], listed[place].uuid, gain) for place in places]
        self._whole = {listed[place].uuid for place in set(mig.values())}
        self._burst_until_ns = self._burst_at_ns = self._asked_ns = 0
        self._lost, self._opened_ns = False, now_ns()
        self._bursting: dict[str, int] = {}
        self._ancestry = Ancestry(Path("/proc"))
        self.read()
        self.near_edge(learning=True)

    def close(self) -> None:
        """End the driver session."""
        self._nvml.close()

    def near_edge(self, *, learning: bool = False) -> None:
        """Read closely for a moment: a window begins or ends now."""
        now_ns = self._now_ns()
        if not learning and now_ns - self._burst_at_ns < BURSTS_APART_NS:
            return
        self._burst_at_ns, self._burst_until_ns = now_ns, now_ns + LONGEST_BURST_NS
        self._bursting = {gpu.uuid: LEARNED_BY if learning else 1 for gpu in self._gpus if not gpu.by_power}

    def pause_ns(self) -> int:
        """Return how long to wait before the next reading, ns."""
        return CLOSE_READ_NS if self._bursting and self._now_ns() < self._burst_until_ns else READ_NS

    def read(self) -> None:
        """Read every GPU once; a driver that went away is opened again."""
        if self._lost and self._now_ns() - self._opened_ns > REOPEN_NS:
            self._open_again()
        bursting = self._bursting  # an edge in another thread may put another in its place
        for gpu in self._gpus:
            begun_ns = self._now_ns()
            try:
                counter_mj, power_mw = self._ask(gpu)
            except MeterError as error:
                gpu.trouble = f"{gpu.uuid} cannot be read: {error.reason}"
                self._lost |= error.fault in {Fault.LOST, Fault.DRIVER}
                continue
            gpu.trouble = ""
            at_ns = (begun_ns + self._now_ns()) // 2
            if gpu.by_power is None:
                gpu.by_power = counter_mj < 0
            if gpu.by_power:
                new = power_mw > 0 and gpu.power.read(at_ns, power_mw)
            else:
                new = counter_mj >= 0 and gpu.counter.read(at_ns, counter_mj)
            if new and gpu.uuid in bursting:
                bursting[gpu.uuid] -= 1
                if bursting[gpu.uuid] <= 0:
                    del bursting[gpu.uuid]

    def _open_again(self) -> None:
        self._opened_ns = self._now_ns()
        self._nvml.close()
        try:
            self._nvml.open()
            handles = {_text(self._nvml, "nvmlDeviceGetUUID", handle): handle for handle in _handles(self._nvml)}
        except MeterError:
            return
        for gpu in self._gpus:
            gpu.handle = handles.get(gpu.uuid, gpu.handle)
        self._lost = False

    def value(self, time_ns: int) -> EdgeValue | None:
        """Return what is known of a moment; None if it is not known yet. Moments are asked for in order."""
        self._asked_ns = time_ns
        if any(not gpu.line.line.reaches(time_ns) for gpu in self._gpus):
            return None
        points = {gpu.uuid: point for gpu in self._gpus if (point := gpu.line.line.at(time_ns)) is not None}
        return EdgeValue(points, "own", 0, frozenset(self._flags()))

    def estimate(self) -> EdgeValue | None:
        """Return what the moment may be that was asked for last, if each GPU goes on as it did."""
        points = {gpu.uuid: point for gpu in self._gpus if (point := gpu.line.line.beyond(self._asked_ns)) is not None}
        return EdgeValue(points, "own", 0, frozenset(self._flags())) if len(points) == len(self._gpus) else None

    def trouble(self) -> str:
        """Say why a moment is not known yet."""
        return next((gpu.trouble for gpu in self._gpus if gpu.trouble), "the GPUs were not read since")

    def look_who_shares(self) -> None:
        """Find out whether others are on the GPUs; it costs the driver milliseconds."""
        for gpu in self._gpus:
            pids = set()
            for kind in ("Compute", "Graphics"):
                try:
                    pids |= {pid for pid, *_ in self._nvml.processes(gpu.handle, kind)}
                except MeterError:
                    continue
            gpu.shared = any(not self._ancestry.descends(pid, os.getpid()) for pid in pids) or gpu.uuid in self._whole

    def _flags(self) -> set[str]:
        flags = {"simulated"} if self._simulated else set()
        if any(gpu.shared for gpu in self._gpus):
            flags.add("shared-gpu")
        if any(gpu.by_power for gpu in self._gpus):
            flags.add("no-counter")
        if any(gpu.counter.resets for gpu in self._gpus):
            flags.add("counter-reset")
        if any(gpu.power.gaps for gpu in self._gpus):
            flags.add("gap")
        return flags

    def _ask(self, gpu: _Gpu) -> tuple[int, int]:
        """Return counter (mJ) and power (mW) of a GPU; -1 for what it does not tell."""
        try:
            wanted = [(ENERGY, 0)] if gpu.by_power is False else [(ENERGY, 0), (INSTANT, 0)]
            answers = [int(value) if code == 0 else -1 for code, value in self._nvml.fields(gpu.handle, wanted)]
            counter_mj, power_mw = answers[0], answers[-1] if len(answers) > 1 else -1
        except MeterError as error:
            if error.fault.name not in {"OFF", "NOTHING"}:
                raise
            counter_mj = power_mw = -1
        if counter_mj < 0 and not gpu.by_power:
            counter_mj = int(self._nvml.ask_or(-1, "nvmlDeviceGetTotalEnergyConsumption", gpu.handle))
        if counter_mj < 0 and power_mw < 0:
            power_mw = int(self._nvml.ask("nvmlDeviceGetPowerUsage", gpu.handle))
        return counter_mj, power_mw


def _handles(nvml: Nvml) -> list[object]:
    return [
        handle
        for place in range(int(nvml.ask_or(0, "nvmlDeviceGetCount")))
        if (handle := nvml.ask_or(None, "nvmlDeviceGetHandleByIndex", place)) is not None
    ]


def _text(nvml: Nvml, call: str, handle: object) -> str:
    told = nvml.ask_or("", call, handle)
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)


def _instances(nvml: Nvml, handles: Sequence[object]) -> dict[str, int]:
    """Return the MIG instances by UUID, with the place of the GPU that each is on."""
    found = {}
    for place, handle in enumerate(handles):
        for number in range(int(nvml.ask_or(0, "nvmlDeviceGetMaxMigDeviceCount", handle))):
            instance = nvml.ask_or(None, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if instance is not None and (uuid := _text(nvml, "nvmlDeviceGetUUID", instance)):
                found[uuid] = place
    return found
