"""How a configuration file is read and checked against a tree of dataclasses, and where in it a mistake stands.

Nothing here knows a key of wattshed's: those are in agent/config.py, declared with :func:`key`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_FILE = 1 << 20  # no honest configuration is a mebibyte; a wrong path (a trace, a core dump) often is
_NOUN = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}

KeyPath = tuple[str, ...]
"""A key with the tables that it lies in: ``("log", "level")``."""


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


def keys(cls: type, prefix: KeyPath = ()) -> list[tuple[KeyPath, dataclasses.Field[Any], Any]]:
    """All keys that hold one value, as (path, field, type), in the order of the tree; open tables are left out."""
    found = []
    hints = get_type_hints(cls)
    for spec in dataclasses.fields(cls):
        kind = hints[spec.name]
        if dataclasses.is_dataclass(kind):
            found += keys(kind, (*prefix, spec.name))  # type: ignore[arg-type]
        elif get_origin(kind) is not Mapping:
            found.append(((*prefix, spec.name), spec, kind))
    return found


class Flag:
    """A value that came from a flag or an environment variable."""

    folder: Path | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, path: KeyPath, message: str) -> NoReturn:  # noqa: ARG002  (the name says which key)
        """Raise about the value."""
        raise InputError(message, self.name)


class File(Flag):
    """A configuration file; says where in it a key stands."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.folder = path.absolute().parent
        try:
            with path.open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}); name another with --config", self.name) from None
        except ValueError:
            raise InputError("is no path; name another with --config", repr(self.name)) from None
        if len(raw) > _LARGEST_FILE:
            raise InputError("is larger than 1 MiB, which no configuration is; name another with --config", self.name)
        self.text, self.tree = self._parse(raw)

    def _parse(self, raw: bytes) -> tuple[str, dict[str, Any]]:
        try:
            text = raw.decode().replace("\r\n", "\n")
            return text, tomllib.loads(text)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            raise InputError("is not UTF-8; save it as UTF-8", self.name, line, column) from None
        except tomllib.TOMLDecodeError as error:
            at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
            end = (text.count("\n") + 1, len(text) - text.rfind("\n"))
            line, column = (int(at[1]), int(at[2])) if at else end
            message = str(error)[: at.start()] if at else str(error).removesuffix(" (at end of document)")
            raise InputError(f"is not TOML: {message}", self.name, line, column) from None
        except RecursionError:
            raise InputError("is nested too deeply", self.name) from None
        except ValueError as error:  # a date that no calendar has, an integer of too many digits
            raise InputError(f"is not TOML: {error}", self.name) from None

    def fail(self, path: KeyPath, message: str) -> NoReturn:
        """Raise about the value of a key."""
        line, column = self.find(path)
        raise InputError(f"{dotted(path)}: {message}", self.name, line, column)

    def find(self, path: KeyPath) -> tuple[int, int]:
        """Line and column: the first line with which the text above it, as TOML, comes to hold the key.

        tomllib keeps no positions, and a second TOML parser would be one that disagrees.
        """
        lines = self.text.split("\n")
        start = 0
        for count in range(1, min(len(lines), 2000) + 1):
            try:
                node: Any = tomllib.loads("\n".join(lines[:count]) + "\n")
            except (ValueError, RecursionError):
                continue  # inside a value of several lines
            if _holds(node, path):
                return start + 1, max(lines[start].find(path[-1]), 0) + 1
            start = count
        return 0, 0


def dotted(path: KeyPath) -> str:
    """Write a key as TOML does, on one line whatever is in it."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path)


def _holds(node: Any, path: KeyPath) -> bool:
    for part in path:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def build(root: type, table: Mapping[str, Any], source: Flag, path: KeyPath = (), cls: type | None = None) -> Any:
    """Make a dataclass of a TOML table; an unknown key is an error with a suggestion.

    Parameters
    ----------
    root : type
        The whole tree, for suggestions.
    cls : type
        The dataclass to make; ``root`` itself if not given.
    """
    cls = cls or root
    hints = get_type_hints(cls)
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    values = {}
    for name, item in table.items():
        here = (*path, name)
        if name not in specs:
            source.fail(here, f"unknown key{_meant(root, here, specs)}")
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            values[name] = build(root, _table(here, item, source), source, here, kind)  # type: ignore[arg-type]
        elif get_origin(kind) is Mapping:
            values[name] = _open_table(root, here, specs[name], item, source, kind=get_args(kind)[1])
        else:
            values[name] = value(here, specs[name], kind, item, source)
    return cls(**values)


def _table(path: KeyPath, item: Any, source: Flag) -> dict[str, Any]:
    if not isinstance(item, dict):
        source.fail(path, f"must be a table, not {_shown(item)}")
    return item


def _open_table(root: type, path: KeyPath, spec: dataclasses.Field[Any], item: Any, source: Flag, *, kind: Any) -> Any:
    """Check a table whose keys are names of the user's (UUIDs, models)."""
    if dataclasses.is_dataclass(kind):
        return {
            name: build(root, _table((*path, name), inner, source), source, (*path, name), kind)  # type: ignore[arg-type]
            for name, inner in _table(path, item, source).items()
        }
    return {name: value((*path, name), spec, kind, inner, source) for name, inner in _table(path, item, source).items()}


def _meant(root: type, path: KeyPath, specs: Mapping[str, Any]) -> str:
    """Suggest a key: one of the same table, else one of that name in another table."""
    if close := difflib.get_close_matches(path[-1], specs, 1):
        return f"; did you mean {'.'.join((*path[:-1], close[0]))}?"
    names = {known[-1]: ".".join(known) for known, _, _ in keys(root)}
    if close := difflib.get_close_matches(path[-1], names, 1, 0.8):
        return f"; did you mean {names[close[0]]}?"
    return f"; known here: {', '.join(specs)}"


def value(path: KeyPath, spec: dataclasses.Field[Any], kind: Any, item: Any, source: Flag) -> Any:
    """Check one value against its declared type, bounds and choices; returns it in that type."""
    meta = spec.metadata
    if get_origin(kind) is tuple:
        item = _strings(path, item, source)
    elif kind is float and type(item) is int:
        item = float(item) if abs(item) < 1 << 63 else math.inf
    elif kind is int and type(item) is float and item.is_integer():
        item = int(item)  # what writes TOML from JSON (Helm's toToml) makes a float of every number
    elif type(item) is not kind:
        source.fail(path, f"must be {_NOUN[kind]}, not {_shown(item)}")
    if kind in (int, float):
        _check_range(path, meta, item, source)
    if meta["choices"] and item not in meta["choices"]:
        source.fail(
            path, f"must be one of {', '.join(meta['choices'])}, not {_shown(item)}{meant(item, meta['choices'])}"
        )
    if kind is str and "\0" in item:
        source.fail(path, "must not hold a null character")
    if meta["check"] and (wrong := meta["check"](item)):
        source.fail(path, wrong)
    if meta["path"] and item and source.folder is not None:
        return str(source.folder / item)
    return item


def from_text(path: KeyPath, spec: dataclasses.Field[Any], kind: Any, text: str, source: Flag) -> Any:
    """Read the text of an environment variable as the type of its key, and check it."""
    item: Any = text
    if get_origin(kind) is tuple:
        item = [part.strip() for part in text.split(",")]
    elif kind is bool:
        item = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    elif kind in (int, float):
        try:
            item = kind(text)
        except ValueError:
            source.fail(path, f"must be {_NOUN[kind]}, not {_shown(text)}")
    return value(path, spec, kind, item, source)


def meant(given: str, known: tuple[str, ...]) -> str:
    """Suggest the value that is spelled most like the given one, if any is."""
    close = difflib.get_close_matches(given, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else text[:57] + "..."


def _strings(path: KeyPath, item: Any, source: Flag) -> tuple[str, ...]:
    if not isinstance(item, (list, tuple)) or not all(isinstance(part, str) for part in item):
        source.fail(path, f"must be a list of texts, not {_shown(item)}")
    if not item or not all(item) or any("\0" in part for part in item):
        source.fail(path, "must not be empty, nor hold an empty text")
    return tuple(item)


def _check_range(path: KeyPath, meta: Mapping[str, Any], number: float, source: Flag) -> None:
    low, high = meta["low"], meta["high"]
    if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
        unit = f" {meta['unit']}" if meta["unit"] not in ("", "1") else ""
        bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
        source.fail(path, f"must be {bounds}{unit}, not {_shown(number)}")
