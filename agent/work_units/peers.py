"""In whose cgroup the far end of a connection on this host is, as the kernel says it to anybody.

Which process has a port is for root to know. But sock_diag tells of any TCP socket the cgroup in which it was made
(``INET_DIAG_CGROUP_ID``, Linux 5.8), and accepted sockets have that of their listener. So a server is connected to, and
the kernel is asked for the far end of this very connection, before anything is sent over it: no other process can have
taken the port in between. Messages: ``linux/inet_diag.h``, ``linux/sock_diag.h``.
"""

from __future__ import annotations

import socket
import struct

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST = 4, 20, 1
_CGROUP_ID = 21
_HEADER = struct.Struct("=IHHII")
_SOCKET_ID = struct.Struct("!HH16s16s")
_QUERY = struct.Struct("=BBBBI")
_ANSWER = 4 + _SOCKET_ID.size + 12 + 20  # inet_diag_msg: four bytes, the socket, its interface and cookie, five words
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = 2
_PATIENCE_S = 1.0


class NoPeerError(OSError):
    """The kernel does not say in which cgroup the far end of a connection is."""


def cgroup_of_peer(connection: socket.socket) -> int:
    """Return the id of the cgroup in which the far end of a TCP connection to this host was made.

    It is the inode number of the cgroup's folder.

    Parameters
    ----------
    connection : socket
        Connected, IPv4.

    Raises
    ------
    NoPeerError
        The far end is not on this host and in this network namespace, or the kernel is older than 5.8.
    """
    near, far = connection.getsockname(), connection.getpeername()
    ends = _SOCKET_ID.pack(far[1], near[1], socket.inet_aton(far[0]), socket.inet_aton(near[0]))
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends
    query += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
    head = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(_PATIENCE_S)
            asked.send(head + query)
            answer = asked.recv(65_536)
    except OSError as error:
        raise NoPeerError(error.errno or 0, f"sock_diag: {error.strerror or error}") from None
    return _cgroup_in(answer)


def _cgroup_in(answer: bytes) -> int:
    if len(answer) < _HEADER.size:
        raise NoPeerError("sock_diag answers nothing")
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        raise NoPeerError("the far end of the connection is not a socket of this network namespace")
    at, end = _HEADER.size + _ANSWER, min(length, len(answer))
    while at + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if size < _ATTRIBUTE.size:
            break
        if name == _CGROUP_ID and size >= _ATTRIBUTE.size + 8:
            return int.from_bytes(answer[at + 4 : at + 12], "little" if struct.pack("=H", 1)[0] else "big")
        at += (size + 3) & ~3
    raise NoPeerError("this kernel does not say in which cgroup a socket is (Linux 5.8 does)")
