"""On what a measurement was made."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_LEVELS = {
    "x86-64-v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
"""What each has beyond the one before, by the names of Linux (x86-64 psABI, micro-architecture levels)."""


def machine() -> dict[str, Any]:
    """Describe the machine: processor, its level, cores, memory; no name of it or of its owner."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": said.get("model name", platform.machine()),
        "level": level(platform.machine(), said.get("flags", "")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
    }


def level(architecture: str, flags: str) -> str:
    """Return which instructions a processor has, as compilers call it; the architecture where there are no levels."""
    if architecture != "x86_64":
        return architecture
    found, has = "x86-64", set(flags.split())
    for name, wanted in _LEVELS.items():
        if not set(wanted.split()) <= has:
            break
        found = name
    return found
