"""What ``wattshed bench`` measures: each kernel, what it reads, and who else can answer the same question."""

# Imported where they are used: polars, duckdb and pyarrow are heavy, and two of them optional.
# ruff: noqa: PLC0415

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.bench.rivals import BenchSamples, Duckdb, Numpy, Polars
from wattshed.agent.bench.whole import whole_contests
from wattshed.kernels import ensemble
from wattshed.kernels.bandwidth import read_once
from wattshed.kernels.billing.power_runs import book_power_only
from wattshed.kernels.billing.reconcile import new_state
from wattshed.kernels.columns import Columns
from wattshed.kernels.energy import integrate
from wattshed.kernels.jobs import job_energy
from wattshed.kernels.quantiles import quantiles
from wattshed.kernels.windows import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GAP_US = 5_000_000
WINDOWS_US = {"a minute": 60_000_000, "500 readings": 500_000_000}
PPM = (500_000, 950_000, 990_000)
_RIVAL_ROUNDS = 3
_LONG_S = 0.5
_ROW_OF_TEXT = 80
"""As many samples as a row of text stands for: a log of a whole process is read in a second or two."""
_JOBS = 2_000
"""Of the ensemble: a large fleet of today."""
_HOUR = 3_600
"""Readings of a GPU in a window of a native recording."""


class Contest(NamedTuple):
    """One kernel's question.

    Attributes
    ----------
    kernel : str
    ours : callable
        The kernel; returns what ``agrees`` compares.
    rivals : dict of callable
        By name, the same question.
    agrees : callable
        Of our answer and a rival's.
    read_bytes : int
        What the kernel has to read, once.
    adds : int
        For kernels that are bound by adding, not by reading.
    """

    kernel: str
    ours: Callable[[], Any]
    rivals: dict[str, Callable[[], Any]]
    agrees: Callable[[Any, Any], bool]
    read_bytes: int = 0
    adds: int = 0


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def probe_bandwidth(words: np.ndarray[Any, Any]) -> float:
    """Bytes a second that all threads read, in the best of two shapes."""
    return max(words.nbytes / _seconds(partial(read_once, words, streams)) for streams in (1, 2))


def measure(contest: Contest, rounds: int, words: np.ndarray[Any, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Compare the answers, then time probe, kernel and rivals in turn, round by round.

    Returns
    -------
    dict
        Medians; ``share_of_bandwidth`` and ``times_quicker`` are medians of the ratios within each round.
    """
    ours = contest.ours()
    agree = {name: contest.agrees(ours, rival()) for name, rival in contest.rivals.items()}
    kernel_s: list[float] = []
    shares: list[float] = []
    rival_s: dict[str, list[float]] = {name: [] for name in contest.rivals}
    for turn in range(rounds):
        say(f"{contest.kernel}: round {turn + 1}/{rounds}")
        # The best of three, and of the probe, so that passing load hits neither; what runs long has both in it.
        pairs = [(probe_bandwidth(words), _seconds(contest.ours))]
        if pairs[0][1] < _LONG_S:
            pairs += [(probe_bandwidth(words), _seconds(contest.ours)) for _ in range(2)]
        quickest = min(seconds for _, seconds in pairs)
        kernel_s.append(quickest)
        shares.append(contest.read_bytes / quickest / max(rate for rate, _ in pairs))
        if turn < _RIVAL_ROUNDS:
            for name, rival in contest.rivals.items():
                rival_s[name].append(_seconds(rival) / quickest)
    seconds = statistics.median(kernel_s)
    result: dict[str, Any] = {
        "kernel": contest.kernel,
        "seconds": seconds,
        "agree": all(agree.values()),
        "rivals": {
            name: {"times_quicker": statistics.median(ratios), "agrees": agree[name]}
            for name, ratios in rival_s.items()
        },
    }
    if contest.read_bytes:
        result |= {
            "gigabytes_per_s": contest.read_bytes / seconds / 1e9,
            "share_of_bandwidth": statistics.median(shares),
        }
    if contest.adds:
        result["giga_adds_per_s"] = contest.adds / seconds / 1e9
    return result


def contests(
    samples: int,
    gpus: int,
    rounds: int,
    *,
    rivals: tuple[str, ...],
    only: str,
    say: Callable[[str], None],
    far: Callable[[float], None] = lambda _share: None,
) -> Iterator[dict[str, Any]]:
    """Measure every kernel whose name contains ``only``; yields a result each.

    Parameters
    ----------
    samples, gpus, rounds : int
    rivals : tuple of str
        Of "numpy", "polars", "duckdb"; those that are not installed are left out.
    only : str
    say : callable
        Called with what is being done.
    far : callable, optional
        Called with the share of the contests that is over.
    """
    say("making samples")
    data = BenchSamples.make(samples, gpus, max(samples // 1_800, 1))  # two jobs per GPU-hour at 1 Hz
    made: dict[str, Any] = {}
    for name, kind in (("numpy", Numpy), ("polars", Polars), ("duckdb", Duckdb)):
        if name in rivals:
            say(f"loading {name}")
            try:
                made[name] = kind(data, GAP_US)
            except ImportError:
                say(f"{name} is not installed (pip install 'wattshed[bench]')")
    words = np.ones(max(samples, 1 << 20), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        every = (*_sample_contests(data, made), *_ensemble_contests(), *_file_contests(data, made, Path(folder)))
        chosen = [contest for contest in every if only in contest.kernel]
        for over, contest in enumerate(chosen, start=1):
            yield measure(contest, rounds, words, say)
            far(over / len(chosen))


def _all_of(made: dict[str, Any], method: str, *arguments: Any) -> dict[str, Callable[[], Any]]:
    """Each rival's answer to a question that it can be asked."""
    asked = {name: getattr(rival, method) for name, rival in made.items() if hasattr(rival, method)}
    return {name: partial(ask, *arguments) for name, ask in asked.items()}


def _as_recorded(data: BenchSamples) -> Columns:
    """Lay samples out as a native recording of hours: 32-bit times after each window's beginning.

    All GPUs begin at once, as they do on a host; none of their intervals changes.
    """
    own = data.slices()
    hours = max(-(-(rows.stop - rows.start) // _HOUR) for rows in own)
    cut = np.array([np.minimum(np.arange(hours + 1) * _HOUR, rows.stop - rows.start) for rows in own])
    offsets = np.zeros((hours, len(own) + 1), np.int64)
    np.cumsum(np.diff(cut).T, axis=1, out=offsets[:, 1:])
    at = np.concatenate([np.zeros(1, np.int64), np.cumsum(offsets[:, -1])])[:-1]
    begin = [rows.start + np.minimum(cut[gpu, :-1], rows.stop - rows.start - 1) for gpu, rows in enumerate(own)]
    since = [data.time_us[first] - data.time_us[rows.start] for first, rows in zip(begin, own, strict=True)]
    base_us = np.min(since, axis=0)
    times, powers = np.empty(len(data.time_us), np.uint32), np.empty(len(data.time_us), np.int32)
    for gpu, rows in enumerate(own):
        for hour in range(hours):
            a, b = cut[gpu, hour], cut[gpu, hour + 1]
            to = slice(at[hour] + offsets[hour, gpu], at[hour] + offsets[hour, gpu + 1])
            times[to] = data.time_us[rows][a:b] - data.time_us[rows.start] - base_us[hour]
            powers[to] = data.power_mw[rows][a:b]
    return Columns(offsets, times, at, base_us, powers, at)


def _natively(data: BenchSamples) -> Callable[[], Any]:
    """Return what sums samples in the form of a native recording, as a replay of power alone does."""
    run, gpus = _as_recorded(data), np.ones(len(data.offsets) - 1, np.int64)

    def summed() -> Any:
        booked = book_power_only(run, new_state(len(gpus)), gpus * 20_000_000, gpus * GAP_US, -gpus)
        return (np.array([round(hnj / 2_000) for hnj in booked.energy_hnj]),) if booked else ()

    return summed


def _sample_contests(data: BenchSamples, made: dict[str, Any]) -> Iterator[Contest]:
    size = len(data.time_us)
    columns = (data.time_us, data.power_mw, data.offsets)

    def energies_agree(ours: Any, theirs: list[int]) -> bool:
        return bool(ours[0].tolist() == [round(hnj / 2_000) for hnj in theirs])

    energy = _all_of(made, "energy")
    yield Contest("a energy, 8 B native", _natively(data), energy, energies_agree, size * 8)
    yield Contest("a energy, 12 B", lambda: integrate(*columns, GAP_US), energy, energies_agree, size * 12)

    jobs = len(data.start_us)
    unknown = np.full(jobs, -1, np.int64)
    live = np.ones(jobs, np.int8)
    idle = np.full(len(data.offsets) - 1, -1, np.int64)

    def jobs_agree(ours: Any, theirs: Any) -> bool:
        """Agree but for the intervals across edges, which rivals do not cut: a second of 0.7 kW each."""
        joules = (ours.dynamic[:, 0] + ours.dynamic[:, 1] / 2e9).astype(float)
        found = np.zeros(jobs)
        table = (
            list(theirs.values()) if isinstance(theirs, dict) else [theirs["job"].to_numpy(), theirs["e"].to_numpy()]
        )
        found[np.asarray(table[0])] = np.asarray(table[1], float)
        return bool(
            (np.abs(found - joules) <= 0.002 * joules + 8_000).all() and abs(found.sum() / joules.sum() - 1) < 1e-3
        )

    yield Contest(
        "b energy per job",
        lambda: job_energy(
            *columns, GAP_US, idle, data.rows, data.start_us, data.end_us, unknown, unknown, unknown, live
        ),
        _all_of(made, "job_energy"), jobs_agree, size * 12,
    )  # fmt: skip

    def windows_agree(ours: Any, theirs: Any) -> bool:
        found = np.stack([ours.counts, ours.min_mw, ours.max_mw, ours.sum_mw])
        if isinstance(theirs, dict):
            other = np.stack([np.asarray(theirs[key]).astype(np.int64) for key in ("n", "low", "high", "sum")])
            return bool((other == found[:, ours.counts > 0]).all())
        parts = [
            part if isinstance(part, np.ndarray) else part.select("len", "low", "high", "sum").to_numpy().T
            for part in theirs
        ]
        return bool((np.concatenate(parts, axis=1) == found[:, ours.counts > 0]).all())

    for name, window_us in WINDOWS_US.items():
        yield Contest(
            f"c windows of {name}", partial(windows, *columns, window_us, GAP_US), _all_of(made, "windows", window_us),
            windows_agree, size * 12,
        )  # fmt: skip
    yield Contest(
        "d exact p50, p95, p99", lambda: quantiles(*columns, GAP_US, PPM), _all_of(made, "quantiles", PPM),
        lambda ours, theirs: bool(ours.tolist() == theirs), size * 12,
    )  # fmt: skip


def _ensemble_contests() -> Iterator[Contest]:
    """Bootstrap of a large fleet whose jobs are drawn again, as `fleet demand` does it: a day by the minute."""
    totals = np.random.default_rng(2).integers(4_000_000, 40_000_000, (_JOBS, 1_440))
    replicates = 100

    def add_up() -> Any:
        """Numpy's own way, given the same draws: whole numbers, in 64 bits."""
        return ensemble.draw_counts(1, replicates, _JOBS).astype(np.int64) @ totals

    yield Contest(
        "e bootstrap of a fleet's jobs", lambda: ensemble.bootstrap(totals, replicates, 1), {"numpy": add_up},
        lambda ours, theirs: bool((ours == theirs).all()), adds=replicates * totals.size,
    )  # fmt: skip


def _file_contests(data: BenchSamples, made: dict[str, Any], folder: Path) -> Iterator[Contest]:
    from wattshed.agent.bench.files import file_contests

    yield from (Contest(*each) for each in file_contests(data, folder, GAP_US, with_polars="polars" in made))
    rows = max(len(data.time_us) // _ROW_OF_TEXT, 16)
    yield from (Contest(*each) for each in whole_contests(rows, folder, GAP_US, tuple(made)))
