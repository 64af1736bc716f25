"""Who is on a GPU and how busy: process lists, utilisation samples, accounting, and GPM under MIG.

What the rows of nvmlDeviceGetProcessUtilization are worth is :mod:`agent.meters.shares`' concern. Under MIG they do not
exist; there GPM tells how busy an instance is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.meters.probe import is_ga100
from wattshed.agent.meters.process_rows import Row
from wattshed.agent.meters.shares import Shares
from wattshed.agent.window import MISSING, ProcessSighting

if TYPE_CHECKING:
    from wattshed.agent.meters.board import Board
    from wattshed.agent.meters.nvml import Nvml

KINDS = ("Compute", "Graphics", "MPSCompute")
PPM = 1_000_000
NO_INSTANCE = 0xFFFFFFFF

# Metric ids of nvml.h, under the names that dashboards know.
GPM_GAUGES = {
    1: "gr_engine_active",
    2: "sm_active",
    3: "sm_occupancy",
    5: "pipe_tensor_active",
    10: "dram_active",
}
SM_UTIL = 2


class Instance(NamedTuple):
    """A MIG device: handle, ids of its GPU and compute instance, its SMs in millionths of the GPU's, its UUID."""

    handle: Any
    gi: int
    ci: int
    ppm: int
    uuid: str

    @property
    def name(self) -> str:
        """``gpu-instance/compute-instance``."""
        return f"{self.gi}/{self.ci}"


class Seen(NamedTuple):
    """One process in a list: how much memory it holds and, under MIG, where."""

    memory_bytes: int
    instance: str
    ppm: int


@dataclass(slots=True)
class ProcessWatch:
    """The processes of one GPU, from reading to reading.

    Parameters
    ----------
    nvml : Nvml
    board : Board
    """

    nvml: Nvml
    board: Board
    listed: dict[int, Seen] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    shares: Shares = field(default_factory=Shares)
    _modes: tuple[bool, bool] = (False, False)
    _accounted: set[int] | None = None
    _gpm: dict[int, tuple[Any, Any, int]] = field(default_factory=dict)  # gi -> older, newer sample, time of newer

    def follow(self, board: Board) -> None:
        """Go on with the same GPU after it was asked anew; what is remembered stays as far as it is still true."""
        before, self.board = self._modes, board
        self._modes = (self.able("mig"), self.able("accounting"))
        self._gpm = {}  # samples are of a session, and of the instances that there were
        if before[0] != self._modes[0]:
            self.instances = []
        if before[1] != self._modes[1]:
            self._accounted = None  # switching it clears what it knows

    def __post_init__(self) -> None:
        self._modes = (self.able("mig"), self.able("accounting"))

    def able(self, capability: str) -> bool:
        """Whether this GPU has the capability."""
        return not self.board.device.capabilities.get(capability, "unknown")

    def relist(self) -> dict[int, Seen]:
        """Read the process lists anew.

        Raises
        ------
        MeterError
            The driver would not say; the last list stays.
        """
        if not self.able("processes"):
            return {}
        found: dict[int, Seen] = {}
        if self.able("mig"):
            self.instances = self._instances()
            for one in self.instances:
                for pid, used, _, _ in self._of(one.handle, "Compute"):
                    found[pid] = Seen(used, one.name, one.ppm)
        if not self.instances:
            for kind in KINDS:
                for pid, used, _, _ in self._of(self.board.handle, kind):
                    found[pid] = Seen(max(used, found[pid].memory_bytes if pid in found else MISSING), "", PPM)
        self.listed = found
        return found

    def _of(self, handle: object, kind: str) -> list[tuple[int, int, int, int]]:
        try:
            return self.nvml.processes(handle, kind)
        except MeterError as error:
            if kind != "Compute" and error.fault in {Fault.OFF, Fault.NOTHING, Fault.TRANSIENT}:
                return []
            raise

    def _instances(self) -> list[Instance]:
        """List MIG devices; they may change whenever no process is on them."""
        ask, handle = self.nvml.ask_or, self.board.handle
        cores = ask(0, "nvmlDeviceGetNumGpuCores", handle)
        model = self.board.device.model
        all_sms = cores // (64 if is_ga100(model) else 128)  # FP32 lanes of an SM, as NVIDIA's white papers state them
        found = []
        for index in range(ask(0, "nvmlDeviceGetMaxMigDeviceCount", handle)):
            mig = ask(None, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
            if mig is None:
                continue
            gi, ci = ask(NO_INSTANCE, "nvmlDeviceGetGpuInstanceId", mig), ask(0, "nvmlDeviceGetComputeInstanceId", mig)
            attributes = ask(None, "nvmlDeviceGetAttributes_v2", mig)
            sms = attributes.multiprocessorCount if attributes is not None else 0
            ppm = min(PPM, sms * PPM // all_sms) if all_sms else 0
            found.append(Instance(mig, gi, ci, ppm, ask("", "nvmlDeviceGetUUID", mig)))
        return found

    @property
    def shared(self) -> bool:
        """Whether utilisation by process is worth a call: one process alone is charged with everything."""
        return len(self.listed) > 1 and not self.instances and self.able("process_utilisation")

    def poll(self, now_us: int, since_us: int, *, running: bool = True) -> None:
        """Read the utilisation of processes since the last call, or since ``since_us`` if that was long ago."""
        if not self.shares.begun:
            # The driver's time base (boot or epoch) is known from its stamps only.
            rows = self._rows(0)
            if rows is None or not self.shares.begin(rows, now_us, max(0, now_us - since_us)):
                return
        if (rows := self._rows(self.shares.ask(now_us))) is not None:
            self.shares.add(rows, now_us, running=running)

    def _rows(self, since_us: int) -> list[Row] | None:
        """Return the driver's rows since a stamp of its own; None if it would not say now."""
        try:
            return [Row(*row) for row in self.nvml.process_utilisation(self.board.handle, since_us)]
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return None

    def inquire(self) -> None:
        """Ask the driver what its rows mean, if an answer can tell, and note in the device what is known."""
        device, learned = self.board.device, self.nvml.row_readings
        kind = device.driver, device.architecture
        self.shares.reading = self.shares.reading or learned.get(kind, "")
        if (since_us := self.shares.question_us()) and (rows := self._rows(since_us)) is not None:
            self.shares.answer(rows)
        if self.shares.reading:
            learned[kind] = self.shares.reading
        self.board.note("process_rows", self.shares.reason)

    def busy_shares(self, now_us: int, since_us: int) -> dict[int, float] | None:
        """Mean SM utilisation (0-1) by pid between the last reading and now.

        Returns
        -------
        dict of pid -> ratio, or None
            None: the driver had no samples, which may mean idle or unknown. A process without a sample is left out.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        self.poll(now_us, since_us)
        return self.shares.take() or None

    def ended(self) -> list[tuple[int, int, int, float]]:
        """Find the processes that ended since the last call, as accounting knows them.

        Returns
        -------
        list of (pid, start us, end us, ratio)
            Start and end on the driver's own wall clock. The first call only notes who ended before.
        """
        if not self.able("accounting"):
            return []
        try:
            pids = set(self.nvml.accounting_pids(self.board.handle))
        except MeterError:
            return []  # what ended meanwhile is found by the next call
        known, self._accounted = self._accounted, set()
        gone = []
        for pid in sorted(pids):
            if known is not None and pid in known:
                self._accounted.add(pid)
                continue
            stats = self.nvml.ask_or(None, "nvmlDeviceGetAccountingStats", self.board.handle, pid)
            if stats is None or stats.isRunning:
                continue
            self._accounted.add(pid)
            if known is not None and stats.time:
                start_us = stats.startTime
                ratio = stats.gpuUtilization / 100 if stats.gpuUtilization <= 100 else -1.0
                gone.append((pid, start_us, start_us + stats.time * 1000, ratio))
        return gone

    def profile(self, now_us: int) -> tuple[dict[str, float], dict[int, float]]:
        """GPM between the last call and this one, at least 100 ms apart.

        Returns
        -------
        gauges : dict of str -> ratio
            Of the whole GPU.
        busy : dict of GPU instance -> ratio
            SM utilisation of each MIG instance (of the instance's own SMs).
        """
        if not self.able("gpm"):
            return {}, {}
        gauges = self._between(MISSING, now_us, GPM_GAUGES)
        busy = {}
        for gi in {one.gi for one in self.instances}:
            found = self._between(gi, now_us, (SM_UTIL,))
            if SM_UTIL in found:
                busy[gi] = min(1.0, max(0.0, found[SM_UTIL] / 100))
        return {GPM_GAUGES[m]: v / 100 for m, v in gauges.items()}, busy

    def _between(self, gi: int, now_us: int, metrics: Any) -> dict[int, float]:
        try:
            if gi not in self._gpm:
                self._gpm[gi] = (
                    self.nvml.gpm_sample(self.board.handle, gi),
                    self.nvml.ask("nvmlGpmSampleAlloc"),
                    now_us,
                )
                return {}
            older, spare, at_us = self._gpm[gi]
            if now_us - at_us < 100_000:
                return {}
            self.nvml.gpm_refill(self.board.handle, spare, gi)
            self._gpm[gi] = (spare, older, now_us)
            return self.nvml.gpm_metrics(older, spare, metrics)
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return {}

    def sightings(
        self, gpu: int, start_us: int, end_us: int, shares: dict[int, float] | None, busy: dict[int, float]
    ) -> list[ProcessSighting]:
        """Return the listed processes as seen over a stretch.

        Parameters
        ----------
        gpu : int
        start_us, end_us : int, us
        shares : dict of pid -> ratio, or None
            From :meth:`busy_shares`; None unknown.
        busy : dict of GPU instance -> ratio
            From :meth:`profile`.
        """
        length = end_us - start_us
        crowd: dict[str, int] = {}
        for seen in self.listed.values():
            crowd[seen.instance] = crowd.get(seen.instance, 0) + 1
        result = []
        for pid, seen in self.listed.items():
            one = ProcessSighting(gpu, pid, start_us, end_us, MISSING, seen.memory_bytes, seen.instance, seen.ppm)
            ratio = -1.0
            if seen.instance:
                gi = int(seen.instance.split("/")[0])
                if gi in busy:
                    # What the instance's SMs did, as a part of the whole GPU's, shared by those who are in it.
                    ratio = busy[gi] * seen.ppm / PPM / crowd[seen.instance]
            elif shares is not None:
                ratio = min(1.0, shares.get(pid, 0.0))
            result.append(one if ratio < 0 else replace(one, sm_us=int(ratio * length)))
        return result
