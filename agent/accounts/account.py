"""One GPU's account: what it used, how that is known, and what was not believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.accounts.modules import Module, counts_module, tells_power
from wattshed.agent.accounts.statistics import Moving
from wattshed.kernels.billing import layout
from wattshed.kernels.billing.histogram import PowerHistogram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.window import Device

REJECTIONS = {
    "zero": layout.REJECTED_ZERO,
    "negative": layout.REJECTED_NEGATIVE,
    "above_ceiling": layout.REJECTED_HIGH,
    "time_backwards": layout.REJECTED_TIME,
    "counter_step": layout.REJECTED_STEP,
    "counter_dip": layout.REJECTED_DIP,
}


@dataclass(slots=True)
class GpuAccount:
    """What one GPU used, and how well that is known. Energies in hnj, times in us."""

    device: Device
    energy_hnj: int = 0
    idle_hnj: int = 0
    unattributed_hnj: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * layout.TALLIES)
    booked_us: int = 0  # the time that energy_hnj was used in: readings may cover some of it later, or never
    power: PowerHistogram = field(default_factory=PowerHistogram)
    moving: Moving = field(default_factory=Moving)
    up: bool = True
    here_since_us: int = 0  # in this life of the agent
    likely_limit_mw: int = 0  # what it is unlikely to exceed, see `agent.inputs.boards`
    silent_us: int = 0  # how long it is not read by now, once that is a gap, see `agent.accounts.silence`
    missing_us: int = 0  # for how long its energy is not known by now
    last_xid: int | None = None
    module: Module | None = None  # of a superchip whose counter is the module's: known once is known for good

    @property
    def by_power_alone(self) -> bool:
        """Whether its counter is another meter's, and its own power is told."""
        return (self.module is not None or counts_module(self.device)) and tells_power(self.device)

    @property
    def boundary(self) -> str:
        """What its energy is the energy of: the ``"board"``, or a whole ``"module"``, CPU included."""
        return "module" if counts_module(self.device) and not tells_power(self.device) else "board"

    @property
    def rejected(self) -> dict[str, int]:
        """Readings that were not believed, by reason; reasons that never occurred are left out."""
        return {reason: self.totals[column] for reason, column in REJECTIONS.items() if self.totals[column]}

    @property
    def was_read(self) -> bool:
        """Whether any energy or power of it was ever known; without, its energy is unknown and not 0."""
        return self.totals[layout.SAMPLES] > 0 or self.energy_hnj > 0

    @property
    def method(self) -> str:
        """``"counter"`` if the driver's energy counter was believed for any stretch, else ``"power"``."""
        counted = self.totals[layout.BOOKED_BY_COUNTER] > 0 or self.totals[layout.COUNTER_HNJ] > 0
        return "counter" if counted and self.module is None else "power"

    @property
    def disagreement(self) -> float | None:
        """(power integral - counter) / counter over the stretches that both saw whole, or None without any."""
        counter, power = self.totals[layout.COMPARED_COUNTER], self.totals[layout.COMPARED_POWER]
        return (power - counter) / counter if counter > 0 and power > 0 and self.module is None else None

    def add(
        self, tally: NDArray[np.int64], energy_hnj: int, booked_us: int, idle_hnj: int, unattributed_hnj: int
    ) -> None:
        """Add a result; ``tally`` is a row of `kernels.billing.layout.Pieces.tally`."""
        self.energy_hnj += energy_hnj
        self.booked_us += booked_us
        self.idle_hnj += idle_hnj
        self.unattributed_hnj += unattributed_hnj
        self.totals = [have + more for have, more in zip(self.totals, tally.tolist(), strict=True)]

    def merge(self, other: GpuAccount) -> None:
        """Add the finished account of the same GPU in another part."""
        self.energy_hnj += other.energy_hnj
        self.booked_us += other.booked_us
        self.idle_hnj += other.idle_hnj
        self.unattributed_hnj += other.unattributed_hnj
        self.totals = [a + b for a, b in zip(self.totals, other.totals, strict=True)]
        self.power.merge(other.power)
        self.silent_us += other.silent_us
        self.missing_us += other.missing_us
        if other.module is not None:
            self.module = self.module or Module()
            self.module.energy_hnj += other.module.energy_hnj
