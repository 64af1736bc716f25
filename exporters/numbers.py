"""Numbers of documents: as many digits as are worth writing, none that are an accident of binary fractions."""

from __future__ import annotations

import math
from typing import Any

_LARGE = 1e5
"""From here on six decimals are written (microjoules, microwatts, microseconds), below it twelve digits."""


def rounded(value: float) -> float | None:
    """Round a number for a document: 0.1 + 0.2 is 0.3, and no zero is negative; None where JSON has no word for it."""
    if not math.isfinite(value):
        return None
    return (round(value, 6) if abs(value) >= _LARGE else float(f"{value:.12g}")) + 0.0


def plain(document: Any) -> Any:
    """Round all numbers of a document of dicts, lists and tuples; keys become text, what is something else stays."""
    if isinstance(document, float):
        return rounded(document)
    if isinstance(document, dict):
        return {str(key): plain(item) for key, item in document.items()}
    return [plain(item) for item in document] if isinstance(document, list | tuple) else document
