"""Joules of the jobs that shared one GPU, from a table of readings and a table of jobs.

Idle power is paid by who holds the GPU, the rest by how busy each job was. Energies are whole
half-nanojoules, so that the parts add up to the GPU's energy exactly.

$ python examples/joules_per_job.py
train       7750.0 J
notebook    3050.0 J
idle         935.0 J
sum        11735.0 J
GPU        11735.0 J
"""

import numpy as np

from wattshed.kernels.energy import integrate
from wattshed.kernels.jobs import HNJ_PER_JOULE, job_energy

SECOND = 1_000_000
IDLE_W = 70

time_us = np.arange(31) * SECOND
watts = np.where(time_us < 10 * SECOND, IDLE_W, 540)
power_mw = (watts * 1000).astype(np.int32)
gpu = time_us, power_mw, np.array([0, len(time_us)]), 5 * SECOND

jobs = [  # name, first and last second, how busy it kept the GPU (millionths)
    ("train", 10, 30, 600_000),
    ("notebook", 10, 30, 200_000),
]
names, start_s, end_s, activity_ppm = zip(*jobs, strict=True)
unknown = np.full(len(jobs), -1)
found = job_energy(
    *gpu,
    idle_mw=np.array([IDLE_W * 1000]),
    rows=np.array([0, len(jobs)]),  # all jobs were on GPU 0
    start_us=np.array(start_s) * SECOND,
    end_us=np.array(end_s) * SECOND,
    activity_ppm=np.array(activity_ppm),
    busy_ppm=unknown,
    share_ppm=unknown,
    live=np.ones(len(jobs), np.int8),
)


def joules(energy):
    """Whole joules and the half-nanojoules beyond them, as a float."""
    return float(energy[0] + energy[1] / HNJ_PER_JOULE)


parts = {name: joules(found.static[row] + found.dynamic[row]) for row, name in enumerate(names)}
parts["idle"] = joules(found.idle[0] + found.unattributed[0])
for name, energy in {**parts, "sum": sum(parts.values()), "GPU": integrate(*gpu)[0][0] / 1e6}.items():
    print(f"{name:9} {energy:8.1f} J")
