"""The one encoder of remote write's messages, read back by a decoder of its own."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.wire.decoding import decode, fields, unpacked, varint
from wattshed.agent.fleet.live.simulate import remote_write
from wattshed.agent.wire import protobuf
from wattshed.agent.wire.protobuf import Series, encode, encode_labels, in_snappy, labels_of

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
samples = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=20)


@given(st.lists(st.tuples(st.dictionaries(text, text, max_size=5), samples), max_size=5))
@settings(max_examples=examples(100), deadline=None)
def test_what_is_encoded_is_read_back(series):
    named = [(Series("wattshed_x", tuple(labels.items())), own) for labels, own in series if "__name__" not in labels]
    read = decode(encode((encode_labels(one), own) for one, own in named))
    assert read == [({**dict(one.labels), "__name__": "wattshed_x_total"}, own) for one, own in named]
    assert all(list(labels) == sorted(labels) for labels, _ in read)


@given(st.integers(-(2**63), 2**64 - 1))
def test_whole_numbers_are_seven_bits_a_byte(number):
    written = protobuf.varint(number)
    assert varint(written, 0) == (number % 2**64, len(written))
    assert len(written) == max(1, math.ceil((number % 2**64).bit_length() / 7))


def test_an_empty_label_is_left_out():
    labels = encode_labels(Series("f", (("host", ""), ("gpu", "0"))))
    assert decode(encode([(labels, [])])) == [({"__name__": "f_total", "gpu": "0"}, [])]


def test_the_bytes_are_those_of_the_specification():
    """Written out by hand after prompb/types.proto: one series {__name__="m", b="x"} with 2.5 at 7 ms."""
    name, label = b"\x0a\x08__name__\x12\x01m", b"\x0a\x01b\x12\x01x"
    sample = b"\x09" + struct.pack("<d", 2.5) + b"\x10\x07"
    series = b"\x0a\x0d" + name + b"\x0a\x06" + label + b"\x12\x0b" + sample
    written = encode([(labels_of({"b": "x", "__name__": "m"}), [(7, 2.5)])])
    assert written == b"\x0a" + bytes([len(series)]) + series


@pytest.mark.parametrize("message", [b"", b"a", b"abc" * 100_000])
def test_snappy_holds_one_raw_block(message):
    assert unpacked(in_snappy(message)) == message
    size, _ = varint(in_snappy(message), 0)
    assert size == len(message)


def test_a_simulated_fleet_sends_the_same_messages():
    series = [("m", {"b": "x", "none": ""}, 2.5), ("m", {"b": "y"}, -1.0)]
    read = decode(unpacked(remote_write(series, 7)))
    assert read == [({"__name__": "m", "b": "x"}, [(7, 2.5)]), ({"__name__": "m", "b": "y"}, [(7, -1.0)])]
    assert [number for number, _ in fields(unpacked(remote_write(series, 7)))] == [1, 1]
    assert remote_write([], 7) == b"\x00"
