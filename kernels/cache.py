"""Where compiled kernels may be kept: only where nobody else can write, apart for every version of the sources.

What is kept there runs as code. It goes under ``NUMBA_CACHE_DIR``, else ``$XDG_CACHE_HOME/wattshed``, else
``~/.cache/wattshed``, else a folder of this user in the temporary directory; never beside the sources (an installed
package may be read-only, and stale files there outlive it). With no such place there is no cache, not a crash.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@functools.cache
def sources_digest() -> str:
    """Return a digest (16 hexadecimal digits) of the sources of all kernels, and of what builds them."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for source in sorted(here.rglob("*.py")):
        digest.update(f"{source.relative_to(here)}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def refusal(folder: Path) -> str:
    """Make ``folder`` with mode 0700; empty if it is ours, nobody else can write in it, and we can; else why not.

    Parameters
    ----------
    folder : Path
        Its parents are made as needed.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return "it is no folder, or a link"
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return "others can write there, or it is another user's"
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _parents() -> Iterator[Path]:
    """Where compiled kernels may be kept, best first."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given)
    if given := os.environ.get("XDG_CACHE_HOME"):
        yield Path(given) / "wattshed"
    else:
        with contextlib.suppress(RuntimeError):  # no home at all
            yield Path.home() / ".cache" / "wattshed"
    yield Path(tempfile.gettempdir()) / f"wattshed-{os.geteuid()}"


def cache_folder() -> Path | None:
    """Find the folder for the compiled kernels of exactly these sources, or None where none is safe.

    Returns
    -------
    Path or None
        ``.../kernels-DIGEST``, mode 0700.
    """
    return _looked_for()[0]


def passed_over() -> tuple[str, ...]:
    """Return the folders that would go before `cache_folder` and are refused, a line each that says why."""
    return _looked_for()[1]


@functools.cache
def _looked_for() -> tuple[Path | None, tuple[str, ...]]:
    name = f"kernels-{sources_digest()}"
    refused: list[str] = []
    for parent in _parents():
        why = _not_around(parent) or refusal(parent / name)
        if not why:
            return parent / name, tuple(refused)
        refused.append(f"the folder {parent} is not used for compiled kernels: {why}")
    return None, tuple(refused)


def _not_around(parent: Path) -> str:
    """Make a folder if it is not there; empty if it is root's or ours: its owner could exchange what lies in it."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return "" if parent.stat().st_uid in {0, os.geteuid()} else "it is another user's"
    except OSError as error:
        return error.strerror or str(error)


def prune_cache() -> None:
    """Delete the compiled kernels of other versions beside this one's."""
    if folder := cache_folder():
        for other in folder.parent.glob("kernels-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
