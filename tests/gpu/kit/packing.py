"""What a run leaves: few files, which hold nobody's name."""

from __future__ import annotations

import json
import shutil
import tarfile
from typing import TYPE_CHECKING

from .scrubbing import scrub

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 15 << 20
TEXTS = {".log", ".err", ".txt", ".csv", ".json", ".toml"}
SAMPLE = ("sample.parquet", "trace.tar.gz")  # step 10's recording, in an archive of its own


def scrub_texts(raw: Path) -> None:
    """Scrub whatever text the steps' own children wrote."""
    for file in raw.rglob("*"):
        if file.suffix in TEXTS and file.is_file() and file.stat().st_size < MOST_BYTES:
            text = file.read_text(errors="replace")
            if (clean := scrub(text)) != text:
                file.write_text(clean)


def pack(work: Path, out: Path, *, loose: bool) -> None:
    """Write results.json (all steps), summary.txt, raw.tar.gz (series, pages, logs) and sample.tar.gz, anew.

    Parameters
    ----------
    work : Path
        The folder of the run.
    out : Path
        The user's folder.
    loose : bool
        Also one file a step.
    """
    files = sorted(work.glob("[0-9][0-9]-*.json"))
    steps = [json.loads(f.read_text()) for f in files]
    (out / "results.json").write_text(json.dumps({"kit": 2, "steps": steps}, indent=1))
    lines = (f"{s['step']:<12} {s['state']:<8} {s['seconds']:>6.1f} s  {s['verdict']:<12} {s['line']}\n" for s in steps)
    (out / "summary.txt").write_text("".join(lines))
    for name, sample in (("sample.tar.gz", True), ("raw.tar.gz", False)):
        archive(work / "raw", out / name, sample=sample)
    if loose:
        for file in files:
            shutil.copy(file, out / file.name)


def archive(raw: Path, target: Path, *, sample: bool) -> None:
    """Pack the sample, or all else; no archive of nothing."""
    total, fresh = 0, target.with_name("." + target.name)
    with tarfile.open(fresh, "w:gz", compresslevel=6) as packed:
        for file in sorted(raw.rglob("*")):
            if not file.is_file() or file.name.startswith(".") or (file.name in SAMPLE) != sample:
                continue
            size = file.stat().st_size
            if "/trace/" in str(file) or size >= 3 * MOST_BYTES or total + size >= 12 * MOST_BYTES:
                continue
            total += size
            packed.add(file, file.relative_to(raw), filter=anonymous)
    if total:
        fresh.rename(target)
    else:
        fresh.unlink()


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """No user's name in the archive."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
