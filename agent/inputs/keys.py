"""How a configuration is checked against a tree of dataclasses that declare its keys.

Nothing here knows a key of wattshed's: those are in agent/config/settings.py, declared with :func:`key`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.toml import Document, MisfitError, Table, ValueSource, dotted, fitted, shown

if TYPE_CHECKING:
    from wattshed.agent.inputs.positions import KeyPath


def key(
    default: Any,
    text: str,
    unit: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    path: bool = False,
    check: Callable[[Any], str] | None = None,
) -> Any:
    """Declare a key: its default, what it is for, its unit, and what it may be.

    Parameters
    ----------
    path : bool
        A relative path is meant from the folder of the configuration file.
    check : callable
        Returns what is wrong with a value of the right type, or "".
    """
    meta = {"text": text, "unit": unit, "low": low, "high": high, "choices": choices, "path": path, "check": check}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=dict, metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def keys(cls: type, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dataclasses.Field[Any], Any]]:
    """All keys that hold one value, as (path, field, type), in the order of the tree.

    Tables whose keys are the user's, and tables that may be there more than once, are left out.
    """
    found = []
    hints = get_type_hints(cls)
    for spec in dataclasses.fields(cls):
        kind = hints[spec.name]
        if dataclasses.is_dataclass(kind):
            found += keys(kind, (*prefix, spec.name))  # type: ignore[arg-type]
        elif get_origin(kind) is not Mapping and not _is_repeated(kind):
            found.append(((*prefix, spec.name), spec, kind))
    return found


def _is_repeated(kind: Any) -> bool:
    """Return whether a key is a table that may be there more than once: ``[[key]]``."""
    return get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0])


class Flag:
    """A value that came from a flag or an environment variable."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, path: KeyPath, message: str) -> NoReturn:  # noqa: ARG002  (the name says which key)
        """Raise about the value."""
        raise InputError(message, self.name)


def build(root: type, tree: Mapping[str, Any], source: ValueSource) -> Any:
    """Make a dataclass of a TOML tree; an unknown key is an error with a suggestion."""
    elsewhere = {path[-1]: dotted(path) for path, _, _ in keys(root)}
    return _made(root, Table(source, (), tree), elsewhere)


def _made(cls: type, table: Table, elsewhere: Mapping[str, str]) -> Any:
    hints = get_type_hints(cls)
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    values = {}
    for name in table.only(specs, elsewhere):
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            values[name] = _made(kind, table.table(name), elsewhere)  # type: ignore[arg-type]
        elif get_origin(kind) is Mapping:
            values[name] = _open_table(table.table(name), specs[name], get_args(kind)[1], elsewhere)
        elif _is_repeated(kind):
            values[name] = tuple(_made(get_args(kind)[0], one, elsewhere) for one in table.tables(name))
        else:
            values[name] = value((*table.path, name), specs[name], kind, table.items[name], table.source)
    return cls(**values)


def _open_table(table: Table, spec: dataclasses.Field[Any], kind: Any, elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """Check a table whose keys are names of the user's (UUIDs, models)."""
    if dataclasses.is_dataclass(kind):
        return {name: _made(kind, table.table(name), elsewhere) for name in table}  # type: ignore[arg-type]
    return {name: value((*table.path, name), spec, kind, table.items[name], table.source) for name in table}


def value(path: KeyPath, spec: dataclasses.Field[Any], kind: Any, item: Any, source: ValueSource) -> Any:
    """Check one value against its declared type, bounds and choices; returns it in that type."""
    meta = spec.metadata
    try:
        if get_origin(kind) is tuple and get_args(kind)[0] is int:
            item = _numbers(item, low=meta["low"], high=meta["high"])
        elif get_origin(kind) is tuple:
            item = _strings(item, may_be_empty=spec.default == ())
        else:
            unit = "" if meta["unit"] == "1" else meta["unit"]
            item = fitted(item, kind, low=meta["low"], high=meta["high"], unit=unit, choices=meta["choices"])
    except MisfitError as wrong:
        source.fail(path, str(wrong))
    if meta["check"] and (said := meta["check"](item)):
        source.fail(path, said)
    if meta["path"] and item and isinstance(source, Document):
        return str(source.folder / item)
    return item


def from_text(path: KeyPath, spec: dataclasses.Field[Any], kind: Any, text: str, source: ValueSource) -> Any:
    """Read the text of an environment variable as the type of its key, and check it."""
    item: Any = text
    if get_origin(kind) is tuple:
        item = [part.strip() for part in text.split(",")] if text or spec.default != () else []
        if get_args(kind)[0] is int:
            item = [int(part) if part.isascii() and part.isdecimal() else part for part in item]
    elif kind is bool:
        item = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    elif kind in (int, float):
        try:
            item = kind(text)
        except ValueError:
            item = text  # its type is refused
    return value(path, spec, kind, item, source)


def _numbers(item: Any, *, low: float | None, high: float | None) -> tuple[int, ...]:
    if not isinstance(item, (list, tuple)):
        raise MisfitError(f"must be a list of whole numbers, not {shown(item)}")
    return tuple(fitted(part, int, low=low, high=high) for part in item)


def _strings(item: Any, *, may_be_empty: bool) -> tuple[str, ...]:
    if not isinstance(item, (list, tuple)) or not all(isinstance(part, str) for part in item):
        raise MisfitError(f"must be a list of strings, not {shown(item)}")
    if not (item or may_be_empty) or not all(item) or any("\0" in part for part in item):
        raise MisfitError(f"must not {'' if may_be_empty else 'be empty or '}contain an empty string")
    return tuple(item)
