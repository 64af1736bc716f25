"""Opens what hears of the work of jobs: the inbox of what they tell, and the reading of their servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.jobs.cgroup_ids import CgroupNumbers
from wattshed.agent.window import JobKey, Owner
from wattshed.agent.wire.http import Address
from wattshed.agent.work_units.inbox import WorkInbox
from wattshed.agent.work_units.peers import cgroup_of_peer
from wattshed.agent.work_units.servers import WorkServer, WorkServers

if TYPE_CHECKING:
    import socket
    from contextlib import ExitStack

    from wattshed.agent.config.settings import Config, ServerSettings
    from wattshed.agent.daemon.board import Board
    from wattshed.agent.daemon.source import Source
    from wattshed.agent.errors import Faults

_EXAMPLE = "http://127.0.0.1:8000"


def open_inbox(source: Source) -> WorkInbox | None:
    """Return where work is collected; None in a playback, whose windows bring theirs along."""
    return WorkInbox(source.clock.now_us) if source.clock is not None else None


def open_servers(  # noqa: PLR0917 - called once
    config: Config, source: Source, inbox: WorkInbox | None, board: Board, faults: Faults, opened: ExitStack
) -> WorkServers | None:
    """Return what reads servers, to be started when the accounts are there; None where there are none to read.

    Raises
    ------
    InputError
        A server is not described as it should be.
    """
    settings = config.work
    servers = [_server(one) for one in settings.server]
    if settings.servers == "auto":
        named = {(one.address.host, one.address.port) for one in servers}
        servers += [
            WorkServer(Address.parse(f"http://127.0.0.1:{port}", "work.ports", _EXAMPLE), named=False)
            for port in settings.ports
            if not named & {("127.0.0.1", port), ("localhost", port)}
        ]
    if inbox is None or not servers:
        return None
    reading = WorkServers(servers, inbox, _Peers(board, source.proc_root), settings.interval_s, faults)
    opened.callback(reading.close)
    return reading


class _Peers:
    """Knows of connections on this host whose far end is a job's, by the processes that are on GPUs now."""

    def __init__(self, board: Board, proc_root: Path) -> None:
        self._board, self._numbers = board, CgroupNumbers(proc_root)

    def owner_of(self, connection: socket.socket) -> Owner | None:
        """Return the job; see `PeerOwners`."""
        holders = ((one.pid, one.job) for one in self._board.current().tenancy.processes)
        job = self._numbers.job_of(cgroup_of_peer(connection), holders)
        return Owner(JobKey(job)) if job and not job.startswith("_") else None


def _server(settings: ServerSettings) -> WorkServer:
    address = Address.parse(settings.url, "work.server.url", _EXAMPLE)
    headers = _header(settings.header_file) if settings.header_file else {}
    return WorkServer(address, settings.kind, settings.model, settings.job, headers)


def _header(path: str) -> dict[str, str]:
    """Read the one header that a server wants."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error}); write Authorization: Bearer ... into it", path) from None
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable() or not text.isascii():
        raise InputError("should have one line such as Authorization: Bearer ...", path, 1)
    return {name.strip(): value.strip()}
