"""What energies are of, in a sentence: GPU boards, as nearly always, or what else the files of a replay measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.inputs.report import BOARD
from wattshed.agent.printing.figures import BOUNDARY, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def boundary_of(sources: Sequence[Mapping[str, Any]]) -> str:
    """Say what the energies of an answer are of, and what must not be added.

    Parameters
    ----------
    sources : sequence of mapping
        ``path`` and ``boundary`` of each.
    """
    found: dict[str, list[str]] = {}
    for source in sources:
        found.setdefault(source["boundary"], []).append(printable(source["path"].rpartition("/")[2]))
    if found.keys() <= {BOARD}:
        return BOUNDARY
    if len(found) == 1:
        return f"Energy is of the {next(iter(found))}, ± two sigma; it is not that of single GPU boards."
    each = "; ".join(f"{', '.join(names)}: the {boundary}" for boundary, names in found.items())
    return f"Energy is not of one kind of thing ({each}), ± two sigma; what the total adds may overlap."
