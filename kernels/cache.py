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


def private_folder(folder: Path) -> bool:
    """Make ``folder`` with mode 0700; True if it is ours, nobody else can write in it, and we can.

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
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


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


@functools.cache
def cache_folder() -> Path | None:
    """Find the folder for the compiled kernels of exactly these sources, or None where none is safe.

    Returns
    -------
    Path or None
        ``.../kernels-DIGEST``, mode 0700.
    """
    name = f"kernels-{sources_digest()}"
    for parent in _parents():
        if _may_hold(parent) and private_folder(parent / name):
            return parent / name
    return None


def _may_hold(parent: Path) -> bool:
    """Make a folder if it is not there; True if it is root's or ours: its owner could exchange what lies in it."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return parent.stat().st_uid in {0, os.geteuid()}
    except OSError:
        return False


def prune_cache() -> None:
    """Delete the compiled kernels of other versions beside this one's."""
    if folder := cache_folder():
        for other in folder.parent.glob("kernels-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
