"""Rows of words to whole numbers: what monitors print, line by line, with what stands before each line.

Lines of words have no cells to be found beforehand: one pass goes over all bytes. It knows one way of writing rows, the
one that was learned from rows above, and ends at the first line that it does not know for certain: whoever called reads
that line with the grammar that knows all ways, and learns from it.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.entry import i32, i64, kernel, u8, written
from wattshed.kernels.jit import jit

DASH, NOT_AVAILABLE = -1, -2
"""Stand for a word that says that there is no reading: ``-`` and ``N/A``."""
WIDTH, FIRST, WHOLE, PLACES, TIMES, OVER, COLUMN = range(7)
"""What a stamp's form is made of: bytes of its text, the place of the first digit that changes, how many of these stand
before the point (0: they are ``mm:ss``) and behind it, by what they are multiplied and divided to be microseconds
(below zero: the rest is dropped, else rounded), and the column in which it begins."""
POSITION, LINES, LAST = range(3)
"""What is told of where a pass ended: the byte, how many lines were read, and where the last of them begins."""
LARGEST_INDEX = 1023

_TAB, _NEWLINE, _RETURN, _BLANK, _HASH, _COMMA, _MINUS, _POINT, _SLASH, _ZERO, _NINE, _COLON, _A, _N = (
    b"\t\n\r #,-./09:AN"
)
_LAST_LETTER = 126
_UNKNOWN = -3
_DIGITS = 14  # times the largest factor, 10,000, they are an int64
_LONGEST_NAME = 10
_TENS = np.array([10**power for power in range(19)], np.int64)


@jit
def _half_even(value, times, over):
    """Return ``value * times / over``, rounded half to even."""
    scaled = value * times
    whole, rest = scaled // over, scaled % over
    if 2 * rest > over or (2 * rest == over and whole % 2 == 1):
        whole += 1
    return whole


@jit
def _digits(data, begin, count):
    """Read ``count`` digits: int64, -1 where other bytes stand."""
    value = np.int64(0)
    for at in range(begin, begin + count):
        if data[at] < _ZERO or data[at] > _NINE:
            return np.int64(-1)
        value = value * 10 + np.int64(data[at]) - _ZERO
    return value


@jit
def _same(data, begin, text, at, upto):
    """Return whether bytes of a stamp are those of a text, from one place up to another."""
    while at < upto and data[begin + at] == text[at]:
        at += 1
    return at == upto


@jit
def _ticked(data, begin, form, text):
    """Read how far a stamp is from the one with zeros for the digits that change: us, or -1 if it is of another form.

    It is of that form if all other bytes of it are the same. None is looked at behind one that is not, so that no line
    is read beyond its end.
    """
    first, whole, places = form[FIRST], form[WHOLE], form[PLACES]
    if not _same(data, begin, text, np.int64(0), first):
        return np.int64(-1)
    behind = first + (whole if whole > 0 else np.int64(5))
    if whole > 0:
        value = _digits(data, begin + first, whole)
    else:
        minute = _digits(data, begin + first, 2)
        if minute < 0 or minute > 59 or data[begin + first + 2] != _COLON:
            return np.int64(-1)
        second = _digits(data, begin + first + 3, 2)
        value = minute * 60 + second if 0 <= second < 60 else np.int64(-1)
    if value < 0:
        return np.int64(-1)
    if places > 0:
        fraction = _digits(data, begin + behind + 1, places) if data[begin + behind] == text[behind] else np.int64(-1)
        if fraction < 0:
            return np.int64(-1)
        value = value * _TENS[places] + fraction
        behind += places + 1
    if not _same(data, begin, text, behind, form[WIDTH]):
        return np.int64(-1)
    over = form[OVER]
    return _half_even(value, form[TIMES], over) if over > 0 else value * form[TIMES] // -over


@jit
def _amount(data, begin, end, factor):
    """Read a word as a number times a factor; factor 0 is of whole numbers that name something."""
    size = end - begin
    if size == 1 and data[begin] == _MINUS:
        return np.int64(DASH)
    if size == 3 and data[begin] == _N and data[begin + 1] == _SLASH and data[begin + 2] == _A and factor > 0:
        return np.int64(NOT_AVAILABLE)
    value = np.int64(0)
    digits, places = 0, -1
    for at in range(begin, end):
        byte = data[at]
        if byte == _POINT and places < 0 < digits and factor > 0:
            places = 0
        elif byte < _ZERO or byte > _NINE or digits == _DIGITS:
            return np.int64(_UNKNOWN)
        else:
            value = value * 10 + np.int64(byte) - _ZERO
            digits += 1
            if places >= 0:
                places += 1
    if digits == 0 or places == 0:
        return np.int64(_UNKNOWN)
    if factor == 0:
        padded = data[begin] == _ZERO and digits > 1
        return np.int64(_UNKNOWN) if padded or digits > _LONGEST_NAME else value
    return _half_even(value, factor, _TENS[max(places, 0)])


@jit
def _is_blank(byte):
    return byte in (_BLANK, _TAB)


@jit
def _is_end(data, at):
    """Return whether a line ends here."""
    return data[at] == _NEWLINE or (data[at] == _RETURN and data[at + 1] == _NEWLINE)


@jit
def _known_line(data, begin, comments, lengths):
    """Return the end of a line that is one of those that are known, -1 of another one."""
    end = np.int64(begin)
    while not _is_end(data, end):
        end += 1
    size = end - begin
    while size > 0 and _is_blank(data[begin + size - 1]):
        size -= 1
    for which in range(lengths.size):
        if lengths[which] == size and _same(data, begin, comments[which], np.int64(0), size):
            return end
    return np.int64(-1)


@jit
def _word(data, begin, separator):
    """Find where a word ends, or what stands before the next comma; -1 where a byte is no letter."""
    at = begin
    while True:
        byte = data[at]
        if byte in (_NEWLINE, _RETURN, _COMMA) or (separator != _COMMA and _is_blank(byte)):
            break
        if (byte < _BLANK and byte != _TAB) or byte > _LAST_LETTER:
            return np.int64(-1)
        at += 1
    return np.int64(at)


@jit
def _row(data, begin, separator, ahead, layout, forms, texts, out):
    """Read the words of a row; returns the end of the line, or -1 where something is not as in the rows above.

    ``layout``: int64[2, columns], to which number of ``out`` each column goes (-1: none), and its factor. ``out[0]`` is
    the time where a column says it.
    """
    at = np.int64(begin)
    if ahead > 0:
        if not (_same(data, at, texts[2], np.int64(0), ahead) and _is_blank(data[at + ahead])):
            return np.int64(-1)
        at += ahead
        while _is_blank(data[at]):
            at += 1
    column = 0
    columns = layout.shape[1]
    while not _is_end(data, at):
        if column == forms[1, COLUMN] and forms[1, WIDTH] > 0:
            out[0] = _ticked(data, at, forms[1], texts[1])
            behind = at + forms[1, WIDTH]
            if out[0] < 0 or not (_is_blank(data[behind]) or data[behind] == _COMMA or _is_end(data, behind)):
                return np.int64(-1)
        end = _word(data, at, separator)
        if (
            end < 0
            or (separator != _COMMA and data[end] == _COMMA)
            or (forms[0, WIDTH] > 0 and data[end - 1] == _COLON)
        ):
            return np.int64(-1)
        following = end
        while end > at and _is_blank(data[end - 1]):
            end -= 1
        if column < columns and layout[0, column] >= 0:
            value = _amount(data, at, end, layout[1, column])
            if value == _UNKNOWN:
                return np.int64(-1)
            out[layout[0, column]] = value
        column += 1
        at = following
        is_comma = data[at] == _COMMA
        at += 1 if is_comma else 0
        while _is_blank(data[at]):
            at += 1
        if is_comma and _is_end(data, at):  # nothing behind the last comma is a cell, too
            if column < columns and layout[0, column] >= 0:
                return np.int64(-1)
            column += 1
        if data[at] == _RETURN and not _is_end(data, at):
            return np.int64(-1)
    return np.int64(at) if column >= columns else np.int64(-1)


@kernel(
    u8[:], i64, i64, u8, i64, i64[:, :], i64[:, :], u8[:, :], u8[:, :], i64[:],
    written(i64[:, :]), written(i32[:]), written(i64[:]), returns=i64,
)  # fmt: skip
def word_rows(data, begin, size, separator, ahead, layout, forms, texts, comments, lengths, values, lines, reached):
    """Read the rows of lines that end in a newline, as far as they are all written in one way.

    Parameters
    ----------
    data : uint8[size + PAD]
    begin, size : int
        The first byte, and how many there are.
    separator : uint8
        A comma, or a blank for any blanks.
    ahead : int
        Bytes of the word that stands before the first column (``GPU``), 0 for none.
    layout : int64[2, columns]
        See `_row`; the first number of each row is a GPU's index, the last of them may be left out.
    forms : int64[2, 7]
        Of the stamp before each line, and of that in its columns; a width of 0: none.
    texts : uint8[3, any]
        One such stamp of each form, and the word that stands before the first column.
    comments, lengths : uint8[n, any], int64[n]
        Lines that say nothing, or nothing new.
    values : int64[rows, numbers + 1]
        Gets the time since the hour, or whatever `_ticked` counts from, and the numbers of each row, or why there is
        none; as many rows are read at most.
    lines : int32[rows]
        Gets the line of each row, from 0.
    reached : int64[3]
        Gets where the pass ended: see `POSITION`.

    Returns
    -------
    int
        Rows.
    """
    at = np.int64(begin)
    rows = 0
    line = 0
    last = np.int64(begin)
    while at < size and rows < lines.size:
        word = at
        tick = np.int64(0)
        if forms[0, WIDTH] > 0:
            tick = _ticked(data, at, forms[0], texts[0])
            if tick < 0:
                break
            word += forms[0, WIDTH]
            if not (_is_blank(data[word]) or _is_end(data, word)):
                break
        while _is_blank(data[word]):
            word += 1
        if _is_end(data, word):
            end = np.int64(word)
        elif data[word] == _HASH:
            end = _known_line(data, word, comments, lengths)
        else:
            end = _row(data, word, separator, ahead, layout, forms, texts, values[rows])
            if end >= 0 and 0 <= values[rows, 1] <= LARGEST_INDEX:
                if forms[0, WIDTH] > 0 and forms[1, WIDTH] == 0:
                    values[rows, 0] = tick
                lines[rows] = line
                rows += 1
            else:
                end = _known_line(data, word, comments, lengths)
        if end < 0:
            break
        last = at
        line += 1
        at = end + (2 if data[end] == _RETURN else 1)
    reached[POSITION], reached[LINES], reached[LAST] = at, line, last
    return rows


@kernel(i64[:], i64, written(i64[:]), written(i64[:]), returns=i64)
def count_rounds(index, count, last, out):
    """Count the rounds of rows without times: where a GPU comes again, a new one has begun.

    Parameters
    ----------
    index : int64[n]
        The GPU of each row, up to `LARGEST_INDEX`.
    count : int
        The round of the row above, -1 before the first.
    last : int64[LARGEST_INDEX + 1]
        In which round each GPU was there last, -1 if never.
    out : int64[n]
        Gets the round of each row, from 0.

    Returns
    -------
    int
        The round of the last row.
    """
    for row in range(index.size):
        gpu = index[row]
        if count < 0 or last[gpu] == count:
            count += 1
        last[gpu] = count
        out[row] = count
    return count
