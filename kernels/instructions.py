"""Instructions that numba has no words for: of `kernels.checksums` (carry-less products), `fetching` and `words`.

A sum folds 64 bytes a turn into the next 64, sixteen by sixteen, at last into sixteen, of which bytes are then summed
as they always were: V. Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction, Intel
2009, whose constants for this polynomial these are.
"""

# numba and llvmlite have no types.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: ANN202, ARG005 - numba matches names

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from wattshed.kernels import cpu
from wattshed.kernels.jit import COMPILER_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

_BY_FOUR, _BY_ONE = (0x154442BD4, 0x1C6E41596), (0x1751997D0, 0x0CCAA009E)
"""What moves sixteen bytes over the next 64, and over the next sixteen."""
_SIXTEEN, _TURN = 16, 64  # bytes; no fewer than a turn are folded
_AHEAD = 2_048  # bytes
_WORD, _LANE, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_PAIR = ir.VectorType(_WORD, 2)


def _moved(builder, pair, by: tuple[int, int], onto):
    """Move sixteen bytes by a distance, onto what lies there."""
    product = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_PAIR, [_PAIR, _PAIR, _BYTE]), "llvm.x86.pclmulqdq"
    )
    key = ir.Constant(_PAIR, [ir.Constant(_WORD, one) for one in by])
    low = builder.call(product, [pair, key, _BYTE(0x00)])
    high = builder.call(product, [pair, key, _BYTE(0x11)])
    return builder.xor(builder.xor(low, high), onto)


def _read(builder, base, at, offset: int = 0):
    """Read sixteen bytes, wherever they lie."""
    place = builder.gep(base, [builder.add(at, _WORD(offset))])
    pair = builder.load(builder.bitcast(place, _PAIR.as_pointer()))
    pair.align = 1
    return pair


def _fetch(builder, base, at) -> None:
    """Let memory bring what is there."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _LANE, _LANE, _LANE])
    place = builder.bitcast(builder.gep(base, [at]), _BYTE.as_pointer())
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(fetch, [place, _LANE(0), _LANE(3), _LANE(1)])  # to read, into all caches, data


@intrinsic
def _fetched(_typing, array, place):  # noqa: ARG001 - a word
    """Let memory bring an item of an array."""

    def write(context, builder, signature, args):
        _fetch(builder, context.make_array(signature.args[0])(context, builder, args[0]).data, args[1])
        return context.get_dummy_value()

    return types.void(array, types.int64), write


@intrinsic
def _folded(_typing, data, at, end, state):  # noqa: ARG001 - all are words
    """Fold bytes ``at:end``, a multiple of sixteen and a turn at least, into two words."""

    def write(context, builder, signature, args):
        array, first, last, state = args
        base = context.make_array(signature.args[0])(context, builder, array).data
        at = cgutils.alloca_once_value(builder, builder.add(first, _WORD(_TURN)))
        begin = builder.insert_element(ir.Constant(_PAIR, [0, 0]), state, _LANE(0))
        sums = []
        for offset in range(0, _TURN, _SIXTEEN):
            pair = _read(builder, base, first, offset)
            sums.append(cgutils.alloca_once_value(builder, pair if offset else builder.xor(pair, begin)))

        def turns(bytes_: int, by: tuple[int, int], held) -> None:
            head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            here = builder.load(at)
            following = builder.add(here, _WORD(bytes_))
            builder.cbranch(builder.icmp_signed("<=", following, last), body, done)
            builder.position_at_end(body)
            _fetch(builder, base, builder.add(here, _WORD(_AHEAD)))
            for number, one in enumerate(held):
                builder.store(
                    _moved(builder, builder.load(one), by, _read(builder, base, here, _SIXTEEN * number)), one
                )
            builder.store(following, at)
            builder.branch(head)
            builder.position_at_end(done)

        turns(_TURN, _BY_FOUR, sums)
        joined = builder.load(sums[0])
        for one in sums[1:]:
            joined = _moved(builder, joined, _BY_ONE, builder.load(one))
        builder.store(joined, sums[0])
        turns(_SIXTEEN, _BY_ONE, sums[:1])
        joined = builder.load(sums[0])
        words = [builder.extract_element(joined, _LANE(lane)) for lane in (0, 1)]
        return context.make_tuple(builder, signature.return_type, words)

    words = types.UniTuple(types.uint64, 2)  # type: ignore[attr-defined]
    return words(data, types.int64, types.int64, types.uint64), write


def compile_sum(plain: Callable[..., Any], over_bytes: Callable[..., Any], over_word: Callable[..., Any]) -> None:
    """Tell numba what to compile for calls of the plain function; on x86-64 both ways, one of which is chosen there."""

    def byte_by_byte(data, at, end, crc, quick, table):  # noqa: ARG001 - numba matches names
        return over_bytes(data, at, end, np.int64(crc) ^ 0xFFFFFFFF, table) ^ 0xFFFFFFFF

    def in_turns(data, at, end, crc, quick, table):
        state = np.int64(crc) ^ 0xFFFFFFFF
        here = np.int64(at)
        if quick and end - here >= _TURN:
            upto = here + (end - here) // _SIXTEEN * _SIXTEEN
            low, high = _folded(data, here, upto, np.uint64(state))
            state = over_word(high, over_word(low, np.int64(0), table), table)
            here = upto
        return over_bytes(data, here, end, state, table) ^ 0xFFFFFFFF

    def twin(data, at, end, crc, quick, table):  # noqa: ARG001 - numba matches names
        return in_turns if cpu.carryless() else byte_by_byte

    overload(plain, jit_options=COMPILER_OPTIONS, strict=False)(twin)


def compile_fetch(plain: Callable[..., Any]) -> None:
    """Tell numba what to compile for calls of the plain function."""

    def fetch(array, place):
        _fetched(array, np.int64(place))

    overload(plain, jit_options=COMPILER_OPTIONS, strict=False)(lambda array, place: fetch)


@intrinsic
def _word(_typing, array, place):  # noqa: ARG001 - a word
    """Read eight bytes, wherever they lie."""

    def write(context, builder, signature, args):
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = builder.load(builder.bitcast(builder.gep(base, [args[1]]), _WORD.as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.int64), write


@intrinsic
def _mask(_typing, array, place, byte):  # noqa: ARG001 - words
    """Compare sixty-four bytes with one; the answers are bits."""
    wide = ir.VectorType(_BYTE, 64)
    everywhere = ir.Constant(ir.VectorType(_LANE, 64), [0] * 64)

    def write(context, builder, signature, args):
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        bytes_ = builder.load(builder.bitcast(builder.gep(base, [args[1]]), wide.as_pointer()))
        bytes_.align = 1
        nothing = ir.Constant(wide, ir.Undefined)
        one = builder.insert_element(nothing, args[2], _LANE(0))
        wanted = builder.shuffle_vector(one, nothing, everywhere)
        return builder.bitcast(builder.icmp_unsigned("==", bytes_, wanted), _WORD)

    return types.uint64(array, types.int64, types.uint8), write


@intrinsic
def _low_zeros(_typing, word):  # noqa: ARG001 - a word
    """Count the zero bits below the lowest that is set."""

    def write(_context, builder, _signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), write


def compile_words(load64: Callable[..., Any], mask64: Callable[..., Any], trailing_zeros: Callable[..., Any]) -> None:
    """Tell numba what to compile for calls of the plain functions."""

    def load(data, at):
        return _word(data, np.int64(at))

    def mask(data, at, byte):
        return _mask(data, np.int64(at), np.uint8(byte))

    def zeros(word):
        return _low_zeros(np.uint64(word))

    overload(load64, jit_options=COMPILER_OPTIONS, strict=False)(lambda data, at: load)
    overload(mask64, jit_options=COMPILER_OPTIONS, strict=False)(lambda data, at, byte: mask)
    overload(trailing_zeros, jit_options=COMPILER_OPTIONS, strict=False)(lambda word: zeros)
