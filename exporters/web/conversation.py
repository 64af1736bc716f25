"""One HTTP/1.1 connection: bounded waits for its requests and for its reading of the answers (h11 does the grammar)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

import h11

from wattshed.exporters.web.site import Response, plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHUNK = 65_536
"""Bytes written at a time: what a client that does not read may hold of ours, beside the kernel's share."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How long and how much a client may take; seconds and bytes."""

    handshake_s: float = 5.0
    header_s: float = 5.0
    idle_s: float = 120.0
    response_s: float = 30.0
    header_bytes: int = 16_384
    body_bytes: int = 65_536
    kernel_bytes: int = 131_072  # what the kernel holds for a client that does not read
    max_connections: int = 128
    grace_s: float = 0.05  # a connection that moved within this time is not evicted: it may have had no chance yet


@dataclass(slots=True, eq=False)
class Peer:
    """One connection: what it does, and when it last got on with it."""

    since: float
    state: int = 0  # one of the three below
    task: asyncio.Task[None] | None = None


WAITING, WRITING, ANSWERING = range(3)
"""For a request; on a client that reads; on our own work. In this order connections are sent away."""


class Conversation:
    """The requests of one connection, one after the other.

    Parameters
    ----------
    answer : callable
        Awaitable; h11.Request -> Response.
    reader, writer
        The connection's streams.
    peer : Peer
        Told what the connection does, and when it got on with it.
    limits : ClientLimits
    """

    def __init__(
        self,
        answer: Callable[[h11.Request], Awaitable[Response]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: Peer,
        limits: ClientLimits,
    ) -> None:
        self._answer, self._reader, self._writer, self._peer = answer, reader, writer, peer
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.header_bytes)

    async def run(self) -> None:
        """Answer until either side has had enough."""
        patience = self._limits.header_s
        while True:
            try:
                request = await self._request(patience)
                if request is None:
                    return
                self._enter(ANSWERING)
                async with asyncio.timeout(self._limits.response_s):
                    response = await self._answer(request)
                    self._enter(WRITING)
                    await self._send(response, body=request.method != b"HEAD")
                self._enter(WAITING)
            except h11.RemoteProtocolError as error:
                if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    async with asyncio.timeout(1.0):
                        await self._send(plain(error.error_status_hint or 400, "bad request"), body=True)
                return
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            patience = self._limits.idle_s

    async def _request(self, patience_s: float) -> h11.Request | None:
        """Read one whole request; the first byte may take ``patience_s``, then the header's limit holds."""
        request, body = None, 0
        async with asyncio.timeout(patience_s) as limit:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    waiting = self._http.trailing_data[0] == b"" and request is None
                    self._http.receive_data(await self._reader.read(4096))
                    if waiting:
                        limit.reschedule(asyncio.get_running_loop().time() + self._limits.header_s)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += len(event.data)
                    if body > self._limits.body_bytes:
                        raise h11.RemoteProtocolError("body too large", error_status_hint=413)
                elif isinstance(event, h11.EndOfMessage):
                    return request
                else:
                    return None

    def _enter(self, state: int) -> None:
        self._peer.state, self._peer.since = state, time.monotonic()

    async def _send(self, response: Response, *, body: bool) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        chunk = self._http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        view = memoryview(response.body if body else b"")
        for start in range(0, len(view), CHUNK):
            chunk += self._http.send(h11.Data(data=bytes(view[start : start + CHUNK]))) or b""
            await self._write(chunk)
            chunk = b""
        await self._write(chunk + (self._http.send(h11.EndOfMessage()) or b""))

    async def _write(self, chunk: bytes) -> None:
        if chunk:
            self._writer.write(chunk)
            await self._writer.drain()
            self._peer.since = time.monotonic()
