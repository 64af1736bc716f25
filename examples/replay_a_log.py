"""Replay a log of nvidia-smi with a jobs file, and read the report.

$ python examples/replay_a_log.py
GPU 0: 2490.0 J, 100% covered
notebook: 427.5 J, static 52.5 J
train: 1282.5 J, static 157.5 J
nobody: 780.0 J
power.csv: 1 of 8 rows rejected (not_available 1, first at line 5)
"""

import os
import tempfile
from pathlib import Path

import wattshed

POWER = """\
timestamp, index, power.draw [W], power.limit [W]
2026/03/01 12:00:00.000, 0, 70.00 W, 700.00 W
2026/03/01 12:00:01.000, 0, 70.00 W, 700.00 W
2026/03/01 12:00:02.000, 0, 570.00 W, 700.00 W
2026/03/01 12:00:03.000, 0, [N/A], 700.00 W
2026/03/01 12:00:04.000, 0, 570.00 W, 700.00 W
2026/03/01 12:00:05.000, 0, 570.00 W, 700.00 W
2026/03/01 12:00:06.000, 0, 70.00 W, 700.00 W
2026/03/01 12:00:07.000, 0, 70.00 W, 700.00 W
"""
JOBS = """\
job,gpu,start,end,share
train,0,2026-03-01T12:00:02,2026-03-01T12:00:05,0.75
notebook,0,2026-03-01T12:00:02,2026-03-01T12:00:05,0.25
"""

with tempfile.TemporaryDirectory() as folder:
    power, jobs = Path(folder, "power.csv"), Path(folder, "jobs.csv")
    power.write_text(POWER)
    jobs.write_text(JOBS)
    report = wattshed.replay(power, jobs, idle_watts=70)

for gpu in report.gpus.to_pylist():
    print(f"GPU {gpu['gpu']}: {gpu['energy_j']} J, {gpu['coverage']:.0%} covered")
for job in report.jobs.to_pylist():
    print(f"{job['job']}: {job['energy_j']} J, static {job['static_j']} J")
print(f"nobody: {report.idle_j + report.unattributed_j} J")
for note in report.notes:
    print(note.removeprefix(folder + os.sep))
