"""User names, without waiting for the directory service that knows them."""

from __future__ import annotations

import pwd
import queue
import threading
from pathlib import Path

_MOST = 4096


class UserNames:
    """Looks user ids up in a thread of its own: getpwuid may ask LDAP, and LDAP may be down."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._wanted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def name(self, uid: int) -> str:
        """Return the name, or empty while it is not known (yet)."""
        if uid not in self._names and len(self._names) < _MOST:
            self._names[uid] = ""
            self._wanted.put(uid)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wattshed-users", daemon=True)
                self._thread.start()
        return self._names.get(uid, "")

    def _run(self) -> None:
        while True:
            uid = self._wanted.get()
            try:
                self._names[uid] = pwd.getpwuid(uid).pw_name
            except (KeyError, OverflowError):
                # A user of a container, or of nobody: the number has to do.
                continue


def local_uid(name: str, passwd: Path = Path("/etc/passwd")) -> int | None:
    """Return the user id of a local account; None if there is none. No name service is asked, which could take long.

    Parameters
    ----------
    name : str
    passwd : Path, optional
    """
    try:
        lines = passwd.read_text("utf-8", "replace").split("\n")
    except OSError:
        return None
    fields = (line.split(":") for line in lines)
    return next((int(f[2]) for f in fields if f[0] == name and len(f) > 2 and f[2].isdecimal()), None)
