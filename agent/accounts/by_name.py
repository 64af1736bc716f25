"""Records of whole numbers in a file: by the names of their fields, every one of them and no other."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = TypeVar("Record")


def named(record: Any) -> dict[str, int]:
    """Lay a dataclass of whole numbers out by name; integers of any size survive JSON."""
    return {name: getattr(record, name) for name in _names(type(record))}


def of_names(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """Make the record of what `named` returned.

    Raises
    ------
    ValueError
        A name is missing, or not known.
    """
    if unlike := values.keys() ^ set(_names(kind)):
        raise ValueError(f"{kind.__name__} has other fields: {', '.join(sorted(unlike))}")
    return kind(**{name: int(value) for name, value in values.items()})


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
