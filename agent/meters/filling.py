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


class Rooms:
    """How many entries each list has needed so far."""

    def __init__(self) -> None:
        self._room: dict[str, int] = {}

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
        room = self._room.get(name, ROOM)
        while True:
            count, entries = ctypes.c_uint(room), ctypes.create_string_buffer(entry.size * room)
            try:
                call(count, entries)
            except MeterError as error:
                if error.code != INSUFFICIENT_SIZE or room >= MOST_ROOM:
                    raise
                # A driver that does not say how much it needs is given twice as much.
                room = min(MOST_ROOM, max(count.value + SPARE, 2 * room))
                continue
            if count.value >= room:
                if not entries.raw.strip(b"\0"):
                    return []  # nothing was written: what looks like a full list is the room that was given
                if room < MOST_ROOM:
                    room *= 2  # full to the last place: there may have been more
                    continue
            self._room[name] = room
            return list(entry.iter_unpack(memoryview(entries)[: entry.size * min(count.value, room)]))
