"""Windows of power readings and nothing else, gathered into long runs: much work at once is quicker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import Window, WindowBatch
from wattshed.kernels.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWindow(WindowBatch):
    """A batch of one window, which is given back with all that it holds."""

    window: Window

    def windows(self) -> Iterator[Window]:
        """Take it apart."""
        yield self.window if self.window.devices is self.devices else replace(self.window, devices=self.devices)


def gathered(items: Iterable[Window | WindowBatch], rows: int) -> Iterator[Window | list[WindowBatch]]:
    """Put together what may be booked in one run, host by host.

    Parameters
    ----------
    items : iterable of Window or WindowBatch
        Those of one host in the order of time.
    rows : int
        Of all hosts together are held back at most.

    Yields
    ------
    Window or list of WindowBatch
        Of each host in the order in which they came; the batches of a list have the same devices.
    """
    held: dict[str, list[WindowBatch]] = {}
    count = 0
    for item in items:
        batch = item if isinstance(item, WindowBatch) else _batch_of(item)
        run = held.get(item.host, [])
        if run and (batch is None or batch.devices != run[0].devices):
            count -= sum(map(_rows, run))
            yield held.pop(item.host)
        if batch is None:
            if isinstance(item, Window):
                yield item
            continue
        held.setdefault(item.host, []).append(batch)
        count += _rows(batch)
        if count >= rows:
            yield from held.values()
            held, count = {}, 0
    yield from held.values()


def _rows(batch: WindowBatch) -> int:
    return int(batch.columns.offsets[:, -1].sum())


def _batch_of(window: Window) -> OneWindow | None:
    """See a window as a batch of one, if it holds power readings and nothing else."""
    readings = window.readings
    beside = window.beside
    said = window.events or window.owners or len(window.usage.gpu) or len(beside.time_us) or beside.rejected
    if said or window.cpu.cpus or int(readings.counter_mj.max(initial=-1)) >= 0:
        return None
    at, seq = np.zeros(1, np.int64), np.array([window.seq])
    columns = Columns(readings.offsets.reshape(1, -1), readings.time_us, at, at, readings.power_mw, at)
    start_us, end_us = np.array([window.start_us]), np.array([window.end_us])
    return OneWindow(window.host, window.devices, seq, start_us, end_us, columns, window=window)
