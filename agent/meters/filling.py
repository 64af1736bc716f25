"""Lists that the driver fills into our memory: asked once with room to spare, and again only if that was too small.

The documented way is to ask twice, first for the count and then for the entries. Whatever arrives in between makes the
second answer "insufficient size" (7), and the list is lost. It is also one call too many, some drivers answer the first
question with a constant (100, or 4,096), and others with success and no count at all. So there is no first question.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from wattshed.agent.meters.errors import INSUFFICIENT_SIZE, MeterError

if TYPE_CHECKING:
    import struct
    from collections.abc import Callable

ROOM = 1024  # entries; a list that needs more is given more from then on
MOST_ROOM = 1 << 16
SPARE = 5  # beyond what the driver said to need: more may come before we ask again


class _Room:
    """A count and a buffer that are used again and again: blank before every call, so that what is there was told."""

    __slots__ = ("count", "entries", "entry", "places")

    def __init__(self, entry: struct.Struct, places: int) -> None:
        self.entry, self.places = entry, places
        self.count, self.entries = ctypes.c_uint(), ctypes.create_string_buffer(entry.size * places)

    def told(self) -> list[tuple[Any, ...]]:
        """Return as many entries as the count says."""
        size = self.entry.size * min(self.count.value, self.places)
        return list(self.entry.iter_unpack(memoryview(self.entries)[:size])) if size else []

    def clear(self) -> None:
        """Offer all of it, blank: a driver may have written behind what it counted, of another GPU."""
        self.count.value = self.places
        ctypes.memset(self.entries, 0, self.entry.size * self.places)


class Rooms:
    """The room that each list has needed so far; for one thread."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}

    def fill(
        self, name: str, entry: struct.Struct, call: Callable[[ctypes.c_uint, ctypes.Array[ctypes.c_char]], None]
    ) -> list[tuple[Any, ...]]:
        """Ask for a list until it fits.

        Parameters
        ----------
        name : str
            Of the call: what it needed before it gets at once.
        entry : struct.Struct
            Layout of one entry.
        call : callable
            Makes the call with a count, which holds the room and afterwards the number of entries, and a buffer.

        Returns
        -------
        list of tuple
            The entries as the layout has them.

        Raises
        ------
        MeterError
            The driver refuses, or needs ever more room than it says.
        """
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room(entry, ROOM)
        while True:
            room.clear()
            try:
                call(room.count, room.entries)
            except MeterError as error:
                if error.code != INSUFFICIENT_SIZE or room.places >= MOST_ROOM:
                    raise
                # A driver that does not say how much it needs is given twice as much.
                room = _Room(entry, min(MOST_ROOM, max(room.count.value + SPARE, 2 * room.places)))
                continue
            if room.count.value >= room.places:
                if not room.entries.raw.strip(b"\0"):
                    return []  # nothing was written: what looks like a full list is the room that was given
                if room.places < MOST_ROOM:
                    room = _Room(entry, room.places * 2)  # full to the last place: there may have been more
                    continue
            self._rooms[name] = room
            return room.told()
