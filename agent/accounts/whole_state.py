"""A state that is written whole: a line that says its version, checksum and length, and its content as JSON."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 8
"""Of every part it is known whether it must be there; see `agent.accounts.former_versions` for those before."""


class StateError(Exception):
    """The file is not a state that can be trusted."""


class NewerStateError(Exception):
    """A newer agent wrote the file."""

    def __init__(self, version: int) -> None:
        super().__init__(f"written by a newer wattshed (state version {version}; this one reads 1 to {VERSION})")
        self.version = version


UNTRUSTED = (StateError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading content that is something else may come to."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encoded(content: dict[str, Any]) -> bytes:
    """Return content as JSON."""
    return _encode(content).encode()


def head_of(body: bytes) -> bytes:
    """Return the line that comes before a state's content."""
    return f"wattshed-state {VERSION} {zlib.crc32(body):08x} {len(body)}\n".encode()


def read_whole(path: Path) -> tuple[dict[str, Any], int]:
    """Read a state, and of which version it is.

    Raises
    ------
    NewerStateError
    OSError
    Exception
        One of `UNTRUSTED`: it is none.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    words = head.split()
    if len(words) != 4 or words[0] != b"wattshed-state":
        raise StateError("not a state file")
    version = int(words[1])
    if len(body) != int(words[3]) or zlib.crc32(body) != int(words[2], 16):
        raise StateError("checksum does not match")
    if version > VERSION:
        raise NewerStateError(version)
    if version < 1:
        raise StateError(f"no version is {version}")
    state = json.loads(body)
    if not isinstance(state, dict):
        raise StateError("not an object")
    return state, version
