"""Reading of files of each kind beside other tools: whole processes, in turns, and what of it is not the start."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.log_kinds import GPUS, LogKind, answer_of, energy_uj, power_of_steps, unpacked_bytes
from wattshed.agent.bench.process import Spent, measured

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_GAP_US = 5_000_000
_RIVALS_FILE = Path(__file__).with_name("log_rivals.py")
_LIMIT_S = 600.0
_FEW_SECONDS = 5
"""Of a file that is read in no time: what its process takes is the start."""


def measure(
    kind: LogKind, folder: Path, say: Callable[[str], None], *, mb: float, rounds: int, seed: int, rivals: bool
) -> dict[str, Any]:
    """Write a file of a kind, compare what is read of it with what was written, and time it.

    Parameters
    ----------
    kind : LogKind
    folder : Path
        For the files, 1.2 times ``mb``.
    say : callable
        Called with what is being done.
    mb : float, MB
        About so large; what is packed, so large unpacked.
    rounds, seed : int
    rivals : bool
        Whether other tools are asked, too, those that are installed.

    Returns
    -------
    dict
    """
    say(f"{kind.name}: writing")
    power_mw = power_of_steps(max(round(mb * 1e6 / kind.row_bytes / GPUS), 2 * _FEW_SECONDS), seed)
    paths = [folder / f"{size}{'.csv.gz' if 'gzip' in kind.name else '.log'}" for size in ("small", "large")]
    for path, powers in zip(paths, (power_mw[:_FEW_SECONDS], power_mw), strict=True):
        kind.write(path, powers)
    truth = energy_uj(power_mw, kind.step_mw) if kind.gives_energy else [power_mw.size]
    names = [name for name in kind.rivals if rivals and find_spec(name.partition(" ")[0])]
    tools = {"": _own(kind), **{name: _other(kind, name) for name in names}}
    agree = {name: _agrees(kind, name, _run(command, paths[1]).output, truth) for name, command in tools.items()}
    times: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in tools}
    for number in range(rounds):
        say(f"{kind.name}: round {number + 1} of {rounds}")
        for name, command in tools.items():
            small, large = (_run(command, path) for path in paths)
            times[name].append((small, large))
    size = unpacked_bytes(paths[1])
    return {
        "kind": kind.name,
        "rows": int(power_mw.size),
        "bytes": size,
        **_summary(times[""], size, int(power_mw.size)),
        "agree": agree[""],
        "rivals": {name: {**_beside(times[""], times[name]), "agree": agree[name]} for name in names},
    }


def _own(kind: LogKind) -> list[str]:
    own = [sys.executable, "-m", "wattshed"]
    if kind.demand:
        return [*own, "fleet", "demand", "--json"]
    return [*own, "replay", "--format", "json", "--max-gap", f"{MAX_GAP_US / 1e6:g}"]


def _other(kind: LogKind, name: str) -> list[str]:
    return [sys.executable, str(_RIVALS_FILE), name, kind.name]


def _run(command: list[str], path: Path) -> Spent:
    gap = [str(MAX_GAP_US)] if str(_RIVALS_FILE) in command else []
    return measured([*command, str(path), *gap], limit_s=_LIMIT_S)


def _agrees(kind: LogKind, name: str, output: str, truth: list[int]) -> bool:
    """Return whether energies are those that were written, to the microjoule; what only decodes has none."""
    if not name:
        found = answer_of(kind, output)
    elif (theirs := json.loads(output)) is None:
        return True
    else:
        found = [round(value / 2_000) for value in theirs] if kind.gives_energy else theirs
    return len(found) == len(truth) and all(abs(one - other) <= 1 for one, other in zip(found, truth, strict=True))


def _reading_s(pair: tuple[Spent, Spent]) -> float:
    """Return what a large file took beyond a small one, s."""
    return max(pair[1].seconds - pair[0].seconds, 1e-4)


def _summary(times: list[tuple[Spent, Spent]], size: int, rows: int) -> dict[str, float]:
    seconds, reading_s = median(large.seconds for _, large in times), median(map(_reading_s, times))
    return {
        "seconds": seconds,
        "start_s": median(small.seconds for small, _ in times),
        "reading_s": reading_s,
        "cpu_s": median(large.cpu_s for _, large in times),
        "peak_mib": max(large.peak_mib for _, large in times),
        "mb_per_s": size / 1e6 / seconds,
        "reading_mb_per_s": size / 1e6 / reading_s,
        "rows_per_s": rows / seconds,
    }


def _beside(own: list[tuple[Spent, Spent]], theirs: list[tuple[Spent, Spent]]) -> dict[str, float]:
    """Compare, round by round."""
    pairs = list(zip(own, theirs, strict=True))
    return {
        "seconds": median(large.seconds for _, large in theirs),
        "peak_mib": max(large.peak_mib for _, large in theirs),
        "times_quicker": median(other[1].seconds / mine[1].seconds for mine, other in pairs),
        "reading_times_quicker": median(_reading_s(other) / _reading_s(mine) for mine, other in pairs),
    }
