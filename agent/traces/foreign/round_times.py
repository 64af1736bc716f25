"""Times of logs that have none: their rounds follow each other at a pace that the user knows (``--period``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.inputs.arrow import pa, pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOTE = "it has no times: rounds are taken to be {:g} s apart (--period), from 1970-01-01"


class RoundTimes:
    """Counts rounds: the next one begins where a GPU comes again.

    Parameters
    ----------
    period_us : int, us
    """

    def __init__(self, period_us: int) -> None:
        self.period_us = period_us
        self._round, self._seen = -1, set[str]()

    def times(self, columns: Sequence[Any]) -> NDArray[np.int64]:
        """Return the time of each row: int64[n], us.

        Parameters
        ----------
        columns : sequence of pyarrow.Array
            Those that name the GPU.
        """
        texts = [pc.utf8_trim_whitespace(pc.fill_null(pc.cast(column, pa.string()), "")) for column in columns]
        names = (pc.binary_join_element_wise(*texts, "\x1f") if len(texts) > 1 else texts[0]).to_pylist()
        rounds = np.empty(len(names), np.int64)
        for i, name in enumerate(names):
            if name in self._seen or self._round < 0:
                self._round += 1
                self._seen.clear()
            self._seen.add(name)
            rounds[i] = self._round
        return rounds * self.period_us

    def alone(self, rows: int) -> NDArray[np.int64]:
        """Return the time of each of ``rows`` rows of one GPU: int64[n], us."""
        rounds = np.arange(self._round + 1, self._round + 1 + rows)
        self._round += rows
        return rounds * self.period_us
