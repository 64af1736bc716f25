"""Tables of text to whole numbers: where the cells of a block of lines are, and what a column of them says.

First an index of the whole block, sixty-four bytes a step, then one pass a column: from cell to cell each step would
wait for the one before (G. Langdale and D. Lemire, Parsing Gigabytes of JSON per Second, VLDB J. 28, 2019, do this for
JSON). A pass knows one way of writing its column, and ends at the first cell that is written otherwise: whoever called
reads that column of the block cell by cell, with the grammar that knows all ways.

Every pass takes ``data`` (uint8, `kernels.words.PAD` bytes behind the text), ``following`` and ``first`` as `index` and
`lay_out` make them, and the number of the column.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.entry import f64, i32, i64, kernel, u8, u32, u64, written
from wattshed.kernels.jit import jit
from wattshed.kernels.words import digits_of, load64, mask64, number_of, trailing_zeros

LINE_END = 1 << 31
"""Bit of a place that begins a line."""
PLACE = LINE_END - 1
WORDS_OF_A_STAMP = 4
MOST_TEXTS = 1 << 10
TEXT_SLOTS = 1 << 12
_SLOT_BITS = 12
_NEWLINE, _RETURN, _BLANK, _TAB, _POINT = 10, 13, 32, 9, 46
_DIGITS = 15  # so many are exact in a float64
_FULL, _ONE, _NONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1), np.uint64(0)
_NOT_DIGITS, _HIGH = np.uint64(0x7676767676767676), np.uint64(0x8080808080808080)
_MIX, _HALF, _ABOVE_SLOT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(64 - _SLOT_BITS)
_DAY_US = 86_400_000_000
_TENS = np.array([10**power for power in range(19)], np.int64)
_UNITS = np.array([10.0**power for power in range(_DIGITS + 1)])


@kernel(u8[:], i64, u8, written(u32[:]), returns=i64)
def index(data, size, delimiter, following):
    """Find where every cell of lines that end in a newline begins.

    ``following``: uint32, room for one number more than bytes; place 0 is for the first cell. What begins a line has
    the bit `LINE_END`. Returns how many places, or -1 where a carriage return ends no line.
    """
    following[0] = LINE_END
    count = 1
    begins = 0
    open_return = _NONE
    while begins < size:
        newlines = mask64(data, begins, np.uint8(_NEWLINE))
        returns = mask64(data, begins, np.uint8(_RETURN))
        marks = newlines | mask64(data, begins, delimiter)
        if size - begins < 64:
            within = (_ONE << np.uint64(size - begins)) - _ONE
            marks &= within
            newlines &= within
            returns &= within
        if ((returns << _ONE) | open_return) & ~newlines:
            return -1
        open_return = returns >> np.uint64(63)
        while marks:
            at = trailing_zeros(marks)
            is_end = (newlines >> np.uint64(at)) & _ONE
            following[count] = np.uint32(begins + at + 1) | np.uint32(is_end << np.uint64(31))
            count += 1
            marks &= marks - _ONE
        begins += 64
    return -1 if open_return else count


@kernel(u32[:], i64, i64, written(u32[:]), written(i32[:]), written(i64[:, :]), returns=i64)
def lay_out(following, count, columns, first, lines, others):
    """Part the lines into rows of exactly ``columns`` cells and others.

    ``first`` gets the place of each row's first cell, ``lines`` the number of its line, from 0; ``others`` gets begin,
    end and line number of each other line. Returns how many rows; what is no row is the rest of the lines.
    """
    rows = 0
    odd = 0
    line = 0
    place = 0
    while place < count - 1:
        last = place + 1
        while following[last] < LINE_END:
            last += 1
        if last - place == columns:
            first[rows] = place
            lines[rows] = line
            rows += 1
        else:
            others[odd, 0] = np.int64(following[place]) & PLACE
            others[odd, 1] = np.int64(following[last]) & PLACE
            others[odd, 2] = line
            odd += 1
        line += 1
        place = last
    return rows


@jit
def _cell(data, following, first, row, column):
    """Return where a cell begins and ends, without the blanks around it."""
    place = np.int64(first[row]) + column
    begin = np.int64(following[place]) & PLACE
    end = (np.int64(following[place + 1]) & PLACE) - 1
    while begin < end and (data[begin] == _BLANK or data[begin] == _TAB):
        begin += 1
    while end > begin and (data[end - 1] == _BLANK or data[end - 1] == _TAB or data[end - 1] == _RETURN):
        end -= 1
    return begin, end


@jit
def _decimal(data, begin):
    """Read a decimal number without a sign: its digits as a number, those behind the point, and where it ends.

    The end is ``begin`` where there is none, or more digits than are exact.
    """
    value = np.int64(0)
    digits = 0
    at = begin
    whole = 0
    point = False
    while True:
        word = load64(data, at)
        count = digits_of(word)
        if digits + count > _DIGITS:
            return value, 0, begin
        if count:
            value = value * _TENS[count] + number_of(word, count)
            digits += count
            at += count
        if count == 8:
            continue
        if point:
            break
        whole = digits
        if whole == 0 or data[at] != _POINT:
            return value, 0, at
        point = True
        at += 1
    return (value, digits - whole, at) if digits > whole else (value, 0, begin)


@kernel(u8[:], u32[:], u32[:], i64, i64, written(f64[:]), returns=i64)
def decimals(data, following, first, rows, column, out):
    """Read plain decimal numbers into float64, exactly as they are; returns how many rows were read."""
    for row in range(rows):
        begin, end = _cell(data, following, first, row, column)
        value, places, at = _decimal(data, begin)
        if at == begin or at != end:
            return row
        out[row] = np.float64(value) / _UNITS[places]
    return rows


@kernel(u8[:], u32[:], u32[:], i64, i64, u64, i64, f64, f64, written(i64[:]), returns=i64)
def quantities(data, following, first, rows, column, unit, unit_bytes, times, over, out):
    """Read numbers behind which, after a blank, one unit stands, or none, times a factor, rounded half to even.

    ``unit``: its bytes as a word; ``unit_bytes``: how many, up to 8. Returns how many rows were read.
    """
    unused = np.uint64(8 * (8 - unit_bytes))
    for row in range(rows):
        begin, end = _cell(data, following, first, row, column)
        value, places, at = _decimal(data, begin)
        if at == begin:
            return row
        if unit_bytes > 0:
            if data[at] != _BLANK or ((load64(data, at + 1) ^ unit) << unused) != _NONE:
                return row
            at += 1 + unit_bytes
        scaled = np.float64(value) / _UNITS[places] * times / over
        if at != end or scaled >= 2.0**62:
            return row
        out[row] = np.int64(np.rint(scaled))
    return rows


@jit
def _days(year, month, day):
    """Return the days since 1970 of a date; -1 of one that is in no calendar, as far as it goes."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 31
    if month in (4, 6, 9, 11):
        longest = 30
    elif month == 2:
        longest = 29 if leap else 28
    if year < 1970 or month < 1 or month > 12 or day < 1 or day > longest:
        return -1
    # Years begin in March, so that a leap day is the last one.
    shifted = year - (1 if month <= 2 else 0)
    day_of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719_468


@jit
def _wrong(word, shape, digits):
    """Return bits that are set where eight bytes are not those of a shape: digits where it has some, else its bytes."""
    apart = word ^ shape
    return (((apart + (_NOT_DIGITS & digits)) | apart) & (_HIGH & digits)) | (apart & ~digits)


@kernel(u8[:], u32[:], u32[:], i64, i64, u64[:, :], i64, i64, written(i64[:]), returns=i64)
def stamps(data, following, first, rows, column, shape, width, places, out):
    """Read ``2023/07/30 17:28:02.589`` into microseconds since 1970, where all cells have one shape.

    ``shape``: uint64[2, 4], the bytes, with 0 for a digit, and 255 for each digit; ``width`` of 19 to 32 bytes;
    ``places`` behind the point or comma. What stands behind is the same in all. Returns how many rows were read.
    """
    cut = _FULL >> np.uint64(8 * (-width % 8))
    third = cut if width <= 24 else _FULL
    fourth = cut if width > 24 else _NONE
    before0, before1, before2, before3 = _NONE, _NONE, _NONE, _NONE
    day0, day1 = _NONE, _NONE
    day_us = np.int64(-1)
    stamp_us = np.int64(0)
    for row in range(rows):
        begin, end = _cell(data, following, first, row, column)
        if end - begin != width:
            return row
        word0, word1 = load64(data, begin), load64(data, begin + 8)
        word2, word3 = load64(data, begin + 16) & third, load64(data, begin + 24) & fourth
        if (word0 ^ before0) | (word1 ^ before1) | (word2 ^ before2) | (word3 ^ before3):
            wrong = _wrong(word0, shape[0, 0], shape[1, 0]) | _wrong(word1, shape[0, 1], shape[1, 1])
            wrong |= _wrong(word2, shape[0, 2], shape[1, 2]) | _wrong(word3, shape[0, 3], shape[1, 3])
            if wrong != _NONE:
                return row
            if word0 != day0 or (word1 & np.uint64(0xFFFF)) != day1:
                days = _days(number_of(word0, 4), number_of(load64(data, begin + 5), 2), number_of(word1, 2))
                if days < 0:
                    return row
                day_us = days * _DAY_US
                day0, day1 = word0, word1 & np.uint64(0xFFFF)
            hour = number_of(load64(data, begin + 11), 2)
            minute, second = number_of(load64(data, begin + 14), 2), number_of(load64(data, begin + 17), 2)
            if hour > 23 or minute > 59 or second > 60:
                return row
            stamp_us = day_us + ((hour * 60 + minute) * 60 + second) * 1_000_000
            if places > 0:
                used = min(places, 6)
                stamp_us += number_of(load64(data, begin + 20), used) * _TENS[6 - used]
            before0, before1, before2, before3 = word0, word1, word2, word3
        out[row] = stamp_us
    return rows


@jit
def _same(data, begin, other, size):
    """Return whether two stretches of bytes are the same."""
    at = 0
    while at + 8 <= size:
        if load64(data, begin + at) != load64(data, other + at):
            return False
        at += 8
    unused = np.uint64(8 * (8 - (size - at)))
    return at == size or ((load64(data, begin + at) ^ load64(data, other + at)) << unused) == _NONE


@jit
def _slot(data, begin, size):
    """Return where in a table of `TEXT_SLOTS` a text is looked for first."""
    mixed = np.uint64(size)
    at = 0
    while at < size:
        word = load64(data, begin + at)
        if size - at < 8:
            word = word << np.uint64(8 * (8 - (size - at)))
        mixed = (mixed ^ word) * _MIX
        mixed = mixed ^ (mixed >> _HALF)
        at += 8
    return np.int64((mixed * _MIX) >> _ABOVE_SLOT)


@kernel(u8[:], u32[:], u32[:], i64, i64, written(i64[:, :]), written(i32[:]), written(i32[:]), returns=i64)
def texts(data, following, first, rows, column, found, slots, out):
    """Give the different texts of a column numbers, as they first appear; blanks around them do not count.

    ``found``: int64[`MOST_TEXTS`, 3] gets begin, end and the text that came next; ``slots``: int32[`TEXT_SLOTS`], all
    -1. A text is guessed to be what last followed the one above it: GPUs take turns. Returns how many there are, or -1
    where they are more than there is room for.
    """
    count = 0
    above = np.int64(-1)
    for row in range(rows):
        begin, end = _cell(data, following, first, row, column)
        size = end - begin
        number = found[above, 2] if above >= 0 else np.int64(-1)
        if number < 0 or found[number, 1] - found[number, 0] != size or not _same(data, begin, found[number, 0], size):
            slot = _slot(data, begin, size)
            number = np.int64(slots[slot])
            while number >= 0 and (
                found[number, 1] - found[number, 0] != size or not _same(data, begin, found[number, 0], size)
            ):
                slot = (slot + 1) % TEXT_SLOTS
                number = np.int64(slots[slot])
            if number < 0:
                if count == MOST_TEXTS:
                    return -1
                number = np.int64(count)
                found[number, 0], found[number, 1], found[number, 2] = begin, end, -1
                slots[slot] = number
                count += 1
            if above >= 0:
                found[above, 2] = number
        out[row] = number
        above = number
    return count


@kernel(u8[:], u32[:], u32[:], i64, i64, written(i32[:]), written(u8[:]))
def gather(data, following, first, rows, column, offsets, out):
    """Put the cells of a column one after the other, as they are: ``offsets`` int32[rows + 1]."""
    at = 0
    offsets[0] = 0
    for row in range(rows):
        place = np.int64(first[row]) + column
        begin = np.int64(following[place]) & PLACE
        end = (np.int64(following[place + 1]) & PLACE) - 1
        if end > begin and data[end - 1] == _RETURN:
            end -= 1
        for byte in range(begin, end):
            out[at] = data[byte]
            at += 1
        offsets[row + 1] = at
