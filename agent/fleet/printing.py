"""How every command of the fleet answers: one document, or a table for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def answer(document: Any, text: str, *, as_json: bool) -> int:
    """Print the answer, and nothing else, on standard output; the exit code is 0."""
    sys.stdout.write((json.dumps(document, indent=2, allow_nan=False) if as_json else text) + "\n")
    return 0


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """Columns of text, those of ``left`` to the left and the others to the right."""
    lines = [tuple(head), *(tuple(r) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
