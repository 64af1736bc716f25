"""Take out of an installed environment what wattshed never runs, and what only a debugger reads.

The wheels are made for everybody. Of pyarrow, half is clouds, Flight and ORC; of every compiled library, symbols; of
everything, tests, headers, type stubs and Cython sources. A test imports and loads all that is left.
"""

import shutil
import subprocess
from pathlib import Path

NEEDLESS = {
    "tests": ("**/tests", "numpy/_core/*_tests*.so", "numpy/_core/_simd*.so", "numpy/testing", "numpy/conftest.py",
              "pyarrow/conftest.py", "pyarrow/_pyarrow_cpp_tests*", "**/_examples", "example.py"),
    "to build other programs with": ("pyarrow/include", "pyarrow/includes", "pyarrow/src", "numpy/_core/include",
              "numpy/_core/lib", "numpy/random/lib", "numpy/f2py", "numpy/distutils", "numpy/_pyinstaller",
              "**/*.pyi", "**/*.pyx", "**/*.pxi", "**/*.pxd", "**/*.h", "**/*.c", "**/*.a"),
    "Arrow Flight, its servers and clients": ("pyarrow/*_flight*", "pyarrow/flight.py"),
    "Amazon's, Google's and Microsoft's clouds": ("pyarrow/libarrow_s3*", "pyarrow/_s3fs*"),
    "Substrait plans": ("pyarrow/*substrait*",),
    "ORC files, and Parquet's encryption": ("pyarrow/*orc*", "pyarrow/*parquet_encryption*"),
    "schemas of Google's services, of which OTLP wants rpc": tuple(
        f"google/{name}" for name in ("api", "cloud", "gapic", "geo", "logging", "longrunning", "shopping", "type")
    ),
    "what pip keeps to uninstall": ("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED",
              "*.dist-info/direct_url.json", "bin"),
}  # fmt: skip
"""By what it is for: glob patterns below site-packages."""
WITH_SYMBOLS = ("pyarrow/*.so*", "yaml/*.so", "isal/*.so", "bcrypt/*.so", "psutil/*.so", "google/_upb/*.so")
"""Libraries that a debugger's symbols make larger. Not those of numpy and psycopg: auditwheel moved their segments, and
binutils makes of such a file one that the loader refuses."""


def trim(site: Path) -> None:
    """Remove it all from a site-packages folder, in place."""
    for pattern in (pattern for patterns in NEEDLESS.values() for pattern in patterns):
        for path in sorted(site.glob(pattern), reverse=True):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _named_once(site / "pyarrow")
    _without_substrait(site / "pyarrow")
    libraries = [str(library) for pattern in WITH_SYMBOLS for library in sorted(site.glob(pattern))]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def _named_once(folder: Path) -> None:
    """Keep of copies that differ by name alone the one that the loader asks for: a wheel cannot hold links."""
    for copy in sorted(folder.glob("*.so.*.*")):
        name, _, number = copy.name.partition(".so.")
        if (folder / f"{name}.so.{number.partition('.')[0]}").exists():
            copy.unlink()
            (folder / f"{name}.so").unlink(missing_ok=True)


def _without_substrait(folder: Path) -> None:
    """Put an empty library in the place of the one that libarrow_python names, and takes nothing from."""
    for user in folder.glob("libarrow_python.so.*"):
        number = user.name.rpartition(".")[2]
        name = f"libarrow_substrait.so.{number}"
        command = [
            "cc",
            "-shared",
            "-nostdlib",
            "-o",
            str(folder / name),
            f"-Wl,-soname,{name}",
            "-x",
            "c",
            "/dev/null",
        ]
        subprocess.run(command, check=True)
