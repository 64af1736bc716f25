"""Opens a file as clean UTF-8 text whatever it was written as: gzip, UTF-16 from PowerShell, stray bytes."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD_BYTES = 1 << 18
_GZIP = b"\x1f\x8b"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 1 << 20
_DIRECT = 1 << 12  # bytes; where there is room for as many, they are read to where they are wanted
_BEYOND_ASCII = 0x8080808080808080  # of eight bytes
T = TypeVar("T")


def _encoding(head: bytes) -> tuple[str, int]:
    """Guess the encoding from the first bytes; returns it with the length of the byte order mark."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name, len(bom)
    sample = head[:512]
    half = max(len(sample) // 2, 1)
    if sample[1::2].count(0) > 0.8 * half and sample[0::2].count(0) < 0.1 * half:
        return "utf-16-le", 0
    if sample[0::2].count(0) > 0.8 * half and sample[1::2].count(0) < 0.1 * half:
        return "utf-16-be", 0
    return "utf-8", 0


def _unpacked(file: io.BufferedReader) -> tuple[Any, Any]:
    """Return what unpacks gzip, and what it raises for damaged data; isal does it at three times the speed."""
    try:
        from isal import igzip, isal_zlib  # noqa: PLC0415 - most files are not packed
    except ImportError:  # built for x86-64 and ARM alone
        return gzip.GzipFile(fileobj=file), zlib.error
    unpacked: Any = igzip.IGzipFile
    return unpacked(fileobj=file), isal_zlib.error


def _is_ascii(text: memoryview) -> bool:
    """Return whether bytes are ASCII, eight at a time."""
    words = len(text) // 8
    joined = int(np.bitwise_or.reduce(np.frombuffer(text, np.uint64, words))) if words else 0
    return not joined & _BEYOND_ASCII and bytes(text[8 * words :]).isascii()


def decoded(content: bytes, path: str) -> str:
    """Whole text of a file that people wrote, in any of the encodings that are recognised, without its mark.

    Raises
    ------
    InputError
        If it is not text in that encoding; what people call things must not be read with holes.
    """
    encoding, skip = _encoding(content[:_CHUNK])
    try:
        return content[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, skip + error.start) + 1
        raise InputError(f"is not {encoding.upper()} text; save it as UTF-8", path, line) from None


class CleanStream(io.RawIOBase):
    r"""Bytes of valid UTF-8, read from a plain or gzipped file of any of the encodings above.

    Parameters
    ----------
    path : Path
    separator : bytes
        If given, every occurrence is read as ``\x1f``: nvidia-smi separates with comma and blank, which keeps decimal
        commas apart from separators.

    Raises
    ------
    InputError
        From reading, if the compressed data ends early or is damaged.
    """

    def __init__(self, path: Path, separator: bytes = b"") -> None:
        super().__init__()
        self.path = path
        self._separator = separator
        self._raw = path.open("rb")
        packed = self._raw.peek(2)[:2] == _GZIP
        self._file: Any = self._raw
        self._fault: type[Exception] = zlib.error
        if packed:
            self._file, self._fault = _unpacked(self._raw)
        self._ready = bytearray()
        self._tail = b""
        first = self._read_raw(_CHUNK)
        encoding, skip = _encoding(first)
        self._plain = encoding == "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._mixed = False
        self._ended = False
        self._take(first[skip:])

    def readable(self) -> bool:
        """Return True: this can be read."""
        return True

    @property
    def position(self) -> int:
        """Bytes of the file below that have been read."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file below as well."""
        if not self.closed and hasattr(self, "_file"):  # Python closes what could not be opened, too
            self._file.close()
            self._raw.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        """Fill ``buffer``; 0 at the end."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if not self._ready and self._plain and not self._mixed and not self._separator and len(target) >= _DIRECT:
            count: int = self._from_below(lambda: self._file.readinto(target))
            if count and _is_ascii(target[:count]):
                return count
            self._take(bytes(target[:count]))
        while not self._ready and not self._ended:
            self._take(self._read_raw(_CHUNK))
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        del self._ready[:count]
        return count

    def _read_raw(self, size: int) -> bytes:
        text: bytes = self._from_below(lambda: self._file.read(size))
        return text

    def _from_below(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except EOFError as error:
            raise InputError(
                "the gzip data ends early; `gzip -dc FILE > part` recovers what is there", str(self.path)
            ) from error
        except (gzip.BadGzipFile, self._fault) as error:
            raise InputError(f"damaged gzip data ({error})", str(self.path)) from error
        except IsADirectoryError as error:
            raise InputError("it is a directory", str(self.path)) from error

    def _take(self, chunk: bytes) -> None:
        final = not chunk
        self._ended = final
        if self._plain and b"\0" in chunk:
            chunk = chunk.replace(b"\0", b"")  # loggers that write in blocks, and power cuts, leave them
        if not (self._plain and not self._mixed and chunk.isascii()):
            self._mixed = True
            chunk = self._decoder.decode(chunk, final).encode("utf-8", "replace")
        if self._separator:
            chunk = (self._tail + chunk).replace(self._separator, b"\x1f")
            cut = 0 if final or not chunk.endswith(self._separator[:1]) else 1
            self._tail = chunk[len(chunk) - cut :]
            chunk = chunk[: len(chunk) - cut]
        self._ready += chunk


def head_of(path: Path) -> str:
    """Read the first 256 KiB of a file as text.

    Raises
    ------
    InputError
        If it is missing, empty, or binary.
    """
    try:
        with CleanStream(path) as stream:
            head = io.BufferedReader(stream, HEAD_BYTES).read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise InputError("there is no such file", str(path)) from error
    except IsADirectoryError as error:
        raise InputError("it is a directory", str(path)) from error
    except PermissionError as error:
        raise InputError("it cannot be read (permission denied)", str(path)) from error
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror or error})", str(path)) from error
    if not head.strip():
        empty = path.stat().st_size == 0
        raise InputError("it is empty" if empty else "it holds nothing but blanks and NUL bytes", str(path))
    odd = sum(head[:4096].count(byte) for byte in range(32) if byte not in b"\t\n\r\f\x1b\x1f")
    if odd > len(head[:4096]) // 20:
        raise InputError("it is a binary file, not a trace", str(path))
    return head.decode("utf-8", "replace")


def open_lines(path: Path) -> io.TextIOWrapper:
    """Open a file for reading line by line, any line ending."""
    return io.TextIOWrapper(
        io.BufferedReader(CleanStream(path), _CHUNK), encoding="utf-8", errors="replace", newline=None
    )
