"""All GPUs of a host behind one driver session: found once, kept in place, found again by UUID."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.meters import probe
from agent.meters.board import Board
from agent.meters.errors import Fault, MeterError, NoMeter
from agent.meters.processes import ProcessWatch
from agent.window import MigDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.meters.clock import Clock
    from agent.meters.costs import CallCosts
    from agent.meters.nvml import Nvml
    from agent.window import Device

LOG = logging.getLogger(__name__)

XID = 8  # nvmlEventTypeXidCriticalError


class Xid(NamedTuple):
    """A critical error that the driver reported; ``gpu`` is -1 if it names none that we know."""

    gpu: int
    number: int


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
        Where the device nodes are that keep a GPU's driver state alive; a simulated driver has none.

    Attributes
    ----------
    kind : str
        ``nvml`` or ``simulated``.
    boards : list of Board
        In the order of discovery; a GPU that is lost keeps its place, and a new one comes last.
    watches : list of ProcessWatch
        The same order.
    present : list of bool
        Whether the last :meth:`open` found it.
    unseen : int
        GPUs that are there but did not answer it.
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
        self._listing, self._dev_root = proc_root / "driver/nvidia/gpus", dev_root
        self._there: set[str] = set()
        self._told: set[str] = set()
        self._nvml, self._clock, self._host, self._known = nvml, clock, host, known
        self._simulated = simulated
        self.kind = "simulated" if simulated else "nvml"
        self.boards: list[Board] = []
        self.watches: list[ProcessWatch] = []
        self.present: list[bool] = []
        self.unseen = 0
        self._events: object = None
        self._events_lock = threading.Lock()

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
        return tuple(board.device for board in self.boards)

    def mig(self) -> dict[str, MigDevice]:
        """Return the MIG devices of all GPUs by their UUIDs, as they were listed last; any thread may ask."""
        return {
            one.uuid: MigDevice(watch.board.device.uuid, str(one.gi), one.ppm)
            for watch in tuple(self.watches)
            for one in watch.instances
            if one.uuid
        }

    def open(self) -> None:
        """Start a driver session and find the GPUs; fresh handles go to those that are known by UUID.

        An index is no identity: it moves when another GPU is lost.

        Raises
        ------
        MeterError
            No session: the driver does not answer.
        NoMeter
            It does, but knows no GPU that answers, and never did.
        """
        there = self._listed()
        self._nvml.open()
        try:
            found = self._find(self._nvml.ask("nvmlDeviceGetCount"))
        except (MeterError, NoMeter):
            self._nvml.close()  # a session is counted: one that is left open keeps its list of GPUs for good
            raise
        self._there = there & self._listed()  # what came or went meanwhile is found by the next look
        self._settle(found)
        self._listen()

    def _find(self, count: int) -> dict[str, Board]:
        """Ask every GPU of the session who it is; returns the boards that answer, by UUID."""
        found: dict[str, Board] = {}
        silent, self.unseen = [], 0
        for index in range(count):
            try:
                board = self._board(index)
            except MeterError as error:
                if error.fault in {Fault.DRIVER, Fault.RESTART}:
                    raise
                silent.append(f"GPU {index} does not answer: {error}")
                self.unseen += error.fault is not Fault.OFF  # one that we may not touch will not come back
            else:
                if board.device.uuid in found:
                    board.tell_apart()
                found[board.device.uuid] = board
        if not found and not self.boards:
            why = f" ({'; '.join(silent)})" if silent else ""
            raise NoMeter(f"the NVIDIA driver knows no GPU that answers{why}; check `nvidia-smi -L`")
        for text in silent:
            if text not in self._told:
                self._told.add(text)
                LOG.warning("%s", text)
        return found

    def _settle(self, found: dict[str, Board]) -> None:
        """Put every GPU in its place: a known one where it was, a new one last."""
        places = {board.device.uuid: i for i, board in enumerate(self.boards)}
        self.present = [uuid in found for uuid in places]
        # The driver counts anew when a GPU comes; as long as none does, a number stays what it was when one is lost.
        counted_anew = bool(places) and not found.keys() <= places.keys()
        for uuid, board in found.items():
            if uuid in places:
                board.inherit(self.boards[places[uuid]], keep_index=not counted_anew)
                self.boards[places[uuid]] = board
                self.watches[places[uuid]] = ProcessWatch(self._nvml, board)
            else:
                self.boards.append(board)
                self.watches.append(ProcessWatch(self._nvml, board))
                self.present.append(True)
                if places:
                    LOG.info("GPU %d came: %s %s", board.device.index, board.device.model, board.device.uuid)

    def reopen(self, alive: Iterable[int]) -> None:
        """End the session and start a new one, which knows the GPUs that came meanwhile; raises as :meth:`open`.

        A session keeps the list of GPUs that it began with. The last client that leaves a GPU without persistence mode
        makes its driver state, and with it the energy counter, go: so the device nodes of those that are ``alive`` stay
        open until the new session has them (nvidia.ko counts the open files of each).
        """
        with ExitStack() as held:
            for gpu in alive if self.kind == "nvml" else ():
                try:
                    node = os.open(self._dev_root / f"nvidia{self.boards[gpu].device.minor}", os.O_RDWR | os.O_CLOEXEC)
                except OSError as error:
                    LOG.debug("GPU %d is not held over the new session: %s", gpu, error)
                else:
                    held.callback(os.close, node)
            self.close()
            self.open()

    def arrived(self) -> bool:
        """Whether the kernel's driver has a GPU that it did not have at the last open; costs one listing of a folder.

        Where there is no such folder (some containers) nothing can be told: SIGHUP asks for a new session there.
        """
        there = self._listed()
        came = not there <= self._there
        self._there &= there  # one that goes and comes back came
        return came

    def _listed(self) -> set[str]:
        try:
            return {folder.name for folder in self._listing.iterdir()}
        except OSError:
            return set()

    def _board(self, index: int) -> Board:
        return Board(self._nvml, self._clock, index, self._host, known=self._known, simulated=self._simulated)

    def learn(self, budget_us: int) -> None:
        """Learn within ``budget_us`` what only time tells.

        The publication periods of all GPUs (what never changes stays unknown), and whether a superchip's energy counter
        is the GPU's or the whole module's.
        """
        before = [(board, board.snapshot()) for board in self.boards if board.metered_twice]
        batched = {i: (b.handle, b.learnable) for i, b in enumerate(self.boards) if b.learnable and self.present[i]}
        if batched:
            for gpu, periods in probe.learn_publication(self._nvml, self._clock, batched, budget_us).items():
                self.boards[gpu].publish(periods)
        for board, earlier in before:
            board.judge_scope(earlier, board.snapshot())

    def _listen(self) -> None:
        """Ask for XID errors of every GPU that reports them."""
        with self._events_lock:
            self._events = self._nvml.ask_or(None, "nvmlEventSetCreate")
            if self._events is None:
                return
            heard = 0
            for board in self.boards:
                if not board.device.capabilities["events"]:
                    try:
                        self._nvml.ask("nvmlDeviceRegisterEvents", board.handle, XID, self._events)
                        heard += 1
                    except MeterError as error:
                        LOG.info("no XID events from %s: %s", board.device.uuid, error)
            if not heard:
                self._events = None

    @property
    def hears(self) -> bool:
        """Whether any GPU reports XID errors."""
        return self._events is not None

    def wait_event(self, timeout_ms: int) -> Xid | None:
        """Wait for an XID error; None if there was none. May be called from a thread of its own."""
        with self._events_lock:
            if self._events is None:
                return None
            found = self._nvml.wait_event(self._events, timeout_ms)
        if found is None or not found.event_type & XID:
            return None
        gpu = next((i for i, b in enumerate(self.boards) if self._nvml.address(b.handle) == found.device), -1)
        return Xid(gpu, found.data)

    def close(self) -> None:
        """End the session."""
        with self._events_lock:
            if self._events is not None:
                self._nvml.ask_or(None, "nvmlEventSetFree", self._events)
                self._events = None
        self._nvml.close()
