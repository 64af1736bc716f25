"""The messages of remote write 1.0, written by hand with the field numbers of Prometheus' ``prompb/types.proto``.

https://github.com/prometheus/prometheus/blob/main/prompb/types.proto:

    WriteRequest {TimeSeries timeseries = 1}    TimeSeries {Label labels = 1; Sample samples = 2}
    Label {string name = 1; string value = 2}   Sample {double value = 1; int64 timestamp = 2}     (ms)
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Sample = tuple[int, float]
"""Time in ms, and the value."""


@dataclass(frozen=True, slots=True)
class Series:
    """Names a series: its family, without ``_total``, and its labels."""

    family: str
    labels: tuple[tuple[str, str], ...]


def encode(series: Iterable[tuple[bytes, Sequence[Sample]]]) -> bytes:
    """Encode a ``WriteRequest``: per series its labels (see `encode_labels`) and its samples (ms, value)."""
    return b"".join(field(1, labels + b"".join(itertools.starmap(_sample, samples))) for labels, samples in series)


def encode_labels(series: Series) -> bytes:
    """Encode a series' labels, its name among them, sorted by name; an empty label is as good as none and left out."""
    return labels_of({"__name__": f"{series.family}_total", **dict(series.labels)})


def labels_of(named: Mapping[str, str]) -> bytes:
    """Encode labels, sorted by name; an empty one is left out."""
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(named.items()) if v)


def _sample(time_ms: int, value: float) -> bytes:
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))


def field(number: int, content: bytes) -> bytes:
    """Encode a field that says its length."""
    return bytes((number << 3 | 2,)) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Encode a whole number, seven bits a byte, the lowest first; a negative one as its 64 bits."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def in_snappy(message: bytes) -> bytes:
    """Compress a message as one raw snappy block."""
    import pyarrow as pa  # noqa: PLC0415  (only who sends needs it)

    compressed: bytes = pa.Codec("snappy").compress(message, asbytes=True)
    return compressed
