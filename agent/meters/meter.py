"""All GPUs of a host behind one driver session: found once, kept in place, found again by UUID."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from agent.meters import probe
from agent.meters.board import Board
from agent.meters.errors import Fault, MeterError, NoMeter
from agent.meters.processes import ProcessWatch

if TYPE_CHECKING:
    from collections.abc import Callable

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
    ) -> None:
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
        self._nvml.open()
        count = self._nvml.ask("nvmlDeviceGetCount")
        found, self.unseen = {}, 0
        for index in range(count):
            try:
                board = self._board(index)
            except MeterError as error:
                if error.fault in {Fault.DRIVER, Fault.RESTART}:
                    raise
                LOG.warning("GPU %d does not answer: %s", index, error)
                self.unseen += error.fault is not Fault.OFF  # one that we may not touch will not come back
            else:
                if board.device.uuid in found:
                    board.tell_apart()
                found[board.device.uuid] = board
        places = {board.device.uuid: i for i, board in enumerate(self.boards)}
        self.present = [uuid in found for uuid in places]
        for uuid, board in found.items():
            if uuid in places:
                board.inherit(self.boards[places[uuid]])
                self.boards[places[uuid]] = board
                self.watches[places[uuid]] = ProcessWatch(self._nvml, board)
            else:
                self.boards.append(board)
                self.watches.append(ProcessWatch(self._nvml, board))
                self.present.append(True)
        if not self.boards:
            self._nvml.close()
            raise NoMeter("the NVIDIA driver knows no GPU that answers; check `nvidia-smi -L`")
        self._listen()

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
