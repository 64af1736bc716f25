"""What one host's books hold beside its GPUs: its other meters, each by itself, and the whole node by parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.host_meters import MeterBook, MeterBooks
from wattshed.agent.accounts.node import NodeBook
from wattshed.agent.accounts.node_shares import ESTIMATED, Beyond, NodeShares, WindowBooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.window import JobKey, Window


@dataclass(slots=True)
class BesideBooks:
    """The meters of one host, and its node."""

    meters: MeterBooks = field(default_factory=MeterBooks)
    node: NodeBook = field(default_factory=NodeBook)
    shares: NodeShares = field(default_factory=NodeShares)

    def take(self, window: Window, gpus: Iterable[GpuAccount], jobs: Mapping[JobKey, JobAccount]) -> None:
        """Book a window, once the energy of its GPUs is booked.

        Parameters
        ----------
        window : Window
        gpus : iterable of GpuAccount
            All that this host ever had.
        jobs : mapping of JobKey to JobAccount
            With open accounts.
        """
        self.meters.take(window.beside)
        if not self.meters:
            return
        gpus = list(gpus)
        here = {device.uuid for device in window.devices}
        known = all(gpu.was_read for gpu in gpus if gpu.device.uuid in here)
        before, covered_us = self._beyond, self.node.covered_us
        self.node.take(
            self.meters,
            sum(gpu.energy_hnj for gpu in gpus) if known else None,
            window.end_us,
            holds_cpu=any(gpu.boundary == "module" for gpu in gpus),
        )
        books = WindowBooks(window, gpus, jobs)
        self.shares.hear(books)
        used, covered_us = self._beyond.since(before), self.node.covered_us - covered_us
        if self.shares.begun and (any(used) or covered_us):
            self.shares.share(used, covered_us, self.node.rest_mw, books)

    @property
    def _beyond(self) -> Beyond:
        return Beyond(*(self.node.parts_hnj[part] for part in ESTIMATED))

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Go on after the agent was down, at ``start_us``."""
        self.meters.restart(start_us, same_boot=same_boot)
        self.node.restart()

    def share_anew(self, window: Window, gpus: Sequence[GpuAccount], jobs: Mapping[JobKey, JobAccount]) -> None:
        """Begin the estimate anew with this window, after the agent was down; see `take` for what is there."""
        self.shares.restart(WindowBooks(window, gpus, jobs))

    def merge(self, other: BesideBooks) -> None:
        """Add the books of the same host in another part."""
        self.meters.merge(other.meters)
        self.node.merge(other.node)
        self.shares.merge(other.shares)

    def plain(self) -> dict[str, dict[str, Any]]:
        """Lay the meters out for a state file, by name."""
        return {name: book.plain() for name, book in self.meters.items()}

    @classmethod
    def of_plain(
        cls, meters: Iterable[dict[str, Any]], node: dict[str, Any] | None, shares: dict[str, Any] | None
    ) -> BesideBooks:
        """Read them again.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            They are none.
        """
        books = (MeterBook.of_plain(plain) for plain in meters)
        return cls(
            MeterBooks({book.meter.name: book for book in books}),
            NodeBook() if node is None else NodeBook.of_plain(node),
            NodeShares() if shares is None else NodeShares.of_plain(shares),
        )
