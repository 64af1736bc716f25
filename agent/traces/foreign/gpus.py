"""The GPUs of a foreign trace: distinguished by whatever they are called there, with what the trace knows of each."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.traces.options import ANY_POWER_MW
from wattshed.agent.window import MISSING, Device, MeteredLoad
from wattshed.kernels import threads
from wattshed.kernels.columns import dealt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.rows import Rows

SHORTEST_GAP_US = 5_000_000
_LARGEST_MW = 2**31 - 1
_PCI = re.compile(r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]|0x[0-9a-fA-F]{1,4}")
_INDEX = re.compile(r"(?:gpu|nvidia|cuda|device)?[\s_:-]*(\d{1,4})(?:\.0+)?", re.IGNORECASE)


def gpu_name(text: str) -> dict[str, Any]:
    """Return how a cell names a GPU: arguments for `Gpus.number`."""
    text = text.strip()
    if text.startswith(("GPU-", "MIG-")):
        return {"uuid": text}
    if _PCI.fullmatch(text):
        return {"pci": text}
    match = _INDEX.fullmatch(text)
    return {"index": int(match[1])} if match else {"uuid": text}


@dataclass(slots=True)
class Lane:
    """Rows of one host that do not say which GPU they are of.

    Attributes
    ----------
    host : str
    report : SourceReport
        Of the file that is read.
    tick_us : int, us
        What the last printed digit of its stamps stands for.
    alone : bool
        The user said that it is one GPU.
    model : str
        Empty if there are several.
    limit_mw : int, mW
    """

    host: str
    report: SourceReport
    tick_us: int
    alone: bool = False
    model: str = ""
    limit_mw: int = MISSING


class Gpus:
    """Numbers the GPUs of one source as they appear, whatever they are called by there.

    Parameters
    ----------
    host : str
        Host of rows that name none.
    max_power_mw : int, mW
        Ceiling where the trace knows no limit; else it is three times the limit.
    most_load_mw : int, mW
        Ceiling of loads.
    max_gap_us : int, us
        Readings further apart are a gap; -1: the larger of 5 s and ten median periods, GPU by GPU.

    Attributes
    ----------
    loads : bool
        What is numbered from now on is no GPU but a load of any size, see `agent.window.MeteredLoad`.
    """

    def __init__(self, host: str, max_power_mw: int, max_gap_us: int, *, most_load_mw: int = ANY_POWER_MW) -> None:
        self.host, self.max_power_mw, self._max_gap_us = host, max_power_mw, max_gap_us
        self._most_load_mw = most_load_mw
        self.devices: list[Device] = []
        self.lanes: list[Lane] = []
        self.energy = ("", "")  # a table's column of energies, and of what kind they are said to be
        self.loads = False
        self._known: dict[tuple[str, str, str], int] = {}
        self._of_host: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.devices)

    def number(
        self,
        host: str = "",
        index: int = MISSING,
        uuid: str = "",
        pci: str = "",
        model: str = "",
        *,
        label: str = "",
        job: str = "",
    ) -> int:
        """Give the number of a GPU, by UUID, else PCI address, else index on its host, else by any label.

        ``job`` is that of a load: one GPU of several jobs has as many numbers.
        """
        host = host or self.host
        pci = _bare_pci(pci)
        name = uuid or pci or (f"#{index}" if index >= 0 else label)
        number = self._known.get((host, name, job))
        if number is None:
            number = self._known[host, name, job] = len(self.devices)
            position = index if index >= 0 else self._of_host[host]
            self._of_host[host] += 1
            known = host, position, uuid, model, pci
            gap_us = self._max_gap_us
            self.devices.append(
                MeteredLoad(*known, ceiling_mw=self._most_load_mw, max_gap_us=gap_us, job=job, named=bool(name))
                if self.loads
                else Device(*known, ceiling_mw=self.max_power_mw, max_gap_us=gap_us)
            )
        elif model and not self.devices[number].model:
            self.devices[number] = replace(self.devices[number], model=model)
        return number

    def lane(
        self, report: SourceReport, host: str = "", *, tick_us: int = 1, alone: bool = False, model: str = ""
    ) -> int:
        """Give the number, below zero, of rows that do not say their GPU; `lanes.in_lanes` numbers them for good.

        Parameters
        ----------
        report : SourceReport
        host : str
        tick_us, alone, model
            See `Lane`.
        """
        host = host or self.host
        for place, lane in enumerate(self.lanes):
            if lane.host == host:
                lane.tick_us = max(lane.tick_us, tick_us)
                lane.model = lane.model if lane.model == model else ""
                return -1 - place
        self.lanes.append(Lane(host, report, tick_us, alone, model))
        return -len(self.lanes)

    def describe(
        self,
        number: int,
        *,
        limit_mw: int = MISSING,
        driver: str = "",
        architecture: str = "",
        simulated: bool = False,
    ) -> None:
        """Add facts of a GPU that the trace knows; of several limits the largest counts."""
        if number < 0:
            self.lanes[-1 - number].limit_mw = max(self.lanes[-1 - number].limit_mw, limit_mw)
            return
        device = self.devices[number]
        if limit_mw > device.limit_mw and limit_mw > 0:
            device = replace(device, limit_mw=limit_mw, ceiling_mw=min(3 * limit_mw, _LARGEST_MW - 1))
        self.devices[number] = replace(
            device,
            driver=driver or device.driver,
            architecture=architecture or device.architecture,
            simulated=simulated or device.simulated,
        )

    def doubt(self, number: int, flag: str, sigma: float) -> None:
        """Flag a GPU's energy, and widen its sigma by one that is relative to the energy."""
        device = self.devices[number]
        ppm = min(round(math.hypot(device.sigma_gain_ppm, sigma * 1e6)), _LARGEST_MW)
        self.devices[number] = replace(device, flags=(*device.flags, flag), sigma_gain_ppm=ppm)

    def learn_gaps(self, rows: Rows) -> None:
        """Set what counts as a gap for GPUs that have none set, from the median period of the rows seen first.

        Readings of power count; of a GPU that has a counter alone, those of it.
        """
        if all(device.max_gap_us > 0 for device in self.devices):
            return
        real = rows.filled("power_mw") > 0
        if not real.all():
            alone = np.bincount(rows.gpu[real], minlength=len(self.devices)) == 0
            real |= alone[rows.gpu] & (rows.has("counter_mj") | rows.has("energy_uj"))
            rows = rows.take(real)
        order, offsets = dealt(rows.gpu, len(self.devices))
        period_us = [0] * len(self.devices)

        def measure(first: int, last: int) -> None:
            for number in range(first, last):
                if self.devices[number].max_gap_us <= 0:
                    period_us[number] = _median_step(rows.time_us[order[offsets[number] : offsets[number + 1]]])

        threads.each(measure, len(self.devices), rows=len(rows))
        for number, device in enumerate(self.devices):
            if device.max_gap_us <= 0:
                self.devices[number] = replace(device, max_gap_us=max(SHORTEST_GAP_US, 10 * period_us[number]))


def _median_step(time_us: NDArray[np.int64]) -> int:
    """Return the median step between stamps, in any order; equal ones count once."""
    steps = np.diff(time_us)
    if steps.size and steps.min() <= 0:
        steps = np.diff(np.unique(time_us))
    return int(np.median(steps)) if steps.size > 1 else 0


def _bare_pci(text: str) -> str:
    """Write a PCI address one way: nvidia-smi pads the domain to eight digits, sysfs to four."""
    text = text.strip().lower()
    domain, _, rest = text.partition(":")
    return f"{domain[-4:].rjust(4, '0')}:{rest}" if rest.count(":") == 1 else text
