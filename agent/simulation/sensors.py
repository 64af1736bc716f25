"""The sensors of simulated boards: what each architecture can report, how late, over which window, and how wrongly.

Publication periods and windows are those that Yang, Adamek and Armour found by experiment ("Part-time power
measurements", arXiv 2312.02741): GA100 and GH100 show the mean of 25 ms every 100 ms, so three quarters of the time
are not seen. An H200 (driver 580) keeps a ring of samples 20 ms apart, made of another series than its instant power;
here they are of one. Which field exists where is NVML's API reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

MS = 1000
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Architecture:
    """What boards of one kind have.

    Attributes
    ----------
    number : int
        nvmlDeviceArchitecture_t.
    model : str
    limit_mw, idle_mw : int, mW
    energy, average, instant : bool
        Whether the fields exist.
    period_us, window_us : int, us
        Of instant power.
    sample_us : int, us
        Between two entries of the ring of power samples; 0: as often as instant power is published.
    memory_mw : int, mW
        Drawn by the GPU's memory beside it, seen in the scope of that name; 0: no such scope.
    memory_instant : bool
        Whether instant power of the memory exists beside its average.
    grace : bool
        It sits on a module with a Grace CPU, whose power is seen in the scope of that name.
    counts_module : bool
        The energy counter is the module's.
    rows : str
        What a row of process utilisation means, see :class:`agent.simulation.scenario.Gpu`.
    sms, lanes : int
        Streaming multiprocessors, and FP32 lanes of each.
    gpm, mig : bool
    """

    number: int
    model: str
    limit_mw: int
    idle_mw: int
    energy: bool = True
    average: bool = True
    instant: bool = True
    period_us: int = 100 * MS
    window_us: int = 100 * MS
    sample_us: int = 0
    memory_mw: int = 0
    memory_instant: bool = True
    grace: bool = False
    counts_module: bool = False
    rows: str = "interval"
    sms: int = 132
    lanes: int = 128
    gpm: bool = False
    mig: bool = False
    limits: bool = True
    memory_mib: int = 81_559


ARCHITECTURES = {
    "pascal": Architecture(
        4, "Tesla P100-PCIE-16GB", 250_000, 28_000, energy=False, average=False, period_us=20 * MS, window_us=10 * MS,
        sms=56, lanes=64, memory_mib=16_276,
    ),
    "volta": Architecture(
        5, "Tesla V100-SXM2-32GB", 300_000, 42_000, average=False, period_us=20 * MS, window_us=10 * MS, sms=80,
        lanes=64, memory_mib=32_510,
    ),
    "turing": Architecture(6, "Tesla T4", 70_000, 10_000, average=False, sms=40, lanes=64, memory_mib=15_109),
    "ga100": Architecture(
        7, "NVIDIA A100-SXM4-80GB", 400_000, 58_000, average=False, window_us=25 * MS, sms=108, lanes=64, mig=True
    ),
    "ampere": Architecture(7, "NVIDIA RTX A6000", 300_000, 22_000, sms=84, memory_mib=49_140),
    "ada": Architecture(8, "NVIDIA L40S", 350_000, 34_000, sms=142, memory_mib=46_068),
    "hopper": Architecture(
        9, "NVIDIA H100 80GB HBM3", 700_000, 70_000, window_us=25 * MS, sample_us=20 * MS, memory_mw=49_000,
        memory_instant=False, rows="tick", gpm=True, mig=True,
    ),
    "gh200": Architecture(
        9, "NVIDIA GH200 480GB", 900_000, 85_000, window_us=25 * MS, grace=True, counts_module=True, gpm=True,
        mig=True, memory_mib=97_871,
    ),
    "gb200": Architecture(
        10, "NVIDIA GB200", 1_200_000, 130_000, grace=True, memory_mw=30_000, sms=148, gpm=True, mig=True,
        memory_mib=189_471,
    ),
    "gb10": Architecture(10, "NVIDIA GB10", 140_000, 8_000, sms=48, limits=False, memory_mib=122_502),
}  # fmt: skip


class Flow(Protocol):
    """Energy that flows, as far as a sensor is concerned."""

    def energy_nj(self, time_us: int) -> int:
        """Energy since an origin, nJ."""


@dataclass(slots=True)
class Sensor:
    """The meter of one simulated board.

    Parameters
    ----------
    timeline : Flow
        What it meters: a GPU's, or a module's.
    architecture : Architecture
    gain_ppm : int
        Relative error of everything it shows.
    phase_us : int, us
        When within the period it publishes.
    counter_period_us : int, us
    """

    timeline: Flow
    architecture: Architecture
    gain_ppm: int = 0
    phase_us: int = 0
    counter_period_us: int = 100 * MS
    shift_mj: int = 0  # of the counter: what it showed before the simulation began, and jumps
    epoch_nj: int = field(default=0)  # energy at the last reset

    def _published(self, now_us: int, period_us: int) -> int:
        return now_us - (now_us - self.phase_us) % period_us

    def published_us(self, now_us: int) -> int:
        """Return when the counter was last published, us."""
        return self._published(now_us, self.counter_period_us)

    def energy_mj(self, now_us: int) -> int:
        """Return the cumulative counter in millijoules, as last published."""
        at_us = self.published_us(now_us)
        energy_nj = self.timeline.energy_nj(at_us) - self.epoch_nj
        # Below zero is a reset that is younger than the last publication.
        return max(0, self.shift_mj + energy_nj * (1_000_000 + self.gain_ppm) // 1_000_000_000_000)

    def reset(self, at_us: int) -> None:
        """Start counting from zero, as after a driver reload."""
        self.epoch_nj = self.timeline.energy_nj(at_us)
        self.shift_mj = 0

    def mean_mw(self, now_us: int, window_us: int) -> int:
        """Mean power over the window before the last publication, with a little noise that averages out."""
        return self._mean_mw(self._published(now_us, self.architecture.period_us), window_us)

    def _mean_mw(self, at_us: int, window_us: int) -> int:
        energy_nj = -self.timeline.energy_nj(at_us - window_us) + self.timeline.energy_nj(at_us)
        mean_mw = energy_nj * (1_000_000 + self.gain_ppm) // (1_000_000 * window_us)
        # Sensors are never still: a hash of the moment, +-0.4 W over 100 ms and less over longer windows.
        noise = (at_us // MS * 2_654_435_761 >> 7) % 801 - 400
        return max(1, mean_mw + noise * 100 * MS // max(window_us, 100 * MS))

    def average_mw(self, now_us: int) -> int:
        """Average power over the last second."""
        return self.mean_mw(now_us, SECOND_US)

    def instant_mw(self, now_us: int) -> int:
        """Instant power: a short window, seen now and then."""
        return self.mean_mw(now_us, self.architecture.window_us)

    def samples(self, now_us: int, count: int) -> list[tuple[int, int]]:
        """Return the driver's ring of instant power: (time stamp, mW), oldest first."""
        period_us = self.architecture.sample_us or self.architecture.period_us
        newest_us = self._published(now_us, period_us)
        stamps = range(newest_us - (count - 1) * period_us, newest_us + 1, period_us)
        return [(at_us, self._mean_mw(at_us, self.architecture.window_us)) for at_us in stamps]
