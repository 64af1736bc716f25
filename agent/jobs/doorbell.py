"""Tells that something changed in a folder, by inotify(7), and never what: whoever hears it looks for himself.

So nothing that a queue drops or an event leaves out can be wrong: a bell that rang too often costs a look. Where the
kernel cannot tell of every change (a file system that others write to as well, no watches left), it says that it
cannot, and its owner looks again and again.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from typing import Any

SETTLES_S = 0.005
"""Heard once, it listens on for so long: a prolog's changes come in bursts, and a file may be half written."""

_CHANGED = 0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200
"""What happens in a folder: IN_MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE."""
_APPEARED = 0x080 | 0x100
"""IN_MOVED_TO, CREATE."""
_ITSELF = 0x400 | 0x800
"""What happens to the folder: IN_DELETE_SELF, MOVE_SELF."""
_ONLY_FOLDERS = 0x01000000
_TOLD = {
    "tmpfs": 0x01021994,
    "ramfs": 0x858458F6,
    "ext2, ext3, ext4": 0xEF53,
    "xfs": 0x58465342,
    "btrfs": 0x9123683E,
    "zfs": 0x2FC12FC1,
    "f2fs": 0xF2F52010,
}
"""File systems that this kernel alone changes (statfs(2)): of others', such as NFS or FUSE, it hears by chance."""
_STATFS, _QUEUE = 256, 1 << 16  # bytes; a struct statfs has 120, a read takes what waits


class Doorbell:
    """Listens for changes of one folder.

    Parameters
    ----------
    folder : str
        It may be absent, come later, and be replaced.
    libc : object, optional
        Has inotify_init1, inotify_add_watch, inotify_rm_watch and statfs; by default the process's own.
    """

    def __init__(self, folder: str, libc: Any = None) -> None:
        self._folder = os.path.abspath(folder)  # noqa: PTH100 - without asking what it leads to
        self._libc = ctypes.CDLL(None, use_errno=True) if libc is None else libc
        self._poll, self._watches = select.poll(), set[int]()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.POLLIN)
        try:
            self._events = int(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        except AttributeError:  # a C library without it
            self._events = -1
        if self._events >= 0:
            self._poll.register(self._events, select.POLLIN)
        self._mounts = _opened("/proc/self/mountinfo")  # what is mounted over a folder changes nothing in it
        if self._mounts >= 0:
            self._poll.register(self._mounts, select.POLLPRI)

    def listen(self) -> bool:
        """Listen from now on to what is at the folder's place now; call it again before each look.

        Returns
        -------
        bool
            False: changes may not be told.
        """
        if self._events < 0 or self._mounts < 0 or os.path.realpath(self._folder) != self._folder:
            return False  # a link on the way may lead elsewhere without a word
        before, self._watches = self._watches, set()
        told = self._hang_up()
        for watch in before - self._watches:
            self._libc.inotify_rm_watch(self._events, watch)
        return told

    def _hang_up(self) -> bool:
        """Watch the folder, or for its coming, and that nothing above it is moved away."""
        there = "/"
        if not self._watch(there, _ITSELF):
            return False
        for name in self._folder.split("/")[1:]:
            path = os.path.join(there, name)  # noqa: PTH118
            mask = _CHANGED | _ITSELF if path == self._folder else _ITSELF
            if not self._watch(path, mask):
                # Another look when it is awaited: it may have come in between.
                if not self._watch(there, _APPEARED | _ITSELF) or not self._is_told(there):
                    return False
                if not self._watch(path, mask):
                    return not os.path.exists(path)  # noqa: PTH110 - else it is there and cannot be watched
            there = path
        return self._is_told(there)

    def _watch(self, path: str, mask: int) -> bool:
        watch = int(self._libc.inotify_add_watch(self._events, os.fsencode(path), mask | _ONLY_FOLDERS))
        if watch >= 0:
            self._watches.add(watch)
        return watch >= 0

    def _is_told(self, path: str) -> bool:
        """Return whether nobody but this kernel changes the file system that a folder is on."""
        found = ctypes.create_string_buffer(_STATFS)
        if self._libc.statfs(os.fsencode(path), found) != 0:
            return False
        kind: int = struct.unpack_from("@l", found.raw)[0]
        return kind & 0xFFFFFFFF in _TOLD.values()

    def wait(self, longest_s: float) -> bool:
        """Wait for a change, or until somebody rings; return whether there was either."""
        if not self._poll.poll(max(0.0, longest_s) * 1000):
            return False
        time.sleep(SETTLES_S)
        for descriptor in (self._wake, self._events):
            if descriptor >= 0:
                with suppress(BlockingIOError):
                    os.read(descriptor, _QUEUE)
        return True

    def ring(self) -> None:
        """End the wait, from any thread."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Stop listening; not while another thread waits."""
        for descriptor in (self._wake, self._events, self._mounts):
            if descriptor >= 0:
                os.close(descriptor)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
