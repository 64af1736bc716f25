"""Which process sent a packet, so that nobody can send one in another's name.

The kernel adds pid and user to each packet (``SCM_CREDENTIALS``); a wrong pid takes CAP_SYS_ADMIN. What is left is the
pid that a sender gives back, by ending, to a process of another job before anybody looked. Of the process that
connected there is a pidfd (``SO_PEERPIDFD``, Linux 6.5): while it lives, its pid is its own. Any other sender must have
started before the packet was sent, else it is asked to send it again.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.jobs.processes import Process

SO_PEERPIDFD = 77
"""asm-generic/socket.h since Linux 6.5; Python's socket module has no name for it."""
_CREDENTIALS = struct.Struct("3i")
ROOM = socket.CMSG_SPACE(_CREDENTIALS.size)
"""For credentials alone: descriptors that somebody sends along do not fit, and the kernel closes them."""
_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


class Sender(NamedTuple):
    """Who the kernel says sent a packet; -1 where it says nothing."""

    pid: int
    uid: int


class UnknownSenderError(Exception):
    """No process has the pid of whoever sent a packet."""


class Lookup(Protocol):
    """Who knows processes: `agent.jobs.processes.Processes`."""

    def look(self, pid: int) -> Process | None:
        """Find the process that has this pid now."""

    def meet(self, pid: int) -> None:
        """Note its user and command too, while it lives."""

    def forget(self, keep: set[int]) -> None:
        """Drop all pids but these."""


def sender_of(ancillary: Sequence[tuple[int, int, bytes]]) -> Sender:
    """Return who sent a packet, from what `recvmsg` gave beside it."""
    for level, kind, told in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(told) >= _CREDENTIALS.size:
            pid, uid, _ = _CREDENTIALS.unpack(told[: _CREDENTIALS.size])
            return Sender(pid, uid)
    return Sender(-1, -1)


class Senders:
    """Finds the process behind a packet.

    Parameters
    ----------
    processes : Lookup
        For this thread alone.
    clock : callable, us
        The time line of the processes' starts.
    """

    def __init__(self, processes: Lookup, clock: Callable[[], int]) -> None:
        self._processes, self._clock = processes, clock
        self._forgot_s = time.monotonic()

    def process_of(self, sender: Sender, connection: socket.socket, quiet_us: int) -> Process | None:
        """Return the process that sent a packet; None if that is not certain, and the packet must be sent again.

        Parameters
        ----------
        sender : Sender
        connection : socket
        quiet_us : int, us
            When it is known that the packet was not sent yet.

        Raises
        ------
        UnknownSenderError
            There is no such process where the agent looks for them: it has ended, or the agent meters another machine.
        """
        if sender.pid < 0:
            return None
        self._forget()
        self._processes.meet(sender.pid)
        process = self._processes.look(sender.pid)
        if process is None:
            raise UnknownSenderError(
                f"the agent sees no process {sender.pid}: it has ended, or the agent's node is simulated"
            )
        if process.started_us is not None and process.started_us + _TICK_US <= quiet_us:
            return process
        return process if _connected(connection, sender.pid) else None

    def _forget(self) -> None:
        """Keep no process that nobody hears of any more; whoever sends again is looked at again."""
        if time.monotonic() - self._forgot_s > 10.0:
            self._processes.forget(set())
            self._forgot_s = time.monotonic()


def _connected(connection: socket.socket, pid: int) -> bool:
    """Tell whether the process that connected has this pid, and lives: then whatever was read of the pid is its."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    if _CREDENTIALS.unpack(told)[0] != pid:
        return False
    try:
        descriptor = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]  # readable once it has ended
    finally:
        os.close(descriptor)
