"""Device nodes of a simulated driver: plain files whose locks count a GPU's clients, as the kernel counts open files.

A session of the library holds a node with a shared lock. Another program needs the lock for itself alone before it may
reset, unbind or repartition the GPU: whoever else has the node open makes it wait, in whichever process that is.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

CONTROL = "nvidiactl"


def node_of(minor: int) -> str:
    """Name the node of a GPU."""
    return f"nvidia{minor}"


def lock(path: Path, *, alone: bool = False) -> int:
    """Open a node and lock it; returns the descriptor, which holds it.

    Raises
    ------
    BlockingIOError
        Others have it open, or one has it for itself.
    OSError
        There is no such node.
    """
    node = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(node, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(node)
        raise
    return node


class DeviceNodes:
    """The nodes of one simulated host, and those of them that the library in this process has open.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONTROL).touch()
        self._open: dict[str, int] = {}
        weakref.finalize(self, _close, self._open)  # a library that nobody shut down

    def show(self, minors: Collection[int]) -> None:
        """Have nodes for these GPUs and no others."""
        names = {node_of(minor) for minor in minors}
        for name in names:
            (self.folder / name).touch()
        for path in self.folder.iterdir():
            if path.name != CONTROL and path.name not in names:
                path.unlink(missing_ok=True)

    def hold(self, name: str) -> bool:
        """Open a node unless it is open; False if another program has it for itself."""
        if name not in self._open:
            try:
                self._open[name] = lock(self.folder / name)
            except OSError:
                return False
        return True

    def let_go(self, kept: Collection[str] = ()) -> None:
        """Close all that are open, but for those that are kept."""
        _close(self._open, kept)


def is_open_here(node: Path) -> bool:
    """Return whether this process has a node open, locked or not."""
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # closed meanwhile
            if descriptor.readlink() == node:
                return True
    return False


def is_free(node: Path) -> bool:
    """Return whether nobody has a node locked; nobody has one that is not there."""
    try:
        os.close(lock(node, alone=True))
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _close(nodes: dict[str, int], kept: Collection[str] = ()) -> None:
    for name in [name for name in nodes if name not in kept]:
        os.close(nodes.pop(name))
