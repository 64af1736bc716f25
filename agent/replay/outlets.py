"""Where the points of a replay go: a file for Prometheus, or a server that takes remote write."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.printing.progress import in_sight

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.replay.points import Points
    from wattshed.agent.wire.remote_write import RemoteWrite

    Outlet = Callable[[Points, Callable[[], bool]], None]


def open_outlets(openmetrics: str | None, remote_write: str | None, say: Callable[[str], object]) -> list[Outlet]:
    """Open what the points go to, so that a wrong path or address is reported before the reading.

    Parameters
    ----------
    openmetrics : str or None
        Path of a backfill.
    remote_write : str or None
        Address of a server.
    say : callable
        Is told how many points a server took.

    Returns
    -------
    list of callable
        Each is called with the points and with a callable that says whether to stop.

    Raises
    ------
    InputError
        If the file cannot be written, or the server does not answer.
    """
    outlets: list[Outlet] = []
    if remote_write is not None:
        from wattshed.agent.wire.remote_write import RemoteWrite  # noqa: PLC0415 - for those who ask for it

        remote = RemoteWrite(remote_write)
        remote.greet()
        outlets.append(partial(_send, remote, say))
    if openmetrics is not None:
        from wattshed.agent.replay.points import OpenMetricsFile  # noqa: PLC0415

        outlets.append(OpenMetricsFile(Path(openmetrics)).write)
    return outlets


def _send(remote: RemoteWrite, say: Callable[[str], object], points: Points, stop: Callable[[], bool]) -> None:
    """Send the points, with progress on a terminal, and say how many arrived."""
    with closing(remote), in_sight("sending points", len(points)) as line:
        sent = remote.send(points, progress=line.at, stop=stop)
    say(f"{sent} of {len(points)} points sent to {remote.url}")
