"""Whom a command asks about jobs: an agent or a collector over a socket or HTTP, or a history's own file.

All of them answer with the same documents.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.wire.http import Address
    from wattshed.agent.wire.http import Answer as HttpAnswer

SOCKETS = (Path("/run/wattshed/collect.sock"), Path("/run/wattshed/api.sock"))
"""Where a collector and an agent listen on their own host; the first that does is asked."""
EXAMPLE = "http://127.0.0.1:9961"
TIMEOUT_S = 30.0
MOST_BYTES = 256 * 2**20
_NO_SUCH_JOB = "no such job"


class UnansweredError(OSError):
    """There is no answer; the message is one line that says what to do, and the command's exit code is 1."""


class Source(Protocol):
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


class FileSource:
    """Reads the history's own file, which is never changed by it.

    Parameters
    ----------
    path : Path
    clock : callable
        Unix seconds.

    Raises
    ------
    UnansweredError
        If it is not a history, or cannot be read.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        from wattshed.agent.history.answers import Answers  # noqa: PLC0415
        from wattshed.agent.history.database import Database, DatabaseError  # noqa: PLC0415
        from wattshed.agent.history.schema import prepare  # noqa: PLC0415

        self.name, self._clock, self._failed = str(path), clock, DatabaseError
        try:
            database = Database(path, read_only=True)
            prepare(database)
            hosts = database.rows("SELECT host FROM store ORDER BY id DESC LIMIT 1")
        except DatabaseError as error:
            raise UnansweredError(str(error)) from None
        self._answers = Answers(database, hosts[0][0] if hosts else "", clock=clock)

    def ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask one question; see `Source`."""
        try:
            answer = self._answer(path, params)
        except self._failed as error:
            raise UnansweredError(str(error)) from None
        except ValueError as error:
            raise InputError(f"--{error}") from None
        if answer is None:
            raise UnansweredError(_no_such_job(path))
        return answer

    def _answer(self, path: str, params: Mapping[str, str]) -> dict[str, Any] | None:
        from datetime import UTC  # noqa: PLC0415

        from wattshed.agent.history.asking import filter_of  # noqa: PLC0415

        own = {"limit", "cursor", "by", "step_s"}
        asked = filter_of({k: v for k, v in params.items() if k not in own}, None, self._clock(), UTC)
        what, _, key = path.partition("/")
        if key:
            return self._answers.job(key, asked)
        if what == "report":
            step_s = int(params["step_s"]) if "step_s" in params else None
            return self._answers.report(params["by"], asked, step_s)
        return self._answers.jobs(asked, int(params.get("limit", "1000")), params.get("cursor", ""))


class HttpSource:
    """Asks an agent or a collector.

    Parameters
    ----------
    address : Address
        Of the server, without ``/api/v1``.
    timeout_s : float, s
        For each question.
    """

    def __init__(self, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self.name, self._address, self._timeout_s = address.url, address, timeout_s

    def ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask one question; see `Source`."""
        from wattshed.agent.wire.http import Client, NoAnswerError  # noqa: PLC0415

        query = "&".join(part for part in (self._address.query, urlencode(params)) if part)
        address = replace(self._address.below(f"/api/v1/{quote(path)}"), query=query)
        with closing(Client(address, timeout_s=self._timeout_s)) as client:
            try:
                answer = client.get(most_bytes=MOST_BYTES)
            except NoAnswerError as error:
                raise UnansweredError(f"{self.name} {error}; is an agent running there?") from None
        if not answer.taken:
            raise self._refused(answer, path)
        try:
            document = json.loads(answer.content)
        except ValueError:
            document = None
        if not isinstance(document, dict) or not str(document.get("schema", "")).startswith("wattshed."):
            raise UnansweredError(f"{self.name} is not an agent or a collector that knows jobs")
        return document

    def _refused(self, answer: HttpAnswer, path: str) -> Exception:
        """Say why there is no document, and what to do."""
        if answer.status == 400:
            return InputError(f"{self.name} refused the question: {answer.reason}")
        if answer.status == 404 and answer.reason == _NO_SUCH_JOB:
            return UnansweredError(_no_such_job(path))
        if answer.status == 401:
            return UnansweredError(f"{self.name} needs a user and password; give a file with them: --user-file FILE")
        if answer.status == 404:
            return UnansweredError(
                f"{self.name} keeps no history of jobs: [history] is disabled there, or it is an older wattshed"
            )
        return UnansweredError(f"{self.name} {answer}")


def open_source(args: argparse.Namespace, sockets: Sequence[Path] = SOCKETS) -> Source:
    """Find whom to ask: ``--url``, else ``--store``, else the first of the sockets at which somebody listens.

    Parameters
    ----------
    args : Namespace
        With what `flags.add_source_flags` added.
    sockets : sequence of Path

    Raises
    ------
    InputError
        If a flag is no address.
    UnansweredError
        If there is nobody to be asked.
    """
    from wattshed.agent.wire.http import Address  # noqa: PLC0415

    if args.url is not None:
        return HttpSource(Address.parse(args.url, "--url", EXAMPLE))
    if args.store is not None:
        return FileSource(Path(args.store))
    raise UnansweredError(f"nobody listens at {' or '.join(map(str, sockets))}")


def _no_such_job(path: str) -> str:
    return f"{path.partition('/')[2]}: no such job, or not one of yours"
