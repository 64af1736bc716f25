"""Jobs on one shared GPU, second by second: what each draws, and what a driver tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STEPS = 10
"""Steps of a second."""
MEAN_W = 300.0
"""Geometric mean of the jobs' watts at full activity, above idle."""
LIMIT_W, IDLE_W = 700.0, 70.0
GAIN, IDLE_SIGMA_W, READING_W = 0.04, 2.0, 1.0
ROW = 0.01
"""A driver tells activities in whole percent."""


class SharedGpu(NamedTuple):
    """What happened on one GPU.

    Attributes
    ----------
    drawn_w : float64[jobs, seconds], W
        What each job drew above idle: the truth.
    board_w : float64[seconds], W
        What the board's meter says.
    activity : float64[jobs, seconds]
        What the driver's rows say, 0 to 1; a second's row may hold up to a second before it.
    tensor, dram : float64[jobs, seconds], optional
        Of MIG instances: how busy they kept tensor cores and memory, as parts of the whole GPU's.
    """

    drawn_w: NDArray[np.float64]
    board_w: NDArray[np.float64]
    activity: NDArray[np.float64]
    tensor: NDArray[np.float64] | None = None
    dram: NDArray[np.float64] | None = None


def told(name: str, ratio: float, seed: int, seconds: int) -> SharedGpu:
    """Make one recording of a pattern; the heaviest job draws ``ratio`` times the watts of the lightest per activity.

    Parameters
    ----------
    name : str
        A key of `PATTERNS`.
    ratio : float
    seed : int
    seconds : int, s
    """
    rng = np.random.default_rng([seed, sum(name.encode()), round(ratio * 100)])
    steps = seconds * STEPS
    demand, together = PATTERNS[name](rng, steps)
    jobs = len(demand)
    watts = MEAN_W * ratio ** (np.linspace(-0.5, 0.5, jobs) if jobs > 1 else np.zeros(1))
    rng.shuffle(watts)
    if not together:  # kernels take turns: together they are never more than the whole
        demand = demand / np.maximum(demand.sum(axis=0), 1.0)
    phase = _phases(rng, jobs, steps) if name == "phases" else np.ones((jobs, steps))
    drawn = watts[:, None] * phase * demand
    whole = drawn.sum(axis=0)
    drawn *= np.minimum(1.0, (LIMIT_W - IDLE_W) / np.maximum(whole, 1e-9))
    board = IDLE_W + rng.normal(0, IDLE_SIGMA_W) + drawn.sum(axis=0)
    board_w = _seconds(board) * (1 + rng.normal(0, GAIN)) + rng.normal(0, READING_W, seconds)
    late = rng.uniform(0, 1)
    rows = np.empty((jobs, seconds))
    for job in range(jobs):
        shifted = np.roll(demand[job], round(late * STEPS))
        shifted[: round(late * STEPS)] = 0
        rows[job] = np.round(_seconds(shifted) / ROW) * ROW
    return SharedGpu(_seconds(drawn), np.maximum(board_w, 0), rows)


KERNELS = {
    "scalar": (0.0, 0.1), "tensor": (0.8, 0.3), "stream": (0.0, 0.9), "attention": (0.5, 0.6), "sparse": (0.1, 0.4),
}  # fmt: skip
"""Kinds of kernel: tensor cores and memory at full activity."""
BETA_W = (150.0, 350.0, 150.0)
"""What SMs, tensor cores and memory draw of the simulated board when all of each is busy."""
RESIDUAL = 0.15
"""One sigma of what of a job's watts its features do not tell, relative."""
SLICES = {"3g+4g": (3 / 7, 4 / 7), "seven 1g": (1 / 7,) * 7, "1g+2g+4g": (1 / 7, 2 / 7, 4 / 7)}


def told_of_instances(name: str, seed: int, seconds: int) -> SharedGpu:
    """Make one recording of jobs on MIG instances, each with a kind of kernel of its own.

    Parameters
    ----------
    name : str
        A key of `SLICES`.
    seed : int
    seconds : int, s
    """
    rng = np.random.default_rng([seed, 77])
    shares = np.array(SLICES[name])[:, None]
    jobs, steps = len(shares), seconds * STEPS
    kinds = [tuple(KERNELS.values())[k] for k in rng.integers(0, len(KERNELS), jobs)]
    level = rng.uniform(0.5, 1.0, (jobs, 1))
    use = np.array([_on_off(rng, steps, 10 + 3 * j, 8) for j in range(jobs)]) * level
    active = shares * use
    tensor, dram = (active * np.array([kind[f] for kind in kinds])[:, None] for f in (0, 1))
    drawn = BETA_W[0] * active + BETA_W[1] * tensor + BETA_W[2] * dram
    drawn *= 1 + rng.normal(0, RESIDUAL, (jobs, 1))
    board = IDLE_W + rng.normal(0, IDLE_SIGMA_W) + drawn.sum(axis=0)
    board_w = _seconds(board) * (1 + rng.normal(0, GAIN)) + rng.normal(0, READING_W, seconds)
    return SharedGpu(_seconds(drawn), np.maximum(board_w, 0), *(_seconds(one) for one in (active, tensor, dram)))


def _seconds(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of seconds."""
    means: NDArray[np.float64] = steps.reshape(*steps.shape[:-1], -1, STEPS).mean(axis=-1)
    return means


def _on_off(rng: np.random.Generator, steps: int, on_s: float, off_s: float) -> NDArray[np.float64]:
    """Return 1 and 0 for stretches of random length, with these means."""
    found, at, on = np.zeros(steps), 0, rng.random() < on_s / (on_s + off_s)
    while at < steps:
        length = max(1, round(rng.exponential(on_s if on else off_s) * STEPS))
        found[at : at + length] = on
        at, on = at + length, not on
    return found


def _wander(rng: np.random.Generator, steps: int, sd: float) -> NDArray[np.float64]:
    """Return what moves about 0 within some ten seconds."""
    kept = 1 - 1 / (10 * STEPS)
    found, value = np.empty(steps), 0.0
    for at, shock in enumerate(rng.normal(0, sd * (1 - kept**2) ** 0.5, steps).tolist()):
        value = kept * value + shock
        found[at] = value
    return found


def _phases(rng: np.random.Generator, jobs: int, steps: int) -> NDArray[np.float64]:
    """Return by how much each job's watts differ from its mean: kernels of two kinds, half a minute each or so."""
    return np.array([1 + 0.3 * (2 * _on_off(rng, steps, 30, 30) - 1) for _ in range(jobs)])


def _steady(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    share = np.clip(0.5 + _wander(rng, steps, 0.05), 0.05, 0.95)
    return np.array([share, 1 - share]), False


def _bursty(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    return np.array([_on_off(rng, steps, 8, 8), _on_off(rng, steps, 5, 12)]), False


def _train_infer(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    dips = np.where(_on_off(rng, steps, 20, 1.5) > 0, 1.0, 0.2)
    return np.array([dips, 0.8 * _on_off(rng, steps, 1.5, 6)]), False


def _phased(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    return np.array([0.7 * _on_off(rng, steps, 20, 8), 0.7 * _on_off(rng, steps, 15, 10)]), False


def _identical(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    one = 0.5 * _on_off(rng, steps, 40, 5)
    return np.array([one, one]), False


def _mps(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    return np.array([_on_off(rng, steps, 30, 10), 0.9 * _on_off(rng, steps, 20, 10)]), True


def _join(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
    one, two = 0.9 + 0 * _on_off(rng, steps, 1, 1), 0.9 * np.ones(steps)
    two[: steps // 3] = 0
    return np.array([one * (1 + 0.1 * np.sign(_wander(rng, steps, 1))), two]).clip(0, 1), False


def _several(jobs: int) -> Callable[[np.random.Generator, int], tuple[NDArray[np.float64], bool]]:
    def make(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], bool]:
        return np.array([0.5 * _on_off(rng, steps, 6 + 4 * j, 12) for j in range(jobs)]), False

    return make


PATTERNS: dict[str, Callable[[np.random.Generator, int], tuple[NDArray[np.float64], bool]]] = {
    "steady": _steady,
    "bursty": _bursty,
    "training+inference": _train_infer,
    "phases": _phased,
    "identical": _identical,
    "MPS at the limit": _mps,
    "join": _join,
    "4 jobs": _several(4),
    "7 jobs": _several(7),
}
"""What each job wants of the GPU, and whether kernels of several jobs run at the same time."""
