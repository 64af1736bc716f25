"""Who is on a GPU and how busy: process lists, utilisation samples, accounting, and GPM under MIG.

What the rows of nvmlDeviceGetProcessUtilization are worth is :mod:`agent.meters.shares`' concern. Under MIG they do not
exist; there GPM reports how busy an instance is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.meters.costs import Percentile
from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.meters.ghosts import Ghosts
from wattshed.agent.meters.instances import PPM, Instance, mig_devices
from wattshed.agent.meters.process_rows import ProcessRow, credible
from wattshed.agent.meters.profiling import Profile
from wattshed.agent.meters.shares import Shares
from wattshed.agent.window import MISSING, ProcessObservation

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.meters.handle import GpuHandle
    from wattshed.agent.meters.nvml import Nvml
    from wattshed.agent.meters.profiling import InstanceUse

KINDS = ("Compute", "Graphics", "MPSCompute")


class ListedProcess(NamedTuple):
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
    gpu_handle : GpuHandle
    """

    nvml: Nvml
    gpu_handle: GpuHandle
    listed: dict[int, ListedProcess] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    shares: Shares = field(default_factory=Shares)
    ghosts: Ghosts = field(default_factory=Ghosts)
    _modes: tuple[bool, bool] = (False, False)
    _accounted: set[int] | None = None
    _kinds: dict[str, list[tuple[int, int, int, int]]] = field(default_factory=dict)  # what each list said last
    _profile: Profile = field(init=False)
    _prices: Percentile = field(default_factory=Percentile)  # of a list of compute processes, which is the dearest
    _named: set[int] | None = None  # by the lists that a glance is at, when they were read last

    def follow(self, gpu_handle: GpuHandle) -> None:
        """Continue with the same GPU after it was probed again; what is remembered stays as far as it is still true."""
        before, self.gpu_handle = self._modes, gpu_handle
        self._modes = (self.able("mig"), self.able("accounting"))
        self._profile = Profile(self.nvml)  # samples are of a session, and of the instances that there were
        if before[0] != self._modes[0]:
            self.instances = []
        if before[1] != self._modes[1]:
            self._accounted = None  # switching it clears what it knows

    def __post_init__(self) -> None:
        self._profile = Profile(self.nvml)
        self._modes = (self.able("mig"), self.able("accounting"))

    def able(self, capability: str) -> bool:
        """Whether this GPU has the capability."""
        return not self.gpu_handle.device.capabilities.get(capability, "unknown")

    def relist(self, alive: Callable[[int], bool]) -> tuple[int, list[int], MeterError | None]:
        """Read the process lists again; who is there is in ``listed``.

        Parameters
        ----------
        alive : callable
            Whether there is a process of a pid.

        Returns
        -------
        count : int
            Processes that the driver lists, whether or not anybody may know who they are.
        ghosts : list of int
            Pids among them that do not exist.
        error : MeterError or None
            Why the driver did not say; `agent.meters.ghosts` decides who is there then.

        Raises
        ------
        MeterError
            The GPU or the driver is gone; the last list stays.
        """
        if not self.able("processes"):
            self.listed = {}
            return 0, [], None
        told: dict[int, ListedProcess] | None = None
        failed: MeterError | None = None
        try:
            told = self._told()
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            failed = error
        self.listed, ghosts = self.ghosts.believe(self.listed, told, alive, self.elsewhere)
        return len(told or ()), ghosts, failed

    @property
    def _telling(self) -> list[str]:
        """The lists that a glance is at: of compute processes, and what else named anybody; under MIG the GPU's own."""
        return ["Compute"] if self.instances else ["Compute", *(kind for kind, named in self._kinds.items() if named)]

    @property
    def glance_us(self) -> int:
        """What a glance costs (95th percentile), us; below 0 if it is not known yet."""
        lists = 1 if self.instances or not self._kinds else len(self._telling)
        return self._prices.p95_us() * lists

    def glance(self) -> bool:
        """Ask only whether the lists name others than when they were read last; where they do not answer, they do not.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        if not self.able("processes"):
            return False
        try:
            named = {one[0] for kind in self._telling for one in self._priced(self.gpu_handle.handle, kind)}
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return False
        before, self._named = self._named, named
        return named != before

    def _priced(self, handle: object, kind: str) -> list[tuple[int, int, int, int]]:
        """Read one list, and note what that cost."""
        found = self.nvml.processes(handle, kind)
        if kind == "Compute":
            self._prices.add(self.nvml.costs.last_ns // 1000)
        return found

    def _told(self) -> dict[int, ListedProcess]:
        """Return the process lists as the driver gives them."""
        found: dict[int, ListedProcess] = {}
        if self.able("mig"):
            self.instances = mig_devices(self.nvml, self.gpu_handle, self.instances)
            for one in self.instances:
                for pid, used, _, _ in self._of(one.handle, "Compute"):
                    found[pid] = ListedProcess(used, one.name, one.ppm)
        if not self.instances:
            for kind in KINDS:
                for pid, used, _, _ in self._of(self.gpu_handle.handle, kind):
                    found[pid] = ListedProcess(max(used, found[pid].memory_bytes if pid in found else MISSING), "", PPM)
            self._named = set(found)
        return found

    def elsewhere(self) -> dict[int, ListedProcess]:
        """Name who is on the GPU by other lists of the driver's.

        These are the processes that were active in the samples of utilisation that it still keeps, which are ten
        seconds, and those that accounting says are running. Neither says which MIG instance, so under MIG there are
        none.
        """
        if self.instances:
            return {}
        pids: set[int] = set()
        if self.able("process_utilisation"):
            pids.update(row.pid for row in credible(self._rows(0) or [], 0))
        if self.able("accounting"):
            pids.update(pid for pid in self._accounting() if (stats := self._stats(pid)) and stats.isRunning)
        return {pid: ListedProcess(MISSING, "", PPM) for pid in pids}

    def _of(self, handle: object, kind: str) -> list[tuple[int, int, int, int]]:
        try:
            found = self._priced(handle, kind)
        except MeterError as error:
            if kind == "Compute" or error.fault not in {Fault.OFF, Fault.NOTHING, Fault.TRANSIENT}:
                raise
            if error.fault is not Fault.TRANSIENT:
                return []
            # It would not say now: who was in this list and is taken to be there still has not left it.
            return [one for one in self._kinds.get(kind, ()) if one[0] in self.listed]
        if kind != "Compute":
            self._kinds[kind] = found
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

    def _rows(self, since_us: int) -> list[ProcessRow] | None:
        """Return the driver's rows since a stamp of its own; None if it would not say now."""
        try:
            return [ProcessRow(*row) for row in self.nvml.process_utilisation(self.gpu_handle.handle, since_us)]
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return None

    def inquire(self) -> None:
        """Ask the driver what its rows mean, if an answer can show it, and note in the device what is known."""
        device, learned = self.gpu_handle.device, self.nvml.row_readings
        kind = device.driver, device.architecture
        self.shares.reading = self.shares.reading or learned.get(kind, "")
        if (since_us := self.shares.question_us()) and (rows := self._rows(since_us)) is not None:
            self.shares.answer(rows)
        if self.shares.reading:
            learned[kind] = self.shares.reading
        self.gpu_handle.note("process_rows", self.shares.reason)

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

    def _accounting(self) -> list[int]:
        """List the processes that accounting knows and that had not ended when it was looked at last."""
        try:
            return sorted(set(self.nvml.accounting_pids(self.gpu_handle.handle)) - (self._accounted or set()))
        except MeterError:
            return []

    def _stats(self, pid: int) -> Any:
        return self.nvml.ask_or(None, "nvmlDeviceGetAccountingStats", self.gpu_handle.handle, pid)

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
            pids = set(self.nvml.accounting_pids(self.gpu_handle.handle))
        except MeterError:
            return []  # what ended meanwhile is found by the next call
        known, self._accounted = self._accounted, set()
        gone = []
        for pid in sorted(pids):
            if known is not None and pid in known:
                self._accounted.add(pid)
                continue
            stats = self._stats(pid)
            if stats is None or stats.isRunning:
                continue
            self._accounted.add(pid)
            if known is not None and stats.time:
                start_us = stats.startTime
                ratio = stats.gpuUtilization / 100 if stats.gpuUtilization <= 100 else -1.0
                gone.append((pid, start_us, start_us + stats.time * 1000, ratio))
        return gone

    def profile(self, now_us: int) -> tuple[dict[str, float], dict[int, InstanceUse]]:
        """Return gauges and the activity of MIG instances as GPM reports them, see `agent.meters.profiling`."""
        if not self.able("gpm"):
            return {}, {}
        return self._profile.read(self.gpu_handle.handle, {one.gi for one in self.instances}, now_us)

    def observations(
        self, gpu: int, start_us: int, end_us: int, shares: dict[int, float] | None, busy: dict[int, InstanceUse]
    ) -> list[ProcessObservation]:
        """Return the listed processes as seen over a stretch.

        Parameters
        ----------
        gpu : int
        start_us, end_us : int, us
        shares : dict of pid -> ratio, or None
            From :meth:`busy_shares`; None unknown.
        busy : dict of GPU instance -> InstanceUse
            From :meth:`profile`.
        """
        length = end_us - start_us
        crowd: dict[str, int] = {}
        for seen in self.listed.values():
            crowd[seen.instance] = crowd.get(seen.instance, 0) + 1
        result = []
        for pid, seen in self.listed.items():
            one = ProcessObservation(gpu, pid, start_us, end_us, MISSING, seen.memory_bytes, seen.instance, seen.ppm)
            ratio = -1.0
            if seen.instance:
                gi = int(seen.instance.split("/")[0])
                if gi in busy:
                    # What the instance's SMs did, as a part of the whole GPU's, shared by those who are in it.
                    part = seen.ppm / PPM / crowd[seen.instance]
                    ratio = busy[gi].sm * part
                    tensor, dram = (
                        int(used * part * length) if used >= 0 else MISSING for used in (busy[gi].tensor, busy[gi].dram)
                    )
                    one = replace(one, tensor_us=tensor, dram_us=dram)
            elif shares is not None:
                ratio = min(1.0, shares.get(pid, 0.0))
                if (memory := self.shares.memory.get(pid, -1.0 if ratio else 0.0)) >= 0:
                    one = replace(one, dram_us=int(min(1.0, ratio * memory) * length))
            result.append(one if ratio < 0 else replace(one, sm_us=int(ratio * length)))
        return result
