"""The HTTP server: one thread, asyncio and h11, made so that nobody can keep a scrape waiting.

Every wait has a limit: the TLS handshake, the header, the next request, a reader that does not read. Beyond
``max_connections`` the one that has been idle longest goes. Passwords are checked in a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.exporters.formats import prometheus
from wattshed.exporters.web.access import Busy, Passwords, RateLimit, credentials, names_of
from wattshed.exporters.web.conversation import ANSWERING, CHUNK, ClientLimits, Conversation, Peer
from wattshed.exporters.web.jobs_api import ACCESS, Asker, JobsApi, access_told, refusal
from wattshed.exporters.web.listen import ListenError, activated, bind_all, bind_unix, describe
from wattshed.exporters.web.peer import caller_of
from wattshed.exporters.web.power_api import PowerApi
from wattshed.exporters.web.reload import Watched
from wattshed.exporters.web.site import Response, WebSite, plain
from wattshed.exporters.web.web_config import WebConfig, WebConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import h11

    from wattshed.exporters.formats.exposition import Family
    from wattshed.exporters.snapshot import EnergyPrices, Snapshot
    from wattshed.exporters.web.peer import Caller

log = logging.getLogger(__name__)

NO_JOBS = "no history of jobs is kept here"

__all__ = ["ClientLimits", "Server", "WebConfigError"]


class Server:
    """Serves `WebSite` on any number of addresses.

    Parameters
    ----------
    publish : callable
        Returns the current Snapshot; called in the server's thread, must not block.
    listen : sequence of str
        ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT``, ``unix:PATH``; port 0 picks one. Not used if systemd hands over
        sockets (LISTEN_FDS).
    web_config : path, optional
        exporter-toolkit's configuration file.
    hostname_label : str
        ``Hostname`` or ``hostname`` on /metrics/dcgm.
    limits : Limits, optional
    families : callable
        See `WebSite`.
    environ : mapping
        Where systemd says which sockets it hands over.
    jobs : JobsApi, optional
        Answers about jobs.
    jobs_socket : str
        Path of a Unix socket at which everybody on the host may ask about their own jobs; empty: none. If it cannot be
        bound, the server goes on without it.
    prices : EnergyPrices, optional
        What the page says that energy costs.

    Attributes
    ----------
    jobs_trouble : str
        Why jobs are not told at their socket, for whoever started the server to say; empty: they are, or there is none.

    Raises
    ------
    WebConfigError
        If the web configuration cannot be used.
    """

    def __init__(
        self,
        publish: Callable[[], Snapshot],
        listen: Sequence[str] = ("127.0.0.1:9961",),
        web_config: str | os.PathLike[str] | None = None,
        *,
        hostname_label: str = "Hostname",
        limits: ClientLimits | None = None,
        families: Callable[[Snapshot], Iterable[Family]] = prometheus.families,
        environ: Mapping[str, str] = os.environ,
        jobs: JobsApi | None = None,
        jobs_socket: str = "",
        prices: EnergyPrices | None = None,
    ) -> None:
        self._site = WebSite(publish, hostname_label, families=families, prices=prices)
        self._power = PowerApi(publish, self._site.history, jobs)
        self._listen, self._environ = tuple(listen), environ
        self._limits = limits or ClientLimits()
        self._jobs, self._jobs_path = jobs, jobs_socket
        self._jobs_socket: socket.socket | None = None
        self.jobs_trouble = ""
        self._watched = Watched(
            Path(web_config) if web_config else None,
            lambda error: self._site.fault("web-config", f"{error}; keeping the last good configuration"),
        )
        self._sockets: list[socket.socket] = []
        self._peers: dict[Peer, None] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._rate: tuple[WebConfig, RateLimit] | None = None

    @property
    def site(self) -> WebSite:
        """What answers, whoever asks over which socket."""
        return self._site

    @property
    def addresses(self) -> tuple[str, ...]:
        """The bound addresses as URLs, with real ports; empty before `start`."""
        scheme = "https" if self._watched.current().tls else "http"
        return tuple(describe(sock, scheme) for sock in self._sockets)

    def start(self) -> None:
        """Bind every address and serve from a thread of its own.

        Raises
        ------
        ListenError, ValueError
            If an address cannot be bound, or makes no sense; nothing is left open then.
        """
        self._sockets = activated(self._environ, os.getpid())
        try:
            self._sockets = self._sockets or bind_all(self._listen)
            if self._jobs_path:
                self._listen_for_jobs()
        except BaseException:
            self._close_sockets()
            raise
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="wattshed-http", daemon=True)
        self._thread.start()
        started.wait()
        log.info("listening on %s", ", ".join(self.addresses))

    def _listen_for_jobs(self) -> None:
        try:
            self._jobs_socket = bind_unix(self._jobs_path, 0o666)
        except ListenError as error:
            self.jobs_trouble = str(error)
            self._site.faults["jobs-socket"] += 1
        else:
            self._sockets.append(self._jobs_socket)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close every connection and end the thread; does nothing if it does not run."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread and loop and stopping:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stopping.set)
            thread.join(timeout_s)
        self._thread = None
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            name = sock.getsockname() if sock.fileno() >= 0 else None
            activated_one = self._environ.get("LISTEN_FDS") and sock is not self._jobs_socket
            if isinstance(name, str) and name and not activated_one:
                with contextlib.suppress(OSError):  # before it is closed: after that it may be another agent's
                    os.unlink(name)  # noqa: PTH108 - a unix socket's name is a plain string
            sock.close()
        self._sockets = []

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._main(started))
        except Exception:
            log.exception("the HTTP server stopped unexpectedly; restart wattshed")
        finally:
            started.set()

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: log.debug("connection: %s", context.get("message")))
        self._passwords = Passwords()
        jobs = [asyncio.create_task(self._accept(sock)) for sock in self._sockets]
        jobs.append(asyncio.create_task(self._observe()))
        started.set()
        await self._stopping.wait()
        jobs += [peer.task for peer in self._peers if peer.task]
        for task in jobs:
            task.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        self._passwords.close()
        if self._jobs is not None:
            self._jobs.stop()

    async def _observe(self) -> None:
        while True:
            try:
                self._site.observe()
            except Exception as error:  # noqa: BLE001 - the page without its last hour is still a page
                self._site.fault("history", repr(error))
            await asyncio.sleep(self._site.history.step_s / 4)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or the client is gone already
                self._site.fault("http", f"cannot accept a connection: {error.strerror}")
                await asyncio.sleep(0.05)
                continue
            try:
                await self._room()
            except asyncio.CancelledError:
                sock.close()
                raise
            peer = Peer(time.monotonic())
            self._peers[peer] = None
            peer.task = asyncio.create_task(self._serve(sock, peer, by_kernel=listener is self._jobs_socket))
            await asyncio.sleep(0)  # a burst of connections must not keep those that are here from being served

    async def _room(self) -> None:
        """Wait until one more connection fits, sending away the one that has been idle longest."""
        while len(self._peers) >= self._limits.max_connections:
            now = time.monotonic()
            idle = [p for p in self._peers if p.state != ANSWERING and now - p.since >= self._limits.grace_s]
            if idle:
                peer = min(idle, key=lambda p: (p.state, p.since))
                del self._peers[peer]
                if peer.task:
                    peer.task.cancel()
            await asyncio.sleep(0 if idle else 0.005)

    async def _serve(self, sock: socket.socket, peer: Peer, *, by_kernel: bool) -> None:
        loop, transport = asyncio.get_running_loop(), None
        try:
            config = self._watched.current()
            reader = asyncio.StreamReader(limit=self._limits.header_bytes)
            protocol = asyncio.StreamReaderProtocol(reader)
            tls: dict[str, Any] = {}
            caller = caller_of(sock) if by_kernel else None
            if config.tls and caller is None:
                tls = {
                    "ssl": config.tls,
                    "ssl_handshake_timeout": self._limits.handshake_s,
                    "ssl_shutdown_timeout": 1.0,
                }
            if sock.family != socket.AF_UNIX:  # asyncio sees only that the socket's protocol number is 0
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.kernel_bytes)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, **tls)
            transport.set_write_buffer_limits(high=CHUNK)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            sans = names_of(writer.get_extra_info("peercert"))
            if caller is not None or not config.allowed_sans or config.allowed_sans & sans:
                answer = partial(self._answer_caller, caller) if caller is not None else partial(self._answer, sans)
                await Conversation(answer, reader, writer, peer, self._limits).run()
                writer.close()
                async with asyncio.timeout(2.0):
                    await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError, EOFError):
            pass  # the client is slow, gone, or was sent away: not our fault
        except Exception as error:  # noqa: BLE001 - one connection's fault stays its own
            self._site.fault("http", repr(error))
        finally:
            self._peers.pop(peer, None)
            if transport is None:
                sock.close()
            else:
                transport.abort()

    async def _answer_caller(self, caller: Caller, request: h11.Request) -> Response:
        """Answer over the socket at which the kernel says who asks: about jobs, and to who sees all of them, all."""
        target, headers = request.target.decode(), _headers_of(request)
        try:
            asker = Asker(caller)
            jobs = self._jobs
            if jobs is not None and jobs.is_asked(target.partition("?")[0]):
                return await jobs.answer(request.method.decode(), target, headers, asker)
            if jobs is not None and jobs.sees_all(asker):
                return await self._answer_page(request.method.decode(), target, headers)
            return refusal(403, "only questions about jobs are answered here")
        except Exception as error:  # noqa: BLE001 - the client learns nothing of the inside
            self._site.fault("exporter", repr(error))
            return refusal(500, "internal error")

    async def _answer(self, sans: set[str], request: h11.Request) -> Response:
        config = self._watched.current()
        if self._rate is None or self._rate[0] is not config:
            self._rate = (config, RateLimit(config.rate_interval_s, config.burst, time.monotonic))
        headers = _headers_of(request)
        try:
            if not self._rate[1].allow():
                response = plain(429, "too many requests", ("Retry-After", "1"))
            elif config.users and not await self._passwords.allow(config.users, headers.get("authorization", "")):
                response = plain(401, "unauthorized", ("WWW-Authenticate", 'Basic realm="wattshed", charset="UTF-8"'))
            else:
                response = await self._answer_known(config, sans, request, headers)
        except Busy:
            response = plain(503, "busy", ("Retry-After", "1"))
        except Exception as error:  # noqa: BLE001 - the client learns nothing of the inside
            self._site.fault("exporter", repr(error))
            response = plain(500, "internal error")
        if config.headers:
            own = {name.lower() for name in config.headers}
            kept = [(name, value) for name, value in response.headers if name.lower() not in own]
            return Response(response.status, response.content_type, response.body, (*kept, *config.headers.items()))
        return response

    async def _answer_known(
        self, config: WebConfig, sans: set[str], request: h11.Request, headers: Mapping[str, str]
    ) -> Response:
        """Answer who has shown what the web configuration asks for."""
        method, target = request.method.decode(), request.target.decode()
        if self._jobs is None or not self._jobs.is_asked(target.partition("?")[0]):
            return await self._answer_page(method, target, headers)
        user = credentials(headers.get("authorization", ""))[0] if config.users else None
        certified = config.tls is not None and config.tls.verify_mode == ssl.CERT_REQUIRED
        verified = frozenset(sans if config.tls is not None else ())
        asker = self._jobs.over_tcp(user or "", verified, headers, known=bool(config.users) or certified)
        return await self._jobs.answer(method, target, headers, asker)

    async def _answer_page(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        """Answer who may see the page."""
        path = target.partition("?")[0]
        if self._power.is_asked(path):
            return await self._power.answer(method, target, headers)
        if path == ACCESS:  # elsewhere `JobsApi` answers
            allowed = method in ("GET", "HEAD")
            return (
                access_told("none", NO_JOBS) if allowed else refusal(405, "method not allowed", ("Allow", "GET, HEAD"))
            )
        return self._site.answer(method, target, headers)


def _headers_of(request: h11.Request) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
