"""Entries as functions of C: what they take, how numba's code is called from them, and one module of LLVM for all.

The C function of an entry takes the address of each array object of numpy, whose first fields say where its numbers lie
and how many there are (`PyArrayObject_fields`, part of numpy's binary interface), each number as it is, and, where the
entry returns a number, where that goes. It returns 0.

numba compiles every function to a library of its own, which it optimises, translates and loads; a helper is then
optimised once more in each function that calls it. Here libraries only collect their code: all of it is linked, what
nobody calls is dropped, and the rest is optimised once.
"""

# numba and llvmlite have no types.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-subclassing-any
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import compiler, registry, types
from numba.core.codegen import JITCodeLibrary
from numba.np import arrayobj

from wattshed.kernels.compiler import COMPILER_FLAGS, numba_type
from wattshed.kernels.jit import link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DATA_AT, DIMENSIONS_AT = 16, 32
"""Where in an array object its data's address and that of its dimensions are, after the head of an object."""
_BYTE = ir.IntType(8)
_STATUS = ir.IntType(32)


class _Collected(JITCodeLibrary):
    """The code of one function, which is neither optimised by itself nor loaded."""

    def finalize(self):
        """Take no more."""
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, _name):
        """Return that it is nowhere."""
        self._ensure_finalized()
        return 0


def _load(builder, base, offset: int, kind):
    """Read a field of an object."""
    place = builder.gep(base, [ir.Constant(ir.IntType(64), offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()))


def _array(context, builder, kind, array_object):
    """Make numba's array of an array object of numpy."""
    array_type = numba_type(kind)
    made = context.make_array(array_type)(context, builder)
    word = context.get_value_type(types.intp)
    pointer = context.get_data_type(array_type.dtype).as_pointer()
    dimensions = _load(builder, array_object, DIMENSIONS_AT, word.as_pointer())
    shape = [
        builder.load(builder.gep(dimensions, [ir.Constant(ir.IntType(64), axis)])) for axis in range(kind.dimensions)
    ]
    item = ir.Constant(word, kind.dtype.itemsize)
    strides = [item]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    arrayobj.populate_array(
        made, data=_load(builder, array_object, DATA_AT, pointer), shape=shape, strides=strides, itemsize=item,
        meminfo=None,
    )  # fmt: skip
    return made._getvalue()  # noqa: SLF001 - numba's own way


def _number_type(context, kind):
    """Return how a number is passed; a truth as a byte."""
    return _BYTE if kind.dtype.kind == "b" else context.get_value_type(numba_type(kind))


def _add_entry(context, kernel, compiled, symbol: str) -> None:
    """Add the C function of an entry to the code of its library."""
    module = compiled.library.create_ir_module(f"entry {kernel.name}")
    passed = [_BYTE.as_pointer() if kind.dimensions else _number_type(context, kind) for kind in kernel.kinds]
    if kernel.returns is not None:
        passed.append(_number_type(context, kernel.returns).as_pointer())
    function = ir.Function(module, ir.FunctionType(_STATUS, passed), symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    given = []
    for kind, value in zip(kernel.kinds, function.args, strict=False):
        if kind.dimensions:
            given.append(_array(context, builder, kind, value))
        else:
            given.append(builder.icmp_unsigned("!=", value, _BYTE(0)) if kind.dtype.kind == "b" else value)
    target = context.declare_function(module, compiled.fndesc)
    signature = compiled.signature
    status, result = context.call_conv.call_function(builder, target, signature.return_type, signature.args, given)
    if kernel.returns is not None:
        narrow = kernel.returns.dtype.kind == "b"
        builder.store(builder.zext(result, _BYTE) if narrow else result, function.args[-1])
    builder.ret(status.code)
    compiled.library.add_ir_module(module)


def _all_of(libraries: Iterable[Any]) -> list[Any]:
    """Return libraries and all that they need, each once."""
    found: dict[int, Any] = {}
    todo = list(libraries)
    while todo:
        library = todo.pop()
        if id(library) not in found:
            found[id(library)] = library
            todo += library._linking_libraries  # noqa: SLF001
    return list(found.values())


def linked(kernels: dict[str, Any], progress: Callable[[str, int, int], None] | None = None) -> Any:
    """Compile entries to one module of LLVM, in which only they can be seen.

    numba is of no other use in this process afterwards: it takes helpers for compiled whose code is not loaded.

    Parameters
    ----------
    kernels : dict
        Symbol -> entry.
    progress : callable, optional
        Told the name of each when it is compiled, its number, and how many there are.
    """
    link()
    target = registry.cpu_target
    codegen = target.target_context.codegen()
    typing, context = target.typing_context, target.target_context
    typing.refresh()
    context.refresh()
    libraries = []
    before, codegen._library_class = codegen._library_class, _Collected  # noqa: SLF001
    codegen.set_env = lambda _name, _environment: None  # what an exception of Python would need
    try:
        for number, (symbol, kernel) in enumerate(kernels.items(), start=1):
            flags = compiler.Flags()
            for name, value in COMPILER_FLAGS.items():
                setattr(flags, name, value)
            result = types.none if kernel.returns is None else numba_type(kernel.returns)
            compiled = compiler.compile_extra(
                typing, context, kernel.function, tuple(map(numba_type, kernel.kinds)), result, flags, {}
            )
            compiled.library._finalized = False  # noqa: SLF001
            _add_entry(context, kernel, compiled, symbol)
            libraries.append(compiled.library)
            if progress:
                progress(kernel.name, number, len(kernels))
    finally:
        codegen._library_class = before  # noqa: SLF001
        del codegen.set_env
    return _one_module(codegen, _all_of(libraries), kernels)


def _one_module(codegen, libraries, symbols) -> Any:
    """Link what was collected; what is no entry cannot be seen from outside, and may go."""
    module = llvm.parse_assembly(str(codegen._create_empty_module("kernels")))  # noqa: SLF001
    for library in libraries:
        module.link_in(library._final_module, preserve=True)  # noqa: SLF001 - numba keeps those of its own
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name in symbols else "internal"
    for variable in module.global_variables:
        if not variable.is_declaration and not variable.name.startswith("llvm."):
            variable.linkage = "internal"
    module.verify()
    return module
