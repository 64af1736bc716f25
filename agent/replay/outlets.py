"""Where the points of a replay go: a backfill for Prometheus, a server that takes remote write."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.printing.progress import in_sight
from wattshed.agent.replay.points import OpenMetricsFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.replay.points import Points
    from wattshed.agent.wire.remote_write import RemoteWrite

    Outlet = Callable[[Points, Callable[[], bool]], None]


def outlets_of(openmetrics: str | None, remote_write: str | None) -> list[Outlet]:
    """Open what the points go to, so that a wrong path or address is reported before the reading.

    Parameters
    ----------
    openmetrics : str or None
        Path of a backfill.
    remote_write : str or None
        URL of a server.

    Returns
    -------
    list of callable
        Each is called with the points and with a callable that says whether to stop.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """
    outlets: list[Outlet] = []
    if remote_write is not None:
        from wattshed.agent.wire.remote_write import RemoteWrite  # noqa: PLC0415 - a client that few need

        remote = RemoteWrite(remote_write)
        remote.greet()
        outlets.append(lambda points, stop: _send(remote, points, stop))
    if openmetrics is not None:
        outlets.append(OpenMetricsFile(Path(openmetrics)).write)
    return outlets


def _send(remote: RemoteWrite, points: Points, stop: Callable[[], bool]) -> None:
    """Send the points, with progress on a terminal, and say how many arrived."""
    with closing(remote), in_sight("sending points", len(points)) as line:
        sent = remote.send(points, progress=line.at, stop=stop)
    print(f"wattshed: {sent} of {len(points)} points sent to {remote.url}", file=sys.stderr)  # noqa: T201
