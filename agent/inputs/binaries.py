"""Binary files that people take for logs: told by their first bytes, and what to do with them."""

from __future__ import annotations

import re

_PACKED = "decompress it first"
_DUMP = "write its series with `promtool tsdb dump DIR > dump.txt`, and read that"
_AT_START: tuple[tuple[bytes, str], ...] = (
    (b"SQLite format 3\0", "an SQLite database; write its table as CSV: `sqlite3 -header -csv FILE 'select ...'`"),
    (b"ORC", "an ORC file; write it as Parquet or CSV"),
    (b"Obj\x01", "an Avro file; write it as Parquet or CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; write its table as Parquet or CSV"),
    (b"\x93NUMPY", "an array of NumPy, without names of columns; write it as CSV with a header"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls); save its sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", f"compressed with zstd; {_PACKED}: `zstd -d FILE`"),
    (b"\xfd7zXZ\0", f"compressed with xz; {_PACKED}: `xz -dk FILE`"),
    (b"BZh", f"compressed with bzip2; {_PACKED}: `bzip2 -dk FILE`"),
    (b"\x04\x22\x4d\x18", f"compressed with lz4; {_PACKED}: `lz4 -d FILE`"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive; {_PACKED}"),
    (b"Rar!\x1a\x07", f"a RAR archive; {_PACKED}"),
    (b":W&B", "a run of W&B in its own form; export its system metrics: `run.history(stream='events')` of its API"),
    (b"\x85\xf4\x4a\x83", "chunks of Prometheus; write their series with `promtool tsdb dump DIR > dump.txt`"),
    (b"\x85\xbd\x40\xdd", "chunks of Prometheus; write their series with `promtool tsdb dump DIR > dump.txt`"),
    (
        b"\xba\xaa\xd7\x00",
        "the index of a block of Prometheus; write its series with `promtool tsdb dump DIR > dump.txt`",
    ),
    (b"%PDF-", "a PDF; no numbers are read from it"),
    (b"\x89PNG", "a picture; no numbers are read from it"),
    (b"NVR\0", "a report of Nsight; it has no power over time"),
)
_ZIP = b"PK\x03\x04"
_SHEETS = re.compile(rb"xl/|\[Content_Types\]\.xml")
_OPEN_DOCUMENT = b"opendocument.spreadsheet"
_TAR_AT = 257


def binary_of(head: bytes) -> str:
    """Say what a file is, and what to do: what follows "it is"; empty if it is not known.

    Parameters
    ----------
    head : bytes
        The first 8 KiB.
    """
    for magic, said in _AT_START:
        if head.startswith(magic) and (len(magic) > 3 or b"\0" in head or not head.isascii()):
            return said
    if head.startswith(_ZIP):
        if _SHEETS.search(head) or _OPEN_DOCUMENT in head:
            return "a workbook (Excel, LibreOffice); save its sheet as CSV"
        return f"a ZIP archive; {_PACKED}: `unzip FILE`"
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "a tar archive; unpack it: `tar xf FILE`"
    return ""
