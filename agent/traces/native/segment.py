"""Segments of a native trace: an Arrow IPC stream whose every message is covered by a checksum.

Any Arrow library opens a segment: a schema message, then one message a window. Arrow itself has no checksum, so each
message carries ``crc32=XXXXXXXX`` in its custom metadata: CRC-32 (as in zlib, IEEE 802.3) of the schema message, then
of the whole message with these eight digits read as ``00000000``. Framing and the ``Message`` table:
https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wattshed.agent.traces.native.batch import SCHEMA, TEXT_LISTS, VERSION, Damaged, in_our_types
from wattshed.kernels import arrow_messages as messages
from wattshed.kernels.arrow_messages import BYTES, NUMBER, NUMBERS, TEXT, TEXTS
from wattshed.kernels.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + b"\0\0\0\0"
_MARK = b"crc32="
_LARGEST_METADATA = 1 << 20  # a message's metadata is under 4 KiB; a longer one is a damaged length
_CANDIDATES = 64  # places that are tried for a first intact message before the schema is given up


def _schema_message() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA):
        pass
    return bytes(sink.getvalue())[: -len(END_OF_STREAM)]


SCHEMA_MESSAGE = _schema_message()
"""What every segment of this version begins with, byte by byte."""


def message_of_batch(batch: Any, seq: int) -> bytes:
    """Frame one batch as an Arrow message that carries ``seq`` and its checksum."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_batch(batch, custom_metadata={"seq": str(seq), "check": "crc32=00000000"})
    message = bytearray(memoryview(sink.getvalue())[len(SCHEMA_MESSAGE) : -len(END_OF_STREAM)])
    at = message.index(_MARK) + len(_MARK)
    message[at : at + 8] = b"%08x" % crc32(message, crc32(SCHEMA_MESSAGE))
    return bytes(message)


def _kind(field: Any) -> tuple[int, int]:
    if pa.types.is_list(field.type):
        item = field.type.value_type
        return (TEXTS, 4) if pa.types.is_string(item) else (NUMBERS, item.bit_width // 8)
    return (TEXT, 1) if pa.types.is_string(field.type) else (NUMBER, field.type.bit_width // 8)


_KINDS = {field.name: _kind(field) for field in SCHEMA} | {f"{name} text": (BYTES, 1) for name in TEXT_LISTS}
COLUMNS = tuple(_KINDS)
"""Columns of the directory that `kernels.arrow_messages` makes of a segment, the host's name first."""


def _extent(kind: Any) -> tuple[int, int]:
    """How many nodes and buffers a column of this type takes in a batch; LookupError for the rare ones."""
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return 1, 3
    if pa.types.is_primitive(kind):
        return 1, 2
    if pa.types.is_list(kind):
        nodes, buffers = _extent(kind.value_type)
        return 1 + nodes, 2 + buffers
    raise LookupError(str(kind))


@dataclass(frozen=True, slots=True)
class Span:
    """Where a message lies in a segment; ``intact`` is whether its checksum agrees."""

    start: int
    end: int
    intact: bool


def _message_length(view: memoryview, start: int) -> int:
    """Length in bytes of the message at ``start``, framing included; 0 if none can be there."""
    if start + 8 > len(view) or view[start : start + 4] != CONTINUATION:
        return 0
    (size,) = struct.unpack_from("<I", view, start + 4)
    table_start = start + 8
    if not 16 <= size <= _LARGEST_METADATA or size % 8 or table_start + size > len(view):
        return 0
    metadata = view[table_start : table_start + size]
    (root,) = struct.unpack_from("<I", metadata)
    if root + 4 > size:
        return 0
    vtable = root - struct.unpack_from("<i", metadata, root)[0]
    if not 0 <= vtable <= size - 4:
        return 0
    # Message.bodyLength is the fourth field; a field at the end that has its default (0) is left out of the table.
    present = vtable + 12 <= size and struct.unpack_from("<H", metadata, vtable)[0] >= 12
    slot = struct.unpack_from("<H", metadata, vtable + 10)[0] if present else 0
    if slot and root + slot + 8 > size:
        return 0
    body = struct.unpack_from("<q", metadata, root + slot)[0] if slot else 0
    return 8 + size + body if 0 <= body <= len(view) - table_start - size else 0


def _checksum_agrees(message: memoryview, seed: int) -> bool:
    head = bytes(message[: 8 + struct.unpack_from("<I", message, 4)[0]])
    mark = head.find(_MARK) + len(_MARK)
    if mark < len(_MARK):
        return False
    crc = crc32(b"00000000", crc32(message[:mark], seed))
    return bytes(message[mark : mark + 8]) == b"%08x" % crc32(message[mark + 8 :], crc)


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """What a segment's messages are read with: its schema, the checksum's seed, and where the first message begins."""

    schema: Any
    seed: int
    start: int

    def places(self) -> messages.BatchLayout:
        """Where the columns of `COLUMNS` lie among the buffers of a message; nowhere, if that is not known."""
        return _our_places() if self.schema is SCHEMA else _places(self.schema)


def _places(schema: Any) -> messages.BatchLayout:
    nowhere = {name: (-1, -1, kind, size) for name, (kind, size) in _KINDS.items()}
    found: dict[str, tuple[int, int, int, int]] = {}
    node = buffer = 0
    try:
        for field in schema:
            if field.name in _KINDS:  # columns of another writer are passed over
                if field.type != SCHEMA.field(field.name).type:
                    return messages.spread(list(nowhere.values()))
                kind, size = _KINDS[field.name]
                found[field.name] = (node, buffer, kind, size)
                if kind == TEXTS:
                    found[f"{field.name} text"] = (node, buffer + 4, BYTES, 1)
            nodes, buffers = _extent(field.type)
            node, buffer = node + nodes, buffer + buffers
    except LookupError:
        return messages.spread(list(nowhere.values()))
    return messages.spread([found.get(name, nowhere[name]) for name in COLUMNS])


@functools.cache
def _our_places() -> messages.BatchLayout:
    """Return them for our own schema, once a process: a recording may have a thousand segments."""
    return _places(SCHEMA)


def layout_of(view: memoryview) -> SegmentLayout:
    """Read the schema message of a segment; a damaged one is taken for this version's own.

    Raises
    ------
    Damaged
        If the segment was written by a later, incompatible version.
    """
    ours = SegmentLayout(SCHEMA, crc32(SCHEMA_MESSAGE), len(SCHEMA_MESSAGE))
    length = _message_length(view, 0)
    if not length or view[:length] == SCHEMA_MESSAGE:
        return ours
    seed, at = crc32(view[:length]), 8
    for _ in range(_CANDIDATES):
        at = _next_mark(view, at)
        following = _message_length(view, at)
        if following and _checksum_agrees(view[at : at + following], seed):
            break
        if following and _checksum_agrees(view[at : at + following], ours.seed):
            return ours
        at += 1
    else:
        return ours
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(view[:length]))
        version = int((schema.metadata or {}).get(b"wattshed.version", b"0"))
    except (pa.ArrowInvalid, ValueError) as error:
        raise Damaged(f"its schema cannot be read ({error})") from error
    if version != VERSION:
        raise Damaged(f"it was written in version {version} of the format, and this wattshed reads version {VERSION}")
    return SegmentLayout(schema, seed, length)


def spans(view: memoryview, layout: SegmentLayout) -> Iterator[Span]:
    """Find the window messages of a segment, one after the other, over damaged stretches.

    Parameters
    ----------
    view : memoryview of bytes
        The whole segment.
    layout : SegmentLayout

    Yields
    ------
    Span
        In order of the file. A stretch that holds no intact message is one `Span` that is not intact.
    """
    at = layout.start
    damaged = -1
    while at < len(view):
        if view[at : at + 8] == END_OF_STREAM and at + 8 == len(view):
            break
        length = _message_length(view, at)
        if length and _checksum_agrees(view[at : at + length], layout.seed):
            if damaged >= 0:
                yield Span(damaged, at, intact=False)
                damaged = -1
            yield Span(at, at + length, intact=True)
            at += length
        else:
            damaged = at if damaged < 0 else damaged
            at = _next_mark(view, at + 1)
    if damaged >= 0:
        yield Span(damaged, len(view), intact=False)


def _next_mark(view: memoryview, start: int) -> int:
    """Next place, at a multiple of eight, where a message could begin; the end if there is none."""
    block = 1 << 20
    for at in range(start, len(view), block):
        chunk = bytes(view[at : at + block + 3])
        found = chunk.find(CONTINUATION)
        while found >= 0:
            if (at + found) % 8 == 0:
                return at + found
            found = chunk.find(CONTINUATION, found + 1)
    return len(view)


def read_message(message: memoryview, schema: Any = SCHEMA) -> Any:
    """Decode one intact message of a segment into a record batch of our columns.

    Raises
    ------
    Damaged
        If Arrow cannot read it: a checksum says that a message is as it was written, not that it was written well.
    """
    try:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(pa.py_buffer(message)), schema)
        batch.validate(full=True)
        return in_our_types(batch)
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        raise Damaged(f"Arrow cannot read it ({(str(error).splitlines() or ['?'])[0]})") from error
