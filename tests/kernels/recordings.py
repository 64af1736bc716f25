"""Made-up recordings for the kernel tests: ordinary, hostile, and beyond what 64 bits hold."""

import numpy as np
from hypothesis import strategies as st


def columns(per_gpu):
    """GPU-major columns from a list of [(time, power), ...] per GPU."""
    offsets = np.cumsum([0, *(len(rows) for rows in per_gpu)]).astype(np.int64)
    flat = [row for rows in per_gpu for row in rows]
    time_us = np.array([t for t, _ in flat], np.int64)
    power_mw = np.array([p for _, p in flat], np.int32)
    return time_us, power_mw, offsets


@st.composite
def recordings(draw, highest=2**31 - 1, longest=2**40, rows=40, gpus=4):
    """Ascending times with equal stamps and holes, readings with zeros and negatives."""
    power = st.one_of(st.integers(1, highest), st.integers(50_000, 700_000), st.sampled_from([-1, 0, 1, highest]))
    step = st.one_of(st.integers(0, 3_000_000), st.integers(0, longest))
    per_gpu = []
    for _ in range(draw(st.integers(0, gpus))):
        now = draw(st.integers(-(2**40), 2**51))
        table = []
        for dt, p in draw(st.lists(st.tuples(step, power), max_size=rows)):
            now += dt
            table.append((now, p))
        per_gpu.append(table)
    return columns(per_gpu)


def node(seed, rows, gpus=3, broken=0.01, holes=0.002):
    """A steady recording at about 1 Hz with some broken readings and holes."""
    rng = np.random.default_rng(seed)
    per_gpu = []
    for gpu in range(gpus):
        n = rows - 7 * gpu
        step = rng.integers(990_000, 1_010_001, n)
        step[rng.random(n) < holes] *= 60
        power = rng.integers(60_000, 700_001, n)
        power[rng.random(n) < broken] = rng.choice([0, -1])
        per_gpu.append(list(zip((1_700_000_000_000_000 + np.cumsum(step)).tolist(), power.tolist(), strict=True)))
    return columns(per_gpu)
