"""The series of ``wattshed bench growth``: what is done, with which sizes, and how each point is prepared."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class GrowingSeries:
    """One thing of which the size grows.

    Attributes
    ----------
    name : str
    axis : str
        What grows: "samples", "GPUs", "jobs" or "hosts".
    what : str
        What is done, for people.
    sizes, quick : tuple of int
        Of the full run, and of one of seconds.
    prepare : str
        Of `growth_work.WORK`: what is made before; empty for nothing.
    grows : bool
        Whether what is made for one size lies in one folder with that of the next, which is made of it.
    command : callable
        Of a folder, the words of `wattshed`; None where `work` says what is done.
    work : str
        Of `growth_work.WORK`.
    """

    name: str
    axis: str
    what: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    prepare: str = ""
    command: Callable[[Path], tuple[str, ...]] | None = None
    work: str = ""
    grows: bool = False

    def preparation(self, size: int, folder: Path) -> tuple[str, ...]:
        """Return the command that makes what a point needs; empty for nothing."""
        return _work(self.prepare, size, folder) if self.prepare else ()

    def measured(self, size: int, folder: Path) -> tuple[str, ...]:
        """Return the command that is measured."""
        if self.command is not None:
            return PYTHON, "-m", "wattshed", *self.command(folder)
        return _work(self.work, size, folder)


def _work(word: str, size: int, folder: Path) -> tuple[str, ...]:
    return PYTHON, "-m", "wattshed.agent.bench.growth_work", word, str(size), str(folder)


def _decades(first: int, last: int) -> tuple[int, ...]:
    """Powers of ten."""
    return tuple(10**power for power in range(first, last + 1))


def _replay(folder: Path) -> tuple[str, ...]:
    return "replay", str(folder / "host=bench"), "--format", "json"


SERIES = (
    GrowingSeries(
        "stream", "samples", "energy of a stream, in blocks of a million (kernels.energy.extend)", _decades(6, 9),
        _decades(5, 6), work="stream",
    ),
    GrowingSeries(
        "replay", "samples", "wattshed replay of a native recording of 8 GPUs", _decades(6, 9), _decades(4, 5),
        prepare="record", command=_replay, grows=True,
    ),
    GrowingSeries(
        "live", "GPUs", "a second of an agent's accounts: 8 GPUs a host, two readings and a job each",
        (8, 100, 1_000, 10_000, 100_000), (8, 80), work="live_second",
    ),
    GrowingSeries(
        "estimate", "GPUs", "wattshed fleet estimate of a sample of so many", (8, 100, 1_000, 10_000, 100_000),
        (16, 160), prepare="sample",
        command=lambda folder: (
            "fleet", "estimate", "--sample", str(folder / "sample.csv"), "--population", str(folder / "population.csv"),
            "--json",
        ),
    ),
    GrowingSeries(
        "attribution", "jobs", "wattshed replay --jobs: a million samples of 8 GPUs shared among so many",
        _decades(1, 6), _decades(1, 2), prepare="jobs_table",
        command=lambda folder: (*_replay(folder), "--jobs", str(folder / "jobs.csv")),
    ),
    GrowingSeries(
        "report", "jobs", "wattshed report --by user of a history of so many", _decades(1, 6), _decades(1, 2),
        prepare="history", grows=True,
        command=lambda folder: ("report", "--by", "user", "--store", str(folder / "history.db"), "--json"),
    ),
    GrowingSeries(
        "jobs", "jobs", "wattshed jobs --user, a hundred lines of a history of so many", _decades(1, 6),
        _decades(1, 2), prepare="history", grows=True,
        command=lambda folder: (
            "jobs", "--user", "user0007", "--limit", "100", "--store", str(folder / "history.db"), "--json",
        ),
    ),
    GrowingSeries(
        "demand", "hosts", "wattshed fleet demand of ten minutes of so many", _decades(0, 4), _decades(0, 1),
        prepare="loads", command=lambda folder: ("fleet", "demand", str(folder / "loads.csv"), "--json"),
    ),
    GrowingSeries(
        "collect", "hosts", "a collector takes 20 jobs from each of so many", _decades(0, 4), _decades(0, 1),
        work="collect",
    ),
)  # fmt: skip
