"""How much energy lies before a moment between two readings of a counter, if the load changed at that moment.

Windows of a program begin and end where its load does. So before the moment the power is that of the stretch before the
two readings, and after it that of the stretch that follows; their energy is what was counted. Where both are the same
this is the straight line. All of the energy may as well have been used before the moment, or after it: that is its
doubt.
"""

from __future__ import annotations

import math

PIECE_S = 0.1


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


def sigma_of_moment(energy: float, part: float, length_s: float = 0.0) -> float:
    """Return one sigma of the energy that lies before a moment in a stretch that holds ``energy``.

    In a stretch as short as a counter's period all of it may be on either side. In a longer one the load is taken to be
    on or off anew every tenth of a second: a load that is on for half of each second is within two sigma.

    Parameters
    ----------
    energy : float
        In any unit.
    part : float
        The part of the time that lies before, 0 to 1.
    length_s : float, s
        Of the stretch.
    """
    return abs(energy) * math.sqrt(max(0.0, part * (1 - part)) / max(1.0, length_s / PIECE_S))
