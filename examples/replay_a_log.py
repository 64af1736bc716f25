"""Replay a log of nvidia-smi with the command line, and read its JSON.

$ python examples/replay_a_log.py
GPU 0: 2490.0 J, 1 of 8 rows rejected
notebook: 427.5 J
train: 1282.5 J
nobody: 780.0 J
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

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
    command = [sys.executable, "-m", "wattshed", "replay", power, "--jobs", jobs, "--idle-watts", "70"]
    done = subprocess.run([*command, "--format", "json"], check=True, capture_output=True, text=True)

report = json.loads(done.stdout)
(source,) = report["sources"]
(gpu,) = report["gpus"]
print(f"GPU {gpu['gpu']}: {gpu['energy_j']} J, {source['rows_rejected']} of {source['rows']} rows rejected")
for job in report["jobs"]:
    print(f"{job['job']}: {job['energy_j']} J")
print(f"nobody: {report['idle_j'] + report['unattributed_j']} J")
