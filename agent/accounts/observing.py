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
        time_us, mean_mw = readings.time_us[mine].tolist(), readings.power_mw[mine]
        power_mw, counter_mj = mean_mw, readings.counter_mj[mine]
        if len(readings.instant_mw):
            power_mw = np.where(readings.instant_mw[mine] > 0, readings.instant_mw[mine], mean_mw)
        ceiling_mw, max_gap_us = int(limits.ceiling_mw[i]), int(limits.max_gap_us[i])
        for t, value in zip(time_us, power_mw.tolist(), strict=True):
            if 0 < value <= ceiling_mw:
                account.moving.add_power(t, value, max_gap_us)
        of_last_second = "average" in account.device.publication_us
        for t, value in zip(time_us, mean_mw.tolist(), strict=True):
            if 0 < value <= ceiling_mw:
                account.moving.add_mean(t, value, max_gap_us, of_last_second=of_last_second)
        if account.by_power_alone:
            account.moving.forget_counter()
            continue
        for t, value in zip(time_us, counter_mj.tolist(), strict=True):
            if value >= 0:
                account.moving.add_counter(t, value, ceiling_mw, max_gap_us)
