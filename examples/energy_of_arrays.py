"""Energy of two GPUs from arrays of power readings, exact to the microjoule.

The arrays hold all GPUs one after the other; `offsets` says where each begins. A reading that is not
positive is not a reading: its neighbours are joined. A gap longer than `max_gap_us` is not bridged.

$ python examples/energy_of_arrays.py
GPU 0: 2496.0 J in 7.0 s
GPU 1: 600.0 J in 4.0 s
"""

import numpy as np

from wattshed.kernels.energy import integrate

SECOND = 1_000_000

watts = [
    [70, 70, 570, 0, 570, 570, 74, 74],  # the reading at 3 s was lost
    [150, 150, 150, 150, 150],
]
time_us = np.concatenate([np.arange(len(one)) * SECOND for one in watts])
power_mw = np.concatenate([np.array(one, np.int32) * 1000 for one in watts])
offsets = np.cumsum([0, *(len(one) for one in watts)])

energy_uj, covered_us = integrate(time_us, power_mw, offsets, max_gap_us=5 * SECOND)
for gpu, (energy, covered) in enumerate(zip(energy_uj, covered_us, strict=True)):
    print(f"GPU {gpu}: {energy / 1e6} J in {covered / SECOND} s")
