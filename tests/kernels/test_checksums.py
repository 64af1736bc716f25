"""Checksums of many messages: those of zlib in every form, on processors with carry-less products and without."""

import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels import cpu
from wattshed.kernels.arrow_messages import LENGTH, MARK, PLACES, START
from wattshed.kernels.checksums import agreeing

BODIES = st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 300)), max_size=8)
SEEDS = st.integers(0, 2**32 - 1)


def stream(bodies, seed):
    """Messages one after the other, each with its sum somewhere in it, and their directory."""
    data, directory = bytearray(b"before"), np.zeros((len(bodies), PLACES), np.int64)
    for row, (body, where) in zip(directory, bodies, strict=True):
        at = min(where, len(body))
        digits = b"%08x" % zlib.crc32(body[:at] + b"00000000" + body[at:], seed)
        row[START], row[LENGTH], row[MARK] = len(data), len(body) + 8, len(data) + at
        data += body[:at] + digits + body[at:]
    return np.frombuffer(bytes(data), np.uint8), directory


@pytest.fixture(params=[("so", True), ("so", False), ("off", True)], ids=["folded", "byte by byte", "plain"])
def way(request, in_form, monkeypatch):
    form, quick = request.param
    in_form(form)
    if not quick:
        monkeypatch.setattr(cpu, "carryless", lambda: False)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, SEEDS)
def test_sums_of_zlib_agree_and_a_changed_bit_is_found(way, bodies, seed):
    data, directory = stream(bodies, seed)
    assert agreeing(data, directory, seed) == len(bodies)
    for k, row in enumerate(directory):
        broken = data.copy()
        broken[row[START] + (7 * k) % row[LENGTH]] ^= 1 << k % 8
        assert agreeing(broken, directory, seed) == k


def test_every_length_about_a_turn_of_the_folding(way):
    text = bytes(range(256)) * 2
    bodies = [(text[3 : 3 + length], length // 3) for length in (*range(200), 255, 256, 257, 400)]
    data, directory = stream(bodies, 17)
    assert agreeing(data, directory, 17) == len(bodies)
    assert agreeing(data, directory, 18) == 0


def test_a_message_without_a_sum_does_not_agree(way):
    data, directory = stream([(b"one", 1), (b"two", 2)], 0)
    directory[1, MARK] = -1
    assert agreeing(data, directory, 0) == 1
