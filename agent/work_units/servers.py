"""Reads the pages of inference servers every few seconds, in a thread of its own: of those named, and of usual ports.

A server that nobody named belongs to the job in whose cgroup it listens, as the kernel says of the very connection that
the page is then asked for; one that is no job's on a GPU is sent nothing.
"""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.window import JobKey, Owner
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.work_units.kinds import KINDS, PATHS
from wattshed.agent.work_units.page import PageRefusedError, read_page
from wattshed.agent.work_units.peers import NoPeerError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.errors import Faults
    from wattshed.agent.work_units.counting import Done
    from wattshed.agent.work_units.inbox import WorkInbox
    from wattshed.agent.work_units.page import ServerPage

TIMEOUT_S = 2.0
MOST_BYTES = 4 << 20
NOT_ONE_ROUNDS = 12
"""A port whose page is none of an inference server is asked again after so many rounds."""


class PeerOwners(Protocol):
    """Knows whose the far end of a connection is."""

    def owner_of(self, connection: socket.socket) -> Owner | None:
        """Return the job on a GPU that it belongs to; None if it is no job's."""


class NobodysError(Exception):
    """A server is no job's."""


@dataclass(slots=True)
class WorkServer:
    """A server that is read.

    Attributes
    ----------
    address : Address
        Without a path: where the kind has its page.
    kind, model : str
        See `read_page`.
    job : str
        Whose it is; empty: the kernel says.
    headers : mapping of str to str
        Sent with the request.
    named : bool
        It stands in the configuration, so that it is a fault if it does not answer.
    path : str
        Where its page was found.
    pause : int
        Rounds in which it is left alone.
    """

    address: Address
    kind: str = ""
    model: str = ""
    job: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    named: bool = True
    path: str = ""
    pause: int = 0

    @property
    def name(self) -> str:
        """What its baseline is called."""
        return f"{self.address.url} {self.model}".rstrip()


class WorkServers:
    """Reads servers until it is closed.

    Parameters
    ----------
    servers : sequence of WorkServer
    inbox : WorkInbox
    owners : PeerOwners
    interval_s : float, s
    faults : Faults
    """

    def __init__(
        self,
        servers: Sequence[WorkServer],
        inbox: WorkInbox,
        owners: PeerOwners,
        interval_s: float,
        faults: Faults,
    ) -> None:
        self._servers, self._inbox, self._owners = servers, inbox, owners
        self._interval_s, self._faults = interval_s, faults
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="work-servers", daemon=True)

    def start(self) -> None:
        """Begin to read them."""
        self._thread.start()

    def close(self) -> None:
        """End; a page that is being read is waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S * len(PATHS) + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._faults.noting("work"):
                self.read_all()
            self._stop.wait(self._interval_s)

    def read_all(self) -> None:
        """Read every server once."""
        rounds: dict[JobKey, tuple[Owner, list[Done | None]]] = {}
        for server in self._servers:
            if self._stop.is_set():
                return
            if server.pause:
                server.pause -= 1
                continue
            found = self._read(server)
            if found is not None:
                owner, done = found
                rounds.setdefault(owner.key, (owner, []))[1].append(done)
        for owner, pages in rounds.values():
            known = [done for done in pages if done is not None]
            if known and len(known) == len(pages):
                since_us = max(done.start_us for done in known)
                self._inbox.waited(owner, since_us, waiting=all(done.waited for done in known))

    def _read(self, server: WorkServer) -> tuple[Owner, Done | None] | None:
        """Read a server; returns whose it is and what it did, None of which where it does not say if it waits."""
        seen: list[Owner] = []
        try:
            page = read_server(server, partial(self._look, server, seen))
        except NobodysError:
            if server.named:
                self._inbox.failed(server.name, "not_a_jobs")
            else:
                self._inbox.gone(server.name)
            return None
        except NoAnswerError as error:
            if server.named:
                self._inbox.failed(server.name, "no_answer", server.job)
                self._faults.note("work", f"{server.address.url} {error}")
            else:
                self._inbox.gone(server.name)
            return None
        except PageRefusedError as error:
            if server.named or error.reason != "unknown":
                self._inbox.failed(server.name, error.reason, server.job)
                self._faults.note("work", f"{server.address.url}: {error}; its work is not counted")
            if not server.named:
                server.pause = NOT_ONE_ROUNDS
            return None
        done = self._inbox.take(server.name, seen[-1], page)
        return seen[-1], done if page.running is not None else None

    def _look(self, server: WorkServer, seen: list[Owner], connection: socket.socket) -> None:
        """Find out whose the far end of a connection is, before anything is sent over it."""
        owner = Owner(JobKey(server.job)) if server.job else None
        if owner is None:
            try:
                owner = self._owners.owner_of(connection)
            except NoPeerError as error:
                raise NoAnswerError(f"cannot be told whose it is ({error}); name its job", lasting=True) from None
        if owner is None:
            raise NobodysError
        seen.append(owner)


def read_server(server: WorkServer, connected: Callable[[socket.socket], None] = lambda _: None) -> ServerPage:
    """Ask for a server's page where it may be, until it is found.

    Parameters
    ----------
    server : WorkServer
        It remembers where that was.
    connected : callable
        Called with each connection, see `Client`.

    Raises
    ------
    NoAnswerError
        The server does not answer in time.
    PageRefusedError
        What it answers is not its work.
    """
    paths = KINDS[server.kind].paths if server.kind else PATHS
    if server.address.path.strip("/"):
        paths = ("",)
    elif server.path:
        paths = (server.path,)
    refused: PageRefusedError | None = None
    for path in paths:
        try:
            page = read_page(_asked(server, path, connected), kind=server.kind, model=server.model)
        except PageRefusedError as error:
            if refused is None or refused.reason in {"unknown", "status"}:
                refused = error
            continue
        server.path = path
        return page
    server.path = ""
    raise refused or PageRefusedError("unknown", "it has no page")


def _asked(server: WorkServer, path: str, connected: Callable[[socket.socket], None]) -> bytes:
    # A router of llama.cpp has a page for each model.
    query = {"model": server.model} if server.kind == "llamacpp" and server.model else None
    address = server.address.below(path, query)
    with closing(
        Client(address, timeout_s=TIMEOUT_S, headers=server.headers, direct=True, connected=connected)
    ) as client:
        answer = client.get(most_bytes=MOST_BYTES + 1)
    if not answer.taken:
        raise PageRefusedError("status", f"answered {answer.status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise PageRefusedError("compressed", "it is compressed, although that was not asked for")
    if len(answer.content) > MOST_BYTES:
        raise PageRefusedError("too_long", f"it is longer than {MOST_BYTES >> 20} MiB")
    return answer.content
