"""What the loop is put together from: protocols of the parts that are handed to it, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.jobs.cpu_places import CpuPlace
    from wattshed.agent.jobs.processes import Process
    from wattshed.agent.jobs.uses import ProcessUse
    from wattshed.agent.window import CpuTimes, Device, HostReadings, Owner, ProcessObservation, Usage, Window
    from wattshed.exporters.snapshot import Histogram


class WindowStream(Protocol):
    """Where windows come from: the sampler, or a trace that is played back."""

    @property
    def late_s(self) -> float:
        """Seconds by which readings began after their deadline, in all."""

    @property
    def duty(self) -> float:
        """Share of the time spent inside the driver."""

    def next(self) -> tuple[Window, list[ProcessObservation]]:
        """Wait for the next window; raises `StopIteration` subclasses or errors that end the run."""

    def calls(self) -> Mapping[str, Histogram]:
        """Seconds per driver call, by name."""


class Beside(Protocol):
    """Meters of the host beside the GPUs' own, read in threads that the loop does not wait for."""

    def collect(self, end_us: int) -> HostReadings:
        """Return what they said until the end of a window."""

    def close(self) -> None:
        """Stop reading."""


class CpuTimeReader(Protocol):
    """Reads the CPU time of jobs, in a thread that the loop does not wait for."""

    def ask(self, places: Sequence[CpuPlace]) -> None:
        """Have these counters read soon."""

    def collect(self) -> CpuTimes:
        """Return the last reading, once."""

    def close(self) -> None:
        """Stop reading."""


class Resolver(Protocol):
    """Names the owners of what the sampler saw."""

    def ready(self, observations: Sequence[ProcessObservation], end_us: int) -> bool:
        """Return whether the owners of a window that ended then are known as well as they will be soon."""

    def resolve(
        self, observations: Sequence[ProcessObservation], devices: Sequence[Device], start_us: int, end_us: int
    ) -> tuple[tuple[Owner, ...], Usage]:
        """Return the owners of one window and their usage."""

    def owner_of(self, process: Process) -> Owner:
        """Return whose a process is that may be on no GPU, as of the last window."""

    def cpu_places(self) -> Sequence[CpuPlace]:
        """Return where the CPU time of the last window's owners is counted."""

    def uses(self) -> Sequence[ProcessUse]:
        """Return what each process did on each GPU in the last window."""


class Callers(Protocol):
    """Answers processes of jobs in a thread of its own, by what it hears here."""

    def settle(self, resolver: Resolver, window: Window) -> None:
        """Decide whose those are who called, as of a window whose owners are resolved, and that is not recorded yet."""

    def follow(self, accounts: Accounts, window: Window) -> None:
        """Note what every job has used by the end of a window that is attributed."""


class WindowSink(Protocol):
    """Keeps windows on disk."""

    def append(self, window: Window) -> object:
        """Write one window; never raises for a full or broken disk, but counts and says what is lost."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """How long the loop keeps what.

    Attributes
    ----------
    keep_ended_us : int, us
        An ended job's series stays this long, whoever reads it.
    run_us : int, us
        Stop when so much was measured after the first window was shown; 0 runs until stopped.
    """

    keep_ended_us: int = 300_000_000
    run_us: int = 0
