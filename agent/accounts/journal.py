"""The journal beside a state: what changed at each save since it was written whole, appended and never rewritten.

A line before each change says its number, the mark of the state that it continues, the mark of what comes of it, and
how long it is; it has a checksum of its own. A mark is the checksum of a change and the mark before it, so that a
change is taken over only onto the very state that it was told of.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WORD = b"wattshed-change"
_FORM = 1


class Journal:
    """The file that changes are appended to.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    bytes : int
        Appended since it was begun.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._named = False  # whether its name is certain to outlive a power cut
        self.bytes = 0

    def append(self, seq: int, mark: int, body: bytes, *, sync: bool) -> int:
        """Append a change; return the mark of the state that it makes.

        Parameters
        ----------
        seq : int
            Its number.
        mark : int
            Of the state that it continues.
        body : bytes
            Without a line end.
        sync : bool
            Wait for the disk.

        Raises
        ------
        OSError
            It is not there, or only a part of it, that nobody will take for a change. Nothing may be appended any more.
        """
        after = zlib.crc32(body, mark)
        head = b"%s %d %d %08x %08x %d" % (_WORD, _FORM, seq, mark, after, len(body))
        left = memoryview(b"%s %08x\n%s\n" % (head, zlib.crc32(head), body))
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        while left:
            written = os.write(self._file, left)
            self.bytes += written
            left = left[written:]
        if sync:
            os.fdatasync(self._file)
            if not self._named:
                sync_folder(self._path.parent)
                self._named = True
        return after

    def begin(self) -> None:
        """Leave what was appended beside, as ``*.before``: the state is written whole, and changes follow that."""
        self.close()
        with suppress(FileNotFoundError):
            self._path.replace(before(self._path))

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._named, self.bytes = -1, False, 0


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that continue a state, as far as they can be trusted.

    Attributes
    ----------
    bodies : list of bytes
    seq, mark : int
        Of the state that they make.
    problem : str
        Why what follows cannot be taken over; empty if nothing follows but, perhaps, one that was not written to its
        end: nobody was told that it is saved.
    """

    bodies: list[bytes] = field(default_factory=list)
    seq: int = 0
    mark: int = 0
    problem: str = ""


def before(path: Path) -> Path:
    """Return the name of the journal before this one."""
    return path.with_name(path.name + ".before")


def changes_after(path: Path, seq: int, mark: int) -> Changes:
    """Read the changes in a journal that continue a state.

    Parameters
    ----------
    path : Path
        There may be none.
    seq, mark : int
        Of the state; changes up to this number are in it.

    Raises
    ------
    OSError
        It cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Changes([], seq, mark)
    bodies: list[bytes] = []
    at = 0
    while (head_end := raw.find(b"\n", at)) >= 0:
        head = _head(raw[at:head_end])
        if head is None:
            return Changes(bodies, seq, mark, f"is damaged at byte {at}")
        number, continues, after, length = head
        end = head_end + 1 + length
        if end >= len(raw):
            break
        if raw[end] != ord("\n"):
            return Changes(bodies, seq, mark, f"is damaged at byte {end}")
        body = raw[head_end + 1 : end]
        if number > seq:
            if (number, continues) != (seq + 1, mark):
                return Changes(bodies, seq, mark, f"continues another state at byte {at}")
            if zlib.crc32(body, mark) != after:
                return Changes(bodies, seq, mark, f"is damaged at byte {head_end + 1}")
            bodies.append(body)
            seq, mark = number, after
        at = end + 1
    return Changes(bodies, seq, mark)


def _head(line: bytes) -> tuple[int, int, int, int] | None:
    """Read the line before a change: number, mark before and after, length; None unless all of it is right."""
    text, _, check = line.rpartition(b" ")
    words = text.split(b" ")
    try:
        if len(check) != 8 or int(check, 16) != zlib.crc32(text) or words[:2] != [_WORD, b"%d" % _FORM]:
            return None
        _, _, number, continues, after, length = words
        return int(number), int(continues, 16), int(after, 16), int(length)
    except ValueError:
        return None


def sync_folder(folder: Path) -> None:
    """Make sure that a name in it is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
