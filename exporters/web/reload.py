"""The web configuration file, read again whenever it or a file that it names has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.web.web_config import WebConfig, WebConfigError, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Watched:
    """A web configuration that is read again at each change of any of its files.

    A change that cannot be used leaves the last good configuration in force: a half-written file must not open the
    server to everybody, nor shut monitoring out.

    Parameters
    ----------
    path : Path or None
        None: no TLS, no users, no limit.
    on_fault : callable
        Called once per change that cannot be used.

    Raises
    ------
    WebConfigError
        If the file cannot be used to begin with.
    """

    def __init__(self, path: Path | None, on_fault: Callable[[WebConfigError], None]) -> None:
        self._path, self._on_fault = path, on_fault
        self._config = load(path) if path else WebConfig()
        self._seen = self._stamp()

    def current(self) -> WebConfig:
        """Return the configuration in force, reading it again if a file changed."""
        if self._path is not None and (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._config = load(self._path, may_be_empty=False)
            except WebConfigError as error:
                self._on_fault(error)
            else:
                self._seen = self._stamp()
        return self._config

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._config.files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
