"""Turns finished segments of a recording into Parquet, in place, a tenth of their size and with every bit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.native.parquet import write_parquet
from wattshed.agent.traces.native.reader import segment_windows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def compact(folder: Path) -> Iterator[tuple[Path, int]]:
    """Compact all finished segments below a folder; the segment goes when its Parquet is safe on disk.

    A segment with damaged windows stays as it is: its bytes are all that is left of them. A crash leaves both forms,
    and readers take the segment.

    Yields
    ------
    (Path, int)
        Each Parquet file with its number of windows.
    """
    for path in sorted(folder.rglob("*.arrows")):
        report = SourceReport(str(path))
        target = path.with_suffix(".parquet")
        try:
            windows = write_parquet(segment_windows(path, report), target)
        except InputError:  # empty, or of a later version: not ours to change
            continue
        if report.rejected or not windows:
            target.unlink()
            continue
        with target.open("rb") as file:
            os.fsync(file.fileno())
        path.unlink()
        yield target, windows
