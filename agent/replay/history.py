"""A replay's parts of jobs, in a history of their own: the same rows, in the same order, that an agent wrote live.

Each host has accounts of its own here, whose jobs are closed when an agent closes them; the replay's answer keeps them
open to its end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.cutting import cut
from wattshed.agent.errors import InputError
from wattshed.agent.history.database import Database
from wattshed.agent.history.profile import PowerProfiles
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.store import Store
from wattshed.agent.wire.parts import SIMULATED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.replay.books import Settings
    from wattshed.agent.window import Window

SLOT_US = 3_600_000_000
KEEP_US = 300_000_000
"""When an agent that is not told otherwise cuts what lasts, and how long it keeps the account of a job that ended."""
LONGEST_US = 60_000_000
"""Longer windows of what others recorded are cut, so that jobs are closed, and parts cut, in time."""
_BITE = 1000


@dataclass(slots=True)
class _Host:
    """One host's accounts, and what was cut of them."""

    accounts: Accounts
    store: Store
    cuts: Cuts = field(default_factory=lambda: Cuts(SLOT_US))
    end_us: int = 0
    profiles: PowerProfiles = field(init=False)

    def __post_init__(self) -> None:
        """Follow the power of jobs, and what is learned of their watts, into what is cut of them."""
        self.profiles = PowerProfiles(self.cuts.power)
        self.cuts.watts.ask = self.accounts.watts.milliwatts


class ReplayedHistory:
    """Writes the parts of what is replayed into a new file.

    Parameters
    ----------
    path : Path
    settings : Settings

    Raises
    ------
    InputError
        There is something of this name already, or it cannot be written: a history has one who numbers its parts.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        if path.exists():
            raise InputError(
                "is there already; a replay's history is a new file: name another one, or remove it", str(path)
            )
        self._hosts: dict[str, _Host] = {}
        try:
            self._database = Database(path)
        except DatabaseError as error:
            raise InputError(str(error)) from None

    def see(self, window: Window, *, native: bool) -> None:
        """Book one window, and cut what is due; an agent's own windows stay as they are.

        Raises
        ------
        InputError
            The history cannot be written.
        """
        for one in (window,) if native else _short(window):
            host = self._host(one)
            host.accounts.add(one)
            host.end_us = one.end_us
            accounts, cuts = host.accounts, host.cuts
            retired, measured = accounts.retire(one.end_us, KEEP_US), accounts.measured()
            host.profiles.close(retired, measured)
            cuts.close(retired, accounts.gpus)
            host.profiles.follow(accounts.ledger.jobs.values(), measured, one.end_us)
            since_us = accounts.since_us if accounts.since_us is not None else one.start_us
            cuts.follow(accounts.ledger.jobs, accounts.gpus, since_us, one.end_us, accounts.known_us(one.end_us))
            if len(cuts.outbox) >= _BITE:
                self._write(host)

    def close(self) -> None:
        """Cut what is open, and write it: jobs that were there to the end of the trace are still running.

        Raises
        ------
        InputError
            The history cannot be written.
        """
        for host in self._hosts.values():
            accounts, cuts = host.accounts, host.cuts
            accounts.finish()
            host.profiles.close(accounts.ledger.jobs.values(), accounts.measured())
            cuts.close([job for job in accounts.ledger.jobs.values() if job.end_us < host.end_us], accounts.gpus)
            running = {key: job for key, job in accounts.ledger.jobs.items() if job.end_us >= host.end_us}
            cuts.cut_everybody(running, accounts.gpus, host.end_us)
            self._write(host)
        self._database.close()

    def _host(self, window: Window) -> _Host:
        name = window.host
        if name not in self._hosts:
            accounts = self._settings.accounts()
            # The same trace in a file of the same name has the same store, so that a collector knows it again.
            store_id = hashlib.sha256(f"replay {self._path.resolve()} {name}".encode()).hexdigest()[:32]
            if any(device.simulated for device in window.devices):
                store_id = f"{SIMULATED}{store_id}"
            try:
                self._hosts[name] = _Host(accounts, Store(self._database, store_id, name))
            except DatabaseError as error:
                raise InputError(str(error)) from None
        return self._hosts[name]

    def _write(self, host: _Host) -> None:
        models = {key.gpu: account.device.model for key, account in host.accounts.gpus.items()}
        try:
            host.store.add(host.cuts.outbox, host.cuts.records, models)
        except DatabaseError as error:
            raise InputError(str(error)) from None
        host.cuts.acknowledge(host.cuts.next_seq)


def _short(window: Window) -> Iterator[Window]:
    if window.end_us - window.start_us <= LONGEST_US:
        return iter((window,))
    first_us = (window.start_us // LONGEST_US + 1) * LONGEST_US
    return cut(window, range(first_us, window.end_us, LONGEST_US))
