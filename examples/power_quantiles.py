"""How a GPU's power is spread over time: exact time-weighted quantiles, drawn with characters.

A reading weighs half of each interval beside it, so irregular sampling does not bend the picture.

$ python examples/power_quantiles.py
p05   80 W ####
p25  210 W ##########
p50  645 W ################################
p75  660 W #################################
p95  670 W #################################
p99  670 W #################################
"""

import numpy as np

from wattshed.kernels.quantiles import quantiles

SECOND = 1_000_000
WANTED = [5, 25, 50, 75, 95, 99]

# A training job: mostly at its limit, with pauses to load data, and an idle start.
time_us = np.arange(600) * SECOND
watts = np.where(time_us // SECOND % 60 < 45, 640 + time_us // SECOND % 7 * 5, 210)
watts[:60] = 80

found = quantiles(
    time_us, (watts * 1000).astype(np.int32), np.array([0, 600]), 5 * SECOND, [percent * 10_000 for percent in WANTED]
)
for percent, milliwatts in zip(WANTED, found[0].tolist(), strict=True):
    print(f"p{percent:02} {milliwatts // 1000:4} W {'#' * (milliwatts // 20_000)}")
