"""JSON values one after the other, without holding the whole file: one a line, some in a row, or an array of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
_LARGEST = 256 << 20  # characters of one value
_BETWEEN = " \t\r\n,\0\ufeff"


class JsonValues:
    """Reads values from a text, each with the line that it begins in.

    Numbers come as they are written (`str`), so that none is rounded; only ``true``, ``false`` and ``null`` are not.

    Parameters
    ----------
    file : text file
    path : str
        For messages.
    """

    def __init__(self, file: TextIO, path: str) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._line = "", 0, 1
        self._decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)

    @property
    def line(self) -> int:
        """1-based line of what is read next."""
        return self._line

    def beginning(self) -> str:
        """Return the first part of the text, without consuming it."""
        if not self._text:
            self._more()
        return self._text

    def enter(self, key: str) -> bool:
        """Go to the first member of the array that stands under ``key`` in the first part; False if there is none."""
        text = self.beginning()
        at = text.find(f'"{key}"')
        at = text.find("[", at) if at >= 0 else -1
        if at >= 0:
            self._advance(at + 1)
        return at >= 0

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield (line, value), to the end of the text or of the array that was entered.

        Raises
        ------
        InputError
            If the text is cut off, or is not JSON.
        """
        if self._next() == "[":
            self._advance(self._at + 1)
        while (mark := self._next()) and mark != "]":
            line = self._line
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at <= _LARGEST and self._more():
                    continue
                line += error.lineno - 1 - self._text.count("\n", 0, self._at)
                raise InputError(f"the JSON is cut off or damaged ({error.msg})", self._path, line) from error
            except RecursionError as error:
                raise InputError("the JSON is nested too deeply", self._path, line) from error
            if end == len(self._text) and not isinstance(value, (dict, list)) and self._more():
                continue  # a number may go on
            yield line, value
            self._advance(end)

    def _next(self) -> str:
        """Return the first character that is not between values; empty at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in _BETWEEN:
                at += 1
            self._advance(at)
            if at < len(self._text):
                return self._text[at]
            if not self._more():
                return ""

    def _advance(self, at: int) -> None:
        self._line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> bool:
        more = self._file.read(_CHUNK)
        if more:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
