"""How much energy lies before a moment between two readings of a counter, if the load changed at that moment.

Windows of a program begin and end where its load does. So before the moment the power is that of the stretch before the
two readings, and after it that of the stretch that follows; their energy is what was counted. Where both are the same
this is the straight line. All of the energy may as well have been used before the moment, or after it: that is its
doubt.
"""

from __future__ import annotations

import math


def part_before(part: float, power_before: float, power_after: float) -> float:
    """Return the part of the energy of a stretch that lies before a moment in it; it grows with the moment.

    Parameters
    ----------
    part : float
        The part of the time that lies before, 0 to 1.
    power_before, power_after : float
        In the stretch before, and in the one that follows; any unit.
    """
    before, after = max(0.0, power_before) * part, max(0.0, power_after) * (1 - part)
    return before / (before + after) if before + after > 0 else part


def sigma_of_moment(energy: float, part: float) -> float:
    """Return one sigma of the energy that lies before a moment in a stretch that holds ``energy``."""
    return abs(energy) * math.sqrt(max(0.0, part * (1 - part)))
