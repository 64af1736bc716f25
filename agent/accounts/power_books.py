"""Power readings and nothing else, booked many windows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts import silence
from wattshed.agent.accounts.entering import enter_energy, enter_time
from wattshed.agent.accounts.pending_usage import NO_PENDING_USAGE, ActivityShare, PendingUsage
from wattshed.agent.accounts.runs import holders, stretches
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.power_runs import is_bookable
from wattshed.kernels.records import objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.host import HostAccounts
    from wattshed.agent.accounts.ledger import GpuKey, Ledger
    from wattshed.agent.accounts.runs import Whose
    from wattshed.agent.window import WindowBatch
    from wattshed.kernels.billing.owner_sweep import Holders
    from wattshed.kernels.billing.power_runs import Booked, BookPowers
    from wattshed.kernels.columns import Columns


class PowerBooks:
    """Books runs of power readings in accounts that have no counter.

    Parameters
    ----------
    gpus : mapping of GpuKey to GpuAccount
    ledger : Ledger
    book_powers : BookPowers
    live : bool
        See `agent.accounts.attribution.Accounts`.
    """

    def __init__(
        self, gpus: Mapping[GpuKey, GpuAccount], ledger: Ledger, book_powers: BookPowers, *, live: bool
    ) -> None:
        self._gpus, self._ledger, self._book_powers, self._live = gpus, ledger, book_powers, live

    def book(self, host: HostAccounts, runs: Sequence[Columns], held: Holders | None = None) -> Booked | None:
        """Book windows of power readings and nothing else the fast way; None if that cannot be."""
        if host.limits.calibrated or len(host.keys) > len(host.devices):
            return None
        accounts = [self._gpus[key] for key in host.keys]
        booked = self._book_powers(
            runs, host.state, host.limits.ceiling_mw, host.limits.max_gap_us, host.limits.idle_mw,
            None if self._live else [account.power for account in accounts], held,
        )  # fmt: skip
        if booked is not None:
            happened = objects(booked.diagnostics, Diagnostics)
            energies = booked.energy_hnj, booked.static_hnj, booked.dynamic_hnj
            for account, diagnostics, energy, idle, nobodys in zip(accounts, happened, *energies, strict=True):
                account.add(diagnostics, energy, diagnostics.covered_us, idle, nobodys)
                account.totals.power_hnj += energy
                account.totals.by_power_hnj += energy
        return booked

    def book_held(self, host: HostAccounts, batches: Sequence[WindowBatch], whose: Whose) -> bool:
        """Book windows that `agent.accounts.runs.WindowRun` puts together, among who holds the GPUs then.

        Returns
        -------
        bool
            False, and nothing is done, if that cannot be.
        """
        columns, accounts = [batch.columns for batch in batches], [self._gpus[key] for key in host.keys]
        if host.limits.calibrated or len(host.keys) > len(host.devices):
            return False
        if not is_bookable(columns, host.state, host.limits.ceiling_mw, [account.power for account in accounts]):
            return False
        before, not_known = silence.untold(host.state), np.full(len(host.devices), -1, np.int64)
        found = [host.waiting]
        for stretch in stretches(batches, whose):
            new = PendingUsage.of(stretch, not_known)
            host.holding.go_on(new, stretch.end_us)
            found.append(NO_PENDING_USAGE.followed_by(new))
            enter_time(self._ledger, found[-1], host.keys)
        rows = PendingUsage.all_of(found)
        booked = self.book(host, columns, holders(rows, len(host.keys), batches))
        if booked is None or booked.parts is None:
            raise ArithmeticError("windows that could be booked together no longer can")
        untold = np.zeros_like(booked.parts.booked_us)
        devices = [account.device for account in accounts]
        enter_energy(self._ledger, rows, host.keys, booked.parts, booked.parts.booked_us, untold, devices)
        host.activity_share = ActivityShare()
        end_us = int(batches[-1].end_us[-1])
        host.wait(rows, end_us)
        host.follow_silence(accounts, before, end_us)
        return True
