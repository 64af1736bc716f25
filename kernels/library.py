"""A compiled library of kernels: found, verified and loaded, or refused with a reason.

It runs as code, so it is loaded only from the package's own folder or from our private one, only if nobody else can
write there, and only if its bytes are those that its manifest names. What is made of other sources, or for another
processor, is left alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import mmap
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels import cpu
from wattshed.kernels.cache import cache_folder, sources_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = 1
PACKAGED = Path(__file__).parent / "lib"
"""Where a package has its libraries."""
_LONGEST_MANIFEST = 1 << 20
_DATA_AT, _DIMENSIONS_AT, _NUMBER_AT = 16, 32, 24  # of `kernels.flat`, and the number of dimensions
_LOG = logging.getLogger(__name__)
_told: set[str] = set()

_C_TYPES = {
    "int64": ctypes.c_int64, "int32": ctypes.c_int32, "int8": ctypes.c_int8, "uint64": ctypes.c_uint64,
    "uint32": ctypes.c_uint32, "uint8": ctypes.c_uint8, "float64": ctypes.c_double, "bool": ctypes.c_bool,
}  # fmt: skip


class Library(NamedTuple):
    """A library that is loaded.

    Attributes
    ----------
    path : Path
    cpu : str
        What it is compiled for.
    functions : callable
        Symbol -> function of C that lets go of the interpreter's lock, or None.
    """

    path: Path
    cpu: str
    function: Callable[[str], Any]


def symbol(name: str) -> str:
    """Return the name that an entry has in a library."""
    return "wattshed_" + name.replace(".", "_")


def _refuse(path: Path, why: str) -> None:
    """Say once why a library is not loaded."""
    if str(path) not in _told:
        _told.add(str(path))
        _LOG.warning("compiled kernels in %s are not loaded: %s", path, why)


def _is_ours(path: Path) -> bool:
    """Return whether it is a file or folder, root's or this user's, and nobody else can write to it."""
    about = path.lstat()
    plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
    return plain and about.st_uid in {0, os.geteuid()} and not about.st_mode & 0o022


def _manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Find the manifests of libraries that may be loaded here: the package's first, the quickest first."""
    order = cpu.names()
    for folder in filter(None, (PACKAGED, cache_folder())):
        found = []
        for path in sorted(folder.glob("kernels-*.json")):
            try:
                if not _is_ours(folder) or not _is_ours(path):
                    _refuse(path, "others can write there, or it is another user's")
                    continue
                with path.open("rb") as file:
                    about = json.loads(file.read(_LONGEST_MANIFEST))
                if about["schema"] != SCHEMA or about["sources"] != sources_digest():
                    _refuse(path, "they are of another version")
                elif about["cpu"] in order:
                    found.append((order.index(about["cpu"]), path, about))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                _refuse(path, f"the manifest cannot be read ({error})")
        for _, path, about in sorted(found, key=lambda one: one[:2]):
            yield path, about


def _verified(manifest: Path, about: dict[str, Any], form: str) -> Path | None:
    """Return the file of that form of which a manifest tells, if it is what the manifest says."""
    path = manifest
    try:
        if (told := about["files"].get(form)) is None:
            return None
        path = manifest.parent / Path(told["file"]).name
        if not _is_ours(path):
            _refuse(path, "others can write to it, or it is another user's")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != told["sha256"]:
            _refuse(path, "it is not what its manifest says: damaged, or exchanged")
        else:
            return path
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        _refuse(path, f"{type(error).__name__}: {error}")
    return None


def _is_known_layout() -> bool:
    """Return whether array objects of numpy have their fields where the library looks for them."""
    if sys.implementation.name != "cpython" or object.__basicsize__ != _DATA_AT or sys.maxsize != (1 << 63) - 1:
        return False
    known = np.arange(6, dtype=np.int64).reshape(2, 3)

    def word(at: int) -> int:
        return ctypes.c_int64.from_address(at).value

    dimensions = word(id(known) + _DIMENSIONS_AT)
    return (
        word(id(known) + _DATA_AT) == known.ctypes.data
        and ctypes.c_int.from_address(id(known) + _NUMBER_AT).value == known.ndim
        and (word(dimensions), word(dimensions + 8)) == known.shape
    )


def may_run_new_code() -> bool:
    """Return whether the system lets this process write code and run it, as any compiler in a process must."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True


def is_whole(form: str) -> bool:
    """Return whether a file of that form is here that may be loaded, whether or not the system lets it be."""
    return any(_verified(manifest, about, form) for manifest, about in _manifests())


def linker() -> str | None:
    """Return the path of what links a shared library: ``$CC``, ``cc``, ``gcc`` or ``clang``; None without."""
    return shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")


def _shared(path: Path) -> Callable[[str], Any]:
    """Load a shared library."""
    loaded = ctypes.CDLL(str(path))
    return lambda name: getattr(loaded, name, None)


def _objects(path: Path) -> Callable[[str], Any]:
    """Load an object file with llvmlite."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_path(str(path)))
    engine.finalize_object()

    def function(name: str) -> Any:
        address = engine.get_function_address(name)  # and the engine lives as long as this does
        return ctypes.CFUNCTYPE(ctypes.c_int32)(address) if address else None

    return function


def find(form: str) -> Library | None:
    """Load the best library of a form (``so`` or ``objects``) that is here; None if there is none that may be.

    What is refused is logged once, with the reason.
    """
    if form == "objects" and not may_run_new_code():
        return None
    for manifest, about in _manifests():
        if not (path := _verified(manifest, about, form)):
            continue
        if not _is_known_layout():
            _refuse(path, "this Python, or this numpy, lays its arrays out in another way")
            return None
        try:
            # What was verified is what is loaded: nobody else can write to the file, or to its folder.
            function = _shared(path) if form == "so" else _objects(path)
        except (ImportError, OSError, RuntimeError) as error:
            _refuse(path, str(error))
            continue
        return Library(path, about["cpu"], function)
    return None


def bound(library: Library, kernel: Any) -> Callable[..., Any] | None:
    """Return a function of Python that calls an entry in a library; None if it is not in there."""
    function = library.function(symbol(kernel.name))
    if function is None:
        return None
    types = [ctypes.py_object if kind.dimensions else _C_TYPES[kind.dtype.name] for kind in kernel.kinds]
    numbers = [place for place, kind in enumerate(kernel.kinds) if not kind.dimensions]
    function.restype = ctypes.c_int32
    returns = None if kernel.returns is None else _C_TYPES[kernel.returns.dtype.name]
    function.argtypes = types if returns is None else [*types, ctypes.POINTER(returns)]

    def run(*args: Any) -> None:
        try:
            status = function(*args)
        except ctypes.ArgumentError:  # numbers of numpy
            plain = list(args)
            for place in numbers:
                plain[place] = args[place].item() if isinstance(args[place], np.generic) else args[place]
            status = function(*plain)
        if status:
            raise RuntimeError(f"{kernel.name} failed with {status}")

    if returns is None:
        return run

    def ask(*args: Any) -> Any:
        result: Any = returns()
        run(*args, ctypes.byref(result))
        return result.value

    return ask
