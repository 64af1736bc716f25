"""Lists that grow between two questions, that are longer than the room, and counts that say nothing."""

import ctypes
import struct

import pytest

from wattshed.agent.meters.errors import INSUFFICIENT_SIZE, MeterError
from wattshed.agent.meters.filling import MOST_ROOM, ROOM, Rooms

NUMBER = struct.Struct("<I")


class Library:
    """Answers ``lists`` one after the other, as far as there is room."""

    def __init__(self, *lists, says=None):
        self.lists, self.says, self.rooms = list(lists), says, []

    def call(self, count, at):
        self.rooms.append(count.value)
        numbers = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        room, count.value = count.value, len(numbers) if self.says is None else self.says
        if room < len(numbers):
            raise MeterError("list", INSUFFICIENT_SIZE)
        ctypes.memmove(at, struct.pack(f"<{len(numbers)}I", *numbers), 4 * len(numbers))


def test_one_call_is_enough_and_what_comes_meanwhile_has_room():
    library, rooms = Library(range(3), range(4)), Rooms()
    assert rooms.fill("list", NUMBER, library.call) == [(0,), (1,), (2,)]
    assert len(rooms.fill("list", NUMBER, library.call)) == 4
    assert len(library.rooms) == 2


def test_a_list_that_grows_while_it_is_asked_for_is_asked_for_until_it_fits():
    library, rooms = Library(range(ROOM + 1), range(ROOM * 3), range(ROOM * 3 + 2)), Rooms()
    assert len(rooms.fill("list", NUMBER, library.call)) == ROOM * 3 + 2
    library.rooms.clear()
    assert len(rooms.fill("list", NUMBER, library.call)) == ROOM * 3 + 2
    assert len(library.rooms) == 1  # what it needed before it is given at once


@pytest.mark.parametrize("says", [0, 7, 100])
def test_a_library_that_does_not_say_how_much_it_needs_is_given_twice_as_much(says):
    library = Library(range(ROOM * 5), says=says)
    assert len(Rooms().fill("list", NUMBER, library.call)) == says
    assert library.rooms == [ROOM, 2 * ROOM, 4 * ROOM, 8 * ROOM]


def test_a_full_buffer_may_have_been_cut():
    library = Library(range(ROOM))
    assert len(Rooms().fill("list", NUMBER, library.call)) == ROOM
    assert library.rooms == [ROOM, 2 * ROOM]


def test_success_without_an_entry_is_an_empty_list_however_large_the_count():
    """A driver that answers success and writes nothing leaves the count as it was, which is the room."""
    library = Library([], says=ROOM)
    rooms = Rooms()
    assert rooms.fill("list", NUMBER, library.call) == []
    library.lists, library.says = [range(1, 4)], None
    assert rooms.fill("list", NUMBER, library.call) == [(1,), (2,), (3,)]
    assert library.rooms == [ROOM, ROOM], "no room is made for entries that there are not"


def test_what_was_written_behind_the_count_is_told_of_nobody_else():
    """One room is used for the lists of all GPUs."""
    library, rooms = Library(range(1, 7), [], says=2), Rooms()
    assert rooms.fill("list", NUMBER, library.call) == [(1,), (2,)]
    library.says = 4
    assert rooms.fill("list", NUMBER, library.call) == [(0,)] * 4


def test_a_library_that_is_never_satisfied_is_given_up():
    library = Library(range(MOST_ROOM + 1))
    with pytest.raises(MeterError) as refused:
        Rooms().fill("list", NUMBER, library.call)
    assert refused.value.code == INSUFFICIENT_SIZE
    assert library.rooms[-1] == MOST_ROOM


def test_other_refusals_are_the_callers():
    def call(count, at):
        raise MeterError("list", 6)

    with pytest.raises(MeterError) as refused:
        Rooms().fill("list", NUMBER, call)
    assert refused.value.code == 6
