"""How many cycles of its schedule a simulated node has been through in its earlier lives.

Totals and the history outlive a simulated node, so the ids of its jobs must go on too: else two jobs have one id.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "simulated-node.json"


def begin_life(folder: Path, origin_us: int, cycle_us: int, now_us: int) -> int:
    """Note that a node begins, beside its totals.

    Parameters
    ----------
    folder : Path
        Of the totals.
    origin_us, cycle_us : int, us
        When the first cycle of this life began, perhaps before now, and how long each is.
    now_us : int, us

    Returns
    -------
    int
        Cycles that any earlier life can have begun: the same from the same file at the same time, and 0 in an empty
        folder. Where the folder cannot be read or written, no totals outlive this life, and no ids need to go on.
    """
    file = folder / NAME
    earlier = 0
    try:
        last = json.loads(file.read_bytes())
        length_us = max(int(last["cycle_us"]), 1)
        earlier = int(last["earlier"]) + max(now_us - int(last["origin_us"]), 0) // length_us + 1
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the first life, or one of which nothing is known
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps({"earlier": earlier, "origin_us": origin_us, "cycle_us": cycle_us}), "ascii")
        fresh.replace(file)
    except OSError:
        pass  # the totals cannot be saved there either, and say so
    return earlier
