"""Watts of a BMC beside its own kilowatt hours: too coarse to bill by, these tell whether the watts are right."""

from __future__ import annotations

JOULES_PER_KWH = 3_600_000
LEAST_STEPS = 5
"""From step to step the counter is exact: so many are worth a comparison."""
FAR = 0.1


class KwhCheck:
    """Adds up watts between two steps of a counter, and compares.

    Parameters
    ----------
    longest_s : float, s
        Readings that are further apart are not added up over: counting begins anew.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._last: tuple[float, int, float] | None = None  # when (s), mW, kWh
        self._base_kwh: float | None = None  # at the first step
        self._steps = 0
        self._joules = 0.0

    def add(self, time_s: float, power_mw: int, energy_kwh: float) -> str:
        """Take a reading; returns what to say if the two differ by more than a tenth, else nothing."""
        last, self._last = self._last, (time_s, power_mw, energy_kwh)
        if last is None or time_s - last[0] > self._longest_s or energy_kwh < last[2]:
            self._base_kwh = None
            return ""
        self._joules += (time_s - last[0]) * (power_mw + last[1]) / 2000
        if energy_kwh == last[2]:
            return ""
        if self._base_kwh is None:
            self._base_kwh, self._steps, self._joules = energy_kwh, 0, 0.0
            return ""
        self._steps += 1
        counted, added = energy_kwh - self._base_kwh, self._joules / JOULES_PER_KWH
        if self._steps < LEAST_STEPS or abs(added - counted) <= FAR * counted:
            return ""
        return f"its energy counter rose by {counted:g} kWh while its watts add up to {added:.3g} kWh"
