"""Who is at the other end of a Unix socket, as the kernel says: nothing that the caller sends is believed."""

from __future__ import annotations

import errno
import grp
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SO_PEERGROUPS = 59
"""asm-generic/socket.h since Linux 4.13; Python's socket module has no name for it."""
_MOST_GROUPS = 1024 // 4  # getsockopt from Python returns 1,024 bytes at most
NOBODY = 65534
"""Users of other user namespaces that are not mapped into ours look like this one: it is nobody in particular."""


class PeerCredentials(NamedTuple):
    """The process at the other end: who listened or connected, at the time when it did (unix(7), SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    uid : int
        -1 if it is not known.
    groups : frozenset of int
        All groups of the process, the supplementary ones too.
    """

    uid: int
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may see everybody's jobs.

    Parameters
    ----------
    uids : frozenset of int
        Root, and whom the daemon runs as.
    group : int or None
        Members of this group too.
    unmapped : frozenset of int
        Users who stand for any number of others, and so see nothing; see `overflow_uids`.
    """

    uids: frozenset[int]
    group: int | None = None
    unmapped: frozenset[int] = frozenset({NOBODY})

    def sees_all(self, caller: Caller) -> bool:
        """Tell whether a caller may see everybody's jobs, and what is nobody's."""
        if caller.uid < 0 or caller.uid in self.unmapped:
            return False
        return caller.uid in self.uids or (self.group is not None and self.group in caller.groups)

    def own(self, caller: Caller) -> int | None:
        """Return the user whose jobs the caller may see; None if there is none."""
        return None if caller.uid < 0 or caller.uid in self.unmapped else caller.uid


def credentials_of(sock: socket.socket) -> PeerCredentials:
    """Return the process at the other end of a connected Unix socket."""
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return PeerCredentials(*struct.unpack("3i", told))


def caller_of(sock: socket.socket) -> Caller:
    """Return who connected to a Unix socket."""
    _, uid, gid = credentials_of(sock)
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError as error:
        if error.errno not in (errno.ERANGE, errno.ENOPROTOOPT):
            raise
        packed = b""  # more groups than fit, or an older kernel: what is left is the main group
    groups = struct.unpack(f"{len(packed) // 4}I", packed)
    return Caller(uid, frozenset({gid, *groups}))


def group_id(name: str) -> int:
    """Return the number of a group, given by its name or as a number.

    Raises
    ------
    KeyError
        If there is no such group here.
    """
    return int(name) if name.isascii() and name.isdecimal() else grp.getgrnam(name).gr_gid


def overflow_uids(proc_root: Path = Path("/proc")) -> frozenset[int]:
    """Return the users that unmapped ones look like (user_namespaces(7))."""
    try:
        told = int((proc_root / "sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return frozenset({NOBODY})
    return frozenset({NOBODY, told})
