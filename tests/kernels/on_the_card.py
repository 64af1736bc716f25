"""Columns that lie in a device's memory, in numba-cuda's simulator: a program of its own, as the simulator wants it.

Prints one JSON document: how many answers were the host's, where others differ, what was refused and how.
"""

import json
from itertools import pairwise

import numpy as np

from tests.kernels.battery import shrink
from tests.kernels.recordings import columns
from wattshed.kernels import energy, ensemble, jobs, quantiles, windows
from wattshed.kernels.cuda_target import cuda

GAP = 5_000_000
TWO = (np.array([10, 20, 5, 6]), np.full(4, 1000, np.int32), np.array([0, 2, 4]))


class Foreign:
    """Another library's array on the device: nothing but the interface that they share."""

    def __init__(self, array):
        self.there = cuda.to_device(array)
        self.nbytes = array.nbytes

    @property
    def __cuda_array_interface__(self):
        return {"version": 3}


cuda.as_cuda_array = lambda foreign: foreign.there  # the simulator has none


def recording(seed):
    """Steady readings; by the seed with broken ones, holes of minutes or of days, GPUs without rows."""
    rng = np.random.default_rng(seed)
    per_gpu = []
    for _ in range(3):
        n = int(rng.choice([0, 1, 2, 25]))
        step = rng.integers(0, 2_000_000, n)
        step[rng.random(n) < 0.1 * (seed % 3)] *= 60_000 if seed % 2 else 60
        power = rng.integers(60_000, 700_001, n)
        power[rng.random(n) < 0.2 * (seed % 4 == 3)] = 0
        per_gpu.append(list(zip((10**15 + np.cumsum(step)).tolist(), power.tolist(), strict=True)))
    return columns(per_gpu)


def usage(recorded, seed):
    """Two owners on every GPU that has rows."""
    time_us, _, offsets = recorded
    rng = np.random.default_rng(seed)
    first = np.array([time_us[a] if b > a else 0 for a, b in pairwise(offsets)])
    gpus = len(first)
    start = (first[:, None] + rng.integers(-(10**6), 2 * 10**7, (gpus, 2))).ravel()
    unknown = np.full(2 * gpus, -1, np.int64)
    return (
        np.full(gpus, 70_000, np.int64), np.arange(gpus + 1) * 2, start, start + rng.integers(1, 3 * 10**7, 2 * gpus),
        rng.integers(0, 10**6, 2 * gpus), unknown, unknown.copy(), np.ones(2 * gpus, np.int8),
    )  # fmt: skip


def ways(recorded, seed):
    """Name -> call of a public function with columns as they are given, and its device."""
    used = usage(recorded, seed)
    return {
        "integrate": lambda t, p, o, d: energy.integrate(t, p, o, GAP, device=d),
        "windows": lambda t, p, o, d: windows.windows(t, p, o, 3_600_000_000, GAP, device=d),
        "quantiles": lambda t, p, o, d: quantiles.quantiles(t, p, o, GAP, device=d),
        "job_energy": lambda t, p, o, d: jobs.job_energy(t, p, o, GAP, *used, device=d),
    }


def plain(answer):
    """An answer as lists of integers."""
    return [np.asarray(part).tolist() for part in answer]


def compared():
    """By function: how many answers on the device were the host's; and of each that was not, where it differs."""
    equal, differing = {}, []
    lay = (cuda.to_device, Foreign)
    for seed in range(8):
        time_us, power_mw, offsets = recorded = recording(seed)
        for name, way in ways(recorded, seed).items():
            host = plain(way(time_us, power_mw, offsets, "cpu"))
            there = (lay[seed % 2](time_us), lay[seed // 2 % 2](power_mw), offsets)
            half = (there[0], power_mw, offsets)  # one column there, one here
            spread = (np.repeat(time_us, 2)[::2], np.repeat(power_mw, 3)[::3], offsets)  # no contiguous memory
            for case, given, device in (("there", there, "cuda"), ("half", half, "auto"), ("spread", spread, "cuda")):
                on_device = plain(way(*given, device))
                equal[name] = equal.get(name, 0) + (on_device == host)
                if on_device != host:
                    differing.append({"way": name, "seed": seed, "case": case, **first_difference(on_device, host)})
    return {"equal": equal, "differing": differing}


def first_difference(on_device, on_host):
    """Where two answers of the same function differ first: the path of indices, and what each has there."""
    path = []
    while isinstance(on_device, list) and isinstance(on_host, list) and len(on_device) == len(on_host):
        place = next(i for i, (a, b) in enumerate(zip(on_device, on_host, strict=True)) if a != b)
        path.append(place)
        on_device, on_host = on_device[place], on_host[place]
    return {"at": path, "on_device": on_device, "on_host": on_host}


def said(call):
    """What a call is refused with."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return "accepted"


def refused():
    """What cannot be done, and what is said about it."""
    t, p, o = TWO
    there, used = cuda.to_device, usage(TWO, 1)
    falls = (there(np.array([10, 20, 5, 4])), there(p), o)
    out = {f"{name} falls": said(lambda way=way: way(*falls, "cuda")) for name, way in ways(TWO, 1).items()}
    for name, way in ways(TWO, 1).items():
        out[f"{name} on the cpu"] = said(lambda way=way: way(t, Foreign(p), o, "cpu"))
        out[f"{name} offsets"] = said(lambda way=way: way(there(t), there(p), there(o), "cuda"))
        out[f"{name} type"] = said(lambda way=way: way(there(t), Foreign(p.astype(np.int64)), o, "cuda"))
    out["idle_mw"] = said(lambda: jobs.job_energy(t, p, o, GAP, there(used[0]), *used[1:], device="cuda"))
    out["live"] = said(lambda: jobs.job_energy(t, p, o, GAP, *used[:-1], there(used[-1])))
    out["bootstrap"] = said(lambda: ensemble.bootstrap(there(np.ones((2, 2), np.int64)), 1, 1))
    return out


if __name__ == "__main__":
    shrink(setattr)
    print(json.dumps({**compared(), "refused": refused()}))
