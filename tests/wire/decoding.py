"""A decoder of remote write's messages that shares no code with their encoder."""

import struct

import pyarrow as pa


def varint(data, at):
    """Read one varint; gives its value and where it ends."""
    shift = value = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """Read a protobuf message: (number, content) of each field."""
    at, found = 0, []
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 1:
            value, at = struct.unpack("<d", data[at : at + 8])[0], at + 8
        else:
            assert tag & 7 == 2
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        found.append((tag >> 3, value))
    assert at == len(data)
    return found


def decode(data):
    """Read a WriteRequest: a list of ({label: value} in the order of the bytes, [(ms, value)])."""
    request = []
    for number, content in fields(data):
        assert number == 1
        labels, samples = {}, []
        for part, inner in fields(content):
            pair = dict(fields(inner))
            if part == 1:
                labels[pair[1].decode()] = pair[2].decode()
            else:
                assert part == 2
                samples.append((pair[2] - (pair[2] >> 63 << 64), pair[1]))
        request.append((labels, samples))
    return request


def unpacked(body):
    """Take a WriteRequest out of its snappy block, whose first varint is its size."""
    size, _ = varint(body, 0)
    return pa.Codec("snappy").decompress(body, size, asbytes=True)
