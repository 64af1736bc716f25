"""From the accounts to the history: cut, saved with the state, handed over, acknowledged.

In this order: parts are cut into the outbox, the outbox is saved with the state, and only what a saved state holds for
certain is handed over. So a kill or a power cut anywhere repeats a part, and neither loses nor doubles one. Readers get
a view of what is not in the history yet before any of it is handed over (`agent.history.live`).
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from wattshed.agent.accounts.cuts import MOST_WAITING, Cuts
from wattshed.agent.accounts.publishing import ENDED_US
from wattshed.agent.accounts.uncut import open_records, uncut_parts
from wattshed.agent.history.live import LiveView
from wattshed.agent.history.profile import PowerProfiles
from wattshed.agent.history.writer import Batch
from wattshed.agent.wire.parts import SIMULATED
from wattshed.exporters.snapshot import HistoryFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.history.writer import HistoryWriter


VIEW_SHARE = 0.01
"""Of the time, at most, goes into views while nothing is cut: with tens of thousands of open jobs they are some
seconds old."""


class HistoryFeed:
    """Hands one host's parts to its history.

    Parameters
    ----------
    writer : HistoryWriter
    slot_us : int, us
        Jobs and idle power are cut at whole multiples of it.
    simulated : bool
        Whether the meters are.

    Attributes
    ----------
    cuts : Cuts
        Saved with the state.
    """

    def __init__(self, writer: HistoryWriter, slot_us: int, *, simulated: bool = False) -> None:
        self._writer, self._slot_us, self._simulated = writer, slot_us, simulated
        self._offered = 0
        self._compact_beyond = MOST_WAITING
        self.cuts = Cuts(slot_us, self._new_store())
        self._profiles = PowerProfiles(self.cuts.power)
        self._view: LiveView | None = None
        self._next_view_s = 0.0

    def go_on(self, cuts: Cuts | None, accounts: Accounts, now_us: int) -> None:
        """Continue with what was saved; without it the numbers start in a store of their own.

        A history that is there already may hold what these accounts used so far: then only what follows goes into it.
        """
        if cuts is not None:
            self.cuts = cuts
            self.cuts.slot_us = self._slot_us
            if beyond := self._writer.beyond(cuts.store_id, cuts.next_seq, accounts.ledger.jobs):
                cuts.catch_up(beyond, accounts.ledger.jobs, accounts.gpus)
            self._offered = cuts.next_seq - 1  # what waits may have been handed over, and be on the disk
        elif not self._writer.is_new:
            self.cuts.begin_here(accounts.ledger.jobs, accounts.gpus, now_us)
        self.cuts.watts.ask = accounts.watts.milliwatts
        self._profiles = PowerProfiles(self.cuts.power)
        self._profiles.go_on(accounts.ledger.jobs.values(), accounts.measured(), now_us)

    def follow(self, accounts: Accounts, retired: Iterable[JobAccount], now_us: int) -> None:
        """Cut what is due at the end of a window."""
        if self._writer.damaged(self.cuts.store_id):
            self.cuts.begin_store(self._new_store())
            self._offered = 0
        self.cuts.acknowledge(self._writer.done(self.cuts.store_id))
        retired, measured = list(retired), accounts.measured()
        self._profiles.close(retired, measured)
        self.cuts.close(retired, accounts.gpus)
        self._profiles.follow(accounts.ledger.jobs.values(), measured, now_us)
        since_us = accounts.since_us if accounts.since_us is not None else now_us
        self.cuts.follow(accounts.ledger.jobs, accounts.gpus, since_us, now_us, accounts.known_us(now_us))
        if len(self.cuts.outbox) > self._compact_beyond:
            if nameless := self.cuts.compact(self._offered):
                self._writer.lose(nameless)
            self._compact_beyond = max(MOST_WAITING, len(self.cuts.outbox) * 5 // 4)

    def show(self, accounts: Accounts, now_us: int) -> None:
        """Leave a view of what is not in the history yet; before `saved`, so that no part is in neither."""
        cuts, view, begun_s = self.cuts, self._view, time.monotonic()
        known = view is not None and (view.store_id, view.next_seq) == (cuts.store_id, cuts.next_seq)
        if known and begun_s < self._next_view_s:
            return
        jobs, gpus = accounts.ledger.jobs, accounts.gpus
        since_us = accounts.since_us if accounts.since_us is not None else now_us
        parts = [*cuts.outbox, *uncut_parts(cuts, jobs, gpus, since_us, now_us)]
        records = {**cuts.records, **open_records(cuts, jobs, now_us - ENDED_US, now_us)}
        shown, named = self._writer.privacy.applied(parts, records)
        self._view = LiveView(
            cuts.store_id,
            cuts.next_seq,
            now_us,
            now_us - ENDED_US,
            tuple(shown),
            named,
            self._models(accounts),
            {key: dict(job.node_hnj) for key, job in jobs.items() if job.node_hnj},
        )
        ended_s = time.monotonic()
        self._next_view_s = ended_s + (ended_s - begun_s) / VIEW_SHARE

    def view(self) -> LiveView | None:
        """Return the newest view; for any thread."""
        return self._view

    def saved(self, accounts: Accounts, now_us: int) -> None:
        """Hand over what waits: the state on the disk holds it.

        Not while what was handed over before is being written, or tried again: it stays as it is until it is there.
        """
        cuts = self.cuts
        if not cuts.outbox or self._writer.busy() or cuts.outbox[-1].seq <= self._writer.done(cuts.store_id):
            return
        self._offered = cuts.outbox[-1].seq
        self._writer.offer(Batch(cuts.store_id, tuple(cuts.outbox), dict(cuts.records), self._models(accounts), now_us))

    @staticmethod
    def _models(accounts: Accounts) -> dict[str, str]:
        return {key.gpu: account.device.model for key, account in accounts.gpus.items()}

    def _new_store(self) -> str:
        return f"{SIMULATED if self._simulated else ''}{uuid.uuid4().hex}"

    def facts(self) -> HistoryFacts:
        """Return what is published of the history."""
        writer = self._writer
        return HistoryFacts(
            writer.bytes_used, len(self.cuts.outbox), writer.parts_total, writer.dropped_total, writer.write_s
        )
