"""Samples of a foreign trace in columns, in the order of its file: what every reader of rows gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_MW = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of n samples; -1 is "no reading". A column that no row has a reading of is empty.

    Attributes
    ----------
    gpu : int32[n]
        Number in `agent.traces.foreign.gpus.Gpus`.
    time_us : int64[n]
    counter_mj, energy_uj, pid : int64[n]
        The driver's energy counter; energies of a column of which `agent.traces.foreign.energies` finds out whether
        they are a counter, or each of the interval before its row.
    power_mw, instant_mw, util_ppm : int32[n]
        Board power (int64 if it is that of loads), instant power beside it, and utilisation in millionths (of the
        process, where ``pid`` is known).
    """

    gpu: NDArray[np.int32]
    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    counter_mj: NDArray[np.int64]
    instant_mw: NDArray[np.int32]
    util_ppm: NDArray[np.int32]
    pid: NDArray[np.int64]
    energy_uj: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        gpu: NDArray[np.integer],
        time_us: NDArray[np.int64],
        *,
        power_mw: NDArray[np.integer] | None = None,
        counter_mj: NDArray[np.int64] | None = None,
        instant_mw: NDArray[np.integer] | None = None,
        util_ppm: NDArray[np.integer] | None = None,
        pid: NDArray[np.int64] | None = None,
        energy_uj: NDArray[np.int64] | None = None,
        load: bool = False,
    ) -> Rows:
        """Build rows; columns left out are missing.

        A power above what int32 holds is kept as the largest; unless it is a ``load``'s, which may be of any size.
        """

        def small(values: NDArray[np.integer] | None) -> NDArray[np.int32]:
            if values is None:
                return np.empty(0, np.int32)
            if values.max(initial=0) > _LARGEST_MW:
                values = np.minimum(values, _LARGEST_MW)
            return values.astype(np.int32)

        power_of_load: NDArray[Any] | None = power_mw if load else None
        none = np.empty(0, np.int64)
        return cls(
            gpu.astype(np.int32, copy=False),
            time_us,
            power_of_load if power_of_load is not None else small(power_mw),
            none if counter_mj is None else counter_mj,
            small(instant_mw),
            small(util_ppm),
            none if pid is None else pid,
            none if energy_uj is None else energy_uj,
        )

    def __len__(self) -> int:
        return self.time_us.size

    @property
    def is_mere_power(self) -> bool:
        """Whether a column of powers, none of a load, is all that there is."""
        others = (self.counter_mj, self.instant_mw, self.util_ppm, self.pid, self.energy_uj)
        of_gpus = self.power_mw.size == len(self) and self.power_mw.dtype == np.int32
        return of_gpus and not any(column.size for column in others)

    def filled(self, name: str) -> NDArray[Any]:
        """Return a column with -1 in every row if no row has a reading of it."""
        column: NDArray[Any] = getattr(self, name)
        return column if column.size == len(self) else np.full(len(self), MISSING, column.dtype)

    def has(self, name: str) -> NDArray[np.bool_]:
        """Return which rows have a reading of ``name``."""
        column: NDArray[Any] = getattr(self, name)
        found: NDArray[np.bool_] = column >= 0 if column.size == len(self) else np.zeros(len(self), bool)
        return found

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows have any reading, or name a process."""
        if self.power_mw.size and int(self.power_mw.min()) >= 0:
            return np.ones(len(self), bool)
        return (
            self.has("power_mw")
            | self.has("counter_mj")
            | self.has("instant_mw")
            | self.has("pid")
            | self.has("energy_uj")
        )

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Rows:
        """Select rows."""
        columns = (getattr(self, name) for name in Rows.__slots__)
        return Rows(*(column[index] if column.size else column for column in columns))

    @staticmethod
    def join(parts: list[Rows], room: RoomForRows | None = None) -> Rows:
        """Put blocks one after the other; in a room, if there is one, that none of them lies in."""
        parts = [part for part in parts if len(part)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        return Rows(*(_joined(name, parts, room) for name in Rows.__slots__))


class RoomForRows:
    """Memory in which rows are joined again and again: new memory takes longer to get than rows to copy."""

    def __init__(self) -> None:
        self._columns: dict[str, NDArray[Any]] = {}

    def column(self, name: str, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for a column; what was given before is overwritten."""
        had = self._columns.get(name)
        if had is None or had.size < size or had.dtype != dtype:
            had = self._columns[name] = np.empty(size + size // 4, dtype)
        return had[:size]


def _joined(name: str, parts: list[Rows], room: RoomForRows | None) -> NDArray[Any]:
    columns: list[NDArray[Any]] = [getattr(part, name) for part in parts]
    if not any(column.size for column in columns):
        return columns[0]
    filled = [part.filled(name) for part in parts]
    if room is None:
        return np.concatenate(filled)
    return np.concatenate(filled, out=room.column(name, sum(map(len, parts)), np.result_type(*filled)))
