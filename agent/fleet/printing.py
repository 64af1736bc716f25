"""How every command of the fleet answers: one document, or paragraphs and tables for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.paragraphs import print_parts
from wattshed.agent.printing.tables import printer_for
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.printing.paragraphs import TableRows


def answer(document: Any, parts: Iterable[str | TableRows], *, as_json: bool) -> int:
    """Print the answer, and nothing else, on standard output; the exit code is 0."""
    if as_json:
        sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
    else:
        print_parts(printer_for(sys.stdout), parts)
    return 0
