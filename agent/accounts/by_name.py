"""Records of whole numbers in a file: by the names of their fields, every one of them and no other."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = TypeVar("Record")


def named(record: object) -> dict[str, int]:
    """Lay a dataclass of whole numbers out by name; integers of any size survive JSON."""
    kind: type = type(record)
    names, values = _of(kind)
    return dict(zip(names, values(record), strict=True))


def of_names(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """Make the record of what `named` returned.

    Raises
    ------
    ValueError
        A name is missing, or not known.
    """
    if unlike := values.keys() ^ set(_of(kind)[0]):  # type: ignore[arg-type]
        raise ValueError(f"{kind.__name__} has other fields: {', '.join(sorted(unlike))}")
    return kind(**{name: int(value) for name, value in values.items()})


@cache
def _of(kind: Any) -> tuple[tuple[str, ...], attrgetter[tuple[int, ...]]]:
    """Return the names of a record's fields, and what gets all of them at once."""
    names = tuple(field.name for field in fields(kind))
    return names, attrgetter(*names)
