"""Where the fleets of an ensemble are drawn: what ``--device`` asked for, what came of it, and why."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.resampled import ResampledStretch, resampled
from wattshed.kernels import devices
from wattshed.kernels.convolution import TurnedSums
from wattshed.kernels.devices import NO_DEVICE, PASS_START_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.fleets import AddTurned, DrawnFleets, FleetOrder

_Made = TypeVar("_Made")

_TOGETHER, _CELLS = 16, 1 << 22  # fleets that are drawn at a time, and their starts


class DrawingPlace(Protocol):
    """Draws fleets, a few at a time and in their order; they are the same wherever that is."""

    def sums(self, series: NDArray[np.int64], copies: int) -> AddTurned:
        """Return what adds up the units of fleets, see `kernels.convolution.TurnedSums`."""
        ...

    def fleets(self, order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
        """Draw fleets 0 to ``replicates`` that are made of a recording."""
        ...

    def resampled(
        self, stretches: Sequence[NDArray[np.int64]], replicates: int, seed: int
    ) -> Iterator[ResampledStretch]:
        """Draw fleets of the recorded units again, stretch by stretch of time."""
        ...

    def told(self) -> dict[str, str]:
        """Say where fleets were drawn: ``device`` and ``device_reason`` of the answer."""
        ...


class Drawing:
    """Draws an ensemble piece by piece in this process, on the CPU or on a CUDA device; the integers are the same.

    Parameters
    ----------
    asked : {"auto", "cpu", "cuda"}
        With "auto" the first piece is drawn on the CPU. Where what is left would take it seconds, a device is tried,
        and kept if it is quicker once its kernels are compiled.
    clock : callable
        Seconds.

    Attributes
    ----------
    pieces : dict of device -> int
        How many were drawn where.
    reason : str

    Raises
    ------
    InputError
        If "cuda" cannot be had.
    """

    def __init__(self, asked: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        if asked == "cuda" and (why := devices.obstacle()):
            raise InputError(f"--device cuda: no usable CUDA device here ({why}); use --device cpu")
        self._clock = clock
        self._asked, self._device = asked, "cuda" if asked == "cuda" else "cpu"
        self._took: dict[str, float] = {}
        self.pieces = {"cpu": 0, "cuda": 0}
        self.reason = "asked for" if asked != "auto" else ""

    def sums(self, series: NDArray[np.int64], copies: int) -> AddTurned:
        """Add up units wherever the piece that they are of is drawn."""
        made: dict[str, TurnedSums] = {}

        def add(counts: NDArray[np.int64]) -> NDArray[np.int64]:
            device = self._device
            if device not in made:
                made[device] = TurnedSums(series, copies, device=device)
            return made[device](counts)

        return add

    def fleets(self, order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
        """Draw fleets that are made of a recording."""
        units, steps = order.fleets.shape
        together = max(1, min(_TOGETHER, _CELLS // (units * steps)))
        cuts = [(first, min(first + together, replicates)) for first in range(0, replicates, together)]
        for i, cut in enumerate(cuts):
            yield self._timed(partial(self._fleets, order, *cut), len(cuts) - 1 - i)

    def _fleets(self, order: FleetOrder, first: int, last: int) -> DrawnFleets:
        return order.draw(first, last, last - first if self._device == "cuda" else 1)

    def resampled(
        self, stretches: Sequence[NDArray[np.int64]], replicates: int, seed: int
    ) -> Iterator[ResampledStretch]:
        """Draw fleets of the recorded units again."""
        for i, totals in enumerate(stretches):
            yield self._timed(partial(self._resampled, totals, replicates, seed), len(stretches) - 1 - i)

    def _resampled(self, totals: NDArray[np.int64], replicates: int, seed: int) -> ResampledStretch:
        return resampled(totals, replicates, seed, self._device)

    def _timed(self, make: Callable[[], _Made], left: int) -> _Made:
        """Draw a piece, of which ``left`` more follow, and say where the next one is drawn."""
        device, begun = self._device, self._clock()
        try:
            made = make()
        except ValueError as error:
            if device != "cuda":
                raise
            if self._asked == "cuda":
                raise InputError(f"--device cuda: {error}") from None
            self._device = self._asked = "cpu"
            self.reason = str(error)
            return self._timed(make, left)
        self._took[device] = self._clock() - begun
        self.pieces[device] += 1
        if self._asked == "auto":
            self._choose(device, left)
        return made

    def _choose(self, device: str, left: int) -> None:
        here_s = self._took["cpu"]
        if self.pieces == {"cpu": 1, "cuda": 0}:
            if here_s * left < PASS_START_S:
                self.reason = "so few fleets are drawn before a device has started"
            elif devices.absent():
                self.reason = NO_DEVICE
            elif why := devices.obstacle():
                self.reason = why
            else:
                self._device, self.reason = "cuda", f"{here_s * left:.1f} s of drawing on the CPU were left"
        elif device == "cuda" and self.pieces["cuda"] > 1:  # the first one compiled its kernels
            there_s = self._took["cuda"]
            self.reason = f"a piece took {here_s:.2f} s on the CPU, {there_s:.2f} s with the device"
            self._device = "cuda" if there_s < here_s else "cpu"

    def told(self) -> dict[str, str]:
        """Say where fleets were drawn."""
        if not any(self.pieces.values()):
            reason = "asked for" if self._asked == "cpu" else "a device only draws fleets (--scale or --limit)"
            return {"device": "cpu", "device_reason": reason}
        return {"device": "cuda" if self.pieces["cuda"] else "cpu", "device_reason": self.reason}
