"""Readings of many series, kept as they come: in memory while they fit, and in a temporary file from then on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

IN_MEMORY = 1 << 28
"""Bytes of readings that are held; at twelve a reading those of a CSV of 2 GB."""
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
    """Readings of one series, in memory or at a place of the file; ``power`` in mW, of the type that they came in."""

    first_us: int
    last_us: int
    size: int
    arrays: tuple[NDArray[np.int64], NDArray[np.integer[Any]]] | None
    place: int = 0
    dtype: np.dtype[np.integer[Any]] = field(default_factory=lambda: np.dtype(np.int32))


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

    def add(self, name: SeriesName, time_us: NDArray[np.int64], power_mw: NDArray[np.integer[Any]]) -> None:
        """Take readings of a series; in any order, though those in the order of time are the quickest.

        Raises
        ------
        InputError
            If there is no room for them.
        """
        if not time_us.size:
            return
        pieces = self._pieces.setdefault(name, [])
        if not (time_us[1:] > time_us[:-1]).all() or (pieces and time_us[0] <= pieces[-1].last_us):
            self._unordered.add(name)
        first_us, last_us = int(time_us[0]), int(time_us[-1])
        pieces.append(_Piece(first_us, last_us, time_us.size, (time_us, power_mw), dtype=power_mw.dtype))
        self._held += time_us.nbytes + power_mw.nbytes
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
            parts = [self._read(piece) for piece in pieces]
            time_us, power = (np.concatenate(column) for column in zip(*parts, strict=True))
            unique, first = np.unique(time_us, return_index=True)
            doubled += time_us.size - unique.size
            kept = unique, power[first]
            self._pieces[name] = [
                _Piece(int(unique[0]), int(unique[-1]), unique.size, kept, dtype=kept[1].dtype),
            ]
        self._unordered.clear()
        self._held = sum(
            time_us.nbytes + power.nbytes
            for pieces in self._pieces.values()
            for time_us, power in (piece.arrays for piece in pieces if piece.arrays is not None)
        )
        if self._held > self._in_memory:
            self._write_out()
        return doubled

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
        pieces = self._pieces[name]
        firsts = [piece.first_us for piece in pieces]
        # The piece that the start lies in, or behind, has the reading before it.
        begin = max(int(np.searchsorted(firsts, start_us, "left")) - 1, 0)
        stop = min(int(np.searchsorted(firsts, end_us, "right")) + 1, len(pieces))
        time_us, power = self._joined(pieces[begin:stop])
        low = max(int(np.searchsorted(time_us, start_us, "left")) - 1, 0)
        high = min(int(np.searchsorted(time_us, end_us, "right")) + 1, time_us.size)
        return time_us[low:high], power[low:high] / 1e3

    def period_us(self, name: SeriesName, most: int = 1 << 20) -> float | None:
        """Return the median step of a series, us; of more than ``most`` readings that of the medians of its pieces."""
        pieces = self._pieces[name]
        if sum(piece.size for piece in pieces) <= most:
            steps = np.diff(self._joined(pieces)[0])
            return float(np.median(steps)) if steps.size else None
        several = [piece for piece in pieces if piece.size > 1]
        medians = np.array([np.median(np.diff(self._read(piece)[0])) for piece in several])
        order = np.argsort(medians)
        counted = np.cumsum([several[place].size for place in order])
        return float(medians[order[np.searchsorted(counted, counted[-1] / 2)]])

    def __getitem__(self, name: SeriesName) -> Trace:
        """Return time_us and power_w of one, whole."""
        time_us, power = self._joined(self._pieces[name])
        return time_us, power / 1e3

    def __iter__(self) -> Iterator[SeriesName]:
        """Iterate over the names, in the order in which they came."""
        return iter(self._pieces)

    def __len__(self) -> int:
        """Count the series."""
        return len(self._pieces)

    def _joined(self, pieces: list[_Piece]) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
        parts = [self._read(piece) for piece in pieces]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([time for time, _ in parts]), np.concatenate([power for _, power in parts])

    def _read(self, piece: _Piece) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
        if piece.arrays is not None:
            return piece.arrays
        if self._file is None:
            raise ValueError("a piece that is not in memory is in the file")
        self._file.seek(piece.place)
        time_us = np.frombuffer(self._file.read(8 * piece.size), np.int64)
        return time_us, np.frombuffer(self._file.read(piece.dtype.itemsize * piece.size), piece.dtype)

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
                    time_us, power = piece.arrays
                    self._file.write(np.ascontiguousarray(time_us).data)
                    self._file.write(np.ascontiguousarray(power).data)
                    piece.arrays, piece.place = None, place
                    place += time_us.nbytes + power.nbytes
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"no room for readings beyond {self._in_memory >> 20} MiB in a temporary file "
                f"({error.strerror or error}); set TMPDIR to a folder with room"
            ) from error
        self._held = 0


def _temporary() -> IO[bytes]:
    """Open a file without a name, where there is most likely room for it: in TMPDIR if that is set."""
    usual = tempfile.gettempdir()
    folder = str(_LARGE) if usual == "/tmp" and _LARGE.is_dir() else usual  # noqa: S108 - that is what nobody chose
    return tempfile.TemporaryFile(dir=folder)
