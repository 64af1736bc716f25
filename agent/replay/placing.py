"""Where a replay makes its sums: what ``--device`` asked for, what came of it, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.kernels import devices
from wattshed.kernels.billing.histogram import PowerHistogram
from wattshed.kernels.billing.power_runs import BookPowers, book_runs
from wattshed.kernels.billing.reconcile import new_state
from wattshed.kernels.columns import Columns
from wattshed.kernels.devices import Choice, Speeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.traces.sources import Chain
    from wattshed.kernels.power_on_card import PowerOnCard

_TRIAL_GPUS, _TRIAL_ROWS = 8, 1 << 18
_ONLY = "a device sums only long runs of power readings without a counter, and without points or a history to cut them"


class WhereSummed:
    """Where sums are made.

    Parameters
    ----------
    choice : Choice
    fits : bool
        Whether there may be anything for a device.

    Attributes
    ----------
    book_powers : BookPowers
        For `Accounts`.
    gather : int
        Rows that it wants at once; 0 as they come.
    """

    def __init__(self, choice: Choice, *, fits: bool = True) -> None:
        self._choice = choice
        self._card: PowerOnCard | None = None
        self.book_powers: BookPowers = book_runs
        self.gather = 0
        if choice.device == "cuda" and fits:
            from wattshed.kernels.power_on_card import PIECE_ROWS, PowerOnCard  # noqa: PLC0415 - numba, and a driver

            self.book_powers = self._card = PowerOnCard()
            self.gather = PIECE_ROWS

    def told(self) -> dict[str, Any]:
        """Say where sums were made: ``device``, ``device_reason`` and ``device_rows`` of the answer."""
        device, reason = self._choice
        rows = self._card.rows_on_card if self._card else 0
        if self._card is not None and self._card.trouble:
            reason = f"{reason}; the device failed ({self._card.trouble}), the rest was summed on the CPU"
        elif self._card is not None and self._card.rows_here:
            reason = f"{reason}; {self._card.rows_here} rows did not fit its memory and were summed on the CPU"
        elif device == "cuda" and not rows:
            reason = f"{reason}, but {_ONLY}"
        return {"device": device if rows else "cpu", "device_reason": reason, "device_rows": rows}


def place(asked: str, chains: Sequence[Chain], *, in_windows: bool, alone: bool = True) -> WhereSummed:
    """Decide where a replay makes its sums.

    Parameters
    ----------
    asked : {"auto", "cpu", "cuda"}
    chains : sequence of Chain
    in_windows : bool
        Whether windows are wanted one by one, for points over time or a history.
    alone : bool
        Whether this process does it; workers use no device, and otherwise give the same answer.

    Raises
    ------
    InputError
        If "cuda" cannot be had.
    """
    if asked == "cpu":
        return WhereSummed(Choice("cpu", "asked for"))
    if asked == "cuda":
        if why := devices.obstacle():
            raise InputError(f"--device cuda: no usable CUDA device here ({why}); use --device cpu")
        return WhereSummed(Choice("cuda", "asked for"), fits=not in_windows)
    if in_windows:
        return WhereSummed(Choice("cpu", _ONLY))
    if not any(chain.native for chain in chains):
        return WhereSummed(Choice("cpu", "reading these files takes far longer than summing what they hold"))
    size = sum(source.path.stat().st_size for chain in chains if chain.native for source in chain.sources)
    choice = devices.decide_pass(size, obstacle=devices.obstacle, speeds=_measured)
    return WhereSummed(choice if alone or choice.device == "cpu" else Choice("cpu", "workers use no device"))


def _measured() -> Speeds:
    """Book made-up readings without and with the device, each once to get ready and once by the clock."""
    from wattshed.kernels.power_on_card import PowerOnCard  # noqa: PLC0415 - numba, and a driver

    random = np.random.default_rng(1)
    times = np.cumsum(random.integers(900_000, 1_100_000, (_TRIAL_GPUS, _TRIAL_ROWS)), axis=1).ravel()
    powers = random.integers(60_000, 700_000, times.size).astype(np.int32)
    offsets = np.arange(_TRIAL_GPUS + 1).reshape(1, -1) * _TRIAL_ROWS
    at = np.zeros(1, np.int64)
    run = Columns(offsets, times, at, at, powers, at)

    def rate(book: BookPowers) -> float:
        for _ in range(2):
            begun = time.perf_counter()
            ceiling_mw, gap_us, idle_mw = (np.full(_TRIAL_GPUS, limit) for limit in (900_000, 5_000_000, 70_000))
            histograms = [PowerHistogram() for _ in range(_TRIAL_GPUS)]
            book([run], new_state(_TRIAL_GPUS), ceiling_mw, gap_us, idle_mw, histograms)
            took = time.perf_counter() - begun
        return float(8 * times.size / max(took, 1e-9))  # as a recording has them: 4 bytes of time, 4 of power

    return Speeds(rate(book_runs), rate(PowerOnCard()))
