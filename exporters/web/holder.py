"""Which process listens where we wanted to, as far as this user may know."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from pathlib import Path

from wattshed.exporters.web.peer import credentials_of

PROC = Path("/proc")
_LISTENING = "0A"  # the state of a socket in /proc/net/tcp


def who_has_port(port: int, proc: Path = PROC) -> str:
    """Describe whoever listens on a TCP port: ``nginx (pid 77)``, or less where the kernel tells less.

    Parameters
    ----------
    port : int
    proc : Path
    """
    inode, uid = "", -1
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    inode, uid = words[9], int(words[7])
    if not inode:
        return "another process"
    wanted = f"socket:[{inode}]"
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or another user's
            if any(os.readlink(file) == wanted for file in (folder / "fd").iterdir()):  # noqa: PTH115 - no path
                return described(int(folder.name), proc)
    return f"another process of user {_name(uid)}"


def who_listens(path: str, proc: Path = PROC, *, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """Describe whoever listens at a Unix socket of that kind; empty if nobody does."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
            pid = credentials_of(sock).pid
        except BlockingIOError:  # so many ask at once that there is no room: it listens
            pid = 0
        except OSError:
            return ""
    return described(pid, proc)


def described(pid: int, proc: Path = PROC) -> str:
    """Name a process: ``another wattshed (pid 12)``, ``nginx (pid 77)``."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
        name = (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return f"another process (pid {pid})" if pid else "another process"
    ours = any(word.rpartition(b"/")[2] == b"wattshed" for word in words[:4])
    shown = "".join(c for c in name if c.isprintable())
    return f"{'another wattshed' if ours else shown or 'another process'} (pid {pid})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
