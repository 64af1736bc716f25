"""The loop's other end: hands over finished windows, and keeps doing so when the driver hangs.

Under a real clock the poller has a thread of its own, so that a call that never returns stops readings but not
windows; XID errors are awaited in another. Under a virtual clock everything happens in the caller's thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.events import Deaf
from wattshed.agent.meters.poller import Poller
from wattshed.agent.meters.release import ReleaseDesk
from wattshed.agent.meters.schedule import Meter, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.window import Device, ProcessObservation, Window
    from wattshed.exporters.snapshot import Histogram

LOG = logging.getLogger(__name__)

EVENT_WAIT_MS = 1000


class Stopped(StopIteration):
    """No window comes any more: the sampler was closed."""


class Sampler:
    """Windows of readings, one after the other.

    Parameters
    ----------
    meter : Meter
        Open already.
    clock : Clock
    host : str
    rates : Rates
    alive : callable
        Whether a pid that the driver names is a process that can be on a GPU.
    meet : callable
        Told of each pid that a list names for the first time, soon, and in the thread that takes windows: who that is
        can be asked while it lives.
    sys_root : Path
        Where the kernel shows which device sleeps.
    wake : bool
        Whether a GPU that the kernel has put to sleep is read all the same, which wakes it.
    desk : ReleaseDesk, optional
        Where others ask for GPUs to be let go of.

    Attributes
    ----------
    faults : mapping of str -> int
        Failures by driver call or kind.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Clock,
        host: str,
        rates: Rates | None = None,
        *,
        alive: Callable[[int], bool],
        meet: Callable[[int], object] = lambda _: None,
        sys_root: Path = Path("/sys"),
        wake: bool = True,
        desk: ReleaseDesk | None = None,
    ) -> None:
        self._meter, self._clock = meter, clock
        self._rates = rates or Rates()
        self._sys_root, self._wake, self._meet = sys_root, wake, meet
        self._finished: queue.SimpleQueue[tuple[Window, list[ProcessObservation]] | int | Exception | None] = (
            queue.SimpleQueue()
        )
        met = meet if clock.virtual else self._finished.put
        self._desk = desk or ReleaseDesk(clock.now_us)
        self._poller = Poller(
            meter, clock, host, self._rates,
            alive=alive, met=met, asleep=self._asleep, behind=self._behind, desk=self._desk,
            local_cpus=self._local_cpus,
        )  # fmt: skip
        self._edge_us = self._poller.start_us
        self._threads: list[threading.Thread] = []

    @property
    def devices(self) -> tuple[Device, ...]:
        """All GPUs, in the order of every window."""
        return self._meter.devices

    @property
    def start_us(self) -> int:
        """Start of the window that is open."""
        return self._edge_us

    @property
    def faults(self) -> Mapping[str, int]:
        """Failures by driver call or kind."""
        return self._poller.recovery.faults

    @property
    def late_s(self) -> float:
        """Seconds by which readings began after their deadline, in all."""
        return self._poller.late_us / 1e6

    @property
    def duty(self) -> float:
        """Share of the last ten seconds spent inside the driver."""
        return self._poller.pace.duty

    def calls(self) -> Mapping[str, Histogram]:
        """Seconds per driver call, by name."""
        return self._meter.costs.histograms()

    def burst(self, duration_us: int, gpu: int | None = None) -> None:
        """Read instant power at up to 10 Hz for a while, for a close look at peaks and ramps."""
        self._poller.pace.burst(self._clock.now_us() + duration_us, gpu)

    def look(self) -> None:
        """Look for GPUs that appeared, and probe all again; may be called from a signal handler."""
        self._poller.recovery.look()

    def refresh_processes(self) -> None:
        """Look at the process lists soon: a job came or went."""
        self._poller.refresh()

    def start(self) -> None:
        """Begin to read at once, and not when the first window is asked for; under a virtual clock nothing happens."""
        if not self._clock.virtual and not self._threads:
            self._start()

    def next(self) -> tuple[Window, list[ProcessObservation]]:
        """Wait for the open window to end.

        Returns
        -------
        window : Window
            Without owners and usage.
        observations : list of ProcessObservation

        Raises
        ------
        RestartNeeded
            Only a new process can measure: exit with its ``exit_code``.
        Stopped
            :meth:`close` was called.
        """
        if self._clock.virtual:
            result = self._poller.collect()
            if result is None:
                raise Stopped
            self._edge_us = result[0].end_us
            return result
        self.start()
        while True:
            try:
                found = self._finished.get(timeout=self._patience_s())
            except queue.Empty:
                found = self._stale()
            if found is None:
                if self._poller.stop.is_set():
                    raise Stopped
                continue
            if isinstance(found, Exception):
                raise found
            if isinstance(found, int):
                self._meet(found)
                continue
            self._edge_us = found[0].end_us
            return found

    def _patience_s(self) -> float:
        left_us = self._edge_us + self._rates.window_us - self._clock.now_us()
        return max(left_us, 0) / 1e6 + min(0.25, self._rates.stale_us / 1e6 / 4)

    def _stale(self) -> tuple[Window, list[ProcessObservation]] | None:
        """Close the open window although a call does not return."""
        in_flight = self._meter.costs.in_flight
        if in_flight is None or self._poller.start_us + self._rates.window_us > self._clock.now_us():
            return None
        name, begun_ns = in_flight
        waited_us = (self._clock.elapsed_ns() - begun_ns) // 1000
        if waited_us >= (self._rates.restart_us if self._desk.wanted() is None else self._rates.stale_us):
            raise RestartNeeded(f"{name} did not return for {waited_us / 1e6:.0f} s")
        if waited_us < self._rates.stale_us or not self._finished.empty():
            return None
        return self._poller.close_stale(name)

    def _start(self) -> None:
        loops = [
            threading.Thread(target=self._poll, name="wattshed-poller", daemon=True),
            threading.Thread(target=self._listen, name="wattshed-xid", daemon=True),
        ]
        self._threads = loops
        for loop in loops:
            loop.start()

    def _poll(self) -> None:
        """Collect windows until stopped; what ends the loop is handed to the consumer."""
        try:
            while (found := self._poller.collect()) is not None:
                self._finished.put(found)
            self._finished.put(None)
        except Exception as error:  # noqa: BLE001 - raised again by next(), in the thread that can act on it
            self._finished.put(error)

    def _listen(self) -> None:
        """Queue XID errors for the poller."""
        while not self._poller.stop.is_set():
            begun_us = self._clock.now_us()
            news = self._meter.wait_event(EVENT_WAIT_MS)
            if news is not None:
                self._poller.heard.append(news)
            if (news is None or isinstance(news, Deaf)) and self._clock.now_us() - begun_us < 10_000:
                self._poller.stop.wait(1.0)  # it did not wait: there is nothing to wait for at the moment

    def _behind(self) -> bool:
        return not self._finished.empty()

    def _asleep(self, device: Device) -> bool:
        if self._wake or not device.pci_bus_id:
            return False
        return self._of_pci(device, "power/runtime_status") == "suspended"

    def _local_cpus(self, device: Device) -> str:
        return self._of_pci(device, "local_cpulist") if device.pci_bus_id else ""

    def _of_pci(self, device: Device, name: str) -> str:
        """Return what the kernel says of a GPU's place on the bus; empty if it says nothing."""
        domain, _, rest = device.pci_bus_id.lower().partition(":")
        try:
            return (self._sys_root / "bus/pci/devices" / f"{domain[-4:]}:{rest}" / name).read_text().strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Stop, and end the driver session unless a call hangs in it."""
        self._poller.stop.set()
        hung = self._meter.costs.in_flight
        waited_us = (self._clock.elapsed_ns() - hung[1]) // 1000 if hung else 0
        for thread in self._threads:
            thread.join(timeout=2.0 if waited_us < self._rates.stale_us else 0.0)
        self._finished.put(None)
        if not any(thread.is_alive() for thread in self._threads) and not self._meter.busy:
            self._meter.close()
