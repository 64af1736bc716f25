"""What it costs the accounts to learn watts, and to bill by them: time beside accounts that learn nothing."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.watts import SHOWN_TOGETHER
from wattshed.agent.bench.split.patterns import told
from wattshed.agent.bench.split.running import DEVICE, windows
from wattshed.agent.window import Readings, Usage
from wattshed.kernels.billing.slots import SLOT_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.window import Window

GPUS = 8
SECONDS = 200
RULES = {"nothing is learned": None, "learned and shown": SplitRule(), "learned and billed": SplitRule(learned=True)}


class LearningCost(NamedTuple):
    """What windows of a second cost accounts of `GPUS` GPUs with two jobs each.

    Attributes
    ----------
    what : str
        One of `RULES`.
    window_us : float, us
    slot_us : float, us
        Of it learning, a GPU and slot.
    times : float
        As many times what it costs to learn nothing.
    """

    what: str
    window_us: float
    slot_us: float
    times: float


def measure(rounds: int = 8) -> list[LearningCost]:
    """Book the same windows by each rule in turn, some slots at a time, which are compared; returns medians."""
    made = _node(SECONDS)
    each = SHOWN_TOGETHER * SLOT_US // (made[0].end_us - made[0].start_us)
    found: dict[str, list[float]] = {what: [] for what in RULES}
    order = np.random.default_rng(1)
    for _ in range(rounds):
        accounts = {what: Accounts(split=rule, live=True) for what, rule in RULES.items()}
        for first in range(0, len(made), each):
            for what in order.permutation(
                list(RULES)
            ).tolist():  # whose caches the others leave behind is left to chance
                begun_s = time.perf_counter()
                for window in made[first : first + each]:
                    accounts[what].add(window)
                found[what].append((time.perf_counter() - begun_s) * 1e6)
    nothing = next(iter(found.values()))
    return [
        LearningCost(
            what,
            statistics.median(took) / each,
            statistics.median((one - none) / SHOWN_TOGETHER / GPUS for one, none in zip(took, nothing, strict=True)),
            statistics.median(one / none for one, none in zip(took, nothing, strict=True)),
        )
        for what, took in found.items()
    ]


def _node(seconds: int) -> Sequence[Window]:
    """Make the windows of a node whose GPUs all do the same."""
    devices = tuple(replace(DEVICE, index=gpu, uuid=f"GPU-{gpu}") for gpu in range(GPUS))
    gauges = {"limit_enforced_w": np.full(GPUS, DEVICE.limit_mw / 1e3), "throttle_power_cap_s": np.zeros(GPUS)}
    return [_wide(window, devices, gauges) for window in windows(told("bursty", 2.0, 1, seconds))]


def _wide(window: Window, devices: Any, gauges: Any) -> Window:
    """Return a window in which every GPU does what the one does."""
    readings, usage = window.readings, window.usage
    rows = (getattr(usage, name) for name in ("owner", "start_us", "end_us", "activity_us", "share_ppm", "live"))
    return replace(
        window,
        devices=devices,
        readings=Readings(
            np.arange(GPUS + 1) * len(readings.time_us),
            np.tile(readings.time_us, GPUS),
            np.tile(readings.power_mw, GPUS),
            np.tile(readings.counter_mj, GPUS),
        ),
        usage=Usage(
            np.repeat(np.arange(GPUS, dtype=np.int32), len(usage.gpu)), *(np.tile(column, GPUS) for column in rows)
        ),
        busy_us=np.tile(window.busy_us, GPUS),
        gauges=gauges,
    )
