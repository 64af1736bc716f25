"""On what a measurement was made."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from wattshed.kernels import cpu


def machine() -> dict[str, Any]:
    """Describe the machine: processor, its level, cores, memory; no name of it or of its owner."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": next(models, platform.machine()),
        "level": cpu.level(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
    }
