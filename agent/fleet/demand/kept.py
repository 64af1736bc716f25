"""Readings of many series, kept as they come: in memory while they fit, and in a temporary file from then on."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

IN_MEMORY = 1 << 28
"""Bytes of readings that are held; at eight a reading, as of whole milliseconds, those of a CSV of 1 to 3 GB."""
_UNITS_US = (1000, 1)
_MOST = np.iinfo(np.uint32).max
_first_us = attrgetter("first_us")
_LARGE = Path("/var/tmp")  # noqa: S108 - for large temporary files (FHS); /tmp is memory on many systems

Trace = tuple["NDArray[np.int64]", "NDArray[np.float64]"]
"""time_us int64[n] ascending, power_w float64[n]."""


class SeriesName(NamedTuple):
    """Whose power a series is; what is not known is empty."""

    job: str = ""
    host: str = ""
    gpu: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self)) or "total"


@dataclass(slots=True)
class _Piece:
    """Readings of one series, in memory or at a place of the file.

    Attributes
    ----------
    first_us, last_us : int, us
    shortest_us, longest_us : int, us
        Steps between its times; 0 of a single one.
    size : int
    unit_us : int, us
        Of the times, counted from the first; 0: they are times themselves.
    dtypes : (dtype, dtype)
        Of times, and of powers in mW, which have the type that they came in.
    arrays : pair of array[size], optional
        They themselves.
    place : int
        In the file, where they are not in memory.
    """

    first_us: int
    last_us: int
    shortest_us: int
    longest_us: int
    size: int
    unit_us: int
    dtypes: tuple[np.dtype[Any], np.dtype[Any]]
    arrays: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]] | None
    place: int = 0

    @classmethod
    def of(cls, time_us: NDArray[np.int64], power_mw: NDArray[np.integer[Any]]) -> _Piece:
        """Copy readings, since a view would keep its whole file open; times into half their bytes where that can be."""
        steps = np.diff(time_us)
        shortest_us, longest_us = (int(steps.min()), int(steps.max())) if steps.size else (0, 0)
        ordered = not steps.size or shortest_us > 0
        unit_us, times = _packed(time_us) if ordered else (0, time_us.copy())
        arrays = times, power_mw.copy()
        span = int(time_us[0]), int(time_us[-1]), shortest_us, longest_us
        return cls(*span, time_us.size, unit_us, (times.dtype, power_mw.dtype), arrays)

    @property
    def ordered(self) -> bool:
        """Whether its times ascend."""
        return self.size == 1 or self.shortest_us > 0

    @property
    def nbytes(self) -> int:
        """Bytes of all readings."""
        return self.size * sum(dtype.itemsize for dtype in self.dtypes)


def _packed(time_us: NDArray[np.int64]) -> tuple[int, NDArray[np.integer[Any]]]:
    """Count ascending times from the first in as large a unit as they all are multiples of, if 32 bits hold that."""
    since = time_us - time_us[0]
    for unit_us in _UNITS_US:
        steps = since // unit_us
        if steps[-1] <= _MOST and (unit_us == 1 or bool((steps * unit_us == since).all())):
            return unit_us, steps.astype(np.uint32)
    return 0, time_us.copy()


class KeptSeries(Mapping[SeriesName, Trace]):
    """Series of power, added piece by piece and read by time.

    Parameters
    ----------
    in_memory : int, bytes
        More than that is written to a temporary file.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._in_memory, self._held = in_memory, 0
        self._pieces: dict[SeriesName, list[_Piece]] = {}
        self._file: IO[bytes] | None = None
        self._unordered: set[SeriesName] = set()
        self._periods: dict[SeriesName, tuple[tuple[int, int], float | None]] = {}

    def add(self, name: SeriesName, time_us: NDArray[np.int64], power_mw: NDArray[np.integer[Any]]) -> None:
        """Take readings of a series; in any order, though those in the order of time are the quickest.

        Raises
        ------
        InputError
            If there is no room for them.
        """
        if not time_us.size:
            return
        pieces, piece = self._pieces.setdefault(name, []), _Piece.of(time_us, power_mw)
        if not piece.ordered or (pieces and piece.first_us <= pieces[-1].last_us):
            self._unordered.add(name)
        pieces.append(piece)
        self._held += piece.nbytes
        if self._held > self._in_memory:
            self._write_out()

    def settle(self) -> int:
        """Order what came out of order; of readings of a series at one moment the first counts.

        Returns
        -------
        int
            How many do not count.
        """
        doubled = 0
        for name in sorted(self._unordered):
            pieces = self._pieces[name]
            times = [np.empty(piece.size, np.int64) for piece in pieces]
            powers = [self._read(piece, column) for piece, column in zip(pieces, times, strict=True)]
            time_us, power = np.concatenate(times), np.concatenate(powers)
            unique, first = np.unique(time_us, return_index=True)
            doubled += time_us.size - unique.size
            self._pieces[name] = [_Piece.of(unique, power[first])]
        self._unordered.clear()
        self._periods.clear()
        self._held = sum(
            piece.nbytes for pieces in self._pieces.values() for piece in pieces if piece.arrays is not None
        )
        if self._held > self._in_memory:
            self._write_out()
        return doubled

    @property
    def nbytes(self) -> int:
        """Bytes of readings in memory."""
        return self._held

    def close(self) -> None:
        """Let go of all readings; of the series their names are left."""
        self._pieces = {name: [] for name in self._pieces}
        if self._file is not None:
            self._file.close()

    def span_us(self, name: SeriesName) -> tuple[int, int]:
        """Return the first and the last moment of a series."""
        pieces = self._pieces[name]
        return pieces[0].first_us, pieces[-1].last_us

    def between(self, name: SeriesName, start_us: int, end_us: int) -> Trace:
        """Return the readings of a time, with the last before it and the first after it."""
        time_us, power_w = self._trace(self._around(name, start_us, end_us))
        low = max(int(np.searchsorted(time_us, start_us, "left")) - 1, 0)
        high = min(int(np.searchsorted(time_us, end_us, "right")) + 1, time_us.size)
        return time_us[low:high], power_w[low:high]

    def longest_step_us(self, name: SeriesName, start_us: int, end_us: int) -> int:
        """Return what no step between the readings that `between` returns is longer than, without reading them."""
        pieces = self._around(name, start_us, end_us)
        return max(chain((piece.longest_us for piece in pieces), _joints(pieces)))

    def _around(self, name: SeriesName, start_us: int, end_us: int) -> list[_Piece]:
        """Return the pieces of a time, with the last reading before it and the first after it."""
        pieces = self._pieces[name]
        # The piece that the start lies in, or behind, has the reading before it.
        begin = max(bisect_left(pieces, start_us, key=_first_us) - 1, 0)
        return pieces[begin : bisect_right(pieces, end_us, key=_first_us) + 1]

    def period_us(self, name: SeriesName, most: int = 1 << 20) -> float | None:
        """Return the median step of a series, us; of more than ``most`` readings that of the medians of its pieces."""
        pieces = self._pieces[name]
        known = self._periods.get(name)
        if known is None or known[0] != (len(pieces), most):
            known = self._periods[name] = (len(pieces), most), self._median_step(pieces, most)
        return known[1]

    def _median_step(self, pieces: list[_Piece], most: int) -> float | None:
        steps = {*_joints(pieces)}
        for piece in pieces:
            if piece.size > 1:
                steps |= {piece.shortest_us, piece.longest_us}
        if len(steps) < 2:
            return float(steps.pop()) if steps else None
        if sum(piece.size for piece in pieces) <= most:
            return float(np.median(np.diff(self._trace(pieces)[0])))
        several = [piece for piece in pieces if piece.size > 1]
        medians = np.array([np.median(np.diff(self._trace([piece])[0])) for piece in several])
        order = np.argsort(medians)
        counted = np.cumsum([several[place].size for place in order])
        return float(medians[order[np.searchsorted(counted, counted[-1] / 2)]])

    def __getitem__(self, name: SeriesName) -> Trace:
        """Return time_us and power_w of one, whole."""
        return self._trace(self._pieces[name])

    def __iter__(self) -> Iterator[SeriesName]:
        """Iterate over the names, in the order in which they came."""
        return iter(self._pieces)

    def __len__(self) -> int:
        """Count the series."""
        return len(self._pieces)

    def _trace(self, pieces: list[_Piece]) -> Trace:
        """Join pieces."""
        size = sum(piece.size for piece in pieces)
        time_us, power_w, at = np.empty(size, np.int64), np.empty(size), 0
        for piece in pieces:
            here = slice(at, at + piece.size)
            np.divide(self._read(piece, time_us[here]), 1e3, out=power_w[here])
            at += piece.size
        return time_us, power_w

    def _read(self, piece: _Piece, time_us: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
        """Put the times of a piece into an array, and return its powers, mW."""
        times, power_mw = piece.arrays or self._from_file(piece)
        np.multiply(times, piece.unit_us or 1, out=time_us, dtype=np.int64)
        if piece.unit_us:
            time_us += piece.first_us
        return power_mw

    def _from_file(self, piece: _Piece) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
        if self._file is None:
            raise ValueError("a piece that is not in memory is in the file")
        # At its place, not at that of the file: several threads read.
        read = memoryview(os.pread(self._file.fileno(), piece.nbytes, piece.place))
        middle = piece.size * piece.dtypes[0].itemsize
        return np.frombuffer(read[:middle], piece.dtypes[0]), np.frombuffer(read[middle:], piece.dtypes[1])

    def _write_out(self) -> None:
        """Write all that is in memory behind what is in the file."""
        try:
            if self._file is None:
                self._file = _temporary()
            place = self._file.seek(0, 2)
            for pieces in self._pieces.values():
                for piece in reversed(pieces):
                    if piece.arrays is None:
                        break
                    for array in piece.arrays:
                        self._file.write(np.ascontiguousarray(array).data)
                    piece.arrays, piece.place = None, place
                    place += piece.nbytes
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"no room for readings beyond {self._in_memory >> 20} MiB in a temporary file "
                f"({error.strerror or error}); set TMPDIR to a folder with room"
            ) from error
        self._held = 0


def _joints(pieces: Sequence[_Piece]) -> Iterator[int]:
    """Return the steps from each piece to the next, us."""
    return (after.first_us - before.last_us for before, after in pairwise(pieces))


def _temporary() -> IO[bytes]:
    """Open a file without a name, where there is most likely room for it: in TMPDIR if that is set."""
    usual = tempfile.gettempdir()
    folder = str(_LARGE) if usual == "/tmp" and _LARGE.is_dir() else usual  # noqa: S108 - that is what nobody chose
    return tempfile.TemporaryFile(dir=folder)
