"""Paths as programs have them: texts, path objects, one or several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Path = str | os.PathLike[str]
    Paths = Path | Iterable[Path]


def texts_of(paths: Paths) -> list[str]:
    """Return paths as the command line has them.

    Raises
    ------
    InputError
        If there is none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise InputError("no trace is named; give a file or a folder")
    return [os.fspath(path) for path in given]
