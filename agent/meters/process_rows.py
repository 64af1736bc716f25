"""Rows of process utilisation as a driver returns them, and which of them are credible."""

from __future__ import annotations

from typing import NamedTuple

NOT_SAID = 101


class ProcessRow(NamedTuple):
    """What the driver says of one process: how busy it kept the SMs, and the memory (above 100: it does not say)."""

    pid: int
    stamp_us: int
    percent: int
    memory_percent: int = NOT_SAID


def credible(rows: list[ProcessRow], since_us: int) -> list[ProcessRow]:
    """Drop what cannot be true: entries without a process, garbage, and what is older than what was asked for.

    A GPU with a process that died without giving it back answers a hundred entries, most of them empty and the others
    with percentages in the thousands (nvtop #110).
    """
    best: dict[tuple[int, int], ProcessRow] = {}
    for row in rows:
        if row.pid > 0 and row.stamp_us > since_us and 0 <= row.percent <= 100:
            key = row.pid, row.stamp_us
            best[key] = max(row, best.get(key, row))
    return sorted(best.values())
