"""Contests of whole processes, from their start to their end, as a user waits for them: logs of nvidia-smi."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.made_files import write_dmon, write_nvidia_smi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = ("polars", "duckdb")
_READERS_FILE = Path(__file__).with_name("readers.py")
_SMALL = 20


def whole_contests(
    samples: int, folder: Path, max_gap_us: int, readers: tuple[str, ...]
) -> Iterator[tuple[str, Callable[[], Any], dict[str, Callable[[], Any]], Callable[[Any, Any], bool]]]:
    """Write logs of nvidia-smi, and give each contest's fields.

    Parameters
    ----------
    samples : int
        Rows of the large ones; the small one has 20.
    folder : Path
        About 85 bytes a row are written.
    max_gap_us : int
    readers : tuple of str
        Those of `READERS` are asked.
    """
    for name, rows, ending, write in (
        ("h whole process, 20 rows of nvidia-smi", _SMALL, "csv", write_nvidia_smi),
        ("h whole process, nvidia-smi CSV", samples, "csv", write_nvidia_smi),
        ("h whole process, nvidia-smi dmon -o DT", samples, "txt", write_dmon),
    ):
        path = folder / f"{rows}.{ending}"
        write(path, rows, min(8, max(rows // 2, 1)))
        rivals: dict[str, Callable[[], Any]] = {
            reader: partial(_rival, reader, path, max_gap_us) for reader in READERS if reader in readers
        }
        yield name, partial(_replay, path, max_gap_us), rivals, _agrees


def _replay(path: Path, max_gap_us: int) -> list[int]:
    """Let ``wattshed replay`` read it; returns microjoules of each GPU."""
    gap = f"{max_gap_us / 1e6:g}"
    text = _output([sys.executable, "-m", "wattshed", "replay", str(path), "--max-gap", gap, "--format", "json"])
    gpus = sorted(json.loads(text)["gpus"], key=lambda gpu: int(gpu["gpu"]))
    return [round(1e6 * gpu["energy_j"]) for gpu in gpus]


def _rival(reader: str, path: Path, max_gap_us: int) -> list[int]:
    """Let another tool read it; returns half-nanojoules of each GPU."""
    found = json.loads(_output([sys.executable, str(_READERS_FILE), reader, str(path), str(max_gap_us)]))
    return [int(value) for value in found]


def _output(command: list[str]) -> str:
    """Run a command of ours; what it says on standard error is shown if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _agrees(ours: list[int], theirs: list[int]) -> bool:
    """Agree to the microjoule, in which replay prints."""
    return len(ours) == len(theirs) and all(abs(own - hnj / 2_000) <= 1 for own, hnj in zip(ours, theirs, strict=True))
