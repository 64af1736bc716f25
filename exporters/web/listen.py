"""Where to listen: addresses as the user writes them, unix sockets, and sockets handed over by systemd."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from typing import TYPE_CHECKING

from wattshed.exporters.web.holder import who_has_port, who_listens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BACKLOG = 1024
FREE_PORTS = 1024
LOCK_PATIENCE_S = 1.0
FIRST_FD = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT`` (every address).

    Raises
    ------
    ValueError
        If there is no port, or it is not a number from 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"listen address {text!r} is not HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"listen address {text!r}: write an IPv6 address in brackets, [{host}]:{port}")
    return host, int(port)


class ListenError(OSError):
    """An address cannot be listened on; the message is one line that names it and says why."""


def bind(text: str) -> list[socket.socket]:
    """Bind one listen address; a name with several addresses gives a socket each.

    Raises
    ------
    ValueError
        If the address cannot be understood.
    ListenError
        If it cannot be bound.
    """
    port = 0
    try:
        if text.startswith("unix:"):
            return [bind_unix(text.removeprefix("unix:"), 0o660)]
        host, port = parse_address(text)
        return _bind_every(port) if not host else _bind_host(host, port)
    except ListenError:
        raise
    except OSError as error:
        raise ListenError(f"cannot listen on {text}: {_why(error, port)}") from error


def bind_all(addresses: Sequence[str]) -> list[socket.socket]:
    """Bind every address, or none.

    Raises
    ------
    ValueError
        If an address cannot be understood.
    ListenError
        If any cannot be bound: all of those are named.
    """
    faults: list[str] = []
    with contextlib.ExitStack() as bound:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                sockets += map(bound.enter_context, bind(address))
            except ListenError as error:
                faults.append(str(error))
        if not faults:
            bound.pop_all()
            return sockets
    raise ListenError("; ".join(faults))


def _why(error: OSError, port: int) -> str:
    """Say why a port cannot be bound, in words that say what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return f"in use by {who_has_port(port)}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host has no such address"
    if error.errno == errno.EACCES and port < FREE_PORTS:
        return f"ports below {FREE_PORTS} need root or CAP_NET_BIND_SERVICE"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve ({error.strerror})"
    return error.strerror or str(error)


def _bind_host(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bind_one(family, address, v6only=True))
        except OSError as error:
            # localhost often resolves to ::1 on hosts without IPv6
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for opened in sockets:
                    opened.close()
                raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _bind_every(port: int) -> list[socket.socket]:
    try:
        return [_bind_one(socket.AF_INET6, ("::", port), v6only=False)]
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return [_bind_one(socket.AF_INET, ("0.0.0.0", port), v6only=False)]  # noqa: S104 - ":PORT" asks for it


def _bind_one(family: int, address: tuple[str | int, ...] | tuple[int, bytes], *, v6only: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(path: str, mode: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Bind a Unix socket, in the place of one that nobody listens at any more.

    Parameters
    ----------
    path : str
    mode : int
        0o666 for one at which every user of the host may ask: who they are is asked of the kernel.
    kind : SocketKind
        A stream, or packets in order (``SOCK_SEQPACKET``).

    Raises
    ------
    ListenError
        If it cannot be bound, or somebody listens there.
    """
    try:
        with _alone_in(os.path.dirname(path) or "."):  # noqa: PTH120 - beside unlink, on a plain string
            if not (who := who_listens(path, kind=kind)):
                return _bound_unix(path, mode, kind)
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise ListenError(f"cannot listen on unix:{path}: in use by {who}")


def _bound_unix(path: str, mode: int, kind: socket.SocketKind) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - beside unlink, on a plain string
            os.unlink(path)  # noqa: PTH108 - left by a run that was killed
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.bind(path)
        os.chmod(path, mode)  # noqa: PTH101
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep two that start at once from taking each other's socket for one that was left behind.

    Whoever may read the folder can take this lock and keep it: it is waited for a moment, and then done without.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until_s = time.monotonic() + LOCK_PATIENCE_S
        while not _locked(descriptor) and time.monotonic() < until_s:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def activated(environ: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Take over the listening sockets that systemd opened for process ``pid`` (sd_listen_fds(3)); usually none."""
    if environ.get("LISTEN_PID") != str(pid):
        return []
    count = environ.get("LISTEN_FDS", "")
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + int(count))] if count.isdigit() else []
    for sock in sockets:
        os.set_inheritable(sock.fileno(), False)
        sock.setblocking(False)
    return sockets


def describe(sock: socket.socket, scheme: str) -> str:
    """Write a bound socket as a URL, with the port that it really has."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"
