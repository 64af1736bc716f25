"""Files in gzip: the same text and the same refusals, whatever unpacks them."""

import gzip
import random
import sys

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.text import CleanStream

TEXT = "".join(f"{i},{i * 7919 % 1000}.5 W\n" for i in range(40_000)).encode()
PACKED = gzip.compress(TEXT, 6)


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def unpacker(request, monkeypatch):
    """Both of them."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)


def read(path):
    """The whole text, in steps that no block ends with."""
    with CleanStream(path) as stream:
        whole, room = bytearray(), bytearray(70_001)
        while count := stream.readinto(room):
            whole += room[:count]
        return bytes(whole)


def test_members_follow_each_other_and_zeros_may_stand_behind_them(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(PACKED + gzip.compress(b"end\n") + bytes(600))
    assert read(path) == TEXT + b"end\n"


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (PACKED[:-3], "ends early"),
        (PACKED[: len(PACKED) // 2], "ends early"),
        (PACKED[:-8] + bytes(8), "damaged gzip data"),
        (PACKED[:2] + b"\7" + PACKED[3:], "damaged gzip data"),
    ],
)
def test_what_is_cut_or_damaged_is_refused(tmp_path, packed, why):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(InputError, match=why):
        read(path)


def test_no_flipped_bit_goes_unseen(tmp_path):
    path, chance = tmp_path / "log.csv.gz", random.Random(7)
    for _ in range(20):
        packed = bytearray(PACKED)
        packed[chance.randrange(10, len(packed))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(packed))
        with pytest.raises(InputError):
            read(path)
