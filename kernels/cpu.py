"""What this machine's processor can, in the names of compiled libraries: the levels of x86-64, or just this processor.

Levels: the psABI of x86-64 (https://gitlab.com/x86-psABIs/x86-64-ABI), by the names that Linux gives its flags.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

NATIVE = "native"
_LEVELS = {
    "x86-64-v2": "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "x86-64-v3": "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}


@functools.cache
def _flags() -> frozenset[str]:
    """Return what Linux says that every processor of the machine can."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    lines = [line.partition(":") for line in text.splitlines()]
    found = [frozenset(value.split()) for name, _, value in lines if name.strip() in {"flags", "Features"}]
    return frozenset.intersection(*found) if found else frozenset()


def level(flags: frozenset[str] | None = None) -> str:
    """Return the highest level that a processor of these flags has; without any, its architecture."""
    can = _flags() if flags is None else flags
    reached = "x86-64" if platform.machine() == "x86_64" else platform.machine()
    for name, wanted in _LEVELS.items():
        if not reached.startswith("x86-64") or not can.issuperset(wanted.split()):
            break
        reached = name
    return reached


@functools.cache
def carryless() -> bool:
    """Return whether this is an x86-64 processor with carry-less products (PCLMULQDQ)."""
    return platform.machine() == "x86_64" and "pclmulqdq" in _flags()


def native() -> str:
    """Return the name of what is compiled for just this processor: another one's is another name."""
    return f"{NATIVE}-{hashlib.sha256(' '.join(sorted(_flags())).encode()).hexdigest()[:8]}"


def names() -> list[str]:
    """Return for what code may be compiled that runs here, the quickest first."""
    reached = level()
    levels = [name for name in ("x86-64", *_LEVELS) if name <= reached] if reached.startswith("x86-64") else [reached]
    return [native(), *reversed(levels)]
