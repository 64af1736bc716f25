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
    power_mw = readings.power_mw
    if len(readings.instant_mw):
        power_mw = np.where(readings.instant_mw > 0, readings.instant_mw, power_mw)
    columns = (readings.time_us, power_mw, readings.power_mw, readings.counter_mj)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    offsets, ceilings_mw, gaps_us = readings.offsets.tolist(), limits.ceiling_mw.tolist(), limits.max_gap_us.tolist()
    for i, account in enumerate(accounts):
        moving, ceiling_mw, max_gap_us = account.moving, ceilings_mw[i], gaps_us[i]
        of_last_second = "average" in account.device.publication_us
        counts = not account.by_power_alone
        if not counts:
            moving.forget_counter()
        for at_us, power, mean, counter_mj in rows[offsets[i] : offsets[i + 1]]:
            if 0 < power <= ceiling_mw:
                moving.add_power(at_us, power, max_gap_us)
            if 0 < mean <= ceiling_mw:
                moving.add_mean(at_us, mean, max_gap_us, of_last_second=of_last_second)
            if counts and counter_mj >= 0:
                moving.add_counter(at_us, counter_mj, ceiling_mw, max_gap_us)
