"""All GPUs of a host behind one driver session: found once, kept in place, found again by UUID."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from wattshed.agent.meters.asking import Asking, Whom
from wattshed.agent.meters.device_nodes import SELF, of_gpu, open_nodes
from wattshed.agent.meters.errors import Fault, MeterError, NoMeter, TooSlow
from wattshed.agent.meters.events import DriverEvents
from wattshed.agent.meters.handle import GpuHandle
from wattshed.agent.meters.identity import WAKING_US
from wattshed.agent.meters.nvml import NO_ATTACH
from wattshed.agent.meters.processes import ProcessWatch
from wattshed.agent.window import MISSING, MigDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.costs import CallCosts
    from wattshed.agent.meters.events import News
    from wattshed.agent.meters.nvml import Nvml
    from wattshed.agent.window import Device

LOG = logging.getLogger(__name__)


MOST_CLIENTS = 16
"""Of the library in this process: it counts them, and holds the driver until the last one ends its session."""


class NvmlMeter:
    """The GPUs of this host.

    Parameters
    ----------
    nvml : Nvml
    clock : Clock
    host : str
    known : callable
        Fills in what is known of a device beforehand: gain, offset, sigma, idle power.
    simulated : bool
    proc_root : Path
        Where the kernel's driver lists its GPUs.
    dev_root : Path
        Where the device nodes are that keep a GPU's driver state alive.

    Attributes
    ----------
    kind : str
        ``nvml`` or ``simulated``.
    gpu_handles : list of GpuHandle
        In the order of discovery; a GPU that is lost keeps its place, and a new one comes last.
    watches : list of ProcessWatch
        The same order.
    present : list of bool
        Whether the last :meth:`open` found it.
    unseen : int
        GPUs that are there but did not answer it.
    asked : list of Asking
        Questions to single GPUs that are under way, or whose end was not reported yet.
    let_alone : frozenset of str
        UUIDs of GPUs that the next sessions do not touch: they were let go of.
    """

    def __init__(
        self,
        nvml: Nvml,
        clock: Clock,
        host: str,
        *,
        known: Callable[[Device], Device] = lambda device: device,
        simulated: bool = False,
        proc_root: Path = Path("/proc"),
        dev_root: Path = Path("/dev"),
    ) -> None:
        self._proc_root, self._listing, self._dev_root = proc_root, proc_root / "driver/nvidia/gpus", dev_root
        self.let_alone: frozenset[str] = frozenset()
        self._there: set[str] = set()
        self._told: set[str] = set()
        self._nvml, self._clock, self._host, self._known = nvml, clock, host, known
        self._simulated = simulated
        self.kind = "simulated" if simulated else "nvml"
        self.gpu_handles: list[GpuHandle] = []
        self.watches: list[ProcessWatch] = []
        self.present: list[bool] = []
        self.unseen = 0
        self.asked: list[Asking] = []
        self._opened = False
        self._events = DriverEvents(nvml)

    @property
    def library(self) -> str:
        """File that was loaded."""
        return self._nvml.path

    @property
    def costs(self) -> CallCosts:
        """Seconds by call."""
        return self._nvml.costs

    @property
    def devices(self) -> tuple[Device, ...]:
        """All GPUs ever found, in their places."""
        return tuple(gpu_handle.device for gpu_handle in self.gpu_handles)

    def mig(self) -> dict[str, MigDevice]:
        """Return the MIG devices of all GPUs by their UUIDs, as they were listed last; any thread may ask."""
        return {
            one.uuid: MigDevice(watch.gpu_handle.device.uuid, str(one.gi), one.ppm)
            for watch in tuple(self.watches)
            for one in watch.instances
            if one.uuid
        }

    def leave(self, devices: Iterable[Device]) -> None:
        """Know GPUs that were let go of before this process began, and have its sessions not touch them."""
        for device in devices:
            gpu_handle = GpuHandle(self._nvml, self._clock, None, device, known=self._known)
            gpu_handle.give_up("let go of since before the agent was started")
            gpu_handle.sick = ""  # it is not there at all
            self.gpu_handles.append(gpu_handle)
            self.watches.append(ProcessWatch(self._nvml, gpu_handle))
            self.present.append(False)
        self.let_alone = frozenset(gpu_handle.device.uuid for gpu_handle in self.gpu_handles)

    def _is_left(self, device: Device) -> bool:
        """Whether a GPU is to be let alone and, as far as the kernel says, still bound: then its index is its own."""
        there, address = self._listed(), device.pci_bus_id.lower()
        return device.uuid in self.let_alone and (not there or any(address.endswith(one) for one in there))

    def open(self, spared: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start a driver session and find the GPUs; fresh handles go to those that are known by UUID.

        An index is not an identity: it moves when another GPU is lost. Those that are ``spared``, with the reason, are
        asked who they are and no more.

        Raises
        ------
        MeterError
            No session: the driver does not answer.
        NoMeter
            It does, but knows no GPU that answers, and never did.
        """
        there = self._listed()
        if self._opened:  # it could not be closed while a question was under way
            self.close()
        self._events.listen()
        try:
            self._nvml.open(NO_ATTACH if self.let_alone else 0)
            self._opened = True
            found = self._find(self._nvml.ask("nvmlDeviceGetCount"), spared)
        except (MeterError, NoMeter):
            self.close()  # a session is counted: one that is left open keeps its list of GPUs for good
            raise
        self._there = there & self._listed()  # what came or went meanwhile is found by the next look
        self._settle(found)
        self._events.open(self.gpu_handles)

    def _find(self, count: int, spared: Mapping[str, str]) -> dict[str, GpuHandle]:
        """Ask every GPU of the session for its identity and capabilities; returns those that have one, by UUID.

        One is asked after the other, and none is waited for longer than a second: where it is not over by then, the
        GPU is there and sick, and :attr:`asked` says when there is more.
        """
        found: dict[str, GpuHandle] = {}
        silent, self.unseen, self.asked = [], 0, []
        untouched = {one.session_index for one in self.gpu_handles if self._is_left(one.device)}
        for index in (one for one in range(count) if one not in untouched):
            asking = self._ask(index, spared=spared)
            asking.wait()
            self.asked.append(asking)
        for asking in self.asked:
            # Who it is takes long if the first call has to wake it; without any, the first one is waited for.
            while asking.identity is None and not asking.over and (not found or asking.age_us < WAKING_US):
                asking.wait()
            gpu_handle = asking.gpu_handle or self._unasked(asking)
            if gpu_handle is not None:
                if gpu_handle.device.uuid in found:
                    gpu_handle.tell_apart()
                found[gpu_handle.device.uuid] = gpu_handle
                continue
            silent.append(f"GPU {asking.index} does not answer: {asking.error or 'it reports no UUID'}")
            if isinstance(asking.error, MeterError):
                if asking.error.fault in {Fault.DRIVER, Fault.RESTART}:
                    raise asking.error
                self.unseen += asking.error.fault is not Fault.OFF  # one that we may not touch will not come back
        if not found and all(one.device.uuid in self.let_alone for one in self.gpu_handles):
            why = f" ({'; '.join(silent)})" if silent else ""
            raise NoMeter(f"no GPU responds to the NVIDIA driver{why}; check `nvidia-smi -L`")
        for asking in self.asked:
            if asking.gpu_handle is not None:
                self._take(asking)
        self.asked = [a for a in self.asked if not a.over or isinstance(a.error, TooSlow)]
        for text in silent:
            if text not in self._told:
                self._told.add(text)
                LOG.warning("%s", text)
        return found

    def _unasked(self, asking: Asking) -> GpuHandle | None:
        """Return a board for a GPU whose identity is known, and whose capabilities are not yet."""
        if asking.identity is None or asking.error is not None:
            return None
        gpu_handle = GpuHandle(self._nvml, self._clock, *asking.identity, known=self._known)
        gpu_handle.give_up("sick: a call takes over a second")
        return gpu_handle

    def _ask(self, index: int, uuid: str = "", spared: Mapping[str, str] = MappingProxyType({})) -> Asking:
        about = Whom(index, self._host, uuid, simulated=self._simulated, spared=spared)
        return Asking(self._nvml.beside(), self._clock, about, self._known)

    def _take(self, asking: Asking) -> None:
        """Take over what a finished question cost and found."""
        self._nvml.costs.add(asking.costs)
        if asking.gpu_handle is not None:
            asking.gpu_handle.settle(self._nvml)

    def ask_again(self, index: int) -> None:
        """Ask the GPU of an index in this session alone; :meth:`answered` says what became of it."""
        place = self.place(index)
        self.asked.append(self._ask(index, self.gpu_handles[place].device.uuid if place != MISSING else ""))

    def answered(self) -> list[Asking]:
        """Return the questions that came to an end since the last call; those with a board have it in its place."""
        over = [asking for asking in self.asked if asking.over]
        self.asked = [asking for asking in self.asked if asking not in over]
        for asking in over:
            self._take(asking)
            if asking.gpu_handle is not None:
                place = self.place(asking.index)
                uuid = self.gpu_handles[place].device.uuid if place != MISSING else asking.gpu_handle.device.uuid
                self._put({uuid: asking.gpu_handle}, counted_anew=False)
                self._events.add(asking.gpu_handle)
        return over

    def place(self, index: int) -> int:
        """Return where the GPU of an index in this session is; -1 if it never said who it is."""
        return next(
            (i for i, b in enumerate(self.gpu_handles) if b.session_index == index and self.present[i]), MISSING
        )

    @property
    def busy(self) -> bool:
        """Whether a question is under way: a session must not end meanwhile."""
        return any(not asking.over for asking in self.asked)

    def _settle(self, found: dict[str, GpuHandle]) -> None:
        """Put every GPU in its place: a known one where it was, a new one last."""
        before = sorted(
            (gpu_handle.device.index, gpu_handle.device.uuid)
            for gpu_handle in self.gpu_handles
            if gpu_handle.device.index >= 0
        )
        self.present = [gpu_handle.device.uuid in found for gpu_handle in self.gpu_handles]
        # As long as the only change is that some are missing, those that are there keep their numbers.
        self._put(found, counted_anew=[uuid for _, uuid in before if uuid in found] != list(found))
        taken = {gpu_handle.device.index for gpu_handle in found.values()}
        for gpu_handle, here in zip(self.gpu_handles, self.present, strict=True):
            if not here and gpu_handle.device.index in taken:
                gpu_handle.unnumber()

    def _put(self, found: dict[str, GpuHandle], *, counted_anew: bool) -> None:
        places = {gpu_handle.device.uuid: i for i, gpu_handle in enumerate(self.gpu_handles)}
        begun = any(uuid not in self.let_alone for uuid in places)
        for uuid, gpu_handle in found.items():
            if uuid in places:
                gpu_handle.inherit(self.gpu_handles[places[uuid]], keep_index=not counted_anew)
                self.gpu_handles[places[uuid]] = gpu_handle
                self.watches[places[uuid]].follow(gpu_handle)
            else:
                self.gpu_handles.append(gpu_handle)
                self.watches.append(ProcessWatch(self._nvml, gpu_handle))
                self.present.append(True)
                if begun:
                    LOG.info(
                        "GPU %d appeared: %s %s",
                        gpu_handle.device.index,
                        gpu_handle.device.model,
                        gpu_handle.device.uuid,
                    )
        if not begun:  # among them those that are left alone, which were known first
            order = sorted(range(len(self.present)), key=lambda place: self.gpu_handles[place].device.index)
            self.gpu_handles[:] = [self.gpu_handles[place] for place in order]
            self.watches[:] = [self.watches[place] for place in order]
            self.present[:] = [self.present[place] for place in order]

    def reopen(self, alive: Iterable[int]) -> None:
        """End the session and start a new one, which knows the GPUs that came meanwhile; raises as :meth:`open`.

        A session keeps the list of GPUs that it began with. The last client that leaves a GPU without persistence mode
        makes its driver state, and with it the energy counter, go: so the device nodes of those that are ``alive`` stay
        open until the new session has them (nvidia.ko counts the open files of each).
        """
        with ExitStack() as held:
            for gpu in alive:
                try:
                    node = os.open(
                        self._dev_root / f"nvidia{self.gpu_handles[gpu].device.minor}", os.O_RDWR | os.O_CLOEXEC
                    )
                except OSError as error:
                    LOG.debug("GPU %d cannot be kept open over the new session: %s", gpu, error)
                else:
                    held.callback(os.close, node)
            self.close()
            self.open({gpu_handle.device.uuid: gpu_handle.sick for gpu_handle in self.gpu_handles if gpu_handle.sick})

    def arrived(self) -> bool:
        """Whether the kernel's driver has a GPU that it did not have at the last open; costs one listing of a folder.

        Where there is no such folder (some containers) nothing can be seen: SIGHUP asks for a new session there.
        """
        there = self._listed()
        came = not there <= self._there
        self._there &= there  # one that goes and comes back came
        return came

    def unloaded(self) -> bool:
        """Whether the kernel had a driver at the last open, and has none any more."""
        return bool(self._there) and not self._listing.parent.exists()

    def _listed(self) -> set[str]:
        try:
            return {folder.name for folder in self._listing.iterdir()}
        except OSError:
            return set()

    @property
    def hears(self) -> bool:
        """Whether any GPU reports events."""
        return self._events.heard

    def wait_event(self, timeout_ms: int) -> News | None:
        """Wait for an event; None if there was none. May be called from a thread of its own."""
        return self._events.wait(self.gpu_handles, timeout_ms)

    def listen(self, gpus: Iterable[int]) -> None:
        """Hear these GPUs, and no others any more."""
        self._events.open([self.gpu_handles[gpu] for gpu in gpus])

    def let_go(self) -> list[str]:
        """End the session and all that the library holds; returns the device nodes that this process has open still."""
        self._events.close()
        any(not self._nvml.close() for _ in range(MOST_CLIENTS))
        self._opened = False
        return sorted(open_nodes(SELF, self._dev_root))

    def still_open(self) -> list[str]:
        """Return the device nodes of the GPUs to be let alone that this process has open."""
        nodes = open_nodes(SELF, self._dev_root)
        minors = [one.device.minor for one in self.gpu_handles if one.device.uuid in self.let_alone]
        return sorted(set().union(*(of_gpu(nodes, minor, self._proc_root) for minor in minors)))

    def close(self) -> None:
        """End the session."""
        self._events.close()
        self._nvml.close()
        self._opened = False
