"""Where a history is: a file of SQLite, or the URL of a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.history.database import Database
from wattshed.agent.history.postgres import SCHEMES, PostgresDatabase

if TYPE_CHECKING:
    from wattshed.agent.history.sql import SqlDatabase


def open_database(where: str | Path, *, read_only: bool = False, only: bool = False) -> SqlDatabase:
    """Open a history.

    Parameters
    ----------
    where : str or Path
        A path, or a URL that begins with ``postgresql://``.
    read_only : bool
        Nothing is ever written.
    only : bool
        No second one with this may be open.

    Raises
    ------
    InputError
        If it is a URL of another kind.
    DatabaseError
        If there is none, or it cannot be opened.
    """
    path = where_of(where)
    if path is None:
        return PostgresDatabase(str(where), read_only=read_only, only=only)
    return Database(path, read_only=read_only, only=only)


def where_of(where: str | Path) -> Path | None:
    """Return the path of a file; None for the URL of a server.

    Raises
    ------
    InputError
        If it is a URL of another kind. Nothing of it but its kind is shown.
    """
    text = str(where)
    if text.startswith(SCHEMES):
        return None
    if isinstance(where, str) and "://" in text:
        kind = text.partition("://")[0]
        raise InputError(f"a database is a path (SQLite) or postgresql://...; {kind}:// is not supported")
    return Path(where)
