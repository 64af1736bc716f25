"""The collector's own addresses: its metrics, and everybody's jobs for whoever may see them."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from wattshed.agent.collect.metrics import families
from wattshed.agent.errors import InputError
from wattshed.agent.history.answering import Question
from wattshed.agent.wire.sockets import make_shared_folder
from wattshed.exporters.snapshot import Snapshot
from wattshed.exporters.web.http import Server, WebConfigError
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.listen import ListenError
from wattshed.exporters.web.peer import Access, group_id, overflow_uids

if TYPE_CHECKING:
    from wattshed.agent.collect.config import CollectSettings
    from wattshed.agent.collect.service import SiteCollector
    from wattshed.agent.errors import Faults

LOG = logging.getLogger(__name__)
_VIEW_S = 1.0


class CollectServer:
    """Serves a collector.

    Parameters
    ----------
    settings : CollectSettings
    collector : SiteCollector
    faults : Faults
    version : str
        Of this program.
    """

    def __init__(self, settings: CollectSettings, collector: SiteCollector, faults: Faults, version: str = "") -> None:
        self._faults, self._began_us = faults, round(time.time() * 1e6)
        self._collector, self._version, self._host = collector, version, socket.gethostname()
        self._view: tuple[float, Snapshot] | None = None
        own = families(collector.puller)
        make_shared_folder(settings.socket)
        access = Access(frozenset({0, os.geteuid()}), _group(settings.admin_group), overflow_uids())
        jobs = JobsApi(access, frozenset(settings.tcp_users), frozenset(settings.relays))
        jobs.open(lambda: Question(collector.opened, self._host, whose=collector.privacy.uid))
        try:
            self._server = Server(
                self._published, settings.listen, settings.web_config_file or None, families=lambda _: own, jobs=jobs,
                jobs_socket=settings.socket,
            )  # fmt: skip
        except WebConfigError as error:
            raise InputError(error.message, error.path, error.line, error.column) from None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it serves, as URLs."""
        return self._server.addresses

    def start(self) -> None:
        """Bind the addresses and serve.

        Raises
        ------
        InputError
            If an address cannot be understood.
        ListenError
            If an address cannot be bound.
        """
        try:
            self._server.start()
        except ListenError as error:
            raise ListenError(f"{error}; set another listen in collect.toml") from None
        except ValueError as error:
            raise InputError(f"listen: {error}") from None
        if self._server.jobs_trouble:
            LOG.warning("%s; `wattshed jobs` does not find this collector there", self._server.jobs_trouble)

    def stop(self) -> None:
        """Close all connections."""
        self._server.stop()

    def _published(self) -> Snapshot:
        """Return what the server asks for: a view that changes once a second."""
        now_s = time.monotonic()
        if self._view is None or now_s - self._view[0] >= _VIEW_S:
            self._view = now_s, self._snapshot()
        return self._view[1]

    def _snapshot(self) -> Snapshot:
        states = self._collector.puller.states()
        asked = sum(states.values()) > states["new"]
        return Snapshot(
            host=self._host,
            version=self._version,
            meter="collector",
            library="",
            seq=int(asked),
            time_us=round(time.time() * 1e6),
            started_us=self._began_us,
            faults=dict(self._faults.counts),
            unmetered="" if asked else "no agent has been polled yet",
        )


def _group(name: str) -> int | None:
    try:
        return group_id(name) if name else None
    except KeyError:
        raise InputError(f"admin_group: no group {name!r} on this host") from None
