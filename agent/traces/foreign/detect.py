"""Recognises the binary formats by their first bytes; names and endings do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.binaries import binary_of
from wattshed.agent.inputs.columnar import ARROW_MAGIC, PARQUET_MAGIC

if TYPE_CHECKING:
    from pathlib import Path

NATIVE, NATIVE_PARQUET, PARQUET, ARROW = "native", "native-parquet", "parquet", "arrow"
_HEAD = 8192  # bytes
_MESSAGE = b"\xff\xff\xff\xff"  # begins every message of an Arrow stream


def format_of_bytes(path: Path) -> str:
    """Recognise the binary formats; empty for anything else.

    Raises
    ------
    InputError
        If it is of a kind that is known and not read, or is named like a segment and is not one.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    for magic, name in ((PARQUET_MAGIC, PARQUET), (ARROW_MAGIC, ARROW)):
        if head.startswith(magic):
            return name
    if known := binary_of(head):
        raise InputError(f"it is {known}", str(path))
    named = path.suffix in {".arrows", ".open"}
    ours = b"wattshed.format" in head or named
    if named and not head:
        raise InputError("it is empty", str(path))
    if named and len(head) < _HEAD and _MESSAGE not in head:
        raise InputError("it is named like a segment of a recording, but contains no message of one", str(path))
    return NATIVE if ours and not head.startswith(b"\x1f\x8b") else ""
