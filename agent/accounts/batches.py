"""Batches of windows in parts: what may be booked at once, and what has to be looked at window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.window import WindowBatch


def until_one_is_read(
    batches: Sequence[WindowBatch], unread: NDArray[np.bool_]
) -> tuple[Sequence[WindowBatch], Sequence[WindowBatch]]:
    """Part batches before and after a window with the first readings of a GPU: how long it was silent is told there."""
    if unread.any():
        for k, batch in enumerate(batches):
            reads = (np.diff(batch.columns.offsets, axis=1)[:, unread] > 0).any(axis=1)
            if reads.any():
                first = int(reads.argmax())
                if k or first:
                    return [*batches[:k], *parts_of(batch, 0, first)], [*parts_of(batch, first), *batches[k + 1 :]]
                return [batch.part(0, 1)], [*parts_of(batch, 1), *batches[1:]]
    return batches, ()


def parts_of(batch: WindowBatch, first: int, last: int | None = None) -> list[WindowBatch]:
    """Return the part of a batch in a list, which is empty where the part is."""
    return [batch.part(first, last)] if first < (len(batch.seq) if last is None else last) else []
