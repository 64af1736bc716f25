"""Arithmetic written as text: what a scenario file may compute, and nothing else.

A formula is a Python expression of numbers, names, ``+ - * / **``, and the functions below. It is parsed, never run as
code, so a scenario from a stranger can at worst be wrong.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Value = float | NDArray[np.float64]

_OPERATORS: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}

_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "sum": lambda a: float(np.sum(a)),
    "mean": lambda a: float(np.mean(a)),
    "min": np.minimum,
    "max": np.maximum,
    "smallest": lambda a: float(np.min(a)),
    "largest": lambda a: float(np.max(a)),
    "sqrt": np.sqrt,
    "log10": np.log10,
    "exp": np.exp,
    "ceil": np.ceil,
}


class FormulaError(ValueError):
    """A formula that cannot be read or computed; the message says which part."""


class Formula:
    """One parsed formula.

    Parameters
    ----------
    text : str

    Raises
    ------
    FormulaError
        If it is not arithmetic.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise FormulaError(f"{text!r} is not arithmetic") from None
        self.names = frozenset(_names(self._tree))

    def __call__(self, lookup: Callable[[str], Value]) -> Value:
        """Compute; ``lookup`` gives the value of a name.

        Raises
        ------
        FormulaError
            If it divides by zero, or does what a formula may not.
        """
        try:
            with np.errstate(divide="raise", invalid="raise", over="raise"):
                return _compute(self._tree, lookup)
        except (ZeroDivisionError, FloatingPointError, OverflowError) as error:
            raise FormulaError(f"{self.text!r} cannot be computed ({error})") from None
        except (TypeError, ValueError) as error:
            raise FormulaError(f"{self.text!r}: {error}") from None


def _names(tree: ast.expr) -> set[str]:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def _compute(node: ast.expr, lookup: Callable[[str], Value]) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name):
            return lookup(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand, lookup)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _OPERATORS[type(operator)](_compute(left, lookup), _compute(right, lookup))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_compute(a, lookup) for a in arguments))
    raise FormulaError(f"{ast.unparse(node)!r} is not allowed; use + - * / ** and {', '.join(_FUNCTIONS)}")


def scalar(value: Value, text: str) -> float:
    """``value`` as one finite number.

    Raises
    ------
    FormulaError
        If it is a list, or not finite.
    """
    if np.ndim(value) or not math.isfinite(value):
        raise FormulaError(
            f"{text!r} gives {'a list' if np.ndim(value) else value}; a figure must be one finite number"
        )
    return float(value)


def evaluator(formulas: Mapping[str, Formula], given: Mapping[str, Value]) -> Callable[[str], Value]:
    """Make a lookup over given values and formulas of them, each computed at most once.

    Raises
    ------
    FormulaError
        (When called) for an unknown name or a formula that needs itself.
    """
    known: dict[str, Value] = dict(given)
    open_names: list[str] = []

    def lookup(name: str) -> Value:
        if name in known:
            return known[name]
        if name not in formulas:
            raise FormulaError(f"there is nothing named {name!r}")
        if name in open_names:
            raise FormulaError(f"{name!r} is computed from itself")
        open_names.append(name)
        known[name] = formulas[name](lookup)
        open_names.pop()
        return known[name]

    return lookup
