"""One meter of a simulated host: what it shows at a moment, by what really flows, and what is wrong with it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.clock import Clock
    from wattshed.agent.simulation.beside import BesideTruth
    from wattshed.agent.simulation.faults import FaultPlan
    from wattshed.agent.simulation.host_scenario import HostMeterScript

MOMENT_US = 1_000  # over which a gauge without a window is taken
UNKNOWN_UW = 4_294_967_295_000  # what the ACPI driver shows for "unknown"
GONE, DENIED, HUNG, FROZEN, UNKNOWN, WRAP = "gone", "denied", "hung", "frozen", "unknown-power", "wrap"


@dataclass(slots=True)
class HostSensor:
    """A meter beside the GPUs.

    Parameters
    ----------
    script : HostMeterScript
    truth : BesideTruth
    clock : Clock
    plan : FaultPlan
    begun_us : int, us
        When the simulation began.
    """

    script: HostMeterScript
    truth: BesideTruth
    clock: Clock
    plan: FaultPlan
    begun_us: int

    def strikes(self, kind: str) -> bool:
        """Return whether a fault of a kind is on."""
        return bool(self.plan.of_meter(kind, self.clock.now_us(), self.script.name))

    def energy_uj(self) -> int:
        """Return what a counter shows.

        Raises
        ------
        OSError
            It cannot be read now.
        """
        raw_uj = self._energy_uj(self._published_us())
        return raw_uj % self.script.wrap_uj if self.script.wrap_uj else raw_uj

    def power_mw(self) -> int | None:
        """Return what a gauge shows; None: it says that it does not know.

        Raises
        ------
        OSError
            It cannot be read now.
        """
        at_us = self._published_us()
        if self.strikes(UNKNOWN):
            return None
        about, window_us = self.script, self.script.window_us or MOMENT_US
        energy_nj = self.truth.nj(about.domain, at_us - window_us, at_us)
        mean_mw = energy_nj * (1_000_000 + about.gain_ppm) // (1_000_000 * window_us)
        return mean_mw // about.quantum * about.quantum

    def _published_us(self) -> int:
        """Return of when what it shows is; it takes as long as it hangs."""
        about, name = self.script, self.script.name
        for fault in self.plan.of_meter(HUNG, self.clock.now_us(), name):
            self.clock.sleep_until(fault.end_us)
        if self.strikes(GONE):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if self.strikes(DENIED):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        now_us = self.clock.now_us()
        frozen = self.plan.of_meter(FROZEN, now_us, name)
        now_us = frozen[0].start_us if frozen else now_us
        return now_us - now_us % about.period_us - about.lag_us

    def _energy_uj(self, at_us: int) -> int:
        """Return energy since the counter began, before it wraps; it began long before the simulation did."""
        about = self.script
        wraps = self.plan.planned(WRAP, about.name)
        shift_uj = about.wrap_uj // 3 if about.wrap_uj else 86_400_000_000
        if about.wrap_uj and wraps:  # so that it stands at its end at that moment
            shift_uj = -self._since_uj(wraps[0].start_us) % about.wrap_uj
        return (self._since_uj(at_us) + shift_uj) // about.quantum * about.quantum

    def _since_uj(self, at_us: int) -> int:
        about = self.script
        energy_nj = self.truth.nj(about.domain, self.begun_us, at_us)
        return energy_nj * (1_000_000 + about.gain_ppm) // 1_000_000_000
