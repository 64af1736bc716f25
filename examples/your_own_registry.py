"""Put joules beside the metrics of your own program: a collector for any prometheus_client registry.

The counter is exact inside (half-nanojoules, whole numbers); it becomes a float only when it is scraped.

$ python examples/your_own_registry.py
# HELP training_energy_joules_total Energy of each GPU since training began.
# TYPE training_energy_joules_total counter
training_energy_joules_total{gpu="0"} 600.0
training_energy_joules_total{gpu="1"} 150.0
"""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily

from wattshed.kernels.energy import extend, new_state, read

SECOND = 1_000_000


class Energy:
    """Integrates readings as they come, however they are cut into pieces."""

    def __init__(self, gpus):
        self._state = new_state(gpus)
        self._gpus = gpus

    def add(self, time_us, power_mw):
        """Take the next readings: int64[n], us, and int32[gpus, n], mW."""
        offsets = np.arange(self._gpus + 1) * len(time_us)
        extend(self._state, np.tile(time_us, self._gpus), power_mw.ravel(), offsets, 5 * SECOND)

    def collect(self):
        """Say what there is when somebody scrapes."""
        family = CounterMetricFamily(
            "training_energy_joules", "Energy of each GPU since training began.", labels=["gpu"]
        )
        for gpu, energy_uj in enumerate(read(self._state)[0]):
            family.add_metric([str(gpu)], energy_uj / 1e6)
        yield family


registry = CollectorRegistry()
energy = Energy(gpus=2)
registry.register(energy)
energy.add(np.array([0, 1]) * SECOND, np.array([[300_000, 300_000], [75_000, 75_000]], np.int32))
energy.add(np.array([2]) * SECOND, np.array([[300_000], [75_000]], np.int32))
print(generate_latest(registry).decode(), end="")
