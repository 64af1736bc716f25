"""One GPU, asked who it is and what it can, off the path of the others.

Under a real clock in a thread of its own, with a library of its own: whoever waits for it decides how long.
Under a virtual clock, which has one thread, at once; there, too, a GPU is given up at its first slow call.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import MeterError, TooSlow
from wattshed.agent.meters.handle import SLOW_US, GpuHandle
from wattshed.agent.meters.identity import identify
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.costs import CallCosts
    from wattshed.agent.meters.nvml import Nvml
    from wattshed.agent.window import Device

BEAT_S = 0.05


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is asked.

    Attributes
    ----------
    index : int
        In this driver session.
    host : str
    uuid : str
        Of the GPU that is meant; empty: whichever has the index.
    simulated : bool
    spared : mapping of str -> str
        UUIDs of GPUs that are sick, and why: they are asked for their identity alone.
    """

    index: int
    host: str
    uuid: str
    simulated: bool
    spared: Mapping[str, str]


class Asking:
    """A question that is under way, or over.

    Parameters
    ----------
    nvml : Nvml
        Used by this thread alone.
    clock : Clock
    whom : Whom
    known : callable
        As of :class:`~agent.meters.handle.GpuHandle`.

    Attributes
    ----------
    begun_us, ended_us : int, us
        ``ended_us`` is -1 while it is under way.
    identity : (handle, Device) or None
        As soon as it is told.
    gpu_handle : GpuHandle or None
        As soon as it is over: probed, or with what it is ``sick`` of.
    error : MeterError or TooSlow or None
        Why there is none.
    """

    def __init__(self, nvml: Nvml, clock: Clock, whom: Whom, known: Callable[[Device], Device]) -> None:
        self._nvml, self._clock, self._whom, self._known = nvml, clock, whom, known
        self.begun_us, self.ended_us = clock.now_us(), MISSING
        self.identity: tuple[object, Device] | None = None
        self.gpu_handle: GpuHandle | None = None
        self.error: MeterError | TooSlow | None = None
        self._over = threading.Event()
        if clock.virtual:
            self._ask()
        else:
            threading.Thread(target=self._ask, name=f"wattshed-ask-{whom.index}", daemon=True).start()

    @property
    def index(self) -> int:
        """Index of the GPU in its driver session."""
        return self._whom.index

    @property
    def age_us(self) -> int:
        """How long ago it began."""
        return self._clock.now_us() - self.begun_us

    @property
    def costs(self) -> CallCosts:
        """What its calls cost; to be taken once it is over."""
        return self._nvml.costs

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self._over.is_set()

    def wait(self, patience_us: int = SLOW_US) -> bool:
        """Wait for the end; False if it did not come.

        The wait is in short steps, not until a moment: while this process is stopped, no GPU's time runs.
        """
        return any(self._over.wait(BEAT_S) for _ in range(max(1, round(patience_us / 1e6 / BEAT_S))))

    def _ask(self) -> None:
        try:
            whom = self._whom
            self.identity = identify(self._nvml, whom.index, whom.host, uuid=whom.uuid, simulated=whom.simulated)
            gpu_handle = GpuHandle(self._nvml, self._clock, *self.identity, known=self._known)
            reason = whom.spared.get(self.identity[1].uuid, "")
            try:
                if not reason:
                    gpu_handle.probe()
            except TooSlow as slow:
                reason = f"sick: {slow}"
            if reason:
                gpu_handle.give_up(reason)
            self.gpu_handle = gpu_handle
        except (MeterError, TooSlow) as error:
            self.error = error
        finally:
            self.ended_us = self._clock.now_us()
            self._over.set()
