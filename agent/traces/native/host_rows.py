"""What meters of the host said, as texts of a native trace: a column of lists costs each window a hundred bytes.

The meters are a definition, written when they change; the readings of a window refer to it by its CRC-32.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from wattshed.agent.window.host_meters import MOST, HostMeter, HostReadings

if TYPE_CHECKING:
    from wattshed.agent.window import Window


def text_of_meters(meters: tuple[HostMeter, ...]) -> str:
    """JSON of the meters; keys as in `HostMeter`."""
    return json.dumps([meter.plain for meter in meters], separators=(",", ":"))


def meters_from_text(text: str) -> tuple[HostMeter, ...]:
    """Inverse of `text_of_meters`; keys of a later version are left out, missing ones take their default.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        It is another thing.
    """
    return tuple(map(HostMeter.of_plain, json.loads(text)))


def text_of_readings(window: Window, meters_id: int) -> str | None:
    """JSON of a window's readings: ``[id, [[meter, us, value, us, value, ...], ...], [[name, reason, count], ...]]``.

    Times are microseconds from the window's start. None without any reading.
    """
    beside = window.beside
    if not len(beside.time_us) and not beside.rejected:
        return None
    times, values = (beside.time_us - window.start_us).tolist(), beside.value.tolist()
    bounds = beside.offsets.tolist()
    rows = [
        [place, *(number for row in range(begin, end) for number in (times[row], values[row]))]
        for place, (begin, end) in enumerate(pairwise(bounds))
        if end > begin
    ]
    return json.dumps([meters_id, rows, beside.rejected], separators=(",", ":"))


def id_in_readings(text: str) -> int:
    """Return which definition of meters the readings refer to.

    Raises
    ------
    ValueError, TypeError, LookupError
        It is another thing.
    """
    return int(text[1 : text.index(",")])


def readings_from_text(text: str, meters: tuple[HostMeter, ...], start_us: int) -> HostReadings:
    """Inverse of `text_of_readings`.

    Raises
    ------
    ValueError, TypeError
        It is another thing.
    """
    found: list[tuple[int, int, int]] = []
    _, rows, rejected = json.loads(text)
    last = -1
    for place, *numbers in rows:
        if any(type(number) is not int or not -MOST < number < MOST for number in (place, *numbers)):
            raise ValueError("a reading is malformed")
        if not last < place < len(meters) or len(numbers) % 2:
            raise ValueError("a reading is of no meter")
        last, times = place, numbers[::2]
        if sorted(times) != times:
            raise ValueError("readings are not in the order of time")
        found += [(place, start_us + at, value) for at, value in zip(times, numbers[1::2], strict=True)]
    counts = tuple((name, reason, count) for name, reason, count in rejected)
    if any(tuple(map(type, one)) != (str, str, int) for one in counts):
        raise ValueError("a count of rejected readings is malformed")
    return HostReadings.of(meters, found, counts)
