"""The peers, each used as its documentation tells a user to. Their code runs unaltered but for the clock it looks at.

Makefile installs them apart from the daemon's own environment; PYTHONPATH leads there in a process that uses them.
"""

import importlib
import logging
import os
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

from tests.peers.virtual_time import modules

FOLDER = Path(os.environ.get("WATTSHED_PEERS", Path(sys.prefix) / "peers"))
PACKAGES = {"Zeus": "zeus", "CodeCarbon": "codecarbon", "nvitop": "nvitop"}
JOULES_PER_KWH = 3.6e6


def installed():
    """Whether the peers are where Makefile puts them."""
    return (FOLDER / "zeus").is_dir()


def hush():
    """Let the peers say nothing but what they are asked for."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def versions():
    """Name and version of each peer."""
    return {name: version(package) for name, package in PACKAGES.items()}


def _instead(names):
    """Put other names into modules: (module, attribute) -> value."""
    for (module, attribute), value in names.items():
        setattr(importlib.import_module(module), attribute, value)


class Zeus:
    """ZeusMonitor with a window around the job; Zeus itself chooses between counter and polling."""

    def __init__(self, clock):
        other = modules(clock)
        _instead(
            {
                ("zeus.monitor.energy", "time"): clock.seconds,
                ("zeus.monitor.power", "time"): clock.seconds_of_a_loop,
                ("zeus.monitor.power", "sleep"): clock.sleep,
                ("zeus.monitor.power", "mp"): other["multiprocessing"],
                ("zeus.device.gpu", "_gpus"): None,  # each scenario is a process of its own
            }
        )
        from zeus.monitor import ZeusMonitor

        self._monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[])

    def begin(self):
        # Nothing to synchronise with: no framework has dispatched anything.
        self._monitor.begin_window("job", sync_execution=False)

    def end(self):
        joules = self._monitor.end_window("job", sync_execution=False).total_energy
        if self._monitor.power_monitor is not None:
            self._monitor.power_monitor.stop()
        return joules


class CodeCarbon:
    """An emissions tracker at its default interval, started and stopped with the job; its GPU energy."""

    def __init__(self, clock):
        other = modules(clock)
        _instead(
            {
                ("codecarbon.emissions_tracker", "time"): other["time"],
                ("codecarbon.external.hardware", "time"): other["time"],
                ("codecarbon.external.task", "time"): other["time"],
                ("codecarbon.external.scheduler", "Timer"): other["threading"].Timer,
                # It looks for the command nvidia-smi, which a simulated driver does not bring.
                ("codecarbon.core.gpu", "is_nvidia_system"): lambda: True,
            }
        )
        importlib.import_module("codecarbon.core.hardware_cache").clear_cache()
        from codecarbon import OfflineEmissionsTracker

        self._folder = tempfile.TemporaryDirectory()
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="FRA", gpu_ids=[0], output_dir=self._folder.name, log_level="critical"
        )

    def begin(self):
        self._tracker.start()

    def end(self):
        self._tracker.stop()
        self._folder.cleanup()
        return self._tracker.final_emissions_data.gpu_energy * JOULES_PER_KWH


class Nvitop:
    """A resource metric collector around the job: mean power times duration."""

    def __init__(self, clock):
        other = modules(clock)
        _instead(
            {
                ("nvitop.api.collector", "time"): other["time"],
                ("nvitop.api.collector", "timer"): clock.seconds,
                ("nvitop.api.collector", "threading"): other["threading"],
                ("nvitop.api.device", "time"): other["time"],
                # Each scenario is a process of its own: no session of an earlier one is open.
                ("nvitop.api.libnvml", "__initialized"): False,
                ("nvitop.api.libnvml", "__flags"): [],
            }
        )
        from nvitop import Device, ResourceMetricCollector

        self._collector = ResourceMetricCollector(Device.all())

    def begin(self):
        self._collector.activate(tag="job")

    def end(self):
        found = self._collector.collect()
        self._collector.deactivate()
        (watts,) = (value for key, value in found.items() if key.endswith("power_usage (W)/mean"))
        return watts * found["job/duration (s)"]


PEERS = {"Zeus": Zeus, "CodeCarbon": CodeCarbon, "nvitop": Nvitop}
