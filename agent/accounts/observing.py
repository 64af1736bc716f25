"""What is kept of power as it was read, besides its energy: quantiles, peaks and ramps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.limits import DeviceLimits
    from wattshed.agent.window import Readings


def keep_powers(readings: Readings, accounts: Sequence[GpuAccount], limits: DeviceLimits) -> None:
    """Keep what the quantiles of power need."""
    for i, account in enumerate(accounts):
        mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
        account.power.extend(
            readings.time_us[mine], readings.power_mw[mine], int(limits.ceiling_mw[i]), int(limits.max_gap_us[i])
        )


def follow_moving(readings: Readings, accounts: Sequence[GpuAccount], limits: DeviceLimits) -> None:
    """Keep the moving peaks and ramps that a running agent publishes."""
    for i, account in enumerate(accounts):
        mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
        power = readings.power_mw[mine]
        if len(readings.instant_mw):
            power = np.where(readings.instant_mw[mine] > 0, readings.instant_mw[mine], power)
        account.moving.add_all(readings.time_us[mine], power, int(limits.ceiling_mw[i]), int(limits.max_gap_us[i]))
