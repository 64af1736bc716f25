"""Numbers as `wattshed top` writes them: three digits, one unit a column, a dash for what is not known."""

from __future__ import annotations

import math
import time

DASH = "—"
"""Not known: never 0."""

HOUR_S, DAY_S = 3600, 86400
J_PER_KWH = 3_600_000.0
_LARGEST = 1e7  # from here on with an exponent: a column holds nonsense of a sensor, too


def plain(value: float | None) -> str:
    """Write watts and the like in a column whose title names the unit: ``2952``, ``74.5``, ``0.53``."""
    if value is None or not math.isfinite(value):
        return DASH
    if abs(value) >= _LARGEST:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def whole(value: float | None, unit: str = "") -> str:
    """Write a whole number, such as ``61°C``."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.0f}{unit}" if abs(value) < _LARGEST else f"{value:.2e}{unit}"


def percent(part: float | None, of: float | None = 1.0) -> str:
    """Write a share in whole percents."""
    if part is None or not of or not math.isfinite(part / of):
        return DASH
    return whole(100 * part / of, "%")


def kwh(joules: float | None) -> str:
    """Write energy in kWh, without the unit: ``12.4``, ``0.008``."""
    if joules is None or not math.isfinite(joules):
        return DASH
    value = joules / J_PER_KWH
    if 0 < value < 0.0005:
        return "<0.001"
    return f"{value:.3f}" if abs(value) < 0.9995 else plain(value)


def watts(value: float | None) -> str:
    """Write power alone, with its unit: ``612 W``, ``3.21 kW``."""
    if value is None or not math.isfinite(value):
        return f"{DASH} W"
    if abs(value) < 999.5:
        return f"{plain(value)} W"
    for factor, prefix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        scaled = float(f"{value / factor:.3g}")
        if abs(scaled) < 1000:
            return f"{plain(scaled)} {prefix}W"
    return f"{value:.2e} W"


def elapsed(seconds: float | None) -> str:
    """Write how long, as squeue does: ``3:04``, ``2:03:04``, ``1-02:03:04``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    left = max(0, round(seconds))
    days, left = divmod(left, DAY_S)
    hours, left = divmod(left, HOUR_S)
    minutes, left = divmod(left, 60)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{left:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def gibibytes(used_mib: float | None, total_mib: float | None) -> str:
    """Write memory in GiB as ``69.9/79.6``."""
    return f"{plain(_gib(used_mib))}/{plain(_gib(total_mib))}"


def _gib(mib: float | None) -> float | None:
    return None if mib is None else mib / 1024


def moment(time_s: float) -> str:
    """Write a time of day, ``14:03:22``; with the day where it is another one than today."""
    local = time.localtime(time_s)
    form = "%H:%M:%S" if local[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M"
    return time.strftime(form, local)
