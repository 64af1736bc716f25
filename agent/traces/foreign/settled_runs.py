"""Each joule of tables of runs once.

A run may stand in a table more than once: CodeCarbon's ``flush()`` writes what a run used so far, again and again, and
windows of Zeus lie within each other. What cannot be known is said.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.traces.foreign.runs import RunTable, TabledRun

_SAME_START_US = 2_000_000  # stamps of CodeCarbon are whole seconds, of when the row was written


def settled(tables: Sequence[RunTable]) -> tuple[list[TabledRun], list[str]]:
    """Have each joule once; returns the runs, and what was done in words.

    Parameters
    ----------
    tables : sequence of RunTable
        All that are read together.
    """
    runs, notes = _last_states([run for table in tables if table.kind == "codecarbon" for run in table.runs])
    for table in tables:
        if table.kind == "zeus":
            outer, more = _outermost(table.runs)
            runs, notes = runs + outer, notes + more
    others = [run for table in tables if table.kind == "runs" for run in table.runs]
    once = list({(r.job, r.host, r.gpu, r.start_us, r.end_us, r.energy_uj): r for r in others}.values())
    if len(once) < len(others):
        notes.append(f"{counted(len(others) - len(once), 'row')} that another row repeats in full counted once")
    return runs + once, notes


def _last_states(rows: list[TabledRun]) -> tuple[list[TabledRun], list[str]]:
    """Keep of each run the last of its states: rows of one run that began together grow."""
    by_run: dict[tuple[str, str], list[TabledRun]] = defaultdict(list)
    for row in rows:
        by_run[row.job, row.part_of].append(row)
    kept: list[TabledRun] = []
    for states in by_run.values():
        states.sort(key=lambda row: (row.start_us, row.end_us))
        parts: list[list[TabledRun]] = []
        for state in states:
            if parts and state.start_us - parts[-1][0].start_us <= _SAME_START_US:
                parts[-1].append(state)
            else:
                parts.append([state])
        kept += (max(part, key=lambda row: (row.end_us - row.start_us, row.energy_uj)) for part in parts)
    whole = {run.job for run in kept if not run.part_of}
    runs = [run for run in kept if run.part_of not in whole]
    notes = []
    if len(kept) < len(rows):
        notes.append(f"{counted(len(rows) - len(kept), 'row')} of a run before its last one (flush) not added to it")
    if len(runs) < len(kept):
        notes.append(f"{counted(len(kept) - len(runs), 'task')} of runs that are read as a whole not added to them")
    return runs, notes


def _outermost(windows: list[TabledRun]) -> tuple[list[TabledRun], list[str]]:
    """Keep the windows that lie in no other one of their GPU; of one that begins in another, what lies after that."""
    kept: list[TabledRun] = []
    inside = crossing = 0
    until: dict[tuple[str, str], int] = {}
    for window in sorted(windows, key=lambda one: (one.start_us, -one.end_us)):
        covered_us = until.get((window.host, window.gpu), window.start_us)
        if window.end_us <= covered_us and (window.host, window.gpu) in until:
            inside += 1
            continue
        if window.start_us < covered_us:
            crossing += 1
            rest, length = window.end_us - covered_us, window.end_us - window.start_us
            window = replace(window, start_us=covered_us, energy_uj=window.energy_uj * rest // length)  # noqa: PLW2901
        kept.append(window)
        until[window.host, window.gpu] = window.end_us
    notes = []
    if inside:
        notes.append(f"{counted(inside, 'window')} within another one of the same GPU not added to it")
    if crossing:
        notes.append(
            f"{counted(crossing, 'window')} that began within another one: what lies after that, by its mean power"
        )
    return kept, notes


def overlap_uj(runs: Iterable[TabledRun]) -> int:
    """Return how much energy (uJ) runs have that took place while another one did, on a host that is named alike."""
    over, until = 0, 0
    for run in sorted(runs, key=lambda one: (one.start_us, -one.end_us)):
        shared = min(until, run.end_us) - run.start_us
        if shared > _SAME_START_US:
            over += run.energy_uj * shared // (run.end_us - run.start_us)
        until = max(until, run.end_us)
    return over
