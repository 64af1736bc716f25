"""All kernels, compiled ahead: ``python -m wattshed.kernels.build --out FOLDER`` makes a library that `load` finds.

numba and llvmlite are needed here, and a C compiler's driver (``cc``) to link a shared library. The object file is
kept, too: llvmlite loads it where there was no ``cc``, or where no library can be loaded (a folder mounted with
``noexec``). Beside them lies a manifest, written last: what they were made of, for which processor, and their SHA-256.
All come under their names when they are whole, so that builds may run at once, and no half of one is ever loaded.
"""

# numba and llvmlite have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite
import llvmlite.binding as llvm
import numba

from wattshed.kernels import cpu, flat, library, load, shipped
from wattshed.kernels.cache import cache_folder, sources_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OUTSIDE = frozenset({"memcpy", "memmove", "memset", "memcmp"} | {"ceil", "exp", "floor", "fma", "log", "pow", "sqrt"})
"""What a kernel may call that is not in the library: of libc, and of libm."""
_LINK = (
    "-shared", "-nostartfiles", "-s", "-Wl,-z,text", "-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,relro",
    "-Wl,-z,noexecstack", "-Wl,--build-id=none",
)  # fmt: skip
_LINKING_S = 120


class BuildError(Exception):
    """The kernels cannot be compiled so that they would run everywhere."""


def _machine(name: str, codemodel: str) -> Any:
    """Return what LLVM writes code for: a processor, and how far apart its parts may come to lie."""
    ours = name.startswith(cpu.NATIVE)
    may = "+pclmul" if cpu.carryless() and name.startswith("x86-64") else ""  # kernels ask before they do it
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name() if ours else name if name.startswith("x86-64") else "generic",
        features=llvm.get_host_cpu_features().flatten() if ours else may,
        opt=3, reloc="pic", codemodel=codemodel,
    )  # fmt: skip


def emit(module: Any, name: str) -> dict[str, bytes]:
    """Optimise a copy of the module for a processor, and return object files of it, by the form that they are for.

    A linker lays code and constants side by side. llvmlite's loader takes memory for each where there is some, which in
    a large process may be further apart than the 32 bits of the small model's addresses reach: then it would crash.

    Raises
    ------
    BuildError
        If a kernel needs what a library cannot give it: Python, or numba's memory.
    """
    near, far = _machine(name, "small"), _machine(name, "large")
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(near, options)
    mine = module.clone()
    builder.getModulePassManager().run(mine, builder)
    needed = {one.name for one in mine.functions if one.is_declaration and not one.name.startswith("llvm.")}
    needed |= {one.name for one in mine.global_variables if one.is_declaration}
    if beyond := sorted(needed - _OUTSIDE):
        raise BuildError(f"kernels may not call {', '.join(beyond)}: they would need Python or numba when they run")
    return {"objects": far.emit_object(mine.clone()), "so": near.emit_object(mine)}


def link(code: bytes) -> bytes | None:
    """Link an object file to a shared library; None, and one line on standard error, where that cannot be done."""
    compiler = library.linker()
    if compiler is None:
        sys.stderr.write("wattshed: no C compiler (cc) to link a shared library with: object files must do\n")
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "kernels.o"), Path(folder, "kernels.so")
        source.write_bytes(code)
        command = [compiler, *_LINK, "-o", str(made), str(source), "-lm", "-lc"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_LINKING_S, check=False)
            if run.returncode == 0:
                return made.read_bytes()
            why = (run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
    sys.stderr.write(f"wattshed: {compiler} cannot link a shared library ({why}): object files must do\n")
    return None


def _put(path: Path, data: bytes) -> None:
    """Write a file that comes under its name when it is whole, and on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def build(
    folder: Path,
    names: Sequence[str],
    say: Callable[[str, int, int], None] | None = None,
    joining: Callable[[str], None] | None = None,
) -> list[Path]:
    """Compile all kernels once, and put a library for each processor into a folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    names : sequence of str
        As `kernels.cpu.names` has them.
    say : callable, optional
        Told the name of each kernel, its number, and how many there are.
    joining : callable, optional
        Told for which processor all of them are optimised and linked next.

    Returns
    -------
    list of Path
        The manifests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kernels = shipped.entries()
    module = flat.linked(kernels, say)
    signatures = {symbol: [str(kind) for kind in kernel.kinds] for symbol, kernel in kernels.items()}
    made = []
    for name in names:
        if joining:
            joining(name)
        codes = emit(module, name)
        files = {}
        for form, ending, data in (("objects", "o", codes["objects"]), ("so", "so", link(codes["so"]))):
            if data is not None:
                digest = hashlib.sha256(data).hexdigest()
                # The name tells what is in it: where two build at once, each manifest's files are there.
                path = folder / f"kernels-{sources_digest()}-{name}-{digest[:12]}.{ending}"
                _put(path, data)
                files[form] = {"file": path.name, "sha256": digest}
        about = {
            "schema": load.SCHEMA, "sources": sources_digest(), "cpu": name, "files": files,
            "numba": numba.__version__, "llvmlite": llvmlite.__version__, "entries": signatures,
        }  # fmt: skip
        made.append(folder / f"kernels-{sources_digest()}-{name}.json")
        _put(made[-1], json.dumps(about, indent=1).encode())
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Build; returns 1, after a line on standard error, if that fails."""
    parser = argparse.ArgumentParser(prog="python -m wattshed.kernels.build", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: our private cache folder")
    parser.add_argument(
        "--cpu", action="append", metavar="NAME", help="x86-64-v3, x86-64-v4 or native (default); may be repeated"
    )
    args = parser.parse_args(argv)
    folder = args.out or cache_folder()
    if folder is None:
        sys.stderr.write("wattshed: no folder for the kernels: set NUMBA_CACHE_DIR to one that only you can write to\n")
        return 1
    start = time.monotonic()

    def say(name: str, number: int, of: int) -> None:
        sys.stderr.write(f"wattshed: compiled {number} of {of}: {name} ({time.monotonic() - start:.1f} s)\n")

    def joining(name: str) -> None:
        sys.stderr.write(f"wattshed: optimising and linking them for {name} ({time.monotonic() - start:.1f} s)\n")

    names = [cpu.native() if name == cpu.NATIVE else name for name in args.cpu or [cpu.NATIVE]]
    try:
        made = build(folder, names, say, joining)
    except (BuildError, OSError) as error:
        sys.stderr.write(f"wattshed: the kernels cannot be compiled: {error}\n")
        return 1
    for path in made:
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
