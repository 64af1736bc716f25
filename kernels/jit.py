"""One decorator, three ways to run a kernel: compiled for the CPU, compiled for CUDA, or plain Python.

``WATTSHED_JIT=off`` leaves every kernel the Python function that it was written as, and numba is never imported: slow,
but small, and allowed where memory may not be both written and executed. The results are the same to the last bit,
because the kernels keep to three rules: arithmetic on int64 only (``np.int64(x)`` around every narrower value that is
loaded), floor division by numbers that cannot be zero, and no float sum whose order could change.

Traps that live here, so that no kernel has to know them:

* numba's cache is made of pickles, so it goes only where nobody else can write: under ``NUMBA_CACHE_DIR``, else
  ``$XDG_CACHE_HOME/wattshed``, else a folder of this user in the temporary directory; never beside the sources (an
  installed package may be read-only, and stale files there outlive it). With no such place there is no cache, not a
  crash. numba checks only the file that holds the function, not those it calls: the folder carries a digest of all
  kernels' sources.
* GNU OpenMP hangs in a forked child once the parent has run parallel code, and numba's own "workqueue" layer aborts
  when two threads run parallel code at once. A parallel kernel therefore holds one lock while it runs, and in a
  forked child runs on one thread, without touching the pool. Start worker processes with "spawn" to get all cores.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., Any]")

MODE = "off" if os.environ.get("WATTSHED_JIT", "").strip().lower() in {"off", "0", "no", "false"} else "cpu"
"""``"cpu"`` (numba) or ``"off"`` (plain Python); fixed when the first kernel is imported."""

_PARALLEL = threading.RLock()
_HOME_PID = os.getpid()

prange: Any = range
"""``range`` whose turns ``jit(parallel=True)`` spreads over threads."""
if MODE == "cpu":
    import numba

    prange = numba.prange


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


def _cache_parents() -> Iterator[Path]:
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
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in _cache_parents():
        # In a shared temporary directory even the parent must be ours, or another user could swap the folder.
        if private_folder(parent / name) or (private_folder(parent) and private_folder(parent / name)):
            return parent / name
    return None


def prune_cache() -> None:
    """Delete the compiled kernels of other versions beside this one's."""
    if folder := cache_folder():
        for other in folder.parent.glob("kernels-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)


def _compile(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Make numba's dispatcher for ``function``, cached in our folder where there is one."""
    folder = cache_folder()
    if folder and "parallel" in options:
        folder /= "parallel"  # numba's key knows no options: it would hand one variant out for the other
    before = numba.config.CACHE_DIR
    try:
        # numba reads this while it decorates; put back, so that other users of numba keep their own place.
        numba.config.CACHE_DIR = str(folder or "")
        return numba.njit(function, nogil=True, error_model="numpy", cache=folder is not None, **options)
    except RuntimeError:  # numba found the place unusable after all
        return numba.njit(function, nogil=True, error_model="numpy", **options)
    finally:
        numba.config.CACHE_DIR = before


class ParallelKernel:
    """A kernel with ``prange`` loops: on all threads under one lock, or as ``serial`` on the caller's thread.

    Attributes
    ----------
    serial : callable
        The same function compiled for one thread: no pool, no lock, quicker to compile; right for little work.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.serial = _compile(function, {})
        self._parallel = _compile(function, {"parallel": True})

    def __call__(self, *args: Any) -> Any:
        """Run on all threads, unless this process was forked from the one that made the pool."""
        if os.getpid() != _HOME_PID:
            return self.serial(*args)
        with _PARALLEL:
            return self._parallel(*args)


class PlainKernel:
    """What ``jit(parallel=True)`` gives when numba is off: the function, under both names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.serial = function

    def __call__(self, *args: Any) -> Any:
        """Run the function."""
        return self.serial(*args)


@overload
def jit(function: F, /) -> F: ...
@overload
def jit(*, allocates: bool) -> Callable[[F], F]: ...
@overload
def jit(*, parallel: bool = False, inline: str = "never", allocates: bool = True) -> Callable[[F], Any]: ...
def jit(
    function: Callable[..., Any] | None = None,
    /,
    *,
    parallel: bool = False,
    inline: str = "never",
    allocates: bool = True,
) -> Any:
    """Compile a kernel: ``@jit``, ``@jit(parallel=True)``, ``@jit(inline="always")`` or ``@jit(allocates=False)``.

    Parameters
    ----------
    function : callable
        Numbers and arrays in, numbers and arrays out.
    parallel : bool
        Run ``prange`` loops on all threads (a :class:`ParallelKernel`, callable from Python only).
    inline : {"never", "always"}
        numba's inlining, before type inference.
    allocates : bool
        Whether it makes arrays. One that does not is compiled without reference counts, which can cost a small kernel
        that is handed arrays more than its work does (numba issues 2345 and 2350).

    Returns
    -------
    callable
        Releases the GIL while it runs; nothing is compiled before the first call.
    """

    def decorate(kernel: Callable[..., Any]) -> Any:
        if parallel:
            return PlainKernel(kernel) if MODE == "off" else ParallelKernel(kernel)
        return kernel if MODE == "off" else _compile(kernel, {"inline": inline, "_nrt": allocates})

    return decorate if function is None else decorate(function)


def threads() -> int:
    """How many threads parallel kernels run on."""
    return 1 if MODE == "off" else int(numba.get_num_threads())


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run parallel kernels of this thread on ``count`` threads (1 to all) for a while."""
    if MODE == "off":
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(count, numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
