"""The HTTP client of everything that asks a server: addresses, Unix sockets too, authentication, deadlines, errors.

One policy for all of them (docs/decisions/0980-one-http-client.md): credentials of an address are percent-decoded, sent
as basic authentication and never shown; redirects are not followed; certificates are verified; the environment's
proxies are used; a deadline holds for the whole exchange; whatever goes wrong is one printable line.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from wattshed.agent.errors import InputError
from wattshed.agent.wire.credentials import Credentials, basic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from http.client import HTTPMessage

_PORTS = {"http": 80, "https": 443}
_UNIX = "unix:"
_MOST_SHOWN = 300  # characters of an answer that an error quotes
_READ = 65_536
_LONGEST_S = 86_400.0  # clocks of the kernel end some billions of seconds on


class NoAnswerError(Exception):
    """There is no answer. The message is one line, to be read after the server's address.

    Parameters
    ----------
    message : str
        Such as ``does not answer (Connection refused)``.
    sent : bool
        Whether the whole request was sent, so that the server may have acted on it.
    lasting : bool
        Whether the same request will fail again later: a certificate that is not trusted, no TLS where it is wanted.
    """

    def __init__(self, message: str, *, sent: bool = False, lasting: bool = False) -> None:
        super().__init__(_printable(message)[:_MOST_SHOWN])
        self.sent, self.lasting = sent, lasting


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. ``authorization`` is the value of that header, or empty; nothing else holds credentials.

    Of a Unix socket, ``scheme`` is ``unix`` and ``authority`` the path of the socket.
    """

    scheme: str
    host: str
    port: int
    authority: str  # host and port as written, or a socket's path
    path: str
    query: str
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, what: str, example: str) -> Address:
        """Read a URL.

        Parameters
        ----------
        text : str
            ``http(s)://[user:password@]host[:port][/path][?query]``; an IPv6 address stands in brackets. User and
            password are percent-decoded. Or ``unix:/path/of/a/socket``.
        what, example : str
            The flag or key that the URL was given with, and what it should look like; for the error.

        Raises
        ------
        InputError
            If it is not such a URL. The text itself is not shown: a password may stand anywhere in it.
        """
        if text.startswith(_UNIX + "/") and text.isprintable():
            return cls("unix", "", 0, text.removeprefix(_UNIX), "", "")
        if trouble := _trouble(text):
            hint = "; in a user or password write / ? # @ as %2F %3F %23 %40" if "@" in text else ""
            raise InputError(f"{what} takes a URL such as {example}: {trouble}{hint}")
        parts = urlsplit(text)
        authorization = ""
        if parts.username is not None:
            authorization = basic(unquote(parts.username), unquote(parts.password or ""))
        authority = parts.netloc.rpartition("@")[2]
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname or "", port, authority, parts.path, parts.query, authorization)

    @property
    def url(self) -> str:
        """The URL without credentials; of a socket, where it is."""
        if self.scheme == "unix":
            return _printable(_UNIX + self.authority)
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + (f"?{self.query}" if self.query else "")

    def below(self, path: str, parameters: Mapping[str, str] | None = None) -> Address:
        """Append a path such as ``/api/v1/query`` to that of a base address; to its query, parameters."""
        query = "&".join(filter(None, (self.query, urlencode(parameters or {}))))
        return replace(self, path=self.path.rstrip("/") + path, query=query)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; ``content`` was cut where it is longer than was asked for."""

    status: int
    phrase: str
    headers: HTTPMessage
    content: bytes

    @property
    def taken(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """Why not, in one line: ``error`` of a JSON answer, the first line of a text, or the status' own phrase."""
        if 300 <= self.status < 400 and (location := self.headers.get("Location")):
            return _printable(f"moved to {location}; give that address")
        said = self.content[:_READ].decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            said = str(json.loads(said)["error"])
        first = next((line.strip() for line in said.splitlines() if line.strip()), "")
        return _printable(self.phrase if first.startswith("<") or not first else first)

    def __str__(self) -> str:
        """Say it as an error, to be read after the server's address."""
        return f"answered {self.status} ({self.reason[:_MOST_SHOWN]})"


class Client:
    """Asks one address, over a connection that is kept until `close`.

    Parameters
    ----------
    address : Address
    timeout_s : float, s
        For a whole exchange: connecting, sending and reading.
    headers : mapping, optional
        Sent with each request.
    credentials : Credentials, optional
        Beside those of the address.
    direct : bool
        Never through a proxy.
    connected : callable
        Called with each new connection before anything is sent over it; what it raises ends the exchange.

    Raises
    ------
    InputError
        If the environment names a proxy that is not a URL, or a file of the credentials cannot be used.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        direct: bool = False,
        connected: Callable[[socket.socket], None] = lambda _: None,
    ) -> None:
        self.address = address
        self._direct, self._connected = direct, connected
        self._credentials = credentials
        self._timeout_s = min(timeout_s, _LONGEST_S)
        self._headers = {"User-Agent": "wattshed", **(headers or {})}
        own = credentials.authorization if credentials and address.scheme != "unix" else ""  # a socket knows who asks
        if authorization := address.authorization or own:
            self._headers["Authorization"] = authorization
        self._target = address.target if address.path else f"/{address.target}"
        self._before = ""  # what stands before a path where a proxy is asked for it
        self._connection = self._route()

    def get(self, *, most_bytes: int = _READ) -> Answer:
        """Ask for what is there; see `post`."""
        return self._exchange("GET", None, most_bytes)

    def post(self, content: bytes, *, most_bytes: int = _READ) -> Answer:
        """Send one request and read its answer, of which ``most_bytes`` are kept.

        Raises
        ------
        NoAnswerError
            If there is none in time.
        """
        return self._exchange("POST", content, most_bytes)

    def ask(
        self,
        method: str,
        target: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        most_bytes: int = _READ,
    ) -> Answer:
        """Send one request for another path of the same server, with headers of its own; see `post`."""
        return self._exchange(method, content, most_bytes, self._before + target, headers)

    def close(self) -> None:
        """Hang up; the next request connects again."""
        self._connection.close()

    def _exchange(
        self,
        method: str,
        content: bytes | None,
        most_bytes: int,
        target: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = False
        ends = time.monotonic() + self._timeout_s
        try:
            if self._connection.sock is None:
                self._connection.connect()
                self._see(self._connection.sock)
            with self._until(ends):
                self._connection.request(method, target or self._target, content, {**self._headers, **(headers or {})})
                sent = True
                response = self._connection.getresponse()
                kept = response.read(most_bytes)
                whole = not response.read(1)
                if whole and response.length:
                    raise IncompleteRead(kept, response.length)
        except TimeoutError:
            self.close()
            raise NoAnswerError(f"does not answer within {self._timeout_s:g} s", sent=sent) from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            name = "--ca-file F" if self._credentials else "SSL_CERT_FILE"
            why = f"has a certificate that is not trusted ({error.verify_message}); {name} may name your own CA"
            raise NoAnswerError(why, lasting=True) from None
        except ssl.SSLError as error:
            self.close()
            plain = error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
            why = "it does not speak TLS; give an http:// address" if plain else _cause(error)
            raise NoAnswerError(f"does not answer ({why})", sent=sent, lasting=plain) from None
        except (OSError, HTTPException, ValueError) as error:  # a path or header that cannot be sent, too
            self.close()
            why = _cause(error)
            if isinstance(error, RemoteDisconnected) and self.address.scheme == "http":
                why = "it hangs up on http; where it speaks TLS, give an https:// address"
            raise NoAnswerError(f"does not answer ({why})", sent=sent) from None
        if not whole:
            self.close()  # the rest of the answer is still to come on this connection
        return Answer(response.status, response.reason, response.headers, kept)

    def _see(self, sock: socket.socket | None) -> None:
        try:
            if sock is not None:
                self._recognise(sock)
                self._connected(sock)
        except BaseException:
            self.close()
            raise

    def _recognise(self, sock: socket.socket) -> None:
        if self._credentials is not None and not self._credentials.pinned(sock):
            raise NoAnswerError("has another certificate than the one that is pinned", lasting=True)

    @contextmanager
    def _until(self, ends: float) -> Iterator[None]:
        """Cut the connection at ``ends``: a socket's own timeout restarts with every byte.

        Raises
        ------
        TimeoutError
            If it was cut.
        """
        connected, cut = self._connection.sock, threading.Event()

        def end() -> None:
            cut.set()
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, ends - time.monotonic()), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, HTTPException):
            if not cut.is_set():
                raise
        finally:
            timer.cancel()
        if cut.is_set():  # headers that were cut off pass for whole ones
            raise TimeoutError

    def _route(self) -> HTTPConnection:
        """Make the connection, through the proxy that the environment names for it, if any."""
        to = self.address
        if to.scheme == "unix":
            return _UnixConnection(to.authority, self._timeout_s)
        context = (self._credentials or Credentials()).context() if to.scheme == "https" else None
        proxy = "" if self._direct or proxy_bypass(f"{to.host}:{to.port}") else getproxies().get(to.scheme, "")
        if not proxy:
            if context is None:
                return HTTPConnection(to.host, to.port, timeout=self._timeout_s)
            return HTTPSConnection(to.host, to.port, timeout=self._timeout_s, context=context)
        name = f"the environment's {to.scheme}_proxy"
        by = Address.parse(proxy if "://" in proxy else f"http://{proxy}", name, "http://proxy.example:3128")
        if by.scheme != "http":
            raise InputError(f"{name} takes a URL such as http://proxy.example:3128: TLS to a proxy is not supported")
        headers = {"Proxy-Authorization": by.authorization} if by.authorization else {}
        if to.scheme == "http":
            self._headers |= headers
            self._before = f"http://{to.authority}"
            self._target = self._before + self._target
            return HTTPConnection(by.host, by.port, timeout=self._timeout_s)
        tunnel = HTTPSConnection(by.host, by.port, timeout=self._timeout_s, context=context)
        tunnel.set_tunnel(to.host, to.port, headers)
        return tunnel


class _UnixConnection(HTTPConnection):
    """HTTP over the socket of a file; no name is resolved and no proxy asked."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect, in the time that is given for all of an exchange."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def _trouble(text: str) -> str:
    """Say why a text is not the URL of a server; empty if it is one."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "its host or port is not valid"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "it has characters that must be percent-encoded"
    if parts.scheme not in _PORTS:
        return "it does not start with http:// or https:// (or unix:/)"
    if not parts.hostname or port == 0:
        return "its host or port is not valid"
    if parts.fragment:
        return "it has a fragment (#...)"
    if ":" in unquote(parts.username or ""):
        return "its user name contains a colon"
    return ""


def _cause(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, IncompleteRead):
        return "its answer was cut off"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
