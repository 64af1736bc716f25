"""Lets the users of a login node ask a collector elsewhere about their own jobs.

Over the Unix socket the kernel says who asks; the relay says it to the collector, which believes it for the relay's
certificate and tells that user's jobs alone.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.wire.sockets import make_shared_folder
from wattshed.exporters.snapshot import Snapshot
from wattshed.exporters.web.http import Server
from wattshed.exporters.web.jobs_api import RELAYED, JobsApi
from wattshed.exporters.web.listen import ListenError
from wattshed.exporters.web.peer import Access, overflow_uids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.wire.credentials import Credentials

TIMEOUT_S = 4.5
"""A little less than what a question may take here."""
MOST_BYTES = 256 * 2**20


class RelayedQuestion:
    """One question, asked of the collector.

    Parameters
    ----------
    address : Address
        Of the collector.
    credentials : Credentials
        With the relay's certificate.
    """

    def __init__(self, address: Address, credentials: Credentials) -> None:
        self._address, self._credentials = address, credentials

    def answer(self, path: str, params: Mapping[str, str], uid: int | None) -> tuple[int, dict[str, Any]]:
        """Ask it; returns HTTP's status and the document."""
        if uid is None:
            return 403, {"error": "a relay asks for one user at a time"}
        where = self._address.below(path, params)
        headers = {RELAYED: str(uid)}
        with closing(Client(where, timeout_s=TIMEOUT_S, headers=headers, credentials=self._credentials)) as client:
            try:
                answer = client.get(most_bytes=MOST_BYTES)
                document = json.loads(answer.content)
            except NoAnswerError as error:
                return 503, {"error": f"the collector {error}"}
            except (ValueError, RecursionError):
                return 503, {"error": "the collector's answer is not a JSON document"}
        if not isinstance(document, dict):
            return 503, {"error": "the collector's answer is not a JSON document"}
        return answer.status, document

    def interrupt(self) -> None:
        """Do nothing: it ends in time by itself."""


class Relay:
    """Listens for the users of a host.

    Parameters
    ----------
    url : str
        Of the collector.
    credentials : Credentials
    path : str
        Of the socket.

    Raises
    ------
    InputError
        If nobody would be believed: no TLS, or no certificate to show.
    """

    def __init__(self, url: str, credentials: Credentials, path: str) -> None:
        address = Address.parse(url, "--relay", "https://collector.example:9962")
        if address.scheme != "https" or not credentials.cert_file:
            raise InputError("--relay takes an https:// address and --cert-file: the collector believes a certificate")
        credentials.context()
        jobs = JobsApi(Access(frozenset(), None, overflow_uids()))
        jobs.open(lambda: RelayedQuestion(address, credentials))
        now_us = round(time.time() * 1e6)
        nothing = Snapshot(socket.gethostname(), "", "relay", "", 0, now_us, now_us)
        make_shared_folder(path)
        self._server = Server(lambda: nothing, (), jobs=jobs, jobs_socket=path)

    def start(self) -> None:
        """Listen.

        Raises
        ------
        ListenError
            If the socket cannot be bound.
        """
        self._server.start()
        if self._server.jobs_trouble:
            raise ListenError(self._server.jobs_trouble)

    def stop(self) -> None:
        """Close it."""
        self._server.stop()
