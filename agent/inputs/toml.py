"""TOML files of the fleet: read with one-line errors, and a key's line found again for a later complaint."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_text

if TYPE_CHECKING:
    from pathlib import Path


def read_toml(path: str | Path, text: str | None = None) -> dict[str, Any]:
    """Tables of a TOML file (or of its ``text``, if it was read already).

    Raises
    ------
    InputError
        If it is not TOML; it names line and column.
    """
    try:
        return tomllib.loads(read_text(path) if text is None else text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        message = str(error)[: place.start()] if place else str(error)
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (0, 0)
        raise InputError(f"is not TOML ({message})", str(path), line, column) from None


def line_of(text: str, key: str, occurrence: int = 0) -> int:
    """Line (1-based) of a table header or key such as ``given.h100``; 0 where it is not written.

    ``occurrence`` counts the tables of one array, from 0.
    """
    table, _, name = key.rpartition(".")
    patterns = [rf"^\s*\[\[?\s*{re.escape(key)}\s*\]", rf"^\s*{re.escape(key)}\s*="]
    if table:
        patterns.append(rf"^\s*{re.escape(name)}\s*=")
    for pattern in patterns:
        found = list(re.finditer(pattern, text, re.MULTILINE))
        if found:
            return text.count("\n", 0, found[min(occurrence, len(found) - 1)].end()) + 1
    return 0
