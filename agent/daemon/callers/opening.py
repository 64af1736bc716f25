"""Opens the socket at which jobs ask, where there shall be one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from wattshed.agent.daemon.callers.desk import CallersDesk
from wattshed.agent.daemon.callers.energies import JobEnergies
from wattshed.agent.daemon.callers.own_parts import OwnParts
from wattshed.agent.daemon.callers.senders import Senders
from wattshed.agent.daemon.callers.server import CallersServer
from wattshed.agent.daemon.questions import socket_path
from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.wire.agent_socket import NAME
from wattshed.exporters.web.listen import ListenError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from wattshed.agent.config.settings import Config
    from wattshed.agent.daemon.callers.desk import WorkDesk
    from wattshed.agent.daemon.source import Source


def open_callers(  # noqa: PLR0917 - called once
    config: Config, source: Source, host: str, version: str, opened: ExitStack, work: WorkDesk | None = None
) -> tuple[CallersDesk | None, str]:
    """Listen for processes of jobs; None where there shall be no socket, where it cannot be had, and in a playback.

    Also returns why it cannot be had, or nothing.

    Parameters
    ----------
    config : Config
    source : Source
    host, version : str
        What callers are told of this agent.
    opened : ExitStack
        Closes the socket.
    work : WorkDesk, optional
        Who takes down what jobs tell of their work.
    """
    clock = source.clock
    if clock is None:
        return None, ""
    path = socket_path(config.socket, NAME, "no socket for `wattshed.measure`", "socket", os.environ)
    if not path:
        return None, ""
    about = {"wattshed": version, "host": host, "simulated": source.kind == "simulated"}
    offset_us = clock.now_us() - time.monotonic_ns() // 1000
    parts = OwnParts(Ancestry(source.proc_root))
    desk = CallersDesk(about, JobEnergies(), parts, offset_us, work, refresh=source.refresh)
    processes = Processes(source.proc_root, clock.now_us, await_exits=False)
    try:
        server = CallersServer(path, desk, Senders(processes, clock.now_us), clock.now_us)
    except ListenError as error:
        return None, str(error)
    opened.callback(server.close)
    return desk, ""
