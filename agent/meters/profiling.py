"""GPU performance monitoring (GPM): how busy a GPU and its MIG instances were between two samples of the driver's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.meters.nvml import Nvml

# Metric ids of nvml.h, under the names that dashboards know.
GPM_GAUGES = {
    1: "gr_engine_active",
    2: "sm_active",
    3: "sm_occupancy",
    5: "pipe_tensor_active",
    10: "dram_active",
}
SM_UTIL, TENSOR_UTIL, DRAM_UTIL = 2, 5, 10
SHORTEST_US = 100_000  # between two samples


class InstanceUse(NamedTuple):
    """How busy a MIG instance's own SMs, tensor cores and memory were, 0 to 1; -1 unknown."""

    sm: float
    tensor: float = -1.0
    dram: float = -1.0


class Profile:
    """The samples of one GPU in one session.

    Parameters
    ----------
    nvml : Nvml
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._samples: dict[int, tuple[Any, Any, int]] = {}  # instance -> older, newer sample, time of newer

    def read(self, handle: object, instances: set[int], now_us: int) -> tuple[dict[str, float], dict[int, InstanceUse]]:
        """Return what was so between the last call and this one, at least 100 ms apart.

        Returns
        -------
        gauges : dict of str -> ratio
            Of the whole GPU.
        busy : dict of GPU instance -> InstanceUse
        """
        gauges = self._between(handle, MISSING, now_us, GPM_GAUGES)
        busy = {}
        for gi in instances:
            found = self._between(handle, gi, now_us, (SM_UTIL, TENSOR_UTIL, DRAM_UTIL))
            ratios = {metric: min(1.0, max(0.0, percent / 100)) for metric, percent in found.items()}
            if SM_UTIL in ratios:
                busy[gi] = InstanceUse(ratios[SM_UTIL], ratios.get(TENSOR_UTIL, -1.0), ratios.get(DRAM_UTIL, -1.0))
        return {GPM_GAUGES[m]: v / 100 for m, v in gauges.items()}, busy

    def _between(self, handle: object, gi: int, now_us: int, metrics: Iterable[int]) -> dict[int, float]:
        try:
            if gi not in self._samples:
                self._samples[gi] = (self._nvml.gpm_sample(handle, gi), self._nvml.ask("nvmlGpmSampleAlloc"), now_us)
                return {}
            older, spare, at_us = self._samples[gi]
            if now_us - at_us < SHORTEST_US:
                return {}
            self._nvml.gpm_refill(handle, spare, gi)
            self._samples[gi] = (spare, older, now_us)
            return self._nvml.gpm_metrics(older, spare, metrics)
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return {}
