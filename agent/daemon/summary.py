"""What a run measured, in one line when it ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.errors import counted
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from wattshed.agent.accounts.attribution import Accounts

LOG = logging.getLogger("wattshed")
_KWH_J = 3.6e6


class _Sums(NamedTuple):
    """Of all GPUs."""

    energy_hnj: int
    idle_hnj: int
    unattributed_hnj: int


class RunSummary:
    """Remembers what was restored, so that only what this run measured is told.

    Parameters
    ----------
    accounts : Accounts
        As they are before the first window.
    simulated : bool
        Whether the joules are invented.
    """

    def __init__(self, accounts: Accounts, *, simulated: bool = False) -> None:
        self._accounts, self._simulated = accounts, simulated
        self._before = _sums(accounts)
        self._booked_us = {key: gpu.booked_us for key, gpu in accounts.gpus.items()}

    def log(self) -> None:
        """Write the line, if anything was measured."""
        if text := self.text():
            LOG.info("%s", text)

    def text(self) -> str:
        """Return the line; empty if nothing was measured."""
        spans_us = [gpu.booked_us - self._booked_us.get(key, 0) for key, gpu in self._accounts.gpus.items()]
        measured = [span_us for span_us in spans_us if span_us > 0]
        if not measured:
            return ""
        energy, idle, unattributed = (
            (after - before) / HNJ_PER_JOULE for after, before in zip(_sums(self._accounts), self._before, strict=True)
        )
        seconds = max(measured) / 1e6
        parts = [("jobs", energy - idle - unattributed), ("idle", idle), ("unattributed", unattributed)]
        shares = ", ".join(f"{name} {_energy(joules)}" for name, joules in parts)
        invented = "SIMULATED: " if self._simulated else ""
        return (
            f"{invented}measured {counted(len(measured), 'GPU')} for {_span(seconds)}: {_energy(energy)} "
            f"({shares}), mean {energy / seconds:,.0f} W"
        )


def _sums(accounts: Accounts) -> _Sums:
    gpus = accounts.gpus.values()
    return _Sums(
        sum(gpu.energy_hnj for gpu in gpus),
        sum(gpu.idle_hnj for gpu in gpus),
        sum(gpu.unattributed_hnj for gpu in gpus),
    )


def _energy(joules: float) -> str:
    if joules >= _KWH_J:
        return f"{joules / _KWH_J:,.2f} kWh"
    return f"{joules / 1e3:,.1f} kJ" if joules >= 10_000 else f"{joules:,.0f} J"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
