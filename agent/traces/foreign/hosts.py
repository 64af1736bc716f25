"""Which host a file is of that names none: files that read the same of the same GPUs at the same time are of several.

Files that complete each other, as power from ``dmon`` and processes from ``pmon`` do, are of one host.
"""

from __future__ import annotations

import filecmp
import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.registry import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from wattshed.agent.traces.options import Options, TraceFile

_KINDS = {"power": ("power_mw", "instant_mw"), "energy": ("counter_mj", "energy_uj"), "process": ("pid",)}
_NO_CHANCE = 1000  # bytes; a few rows may be alike
_TOLD_APART = re.compile(r"[^A-Za-z0-9-]+")


def each_once(sources: Sequence[TraceFile]) -> tuple[list[TraceFile], list[str]]:
    """Leave out files that are the same as another one of the same host, or of an unknown one; says which.

    No two hosts draw the same to the last digit for long: it is one log, given twice.
    """
    kept: list[TraceFile] = []
    said: list[str] = []
    for source in sources:
        same = next((one for one in kept if one.host == source.host and _alike(one.path, source.path)), None)
        if same is None:
            kept.append(source)
        else:
            said.append(f"left out {source.path}: it is the same as {same.path}")
    return kept, said


def _alike(one: Path, other: Path) -> bool:
    size = one.stat().st_size
    return size == other.stat().st_size and size >= _NO_CHANCE and filecmp.cmp(one, other, shallow=False)


def name_hosts(sources: Sequence[TraceFile], options: Options) -> list[TraceFile]:
    """Give hosts to files that name none but read the same at the same time; order files by their time.

    Only where several files name no host are they read for this, once more.
    """
    unnamed = [source for source in sources if not source.host]
    if len(unnamed) < 2:
        return list(sources)
    spans: dict[Path, tuple[int, int, set[tuple[str, str]]]] = {}
    for source in unnamed:
        found = _span(source, options)
        if found is not None:
            spans[source.path] = found
    clash = any(a[0] < b[1] and b[0] < a[1] and a[2] & b[2] for a, b in itertools.combinations(spans.values(), 2))
    ordered = sorted(sources, key=lambda source: spans[source.path][0] if source.path in spans else -1)
    if not clash:
        return ordered
    names = _what_differs([source.path for source in ordered if source.path in spans])
    return [replace(s, host=names[s.path]) if s.path in names and not s.host else s for s in ordered]


def _span(source: TraceFile, options: Options) -> tuple[int, int, set[tuple[str, str]]] | None:
    """First and last stamp, and what is read of the GPUs of unknown hosts; None where the content names hosts."""
    gpus = Gpus("", options.max_power_mw, options.max_gap_us, most_load_mw=options.most_load_mw)
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    kinds: set[str] = set()
    for rows in rows_of(source, SourceReport(str(source.path)), gpus, options):
        if rows.time_us.size:
            first, last = min(first, int(rows.time_us.min())), max(last, int(rows.time_us.max()))
            kinds |= {kind for kind, columns in _KINDS.items() if any(rows.has(column).any() for column in columns)}
    if any([*(device.host for device in gpus.devices), *(lane.host for lane in gpus.lanes)]) or last < first:
        return None
    # A UUID is one GPU wherever it stands; indices and PCI addresses are the same on every host.
    named = {device.pci_bus_id or str(device.index) for device in gpus.devices if not device.uuid}
    return first, last, set(itertools.product(named | ({"0"} if gpus.lanes else set()), kinds))


def _what_differs(paths: Iterable[Path]) -> dict[Path, str]:
    """Name files by the words of their names that not all share: ``t13_node0_log.csv`` becomes ``node0``."""
    paths = list(paths)
    words = {path: _TOLD_APART.split(path.name.removesuffix(".gz").rsplit(".", 1)[0]) for path in paths}
    shared = set.intersection(*(set(names) for names in words.values()))
    short = {path: "_".join(word for word in words[path] if word not in shared) for path in paths}
    if len(set(short.values())) == len(paths) and all(short.values()):
        return short
    stems = {path: path.name.removesuffix(".gz").rsplit(".", 1)[0] for path in paths}
    if len(set(stems.values())) == len(paths):
        return stems
    return {path: str(path) for path in paths}
