"""Meters of others, each used as its documentation tells a user to. Their code runs as it is but for the clock it sees.

Nothing of theirs is imported before a measurement begins: they are an extra, and heavy.
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

JOULES_PER_KWH = 3.6e6
_POWER = re.compile(r"job/(cuda:\d+ \()?gpu:\d+\)?/power_usage \(W\)/mean")
"""nvitop's mean power of a GPU; a MIG instance, of which it says the GPU's power once more, has two numbers."""


class Zeus:
    """ZeusMonitor with a window around the job; Zeus itself chooses between counter and polling."""

    name, package = "Zeus", "zeus"
    clocks: ClassVar[Mapping[str, str]] = {
        "zeus.monitor.energy:time": "time.time",
        "zeus.monitor.power:time": "loop.time",
        "zeus.monitor.power:sleep": "time.sleep",
        "zeus.monitor.power:mp": "multiprocessing",
    }

    def __init__(self, gpus: tuple[int, ...]) -> None:
        from zeus.monitor import ZeusMonitor  # noqa: PLC0415

        self._monitor: Any = ZeusMonitor(gpu_indices=list(gpus), cpu_indices=[])
        self._joules = 0.0

    def begin(self) -> None:
        """Open the window; no framework has dispatched anything to synchronise with."""
        self._monitor.begin_window("job", sync_execution=False)

    def end(self) -> None:
        """Close it."""
        self._joules = self._monitor.end_window("job", sync_execution=False).total_energy
        if self._monitor.power_monitor is not None:
            self._monitor.power_monitor.stop()

    def joules(self) -> float:
        """Return the window's total."""
        return self._joules


class CodeCarbon:
    """An emissions tracker at its default interval, started and stopped with the job; its GPU energy."""

    name, package = "CodeCarbon", "codecarbon"
    clocks: ClassVar[Mapping[str, str]] = {
        "codecarbon.emissions_tracker:time": "time",
        "codecarbon.external.hardware:time": "time",
        "codecarbon.external.task:time": "time",
        "codecarbon.external.scheduler:Timer": "threading.Timer",
    }

    def __init__(self, gpus: tuple[int, ...]) -> None:
        from codecarbon import OfflineEmissionsTracker  # noqa: PLC0415

        # It looks for the command nvidia-smi, which a simulated driver does not bring.
        vars(importlib.import_module("codecarbon.core.gpu"))["is_nvidia_system"] = lambda: True
        importlib.import_module("codecarbon.core.hardware_cache").clear_cache()
        self._folder = tempfile.TemporaryDirectory()
        self._tracker: Any = OfflineEmissionsTracker(
            country_iso_code="FRA", gpu_ids=list(gpus), output_dir=self._folder.name, log_level="critical"
        )

    def begin(self) -> None:
        """Start the tracker."""
        self._tracker.start()

    def end(self) -> None:
        """Stop it."""
        self._tracker.stop()
        self._folder.cleanup()

    def joules(self) -> float:
        """Return what it says of the GPUs."""
        return float(self._tracker.final_emissions_data.gpu_energy * JOULES_PER_KWH)


class Nvitop:
    """A resource metric collector around the job: mean power times duration."""

    name, package = "nvitop", "nvitop"
    clocks: ClassVar[Mapping[str, str]] = {
        "nvitop.api.collector:time": "time",
        "nvitop.api.collector:timer": "time.time",
        "nvitop.api.collector:threading": "threading",
        "nvitop.api.device:time": "time",
    }

    def __init__(self, gpus: tuple[int, ...]) -> None:
        from nvitop import Device, ResourceMetricCollector  # noqa: PLC0415

        self._collector: Any = ResourceMetricCollector(Device.from_indices(list(gpus)))
        self._found: dict[str, float] = {}

    def begin(self) -> None:
        """Start the collector."""
        self._collector.activate(tag="job")

    def end(self) -> None:
        """Take its means, and stop it."""
        self._found = self._collector.collect()
        self._collector.deactivate()

    def joules(self) -> float:
        """Return the sum of the GPUs' mean powers, times the duration."""
        watts = [value for key, value in self._found.items() if _POWER.fullmatch(key)]
        return sum(watts) * self._found["job/duration (s)"]


class _Nowhere:
    """Stands for the service that is asked where this machine is: a benchmark asks nobody."""

    @staticmethod
    def ip(_: str) -> None:
        """Know nothing."""
        raise OSError("nobody is asked")


class Carbontracker:
    """A tracker of one epoch, which is the job; its GPU energy, without the data centre's overhead that it adds."""

    name, package = "carbontracker", "carbontracker"
    clocks: ClassVar[Mapping[str, str]] = {
        "carbontracker.tracker:time": "time",
        "carbontracker.tracker:Event": "threading.Event",
        "carbontracker.tracker:CarbonTrackerThread": "threading.Thread",
        "carbontracker.tracker:CarbonIntensityThread": "threading.Thread",
    }

    def __init__(self, gpus: tuple[int, ...]) -> None:
        from carbontracker import constants  # noqa: PLC0415
        from carbontracker.tracker import CarbonTracker  # noqa: PLC0415

        vars(importlib.import_module("carbontracker.emissions.intensity.intensity"))["geocoder"] = _Nowhere
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))  # how it is told which GPUs
        self._overhead: float = constants.PUE_2023
        self._tracker: Any = CarbonTracker(epochs=1, components="gpu", verbose=0)
        self._thread: Any = self._tracker.tracker

    def begin(self) -> None:
        """Begin the epoch."""
        self._tracker.epoch_start()

    def end(self) -> None:
        """End it, and with it the tracking."""
        self._tracker.epoch_end()

    def joules(self) -> float:
        """Return the epoch's energy."""
        return float(self._thread.total_energy_per_epoch().sum() / self._overhead * JOULES_PER_KWH)


PEERS = (Zeus, CodeCarbon, Nvitop, Carbontracker)
