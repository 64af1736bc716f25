"""Where agents and collectors listen on their own host, and which of those sockets a command may believe.

An agent of root's listens in ``/run/wattshed``, one of any other user in that user's own folder. A command looks in its
user's own folders first: whoever started an agent by hand means that one.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.exporters.web.peer import credentials_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHARED = Path("/run/wattshed")
AGENT = "api.sock"
COLLECTORS = (Path("/run/wattshed-collect/collect.sock"), SHARED / "collect.sock")
_WRITABLE_BY_OTHERS = 0o022


def own_folders(environ: Mapping[str, str], uid: int, *, run: Path = Path("/run/user")) -> tuple[Path, ...]:
    """Return where a user's own agent may listen, the best first.

    ``$XDG_RUNTIME_DIR`` is not set everywhere (cron, su, a service): the folder that it usually names is tried too.

    Parameters
    ----------
    environ : mapping
    uid : int
    run : Path
        Where the system makes a folder for each user who is logged in.
    """
    given = environ.get("XDG_RUNTIME_DIR", "")
    runtime = [Path(given)] if Path(given).is_absolute() else []
    folders = [*(folder / "wattshed" for folder in (*runtime, run / str(uid))), Path(f"/tmp/wattshed-{uid}")]  # noqa: S108 - see `made`
    return tuple(dict.fromkeys(folders))


def made(folder: Path, *, mode: int = 0o700) -> str:
    """Make a folder of one's own for a socket, unless it is there; returns why it cannot be used, or nothing.

    Parameters
    ----------
    folder : Path
        The folder around it is not made.
    mode : int
        0o755 for a socket that every user may ask at.
    """
    try:
        around = folder.parent.stat()
        if around.st_uid != os.geteuid() and not around.st_mode & stat.S_ISVTX:
            return f"{folder.parent} is not yours"
        try:
            folder.mkdir(mode=mode)
        except FileExistsError:
            about = folder.lstat()
            mine = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
            return "" if mine and not about.st_mode & _WRITABLE_BY_OTHERS else "it is there, and others can write to it"
        folder.chmod(mode)  # whatever the umask is
    except OSError as error:
        return error.strerror or str(error)
    return ""


def make_shared_folder(path: str) -> None:
    """Make the folder of a collector's usual socket, if root may; a service manager has made it, or the bind says."""
    if Path(path) == COLLECTORS[0] and os.geteuid() == 0:
        made(COLLECTORS[0].parent, mode=0o755)


def candidates(environ: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Return the sockets at which a command looks for an agent or a collector, in this order."""
    own = tuple(folder / AGENT for folder in own_folders(environ, uid))
    return (*own, *COLLECTORS, SHARED / AGENT)


def agent_sockets(environ: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Return the sockets of agents among the candidates."""
    return tuple(path for path in candidates(environ, uid) if path.name == AGENT)


def telling_all(sockets: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return those of the sockets at which an agent tells this user everything, and where none was found.

    It does so to root and to whom it runs as; anybody else sees the whole of it over TCP only.
    """
    found, missed = _heard(sockets)
    return [path for path, uid in found if os.geteuid() in {0, uid}], missed


def answering(sockets: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the sockets at which somebody listens who can be believed, and where nobody was found, with the reason.

    Parameters
    ----------
    sockets : sequence of Path
    """
    found, missed = _heard(sockets)
    return [path for path, _ in found], missed


def _heard(sockets: Sequence[Path]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Return the same, with the user whom each listener runs as."""
    found, missed = [], []
    for path in sockets:
        if (uid := _listener(path)) < 0:
            missed.append(str(path))
        elif not is_trusted(path.parent):
            missed.append(f"{path} (not asked: neither root nor you own its folder)")
        else:
            found.append((path, uid))
    return found, missed


def is_trusted(folder: Path) -> bool:
    """Tell whether nobody but root, who asks, or whom root gave the folder to can have put a socket there."""
    try:
        folder = folder.resolve(strict=True)
        about, around = folder.stat(), folder.parent.stat()
    except OSError:
        return False
    if about.st_mode & _WRITABLE_BY_OTHERS:
        return False
    given_by_root = around.st_uid == 0 and not around.st_mode & _WRITABLE_BY_OTHERS
    return about.st_uid in {0, os.geteuid()} or given_by_root


def _listener(path: Path) -> int:
    """Return the user whom whoever listens at a socket runs as; -1 if nobody does.

    A socket that was left behind stays when its owner is killed.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            return credentials_of(probe).uid
        except OSError:
            return -1
