"""Which modules have entries, and so what is in a library."""

from __future__ import annotations

import importlib
from typing import Any

from wattshed.kernels import load

MODULES = (
    "billing.reconcile", "billing.split", "billing.histogram", "billing.power_only", "billing.block_sums",
    "billing.whole_windows", "billing.learning", "billing.watts", "billing.learned_doubt", "arrow_messages",
    "checksums", "columns", "dealing", "arrays.trapezoid", "arrays.segments",
    "arrays.sweep", "arrays.bins", "arrays.bands", "arrays.squeeze", "arrays.draws", "jobs", "cells", "lines",
    "word_rows", "kept_lines", "bandwidth",
)  # fmt: skip
"""What the agent needs first."""


def entries() -> dict[str, Any]:
    """Import them all; returns symbol -> entry."""
    before = f"{__package__}."
    for name in MODULES:
        importlib.import_module(before + name)
    return {
        load.symbol(name): kernel
        for name, kernel in load.KERNELS.items()
        if kernel.function.__module__.removeprefix(before) in MODULES
    }
