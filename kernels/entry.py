"""What Python calls of the kernels: entries, each with one signature, in whatever form the process runs them.

An entry takes numbers, arrays that lie in one piece, and arrays of records; it returns nothing or one number. So it can
be a symbol of a shared library as well as a Python function, and one form can be exchanged for another between two
calls (`kernels.load`).
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels import load
from wattshed.kernels.records import dtype_of, objects, write_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_IN_ONE_PIECE = 0x101  # numpy's flags of an array that is C-contiguous and aligned
_WRITEABLE = 0x400  # and of one that is not read-only
_PYTHON_OWN = {np.dtype(np.int64): int, np.dtype(np.bool_): bool}


@dataclass(frozen=True)
class Kind:
    """What an argument of an entry is: a number, or an array of ``dimensions``.

    Attributes
    ----------
    dtype : dtype
    dimensions : int
        0: a number.
    record : type, optional
        The dataclass of an array of records.
    is_written : bool
        Whether the entry writes into the array.
    """

    dtype: np.dtype[Any]
    dimensions: int = 0
    record: type | None = None
    is_written: bool = False

    def __getitem__(self, slices: slice | tuple[slice, ...]) -> Kind:
        """Return the array of such numbers: ``i64[:]``, ``i64[:, :]``."""
        return replace(self, dimensions=len(slices) if isinstance(slices, tuple) else 1)

    def __str__(self) -> str:
        """Return how it is written."""
        if self.record is not None:
            return f"rows({self.record.__name__})"
        return f"{self.dtype.name}[{', '.join(':' * self.dimensions)}]" if self.dimensions else self.dtype.name

    def fits(self, value: Any) -> bool:
        """Return whether a value is one, without being converted."""
        if self.dimensions:
            return (
                isinstance(value, np.ndarray)
                and (value.dtype is self.dtype or value.dtype == self.dtype)
                and value.ndim == self.dimensions
                and value.flags.num & _IN_ONE_PIECE == _IN_ONE_PIECE
            )
        if self.dtype.kind == "f":
            return isinstance(value, int | float | np.integer | np.floating)
        if self.dtype.kind == "b":
            return isinstance(value, bool | np.bool_)
        if not isinstance(value, int | np.integer):
            return False
        return bool(self.lowest <= value <= self.highest)

    @functools.cached_property
    def lowest(self) -> int:
        """The lowest whole number that fits."""
        return int(np.iinfo(self.dtype).min)

    @functools.cached_property
    def highest(self) -> int:
        """The highest whole number that fits."""
        return int(np.iinfo(self.dtype).max)

    def plain(self, value: Any) -> Any:
        """Return what plain Python is given for a value: a number of the width that it has when compiled, or objects.

        An int64 is a whole number of Python's, as what is computed from it may be wider only where that is a fault.
        """
        if self.record is not None:
            return objects(value, self.record)
        if self.dimensions:
            return value
        return _PYTHON_OWN.get(self.dtype, self.dtype.type)(value)


i64, i32, i8 = (Kind(np.dtype(kind)) for kind in (np.int64, np.int32, np.int8))
u64, u32, u8 = (Kind(np.dtype(kind)) for kind in (np.uint64, np.uint32, np.uint8))
f64, b1 = Kind(np.dtype(np.float64)), Kind(np.dtype(np.bool_))


def rows(record: type) -> Kind:
    """Return the array of records of a dataclass (`kernels.records`)."""
    return Kind(dtype_of(record), 1, record)


def written(array: Kind) -> Kind:
    """Return the same array, into which the entry writes: compiled code would, whether or not it is read-only."""
    return replace(array, is_written=True)


class Kernel:
    """An entry: a function of numbers and arrays, in the form that the process runs.

    Parameters
    ----------
    function : callable
        What it is in plain Python.
    kinds : tuple of Kind
        What it takes, one a parameter.
    returns : Kind, optional
        The number that it returns.
    name : str
        ``module.function``.

    Attributes
    ----------
    now : callable
        Runs it with arguments that are known to fit; may be exchanged between two calls.
    """

    def __init__(self, function: Callable[..., Any], kinds: tuple[Kind, ...], returns: Kind | None, name: str) -> None:
        functools.update_wrapper(self, function)
        self.function, self.kinds, self.returns, self.name = function, kinds, returns, name
        self.parameters = tuple(inspect.signature(function).parameters)
        if len(self.parameters) != len(kinds):
            raise TypeError(f"{name} has {len(self.parameters)} parameters and {len(kinds)} kinds of them")
        self._arrays = [
            (place, kind.dtype, kind.dimensions, _IN_ONE_PIECE | (_WRITEABLE if kind.is_written else 0))
            for place, kind in enumerate(kinds)
            if kind.dimensions
        ]
        self._numbers = [None if kind.dimensions else kind for kind in kinds]
        self.now: Callable[..., Any] = self._begin
        load.register(self)

    def __call__(self, *args: Any) -> Any:
        """Check the arguments and run.

        Raises
        ------
        TypeError
            Where an argument is not what the entry takes; nothing is converted.
        ValueError
            Where an array that it writes into is read-only.
        """
        if len(args) != len(self.kinds):
            raise TypeError(f"{self.name} takes {len(self.kinds)} arguments, not {len(args)}")
        for place, dtype, dimensions, needed in self._arrays:  # what nearly all calls bring, in the fewest steps
            value = args[place]
            if (
                type(value) is not np.ndarray
                or value.dtype is not dtype
                or value.ndim != dimensions
                or value.flags.num & needed != needed
            ):
                self._check(self.kinds, args)
                self._check_written(args)
                return self.now(*args)
        self._check(self._numbers, args)
        return self.now(*args)

    def _check(self, kinds: Sequence[Kind | None], args: tuple[Any, ...]) -> None:
        """Raise TypeError, naming the argument, for the first that is not of its kind."""
        for place, kind in enumerate(kinds):
            if kind is not None and not kind.fits(args[place]):
                what = f"{self.parameters[place]} of {self.name}"
                raise TypeError(f"{what} must be {kind}, not {_what(args[place])}")

    def _check_written(self, args: tuple[Any, ...]) -> None:
        """Raise ValueError, naming the argument, for the first that is written into and is read-only."""
        for parameter, kind, value in zip(self.parameters, self.kinds, args, strict=True):
            if kind.is_written and not value.flags.writeable:
                raise ValueError(f"{parameter} of {self.name} is written into, and is read-only")

    def plain(self, *args: Any) -> Any:
        """Run it as plain Python. Records are opened as objects, whose attributes are quick, and written back."""
        given = [kind.plain(value) for kind, value in zip(self.kinds, args, strict=True)]
        with np.errstate(over="ignore"):  # compiled, words wrap in silence
            result = self.function(*given)
        for kind, value, opened in zip(self.kinds, args, given, strict=True):
            if kind.record is not None and kind.is_written:
                write_back(value, opened)
        return None if self.returns is None else self.returns.dtype.type(result).item()

    def _begin(self, *args: Any) -> Any:
        """Find the form of this process when the first entry is called, and run in it."""
        load.bind(self)
        return self.now(*args)


def _what(value: Any) -> str:
    """Describe an argument that does not fit."""
    if not isinstance(value, np.ndarray):
        return f"{value!r} ({type(value).__name__})"
    pieces = "" if value.flags.num & _IN_ONE_PIECE == _IN_ONE_PIECE else ", not in one piece"
    return f"{value.dtype}[{', '.join(map(str, value.shape))}]{pieces}"


def kernel(
    *kinds: Kind, returns: Kind | None = None, name: str | None = None
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function an entry: ``@kernel(i64[:], i32[:], i64, written(rows(GpuState)), returns=i64)``.

    Parameters
    ----------
    kinds : Kind
        One a parameter.
    returns : Kind, optional
        A number; else it returns nothing.
    name : str, optional
        Where one function has several entries; else it is the function's.
    """

    def enter(function: Callable[..., Any]) -> Kernel:
        module = function.__module__.rpartition(".")[2]
        return Kernel(function, kinds, returns, f"{module}.{name or function.__name__.lstrip('_')}")

    return enter
