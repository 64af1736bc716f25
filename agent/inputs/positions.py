"""Where in a TOML text each key and each element of a list stands.

tomllib keeps no positions. What is scanned here was parsed by it before, so nothing is judged twice: the scanner only
follows keys, brackets and strings of a text that is known to be TOML. A test holds it to the same tree.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""A key with the tables that it lies in, and places in lists: ``("site", 1, "pue", "low")``."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\#[^\n]*)
    |(?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5}(?!\") | '{3}.*?'{3,5}(?!') | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    |(?P<mark>[\[\]{},=.\n])
    |(?P<bare>[^\s\[\]{},=.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


def positions(text: str) -> Mapping[KeyPath, int]:
    r"""Offset of each key (of its last part), table and element of a list in a valid TOML text with ``\n`` line ends.

    The whole document is at ``()``. A table that is only mentioned on the way to another stands where it is first
    mentioned.
    """
    return _Scanner(text).found


class _Scanner:
    """Reads token by token; the kind of a mark is the mark itself."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {(): 0}
        self._text = text
        self._tokens = self._split(text)
        self._lengths: dict[KeyPath, int] = {}  # of the arrays of tables
        self._next()
        self._document()

    def _split(self, text: str) -> Iterator[tuple[str, int, str]]:
        for token in _TOKEN.finditer(text):
            if token.lastgroup != "blank":
                kind = token.group() if token.lastgroup == "mark" else token.lastgroup or ""
                yield kind, token.start(), token.group()
        yield "end", len(text), ""

    def _next(self) -> None:
        self._kind, self._at, self._word = next(self._tokens, ("end", len(self._text), ""))

    def _document(self) -> None:
        table: KeyPath = ()
        while self._kind != "end":
            if self._kind == "\n":
                self._next()
            elif self._kind == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        doubled = self._text.startswith("[[", self._at)
        start = self._at
        for _ in range(1 + doubled):
            self._next()
        path: KeyPath = ()
        parts = list(self._parts())
        for i, (part, at) in enumerate(parts):
            path = (*path, part)
            last = i == len(parts) - 1
            self.found.setdefault(path, at)
            if last and doubled:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self.found.setdefault(path, start)
        while self._kind == "]":
            self._next()
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part, at in self._parts():
            path = (*path, part)
            self.found.setdefault(path, at)
        self._next()  # the sign of equality
        self._value(path)

    def _parts(self) -> Iterator[tuple[str, int]]:
        """Read ``a."b".c``; the token behind it is the current one then."""
        while self._kind in {"bare", "text", "."}:
            if self._kind != ".":
                yield self._named(), self._at
            self._next()

    def _named(self) -> str:
        return next(iter(tomllib.loads(f"{self._word} = 0"))) if self._kind == "text" else self._word

    def _value(self, path: KeyPath) -> None:
        if self._kind == "[":
            self._list(path)
        elif self._kind == "{":
            self._next()
            while not self._ends("}"):
                self._pair(path)
        else:
            while self._kind not in {",", "]", "}", "\n", "end"}:
                self._next()  # a number or a date may be several tokens

    def _list(self, path: KeyPath) -> None:
        self._next()
        place = 0
        while not self._ends("]"):
            self.found[*path, place] = self._at
            self._value((*path, place))
            place += 1

    def _ends(self, mark: str) -> bool:
        """Skip commas and line breaks; return whether the bracket closes here, and step over it."""
        while self._kind in {",", "\n"}:
            self._next()
        if self._kind in {mark, "end"}:
            self._next()
            return True
        return False
