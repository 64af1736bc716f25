"""Where the columns of a stream's record batches lie: a directory of Arrow messages, read from their metadata.

An Arrow library makes a dozen objects a column to hand out one row; a recording has a message a second and twenty-five
columns. Here a million messages are looked through in a second, and only what is used is touched. Every position is
checked to lie inside its message, for this runs before it is known whether the message is damaged.

Message framing and tables: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format and
``format/Message.fbs``; tables, vtables and vectors: https://flatbuffers.dev/internals/
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.entry import i64, kernel, u8, written
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NUMBER, TEXT, NUMBERS, TEXTS, BYTES = range(5)
"""Kinds of columns: one number a row, one text, a list of numbers, the offsets of a list of texts, and a whole buffer
(its position is that of the buffer itself)."""
START, LENGTH, MARK, READABLE, SAME_HOST, PLACES = range(6)
"""Columns of a directory; from `PLACES` on, a position and a count for each column of the batch, in bytes and items.

A position of -1 is null. `READABLE` is 0 where a message is none of the expected form, or lacks a number; then
there are no places.
`MARK` is where the digits of the checksum begin, -1 if there are none.
"""
_LARGEST_METADATA = 1 << 20
_RECORD_BATCH = 3  # of the union MessageHeader
_NODE = _BUFFER = 16  # bytes of the structs FieldNode and Buffer
_MARK_TEXT = np.frombuffer(b"crc32=", np.uint8)


class BatchLayout(NamedTuple):
    """How a schema's columns are spread over the nodes and buffers of a batch.

    Attributes
    ----------
    node, buffer : int64[c]
        First node and first buffer of each wanted column; -1 for one that the schema lacks.
    kind : int64[c]
        `NUMBER`, `TEXT`, `NUMBERS`, `TEXTS` or `BYTES`.
    size : int64[c], bytes
        Of a number; 1 for texts.
    """

    node: NDArray[np.int64]
    buffer: NDArray[np.int64]
    kind: NDArray[np.int64]
    size: NDArray[np.int64]


@jit
def _u16(data, at):
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@jit
def _i32(data, at):
    value = _u16(data, at) | _u16(data, at + 2) << 16
    return value - (1 << 32) if value >= 1 << 31 else value


@jit
def _i64(data, at):
    return (_i32(data, at) & 0xFFFFFFFF) | _i32(data, at + 4) << 32


@jit
def _field(data, table, number, lo, hi):
    """Where the table at ``table`` holds its field, -1 where it has its default or lies outside ``lo:hi``."""
    if table < lo or table + 4 > hi:
        return -1
    vtable = table - _i32(data, table)
    slot = vtable + 4 + 2 * number
    if vtable < lo or vtable + 4 > hi or slot + 2 > vtable + _u16(data, vtable) or slot + 2 > hi:
        return -1
    offset = _u16(data, slot)
    return table + offset if offset and table + offset + 8 <= hi else -1


@jit
def _follow(data, at, lo, hi):
    """Where the offset at ``at`` leads, -1 if outside."""
    if at < lo or at + 4 > hi:
        return -1
    target = at + (_i32(data, at) & 0xFFFFFFFF)
    return target if lo <= target and target + 4 <= hi else -1


@jit
def _places(data, header, lo, hi, end, node, buffer, kind, size, row):
    """Fill the places of one batch; False if it is of another form. Metadata is ``lo:hi``, the body ``hi:end``."""
    if hi % 8:
        return False
    length = _field(data, header, 0, lo, hi)
    nodes = _follow(data, _field(data, header, 1, lo, hi), lo, hi)
    buffers = _follow(data, _field(data, header, 2, lo, hi), lo, hi)
    if length < 0 or _i64(data, length) != 1 or nodes < 0 or buffers < 0 or _field(data, header, 3, lo, hi) >= 0:
        return False
    node_count, buffer_count = _i32(data, nodes), _i32(data, buffers)
    nodes += 4
    buffers += 4
    if not 0 <= node_count <= (hi - nodes) // _NODE or not 0 <= buffer_count <= (hi - buffers) // _BUFFER:
        return False
    for c in range(len(node)):
        row[PLACES + 2 * c], row[PLACES + 2 * c + 1] = -1, 0
        if node[c] < 0:
            if kind[c] == NUMBER:
                return False
            continue
        lists = kind[c] >= NUMBERS
        if kind[c] == BYTES and buffer[c] < buffer_count:
            spot = _buffer(data, buffers + _BUFFER * buffer[c], hi, end, 0)
            row[PLACES + 2 * c], row[PLACES + 2 * c + 1] = spot, _i64(data, buffers + _BUFFER * buffer[c] + 8)
            if spot < 0:
                return False
            continue
        # A column of kind 0, 1, 2, ... has so many buffers behind its first two.
        if node[c] + (1 if lists else 0) >= node_count or buffer[c] + kind[c] + 1 >= buffer_count:
            return False
        own = nodes + _NODE * node[c]
        if _i64(data, own) != 1:
            return False
        if _i64(data, own + 8) != 0:  # null
            if kind[c] == NUMBER:
                return False
            continue
        number = buffer[c] + 1  # behind the bits of validity
        begin, count = np.int64(0), np.int64(1)
        depth = (1 if lists else 0) + (1 if kind[c] == TEXT else 0)
        if depth:
            spot = _buffer(data, buffers + _BUFFER * number, hi, end, 8)
            if spot < 0:
                return False
            begin, count = _i32(data, spot), _i32(data, spot + 4)
            if begin != 0 or count < 0:
                return False
            number += 2 if lists else 1
        if lists:
            item = own + _NODE
            if _i64(data, item) != count or _i64(data, item + 8) != 0:
                return False
        need = 4 * (count + 1) if kind[c] == TEXTS else size[c] * count
        if kind[c] == TEXTS and count == 0:
            need = np.int64(0)
        spot = _buffer(data, buffers + _BUFFER * number, hi, end, need)
        if spot < 0:
            return False
        row[PLACES + 2 * c], row[PLACES + 2 * c + 1] = spot, count
    return True


@jit
def _buffer(data, at, body, end, need):
    """Where a buffer of at least ``need`` bytes begins, -1 if it does not lie in the body, in step with its words."""
    offset, length = _i64(data, at), _i64(data, at + 8)
    if offset < 0 or length < need or length > end - body or offset > end - body - length or offset % 8:
        return -1
    return body + offset


@kernel(u8[:], i64, i64, i64[:], i64[:], i64[:], i64[:], u8[:], written(i64[:, :]), written(i64[:]), returns=i64)
def _look_through(data, at, stop, node, buffer, kind, size, mark_text, table, following):
    """Fill ``table`` message by message, and ``following`` with where the next one would begin; returns how many."""
    k = 0
    host = -1
    while k < len(table) and at < stop and at + 8 <= len(data):
        lo = at + 8
        metadata = _i32(data, at + 4)
        if _i32(data, at) != -1 or not 16 <= metadata <= _LARGEST_METADATA or metadata % 8 or lo + metadata > len(data):
            break
        hi = lo + metadata
        root = _follow(data, lo, lo, hi)
        body_length = _field(data, root, 3, lo, hi)
        body = _i64(data, body_length) if body_length >= 0 else np.int64(0)
        if root < 0 or not 0 <= body <= len(data) - hi:
            break
        row = table[k]
        row[START], row[LENGTH], row[MARK] = at, hi + body - at, -1
        for i in range(lo, hi - 13):  # six letters and eight digits
            if data[i] == mark_text[0]:
                same = 1
                while same < 6 and data[i + same] == mark_text[same]:
                    same += 1
                if same == 6:
                    row[MARK] = i + 6
                    break
        header_type = _field(data, root, 1, lo, hi)
        header = _follow(data, _field(data, root, 2, lo, hi), lo, hi)
        readable = (
            header_type >= 0
            and data[header_type] == _RECORD_BATCH
            and header >= 0
            and _places(data, header, lo, hi, hi + body, node, buffer, kind, size, row)
        )
        row[READABLE], row[SAME_HOST] = readable, 0
        if readable:
            spot, count = row[PLACES], row[PLACES + 1]
            if host >= 0 and table[host, PLACES + 1] == count and spot >= 0:
                first = table[host, PLACES]
                same = 0
                while same < count and data[first + same] == data[spot + same]:
                    same += 1
                row[SAME_HOST] = same == count
            host = k
        at = hi + body
        k += 1
    following[0] = at
    return k


def look_through(
    data: NDArray[np.uint8], at: int, stop: int, layout: BatchLayout, most: int
) -> tuple[NDArray[np.int64], int]:
    """Read the directory of a stretch of messages.

    Parameters
    ----------
    data : uint8[n]
        The whole stream.
    at : int
        Where the first message begins.
    stop : int
        No message that begins here or later is wanted.
    layout : BatchLayout
        Its first column must be the host's name.
    most : int
        Messages at once.

    Returns
    -------
    table : int64[k, PLACES + 2 c]
        A row a message, up to the first that cannot be framed.
    next : int
        Where that is, or where the next message begins.
    """
    table = np.empty((most, PLACES + 2 * len(layout.node)), np.int64)
    following = np.empty(1, np.int64)
    count = _look_through(data, at, stop, *layout, _MARK_TEXT, table, following)
    return table[:count], int(following[0])


def spread(columns: Sequence[tuple[int, int, int, int]]) -> BatchLayout:
    """Make a layout of rows (node, buffer, kind, size); (-1, -1, kind, size) for a column that is not there."""
    cells = np.array(columns, np.int64).reshape(-1, 4)
    return BatchLayout(*(np.ascontiguousarray(cells[:, i]) for i in range(4)))
