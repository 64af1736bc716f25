"""The checksums of a directory of messages, all at once: CRC-32 as in zlib, without the interpreter's lock.

A recorder writes a message a second. Three calls of a library and the making of a text took ten times as long as the
sum of its four kilobytes, and threads that check and threads that book took the lock from each other at each.

A processor with carry-less products folds 64 bytes a turn (`kernels.instructions`); another goes byte by byte.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels import cpu
from wattshed.kernels.arrow_messages import LENGTH, MARK, START
from wattshed.kernels.entry import b1, i64, kernel, u8, u32
from wattshed.kernels.jit import jit, written_apart

try:
    from isal.isal_zlib import crc32  # the same sum, at the speed of memory
except ImportError:  # built for x86-64 and ARM alone
    from zlib import crc32

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["agreeing", "crc32"]

_POLYNOMIAL = 0xEDB88320
_DIGITS = np.frombuffer(b"00000000", np.uint8)
"""What a checksum is made of where it will stand."""


def _by_byte() -> NDArray[np.uint32]:
    """Return what each byte adds: uint32[256]."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(_POLYNOMIAL), values >> 1).astype(np.uint32)
    return values


_TABLE = _by_byte()


@jit
def _over_bytes(data, at, end, state, table):
    """Take a sum's state, which is the sum with all bits turned, over bytes ``at:end``."""
    c = np.int64(state)
    for i in range(at, end):
        c = np.int64(table[(c ^ np.int64(data[i])) & 0xFF]) ^ (c >> 8)
    return c


@jit
def _over_word(word, state, table):
    """Take a sum's state over a word of eight bytes."""
    c = np.int64(state)
    for i in range(8):
        c = np.int64(table[(c ^ np.int64(word >> np.uint64(8 * i))) & 0xFF]) ^ (c >> 8)
    return c


def _compile() -> None:
    from wattshed.kernels import instructions  # numba is imported where something is compiled

    instructions.compile_sum(_sum, _over_bytes, _over_word)


@written_apart(_compile)
def _sum(data, at, end, crc, quick, table):  # noqa: ARG001 - what its compiled twin needs
    """Go on with a checksum over bytes ``at:end``; ``quick``: this processor has carry-less products."""
    return crc32(data[at:end], crc)


@kernel(u8[:], i64[:, :], i64, b1, u32[:], u8[:], returns=i64)
def _agreeing(data, directory, seed, quick, table, digits):
    """Return how many messages there are before the first whose checksum does not agree."""
    for k in range(len(directory)):
        at, length, mark = directory[k, START], directory[k, LENGTH], directory[k, MARK]
        if mark < 0:
            return k
        crc = _sum(data, at, mark, seed, quick, table)
        crc = _sum(digits, 0, len(digits), crc, quick, table)
        crc = _sum(data, mark + 8, at + length, crc, quick, table)
        for i in range(8):
            digit = (crc >> (28 - 4 * i)) & 0xF
            if np.int64(data[mark + i]) != digit + (48 if digit < 10 else 87):  # 0 to 9, a to f
                return k
    return len(directory)


def agreeing(data: NDArray[np.uint8], directory: NDArray[np.int64], seed: int) -> int:
    """Count the messages before the first whose checksum does not agree.

    Parameters
    ----------
    data : uint8[n]
        The whole stream.
    directory : int64[k, *]
        As `kernels.arrow_messages.look_through` made it.
    seed : int
        The sum of what comes before every message.
    """
    return int(_agreeing(data, directory, seed, cpu.carryless(), _TABLE, _DIGITS))
