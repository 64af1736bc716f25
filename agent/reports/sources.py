"""Whom a command asks about jobs: an agent or a collector over a socket or HTTP, or a history itself.

All of them answer with the same documents.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.wire.agents import DocumentServer, NoDocumentError

EXAMPLE = "http://127.0.0.1:9961"
TIMEOUT_S = 30.0
_NO_SUCH_JOB = "no such job"


class UnansweredError(OSError):
    """There is no answer; the message is one line that says what to do, and the command's exit code is 1."""


class JobSource(Protocol):
    """Somebody who knows which job used what."""

    name: str
    """What it is called in a message to people: an address or a path."""

    def ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask one question.

        Parameters
        ----------
        path : str
            What follows ``/api/v1/``: ``jobs``, ``jobs/KEY`` or ``report``. The key is written as it is.
        params : mapping of str to str
            As in the query of a URL; times in Unix seconds.

        Raises
        ------
        InputError
            If a parameter cannot be: exit code 2.
        UnansweredError
            If there is no answer, or no such job: exit code 1.
        """
        ...


class StoreSource:
    """Reads a history itself, which is never changed by it: an agent's file, or a site's database.

    Parameters
    ----------
    where : str
        A path, or the URL of a PostgreSQL database.
    clock : callable
        Unix seconds.

    Raises
    ------
    InputError
        If it is the URL of something else.
    UnansweredError
        If it is not a history, or cannot be read.
    """

    def __init__(self, where: str, clock: Callable[[], float] = time.time) -> None:
        from wattshed.agent.history.answers import Answers  # noqa: PLC0415
        from wattshed.agent.history.opening import open_database  # noqa: PLC0415
        from wattshed.agent.history.schema import prepare  # noqa: PLC0415
        from wattshed.agent.history.sql import DatabaseError  # noqa: PLC0415

        self._clock, self._failed = clock, DatabaseError
        try:
            database = open_database(where, read_only=True)
            self.name = database.name
            prepare(database)
            hosts = database.rows("SELECT host FROM store ORDER BY id DESC LIMIT 1")
        except DatabaseError as error:
            raise UnansweredError(str(error)) from None
        self._answers = Answers(database, hosts[0][0] if hosts else "", clock=clock)

    def ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask one question; see `JobSource`."""
        from wattshed.agent.history.paths import RefusedError, ask  # noqa: PLC0415

        try:
            return ask(self._answers, f"/api/v1/{quote(path)}", params, None, self._clock())
        except self._failed as error:
            raise UnansweredError(str(error)) from None
        except RefusedError as error:
            if error.status == 404:
                raise UnansweredError(_no_such_job(path)) from None
            raise InputError(str(error)) from None


class HttpSource:
    """Asks an agent or a collector.

    Parameters
    ----------
    server : DocumentServer
    timeout_s : float, s
        For each question.
    """

    def __init__(self, server: DocumentServer, *, timeout_s: float = TIMEOUT_S) -> None:
        self.name, self._server, self._timeout_s = server.address.url, server, timeout_s

    def ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask one question; see `JobSource`."""
        from wattshed.agent.wire.agents import NoDocumentError  # noqa: PLC0415

        try:
            document = self._server.ask(f"/api/v1/{quote(path)}", params, timeout_s=self._timeout_s)
        except NoDocumentError as error:
            raise self._refused(error, path) from None
        if not str(document.get("schema", "")).startswith("wattshed."):
            raise UnansweredError(f"{self.name} is neither an agent nor a collector")
        return document

    def _refused(self, error: NoDocumentError, path: str) -> Exception:
        """Say why there is no document, and what to do."""
        if error.nobody:
            return UnansweredError(f"{error}; is wattshed running there?")
        if error.status == 400:
            return InputError(str(error))
        if error.status == 404:
            if str(error).endswith(f"({_NO_SUCH_JOB})"):
                return UnansweredError(_no_such_job(path))
            return UnansweredError(f"{error}; it keeps no history of jobs: [history] is off there, or it is too old")
        return UnansweredError(str(error))


def open_source(args: argparse.Namespace, sockets: Sequence[Path] | None = None) -> JobSource:
    """Find whom to ask: ``--url``, else ``--store``, else the first of the sockets at which somebody listens.

    Parameters
    ----------
    args : Namespace
        With what `flags.add_source_flags` added.
    sockets : sequence of Path, optional
        Those of this user and this host unless given.

    Raises
    ------
    InputError
        If a flag is no address.
    UnansweredError
        If there is nobody to be asked.
    """
    if args.url is None and args.store is not None:
        return StoreSource(args.store)
    from wattshed.agent.wire.agents import DocumentServer  # noqa: PLC0415
    from wattshed.agent.wire.credentials import credentials_of, url_of  # noqa: PLC0415
    from wattshed.agent.wire.sockets import answering, candidates  # noqa: PLC0415

    url = url_of(args)
    if not url:
        found, missed = answering(candidates(os.environ, os.geteuid()) if sockets is None else sockets)
        if not found:
            raise UnansweredError(
                f"no agent or collector found at {', '.join(missed)}; start one with `wattshed run`, or give "
                f"--url {EXAMPLE} or --store FILE"
            )
        url = f"unix:{found[0]}"
    return HttpSource(DocumentServer.of(url, credentials_of(args)))


def _no_such_job(path: str) -> str:
    return f"{path.partition('/')[2]}: no such job, or not one of yours"
