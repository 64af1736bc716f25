"""TOML files of every kind: read once, checked by one set of rules, and each complaint says where in the file it is.

A `Document` is a file; a `Table` is one of its tables, which is asked for its keys by the type they must have. What is
wrong is an `InputError` with file, line and column, and names the nearest known key where one is misspelled.
"""

from __future__ import annotations

import bisect
import difflib
import json
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.positions import KeyPath, positions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_LARGEST_FILE = 1 << 20  # a wrong path (a trace, a core dump) often is larger; no file of settings is
_NOUN = {str: "a string", bool: "true or false", int: "a whole number", float: "a number", dict: "a table"}
_LONGEST_SHOWN = 60


class ValueSource(Protocol):
    """Where values come from; it knows how to complain about one of them."""

    def fail(self, path: KeyPath, message: str) -> NoReturn:
        """Raise `InputError` about the value at ``path``."""


class Document:
    """A TOML file.

    Parameters
    ----------
    path : Path
    remedy : str
        What to do where it cannot be read.

    Raises
    ------
    InputError
        If it cannot be read or is not TOML.
    """

    def __init__(self, path: str | Path, remedy: str = "check the path") -> None:
        self.name = str(path)
        try:
            self.folder = Path(path).absolute().parent
            with Path(path).open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}); {remedy}", self.name) from None
        except ValueError:
            raise InputError(f"is not a valid path; {remedy}", repr(self.name)) from None
        if len(raw) > _LARGEST_FILE:
            raise InputError(f"is larger than 1 MiB, too large for a file of settings; {remedy}", self.name)
        self.text = self._decoded(raw)
        self.tree, self._positions = self._parsed()

    @property
    def root(self) -> Table:
        """The table that holds all others."""
        return Table(self, (), self.tree)

    def fail(self, path: KeyPath, message: str) -> NoReturn:
        """Raise about a key, a table or an element of a list."""
        line, column = self.find(path)
        raise InputError(f"{dotted(path)}: {message}" if dotted(path) else message, self.name, line, column)

    def find(self, path: KeyPath) -> tuple[int, int]:
        """Line and column (from 1) of a key; of the table around it, where it is not written."""
        while path not in self._positions:
            path = path[:-1]
        return self._place(self._positions[path])

    def _place(self, offset: int) -> tuple[int, int]:
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            raise InputError("is not UTF-8; save it as UTF-8", self.name, line, column) from None

    def _parsed(self) -> tuple[dict[str, Any], Mapping[KeyPath, int]]:
        try:
            return tomllib.loads(self.text), positions(self.text)
        except tomllib.TOMLDecodeError as error:
            at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
            line, column = (int(at[1]), int(at[2])) if at else self._place(len(self.text))
            message = str(error)[: at.start()] if at else str(error).removesuffix(" (at end of document)")
            raise InputError(f"is not TOML: {message}", self.name, line, column) from None
        except RecursionError:
            raise InputError("is nested too deeply", self.name, *self._first_bad_line()) from None
        except ValueError as error:  # an integer of too many digits
            raise InputError(f"is not TOML: {error}", self.name, *self._first_bad_line()) from None

    def _first_bad_line(self) -> tuple[int, int]:
        """Find the line with which the text above it fails otherwise than for being cut off."""
        lines = self.text.split("\n")

        def fails(count: int) -> bool:
            try:
                tomllib.loads("\n".join(lines[:count]))
            except tomllib.TOMLDecodeError:
                return False
            except (ValueError, RecursionError):
                return True
            return False

        line = bisect.bisect_left(range(len(lines) + 1), True, key=fails)
        return line, len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1


@dataclass(frozen=True, slots=True)
class Table:
    """One table, asked for its keys by type; a default of None means that the key must be there.

    Attributes
    ----------
    source : ValueSource
    path : KeyPath
    items : mapping
        As tomllib gives them.
    """

    source: ValueSource
    path: KeyPath
    items: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.items

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)

    def fail(self, message: str, *at: str | int) -> NoReturn:
        """Raise about what is ``at`` within the table, or about the table."""
        self.source.fail((*self.path, *at), message)

    def only(self, known: Collection[str], elsewhere: Mapping[str, str] | None = None) -> Table:
        """Refuse keys that are not known, with a suggestion; returns the table.

        Parameters
        ----------
        known : collection of str
        elsewhere : mapping of name -> dotted key
            Keys of other tables, which may have been put here by mistake.
        """
        for key in self.items:
            if key not in known:
                self.fail(f"unknown key{self._suggestion(key, known, elsewhere or {})}", key)
        return self

    def _suggestion(self, key: str, known: Collection[str], elsewhere: Mapping[str, str]) -> str:
        if close := difflib.get_close_matches(key, known, 1):
            return f"; did you mean {dotted((*self.path, close[0]))}?"
        if close := difflib.get_close_matches(key, elsewhere, 1, 0.8):
            return f"; did you mean {elsewhere[close[0]]}?"
        return f"; known here: {', '.join(known)}"

    def text(self, key: str, default: str | None = None, *, choices: Collection[str] = (), empty: bool = False) -> str:
        """Text; one of ``choices`` where there are some."""
        found: str = self._typed(key, str, default, choices=choices)
        if key in self.items and not found.strip() and not empty:
            self.fail("must not be empty", key)
        return found.strip()

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        low: float | None = None,
        above: float | None = None,
        high: float | None = None,
    ) -> float:
        """Return a finite number within bounds, of which ``above`` is left out itself."""
        found: float = self._typed(key, float, default, low=low, above=above, high=high)
        return found

    def count(
        self, key: str, default: int | None = None, *, low: float | None = None, high: float | None = None
    ) -> int:
        """Whole number within bounds."""
        found: int = self._typed(key, int, default, low=low, high=high)
        return found

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return true or false."""
        found: bool = self._typed(key, bool, default)
        return found

    def table(self, key: str, *, required: bool = True) -> Table:
        """Table below this one; an empty one where it is neither required nor there."""
        return Table(self.source, (*self.path, key), self._typed(key, dict, None if required else {}))

    def tables(self, key: str, *, required: bool = False) -> list[Table]:
        """Tables of an array, ``[[key]]``."""
        found = self.items.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self.fail(f"must be written as [[{key}]]", key)
        if required and not found:
            self.fail(f"needs a [[{key}]]")
        return [Table(self.source, (*self.path, key, i), item) for i, item in enumerate(found)]

    def each(self, key: str, kind: type, default: list[Any] | None = None, **bounds: float) -> list[Any]:
        """List whose elements all have one type; each of them within ``low`` and ``high``, where these are given."""
        found = []
        for i, item in enumerate(self._elements(key, default)):
            try:
                found.append(fitted(item, kind, **bounds))  # type: ignore[arg-type]
            except MisfitError as wrong:
                self.fail(str(wrong), key, i)
        return found

    def _elements(self, key: str, default: list[Any] | None) -> list[Any]:
        if key not in self.items and default is not None:
            return default
        found = self._present(key, "a list")
        if not isinstance(found, list):
            self.fail(f"must be a list, not {shown(found)}", key)
        return found

    def tuples(self, key: str, shape: Mapping[str, type]) -> list[tuple[Any, ...]]:
        """List of lists that all hold the same, such as ``[[seconds, watts], ...]``: name -> type of each part."""
        rows = []
        for i, row in enumerate(self._elements(key, [])):
            if not isinstance(row, list) or len(row) != len(shape):
                self.fail(f"must be a list of [{', '.join(shape)}], not of {shown(row)}", key, i)
            parts = []
            for part, (name, kind) in zip(row, shape.items(), strict=True):
                try:
                    parts.append(fitted(part, kind))
                except MisfitError as wrong:
                    self.fail(f"{name} {wrong}", key, i)
            rows.append(tuple(parts))
        return rows

    def _present(self, key: str, noun: str) -> Any:
        if key not in self.items:
            self.fail(f"needs {key}, {noun}")
        return self.items[key]

    def _typed(self, key: str, kind: type, default: Any, **bounds: Any) -> Any:
        if key not in self.items and default is not None:
            return default
        item = self._present(key, _NOUN[kind])
        try:
            return fitted(item, kind, **bounds)
        except MisfitError as wrong:
            self.fail(str(wrong), key)


class MisfitError(ValueError):
    """A value is not what its key may hold; the text says what it must be."""


def fitted(
    item: Any,
    kind: type,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    unit: str = "",
    choices: Collection[str] = (),
) -> Any:
    """Check one value against a type and bounds; returns it in that type.

    Raises
    ------
    MisfitError
        If it does not fit.
    """
    given = item
    if kind is float and type(item) is int:
        item = float(item) if abs(item) < 1 << 63 else math.inf
    elif kind is int and type(item) is float and item.is_integer():
        item = int(item)  # what writes TOML from JSON (Helm's toToml) makes a float of every number
    elif type(item) is not kind:
        raise MisfitError(f"must be {_NOUN[kind]}, not {shown(item)}")
    if kind in (int, float) and not (
        math.isfinite(item)
        and (low is None or item >= low)
        and (above is None or item > above)
        and (high is None or item <= high)
    ):
        bounds = _bounds(low, above, high) if math.isfinite(item) or high is not None else "a finite number"
        raise MisfitError(f"must be {bounds}{unit and ' '}{unit}, not {shown(given)}")
    if choices and item not in choices:
        raise MisfitError(f"must be one of {', '.join(choices)}, not {shown(item)}{meant(item, choices)}")
    if kind is str and "\0" in item:
        raise MisfitError("must not contain a null character")
    return item


def _bounds(low: float | None, above: float | None, high: float | None) -> str:
    least = f"above {_plain(above)}" if above is not None else f"at least {_plain(low)}" if low is not None else ""
    if high is None:
        return least or "a finite number"
    if low is not None and above is None:
        return f"from {_plain(low)} to {_plain(high)}" if low != high else _plain(low)
    return f"{least} and at most {_plain(high)}" if least else f"at most {_plain(high)}"


def _plain(bound: float) -> str:
    return str(int(bound) if bound == int(bound) else bound)


def meant(given: str, known: Collection[str]) -> str:
    """Suggest the value that is spelled most like the given one, if any is."""
    close = difflib.get_close_matches(given, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(item: Any) -> str:
    """Quote a value, on one line and not at any length."""
    text = str(item).lower() if isinstance(item, bool) else repr(item)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def dotted(path: KeyPath) -> str:
    """Write a key as TOML does, on one line whatever is in it; places in lists are left out: the line shows them."""
    parts = (part for part in path if isinstance(part, str))
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in parts)
