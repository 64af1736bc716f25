"""Questions from outside to an agent's own history: each has the file opened for itself, and may be interrupted.

So a history that was put aside, or is new, is found by the next question, and one that takes too long holds nothing
that another one needs.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.history import schema
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.database import Database
from wattshed.agent.history.paths import RefusedError, ask
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.stored_power import stored_power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wattshed.agent.history.live import LiveView
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.exporters.web.power_steps import PowerStep


class Question:
    """One question, answered in a thread; another thread may interrupt it.

    Parameters
    ----------
    opening : callable
        Opens the database to read.
    host : str
    live : callable
        See `Answers`.
    whose : callable
        From a user to who that is in the history, see `agent.history.privacy`; below 0: nobody.
    clock : callable
        Unix seconds.
    """

    def __init__(
        self,
        opening: Callable[[], SqlDatabase],
        host: str,
        live: Callable[[], LiveView | None] | None = None,
        *,
        whose: Callable[[int], int] = lambda uid: uid,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._opening, self._host, self._live, self._clock = opening, host, live, clock
        self._whose = whose
        self._lock = threading.Lock()
        self._database: SqlDatabase | None = None
        self._interrupted = False

    def answer(self, path: str, params: Mapping[str, str], uid: int | None) -> tuple[int, dict[str, Any]]:
        """Answer it; never raises for what can go wrong with a database.

        Parameters
        ----------
        path : str
        params : mapping of str to str
        uid : int or None
            Whose jobs may be seen; None: everybody's.

        Returns
        -------
        (int, dict)
            HTTP's status, and the document.
        """
        if uid is not None and (uid := self._whose(uid)) < 0:
            uid = _NOBODY
        # The first view before the file is opened: what the agent no longer shows is in the file then, be it new.
        views: Iterator[LiveView | None] = repeat(None)
        if self._live is not None:
            if (first := self._live()) is None:
                return _NOT_YET  # the file alone may lack jobs that were shown before a restart
            views = chain([first], iter(self._live, _NO_VIEW))
        try:
            with self._opened() as database:
                answers = Answers(database, self._host, partial(next, views), clock=self._clock)
                return 200, ask(answers, path, params, uid, self._clock())
        except RefusedError as error:
            return error.status, {"error": str(error)}
        except DatabaseError as error:
            return _TOO_LONG if self._interrupted else (503, {"error": str(error)})

    def power(self, since_us: int, until_us: int, step_us: int) -> tuple[list[PowerStep], str]:
        """Return the power of this host's GPUs in a time, and why it is not all of it; see `stored_power`."""
        try:
            with self._opened() as database:
                return stored_power(database, since_us, until_us, step_us), ""
        except DatabaseError as error:
            return [], str(_TOO_LONG[1]["error"]) if self._interrupted else str(error)

    def interrupt(self) -> None:
        """End it: it took too long. To be repeated until it has ended: between two reads there is nothing to end."""
        self._interrupted = True
        with self._lock:
            if self._database is not None:
                self._database.interrupt()

    @contextmanager
    def _opened(self) -> Iterator[SqlDatabase]:
        database = self._opening()
        try:
            with self._lock:
                self._database = database
            yield database
        finally:
            with self._lock:
                self._database = None
            database.close()


_NO_VIEW = object()
_NOBODY = -2
"""No job is this user's; -1 are those of whom it is not known."""
_NOT_YET = 503, {"error": "no totals yet: the agent is starting, or another one uses its state folder; ask again"}
_TOO_LONG = 503, {"error": "the question took too long; ask for a shorter time or for fewer jobs"}


def open_or_empty(path: Path) -> SqlDatabase:
    """Open a history to read, or an empty one as long as nothing was written.

    Raises
    ------
    DatabaseError
        If there is one that cannot be read.
    """
    if path.exists():
        database = Database(path, read_only=True)
        if database.version():
            schema.prepare(database)
            return database
        database.close()
    empty = Database(Path(":memory:"))
    schema.prepare(empty)
    return empty
