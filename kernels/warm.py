"""Compile every kernel ahead of need: to a library, in a process of its own, or into numba's cache."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from wattshed.kernels import library, load, shipped
from wattshed.kernels.cache import cache_folder, prune_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tell = Callable[[str], object]

_OURS = "wattshed: "


class WarmError(Exception):
    """The kernels could not be compiled; says why in a line."""


def warm_up(progress: Tell | None = None) -> Path | None:
    """Compile all kernels unless they are, drop those of other versions, and run this process with them.

    Parameters
    ----------
    progress : callable, optional
        Told in a line what is being done, and for how many seconds: which kernel is compiled, and of how many.

    Returns
    -------
    Path or None
        The library, or numba's cache; None if nothing is to be compiled (``WATTSHED_JIT=off``).

    Raises
    ------
    WarmError
    """
    how = load.setting()
    if how == "off":
        return None
    if how != "numba" and (found := enough()):
        load.look_again()
        return found.path
    if not load.has_compiler():
        raise WarmError(load.NO_COMPILER)
    folder = cache_folder()
    if folder is None:
        raise WarmError("there is nowhere to keep them: set NUMBA_CACHE_DIR to a folder that only you can write to")
    if how == "numba":
        _just_in_time(progress)
        prune_cache()
        return folder
    with (folder / ".building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for the first one's
        if enough() is None:
            _build(folder, progress)
    prune_cache()
    load.look_again()
    made = library.find("so") or library.find("objects")
    if made is None:
        raise WarmError(f"the library in {folder} cannot be loaded here")
    return made.path


def enough() -> library.Library | None:
    """Return what is here, unless a shared library could be made where there are only objects."""
    if found := library.find("so"):
        return found
    found = library.find("objects")
    return found if library.is_whole("so") or library.linker() is None else None


def _build(folder: Path, progress: Tell | None) -> None:
    """Make a library in a process of its own: what a compiler takes of memory goes with it."""
    command = [sys.executable, "-m", "wattshed.kernels.build", "--out", str(folder)]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        for line in child.stderr or ():
            last = line.strip() or last
            if progress and last.startswith(_OURS):
                progress(last.removeprefix(_OURS))
    if child.returncode:
        raise WarmError(last.removeprefix(_OURS) or f"the compiler ended with {child.returncode}")


def _just_in_time(progress: Tell | None) -> None:
    """Let numba compile every kernel into its own cache."""
    from wattshed.kernels import compiler

    kernels = shipped.entries()
    start = time.monotonic()
    for number, kernel in enumerate(kernels.values(), start=1):
        compiler.dispatcher(kernel)
        if progress:
            progress(f"compiled {number} of {len(kernels)}: {kernel.name} ({time.monotonic() - start:.1f} s)")
