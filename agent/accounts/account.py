"""One GPU's account: what it used, how that is known, and what was rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.accounts.modules import Module, counts_module, tells_power
from wattshed.agent.accounts.statistics import Moving
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.layout import Diagnostics

if TYPE_CHECKING:
    from wattshed.agent.window import Device

REJECTIONS = {
    "zero": "rejected_zero",
    "negative": "rejected_negative",
    "above_ceiling": "rejected_high",
    "time_backwards": "rejected_time",
    "counter_step": "rejected_step",
    "counter_dip": "rejected_dip",
}
"""Reasons to reject a reading, as they are published, and the diagnostics that count them."""


@dataclass(slots=True)
class GpuAccount:
    """What one GPU used, and how well that is known. Energies in hnj, times in us."""

    device: Device
    energy_hnj: int = 0
    idle_hnj: int = 0
    unattributed_hnj: int = 0
    totals: Diagnostics = field(default_factory=Diagnostics)
    booked_us: int = 0  # the time that energy_hnj was used in, without what is booked as nothing
    power: PowerHistogram = field(default_factory=PowerHistogram)
    moving: Moving = field(default_factory=Moving)
    up: bool = True
    released: bool = False  # somebody else needs it: not read until it is taken back
    here_since_us: int = 0  # in this life of the agent
    likely_limit_mw: int = 0  # what it is unlikely to exceed, see `agent.inputs.boards`
    silent_us: int = 0  # how long it is not read by now, once that is a gap, see `agent.accounts.silence`
    missing_us: int = 0  # for how long its energy is not known by now
    down_why: str = ""  # why it cannot be read
    last_xid: int | None = None
    xids: dict[int, int] = field(default_factory=dict)  # how often each was heard
    module: Module | None = None  # of a superchip whose counter is the module's: known once is known for good

    @property
    def by_power_alone(self) -> bool:
        """Whether its counter is another meter's, and its own power is known."""
        return (self.module is not None or counts_module(self.device)) and tells_power(self.device)

    @property
    def boundary(self) -> str:
        """What its energy is the energy of: the ``"board"``, or a whole ``"module"``, CPU included."""
        return "module" if counts_module(self.device) and not tells_power(self.device) else "board"

    @property
    def rejected(self) -> dict[str, int]:
        """Readings that were rejected, by reason; reasons that never occurred are left out."""
        found = {reason: getattr(self.totals, name) for reason, name in REJECTIONS.items()}
        return {reason: count for reason, count in found.items() if count}

    @property
    def was_read(self) -> bool:
        """Whether any energy or power of it was ever known; without, its energy is unknown and not 0."""
        return self.totals.samples > 0 or self.energy_hnj > 0

    @property
    def method(self) -> str:
        """``"counter"`` if the driver's energy counter was trusted for any stretch, else ``"power"``."""
        counted = self.totals.by_counter_hnj > 0 or self.totals.counter_hnj > 0
        return "counter" if counted and self.module is None else "power"

    @property
    def disagreement(self) -> float | None:
        """(power integral - counter) / counter over the stretches that both covered, or None without any."""
        counter, power = self.totals.compared_counter_hnj, self.totals.compared_power_hnj
        return (power - counter) / counter if counter > 0 and power > 0 and self.module is None else None

    def hear_xid(self, number: int) -> None:
        """Count an XID error that the driver reported."""
        self.last_xid = number
        self.xids[number] = self.xids.get(number, 0) + 1

    def add(
        self, diagnostics: Diagnostics, energy_hnj: int, booked_us: int, idle_hnj: int, unattributed_hnj: int
    ) -> None:
        """Add a result: what happened in a window, and what was booked."""
        self.energy_hnj += energy_hnj
        self.booked_us += booked_us
        self.idle_hnj += idle_hnj
        self.unattributed_hnj += unattributed_hnj
        self.totals.add(diagnostics)

    def merge(self, other: GpuAccount) -> None:
        """Add the finished account of the same GPU in another part."""
        self.energy_hnj += other.energy_hnj
        self.booked_us += other.booked_us
        self.idle_hnj += other.idle_hnj
        self.unattributed_hnj += other.unattributed_hnj
        self.totals.add(other.totals)
        self.power.merge(other.power)
        self.silent_us += other.silent_us
        self.missing_us += other.missing_us
        for number, count in other.xids.items():
            self.xids[number] = self.xids.get(number, 0) + count
        self.last_xid = self.last_xid if other.last_xid is None else other.last_xid
        if other.module is not None:
            self.module = self.module or Module()
            self.module.energy_hnj += other.module.energy_hnj
