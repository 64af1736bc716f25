"""How the stamps of an hour or so are written: all but the digits that change is the same in each of them.

Stamps are read by whoever knows the grammar, one of each form; the others of that form are as far from it as their
digits say, and `kernels.word_rows` reads these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.word_rows import FIRST, OVER, PLACES, TIMES, WHOLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CLOCK = re.compile(r"(?<![\d:])\d{1,2}:(?P<whole>\d\d:\d\d)(?:[.,](?P<places>\d{1,9}))?(?![\d:])")
_NUMBER = re.compile(r"(?<!\d)(?:\d{10}(?:[.,](?P<places>\d{1,9}))?|\d{13}|\d{16}|\d{19})(?!\d)")
_CHANGING = {10: 4, 13: 7, 16: 10, 19: 13}  # digits of a number that change within some hours
_UNIT_PLACES = {10: 0, 13: 3, 16: 6, 19: 9}
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class StampForm:
    """The form of a stamp.

    Attributes
    ----------
    text : str
        One that has it, with what stands around it and is always the same.
    numbers : tuple of int
        As `kernels.word_rows` wants them.
    base_us : int, us
        The time of a stamp of this form with zeros for all digits that change.
    naive : bool
        Whether it is local.
    """

    text: str
    numbers: tuple[int, ...]
    base_us: int
    naive: bool

    @property
    def as_bytes(self) -> NDArray[np.uint8]:
        """The text: uint8[n]."""
        return np.frombuffer(self.text.encode("ascii"), np.uint8)


def form_of(text: str, stamp: tuple[int, bool], *, is_number: bool, column: int = 0) -> StampForm | None:
    """Return the form of a stamp that was read.

    Parameters
    ----------
    text : str
        It, and what stands around it.
    stamp : (int, bool)
        Its microseconds, and whether they are local.
    is_number : bool
        It counts from 1970; else it has a clock.
    column : int
        Where it stands in a row.

    Returns
    -------
    StampForm or None
        None if it is of a form that is not known.
    """
    match = (_NUMBER if is_number else _CLOCK).search(text)
    if match is None or not text.isascii() or len(text) > _LONGEST:
        return None
    places = len(match["places"] or "")
    if is_number:
        digits = len(match[0]) - (places + 1 if places else 0)
        whole, first = _CHANGING[digits], match.start() + digits - _CHANGING[digits]
        scale = places + _UNIT_PLACES[digits]
        value = int(match[0].replace(",", ".").replace(".", "")[digits - whole :])
    else:
        whole, first, scale = 0, match.start("whole"), places
        minute, second = map(int, match["whole"].split(":"))
        if minute > 59 or second > 59:
            return None
        value = int(f"{minute * 60 + second}{match['places'] or ''}")
    times, over = 10 ** max(6 - scale, 0), 10 ** max(scale - 6, 0)
    numbers = [len(text), 0, 0, 0, 0, 0, column]
    # What stands behind the microsecond is dropped from a clock, as its reader does, and rounded in a number.
    numbers[FIRST], numbers[WHOLE], numbers[PLACES], numbers[TIMES], numbers[OVER] = (
        first, whole, places, times, over if is_number else -over,
    )  # fmt: skip
    since = _rounded(value * times, over) if is_number else value * times // over
    return StampForm(text, tuple(numbers), stamp[0] - since, stamp[1])


def _rounded(value: int, over: int) -> int:
    whole, rest = divmod(value, over)
    return whole + (2 * rest > over or (2 * rest == over and whole % 2 == 1))
