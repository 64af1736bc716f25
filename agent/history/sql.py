"""What the history asks of a database: one way to say it, for SQLite on a host and PostgreSQL at a site.

Statements are written once, in what both understand: values are ``?``, whole numbers BIGINT, real ones DOUBLE
PRECISION, and no statement returns what it changed. Only tables are made in words that differ: see `Words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager


class DatabaseError(Exception):
    """The database cannot be used; the message is one line, with where it is and what to do.

    Attributes
    ----------
    damaged : bool
        What the file holds cannot be read any more: trying again does not help.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind of database calls what tables are made of.

    Attributes
    ----------
    number : str
        A primary key that counts by itself.
    text : str
        Texts that are compared byte by byte.
    by_key : str
        At the end of a table: its rows lie in the order of their primary key.
    hidden : tuple of tuple of str
        The statements by which a reader hides the tables of version 1, 2, ... behind those of this version, for its own
        connection only; empty: a reader cannot.
    """

    number: str
    text: str
    by_key: str
    hidden: tuple[tuple[str, ...], ...] = ()


class SqlDatabase(Protocol):
    """A database, used by one thread at a time; whatever fails is a `DatabaseError`."""

    name: str
    """Where it is, for messages: never with a password."""
    read_only: bool
    words: Words

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a question."""

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows as they are found, for answers that are too long to hold."""

    def do(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Change something; returns how many rows were."""

    def each_do(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Change the same thing for many rows."""

    def transaction(self) -> AbstractContextManager[None]:
        """All of what is done inside, or nothing of it."""

    def reading(self) -> AbstractContextManager[None]:
        """All that is asked inside is answered from one state, whoever writes meanwhile."""

    def version(self) -> int:
        """Return the version of the tables; 0 of an empty database."""

    def set_version(self, version: int) -> None:
        """Write which version the tables are of."""

    def is_empty(self) -> bool:
        """Return whether there is no table at all."""

    def bytes_used(self) -> int:
        """Return how much of the disk holds something, bytes."""

    def shrink(self) -> None:
        """Give back some of the room of what was deleted."""

    def interrupt(self) -> None:
        """End the question that another thread waits for; it gets a `DatabaseError`."""

    def close(self) -> None:
        """Let go of it."""
