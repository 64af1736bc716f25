"""Fleets that the workers of a Dask cluster draw: a few fleets, or a stretch of time, to each."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wattshed.agent.fleet.demand.fleets import FleetOrder
from wattshed.agent.fleet.demand.resampled import ResampledStretch, resampled
from wattshed.agent.wire.cluster import connected
from wattshed.kernels.convolution import TurnedSums

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.drawing import DrawingPlace
    from wattshed.agent.fleet.demand.fleets import AddTurned, DrawnFleets
    from wattshed.agent.wire.cluster import Cluster

_OF_A_TASK = 10  # fleets that a worker draws at a time


class _OnWorkers:
    """Draws on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def sums(self, series: NDArray[np.int64], copies: int) -> AddTurned:
        """Add up units on the CPUs of workers."""
        return TurnedSums(series, copies)

    def fleets(self, order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
        """Draw fleets that are made of a recording; what they are made of travels once."""
        told = self._cluster.send(order)
        cuts = [(first, min(first + _OF_A_TASK, replicates)) for first in range(0, replicates, _OF_A_TASK)]
        return self._cluster.answers([self._cluster.submit(FleetOrder.draw, told, *cut) for cut in cuts])

    def resampled(
        self, stretches: Sequence[NDArray[np.int64]], replicates: int, seed: int
    ) -> Iterator[ResampledStretch]:
        """Draw fleets of the recorded units again."""
        return self._cluster.answers(
            [self._cluster.submit(resampled, totals, replicates, seed) for totals in stretches]
        )

    def told(self) -> dict[str, str]:
        """Say where fleets were drawn."""
        return {"device": "cpu", "device_reason": "workers draw on their CPUs"}


@contextmanager
def drawing_on(workers: int, scheduler: str, here: DrawingPlace) -> Iterator[DrawingPlace]:
    """Draw in so many processes of this machine, on a running Dask cluster, or without both here.

    Raises
    ------
    InputError
        See `agent.wire.cluster.connected`.
    """
    if not (workers or scheduler):
        yield here
        return
    with connected(workers, scheduler) as cluster:
        yield _OnWorkers(cluster)
