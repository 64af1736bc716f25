"""pyarrow, loaded when it is first used: a plain table is read without, and to load it takes a fifth of a short replay.

`pc` is `pyarrow.compute`, which makes a Python function, with its documentation, of each of hundreds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Later:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa, pc = _Later("pyarrow"), _Later("pyarrow.compute")

__all__ = ["pa", "pc"]
