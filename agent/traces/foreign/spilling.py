"""Rows in the order of time, however many there are: what does not fit into memory waits in a file.

Dumps of a database hold one series after the other, so that the last rows of a file may be as early as its first. Up to
two million rows are ordered in memory, by whoever takes them; more are written to a temporary file, each stretch
ordered, and read again in slices of time.
"""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wattshed.agent.traces.foreign.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

HELD_ROWS = 2_000_000
_SLICES = 4  # of a run, or more, between whose bounds rows are told apart
_RECORD = np.dtype(
    [("time_us", "<i8"), ("gpu", "<i4"), ("power_mw", "<i4"), ("counter_mj", "<i8"), ("instant_mw", "<i4"),
     ("util_ppm", "<i4"), ("pid", "<i8"), ("energy_uj", "<i8")]
)  # fmt: skip


def in_order(blocks: Iterable[Rows], held_rows: int = HELD_ROWS) -> Iterator[Rows]:
    """Give rows in the order of time; those of one stamp in the order in which they came.

    Parameters
    ----------
    blocks : iterable of Rows
    held_rows : int
        How many may be in memory. A file that has no more is passed on as it is.
    """
    blocks = iter(blocks)
    first, count = list[Rows](), 0
    for block in blocks:
        first.append(block)
        count += len(block)
        if count > held_rows:
            break
    else:
        yield from first
        return
    with tempfile.TemporaryFile(prefix="wattshed-") as file:
        runs = [_written(file, run) for run in _runs(itertools.chain(first, blocks), held_rows // 2)]
        yield from _merged(file, runs, held_rows // 2)


def _runs(blocks: Iterable[Rows], size: int) -> Iterator[NDArray[np.void]]:
    """Bring blocks together into runs of a size, each in the order of time."""
    held, count = list[Rows](), 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= size:
            yield _records(Rows.join(held))
            held, count = [], 0
    if count:
        yield _records(Rows.join(held))


def _records(rows: Rows) -> NDArray[np.void]:
    rows = rows.take(np.argsort(rows.time_us, kind="stable"))
    records = np.empty(len(rows), _RECORD)
    for name in Rows.__slots__:
        records[name] = rows.filled(name)
    return records


def _written(file: BinaryIO, run: NDArray[np.void]) -> tuple[int, int, NDArray[np.int64]]:
    """Append a run; returns where it begins, its rows, and times of it that are evenly apart in it."""
    begin = file.tell()
    file.write(run.tobytes())
    return begin, run.size, run["time_us"][:: max(run.size // (64 * _SLICES), 1)].copy()


def _merged(file: BinaryIO, runs: Sequence[tuple[int, int, NDArray[np.int64]]], size: int) -> Iterator[Rows]:
    """Read slices of time from all runs at once, each of about so many rows."""
    file.flush()
    mapped = [np.memmap(file, _RECORD, "r", begin, (rows,)) for begin, rows, _ in runs]
    samples = np.sort(np.concatenate([times for _, _, times in runs]))
    rows = sum(count for _, count, _ in runs)
    slices = max(-(-rows // size), 1) * _SLICES
    bounds = np.unique(samples[:: max(samples.size // slices, 1)])[1:]
    places = [[0, *np.searchsorted(run["time_us"], bounds).tolist(), run.size] for run in mapped]
    for number in range(bounds.size + 1):
        parts = [run[at[number] : at[number + 1]] for run, at in zip(mapped, places, strict=True)]
        records = np.concatenate(parts)
        records = records[np.argsort(records["time_us"], kind="stable")]
        if records.size:
            yield _rows(records)


def _rows(records: NDArray[np.void]) -> Rows:
    columns = {name: np.ascontiguousarray(records[name]) for name in Rows.__slots__}
    keep = ("gpu", "time_us", "power_mw")
    return Rows(**{name: one if name in keep or (one >= 0).any() else one[:0] for name, one in columns.items()})
