"""From a sample of hosts to the power of a fleet, with the interval that the sample allows.

$ python examples/fleet_from_a_sample.py
train: 4 of 40 hosts measured, 394 kW
serve: 3 of 25 hosts measured, 117 kW
fleet: 511 kW, between 484 and 537 with 95% confidence
"""

import tempfile
from pathlib import Path

from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.reading import read_population, read_sample

FLEET = """\
stratum,hosts
train,40
serve,25
"""
SAMPLE = """\
stratum,host,value
train,node001,9800
train,node017,10150
train,node032,9420
train,node040,10030
serve,node101,4100
serve,node118,5230
serve,node120,4660
"""

with tempfile.TemporaryDirectory() as folder:
    fleet, sample = Path(folder, "fleet.csv"), Path(folder, "sample.csv")
    fleet.write_text(FLEET)
    sample.write_text(SAMPLE)
    found = estimate(read_sample(sample, read_population(fleet)), "stratified", confidence=0.95)

for one in found.strata:
    print(f"{one.stratum}: {one.sampled} of {one.hosts} hosts measured, {one.total / 1e3:.0f} kW")
low, high = found.lower / 1e3, found.upper / 1e3
print(f"fleet: {found.total / 1e3:.0f} kW, between {low:.0f} and {high:.0f} with {found.confidence:.0%} confidence")
