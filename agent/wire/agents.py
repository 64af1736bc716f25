"""Asks a running agent or collector for a document of its HTTP API, and says in one line why there is none."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.wire.credentials import Credentials
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.wire.sockets import agent_sockets, telling_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.wire.http import Answer

DEFAULT = "http://127.0.0.1:9961"
EXAMPLE = f"{DEFAULT} or unix:/run/wattshed/api.sock"
MOST_BYTES = 256 * 2**20
"""A document is never longer."""


class NoDocumentError(Exception):
    """There is no document. The message is one line that begins with the address.

    Parameters
    ----------
    message : str
    status : int
        What the server answered, such as 404; 0 where there is no answer.
    nobody : bool
        Whether nothing is there at all, so that starting an agent would help.
    """

    def __init__(self, message: str, status: int = 0, *, nobody: bool = False) -> None:
        super().__init__(message)
        self.status, self.nobody = status, nobody


@dataclass(frozen=True, slots=True)
class DocumentServer:
    """An agent or a collector, and how to be let in.

    Parameters
    ----------
    address : Address
        Without the path of a document; a path that is there is a proxy's prefix.
    credentials : Credentials
    """

    address: Address
    credentials: Credentials = field(default_factory=Credentials)

    @classmethod
    def of(cls, url: str, credentials: Credentials | None = None) -> DocumentServer:
        """Read ``http(s)://[user:password@]host[:port]`` or ``unix:/path``.

        Raises
        ------
        InputError
            If it is neither, or a user is named twice.
        """
        address = Address.parse(url, "--url", EXAMPLE)
        if address.authorization and credentials is not None and credentials.login:
            raise InputError("--url names a user, and so does --login: give one of them")
        return cls(address, credentials or Credentials())

    def ask(self, path: str, parameters: Mapping[str, str] | None = None, *, timeout_s: float = 10.0) -> dict[str, Any]:
        """Ask for a document.

        Parameters
        ----------
        path : str
            Such as ``/api/v1/jobs``; percent-encoded.
        parameters : mapping, optional
        timeout_s : float, s
            For the whole exchange.

        Raises
        ------
        NoDocumentError
            If there is none: nothing answers, the server refuses, or the answer is no JSON object.
        InputError
            If a file of the credentials cannot be used.
        """
        address = self.address.below(path, parameters)
        with closing(Client(address, timeout_s=timeout_s, credentials=self.credentials)) as client:
            try:
                answer = client.get(most_bytes=MOST_BYTES)
            except NoAnswerError as error:
                nobody = not (error.sent or error.lasting)
                raise NoDocumentError(f"{self.address.url} {error}", nobody=nobody) from None
        if not answer.taken:
            raise NoDocumentError(f"{self.address.url} {self._refusal(answer)}", answer.status)
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise NoDocumentError(f"{self.address.url} is not an agent's: {path} is no JSON object")
        return document

    def _refusal(self, answer: Answer) -> str:
        """Say what was refused and, where the flags would help, which."""
        if answer.status != 401:
            return str(answer)
        if self.credentials.login or self.address.authorization:
            return f"answered 401 ({answer.reason}): it does not know this user and password"
        return f"answered 401 ({answer.reason}): it wants a user; give --login NAME --password-file F"


def find_agent(url: str, credentials: Credentials | None = None) -> tuple[DocumentServer, str]:
    """Find the agent whose live facts are asked for: the one that is named, else one of this host.

    Parameters
    ----------
    url : str
        Empty: the first socket at which an agent tells this user everything, else the default address.
    credentials : Credentials, optional

    Returns
    -------
    DocumentServer
    str
        Where none was found before, for a message; empty if there was no search.
    """
    if url:
        return DocumentServer.of(url, credentials), ""
    found, missed = telling_all(agent_sockets(os.environ, os.geteuid()))
    return DocumentServer.of(f"unix:{found[0]}" if found else DEFAULT, credentials), ", ".join(missed)
