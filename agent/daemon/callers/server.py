"""The socket's thread: takes packets, asks the desk, answers. No window waits for it, and it waits for none.

Whoever sends too much is not listened to for a while, and so many connections are accepted a second: else the thread
that reads the GPUs would have to share the interpreter with them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from wattshed.agent.daemon.callers.limits import Allowance, Budgets, CallLimits
from wattshed.agent.daemon.callers.senders import ROOM, Sender, UnknownSenderError, sender_of
from wattshed.agent.wire.agent_socket import MOST_BYTES, packed, unpacked
from wattshed.exporters.web.listen import bind_unix
from wattshed.exporters.web.peer import credentials_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.daemon.callers.senders import Senders
    from wattshed.agent.jobs.processes import Process

LOG = logging.getLogger(__name__)
IDLE_S = 30.0
"""A connection on which nothing was asked for so long is closed."""
RESTS_S = 0.2
"""So long a user is not listened to who sent too much."""
ACCEPTS_AGAIN_S = 0.02
_HEARD = select.EPOLLIN | select.EPOLLRDHUP


class Desk(Protocol):
    """Who answers."""

    def answer(self, process: Process, message: Mapping[str, Any], now_us: int) -> dict[str, Any]:
        """Answer a question of a process, at once."""

    def refusal(self, reason: str, text: str) -> dict[str, Any]:
        """Count a refusal, and return the answer that says so."""


class CallersServer:
    """Listens at a Unix socket of packets, in a thread of its own, until it is closed.

    Parameters
    ----------
    path : str
    desk : Desk
    senders : Senders
    clock : callable, us
        The windows' time line.
    limits : CallLimits

    Raises
    ------
    wattshed.exporters.web.listen.ListenError
        The socket cannot be bound.
    """

    def __init__(
        self, path: str, desk: Desk, senders: Senders, clock: Callable[[], int], limits: CallLimits | None = None
    ) -> None:
        self.path, self._desk, self._senders, self._clock = path, desk, senders, clock
        limits = limits or CallLimits()
        self._budgets, self._accepts = Budgets(limits), Allowance(limits.accepted_per_s, time.monotonic())
        self._yields_s = limits.yields_s
        self._resting: dict[int, float] = {}  # descriptors, and until when they are not listened to
        self._quiet_users: dict[int, float] = {}
        self._connections: dict[int, tuple[socket.socket, int, float]] = {}  # with the user, and when it was used last
        self._quiet_us = 0
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._listener = bind_unix(path, 0o666, socket.SOCK_SEQPACKET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # what is accepted from it has it too
        self._poll.register(self._listener, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="wattshed-callers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and take the socket away."""
        if self._poll.closed:
            return
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5)
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - before it is closed: after that it may be another agent's
        self._listener.close()
        for descriptor in list(self._connections):
            self._drop(descriptor)
        self._poll.close()
        os.close(self._wake)

    def _run(self) -> None:
        asleep_us = self._clock()
        while True:
            ready = self._poll.poll(self._pause_s())
            # What is read now was not there when this began to wait, or came while the last round was answered.
            self._quiet_us, asleep_us = asleep_us, self._clock()
            for descriptor, events in ready:
                if descriptor == self._wake:
                    return
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._resting:
                    # What came before it was put to rest, in this round, is read when it has rested.
                    if events & (select.EPOLLHUP | select.EPOLLERR):
                        self._drop(descriptor)
                elif descriptor in self._connections:
                    self._hear(descriptor)
            self._listen_again()
            self._close_idle()

    def _pause_s(self) -> float:
        """Return how long to wait for something to come."""
        return min(IDLE_S, max(0.0, min(self._resting.values(), default=math.inf) - time.monotonic()))

    def _rest(self, descriptor: int, until_s: float) -> None:
        """Do not listen to a descriptor for a while: what comes stays in the kernel, and its senders wait."""
        self._resting[descriptor] = until_s
        self._poll.modify(descriptor, 0)

    def _listen_again(self) -> None:
        now_s = time.monotonic()
        for descriptor in [one for one, until_s in self._resting.items() if until_s <= now_s]:
            del self._resting[descriptor]
            self._poll.modify(descriptor, select.EPOLLIN if descriptor == self._listener.fileno() else _HEARD)

    def _accept(self) -> None:
        now_s = time.monotonic()
        if not self._accepts.spend(now_s):
            self._rest(self._listener.fileno(), now_s + ACCEPTS_AGAIN_S)
            return
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # who asked is gone again, or there are too many files open
            LOG.debug("accept: %s", error)
            return
        connection.setblocking(False)
        uid = credentials_of(connection).uid
        why = self._budgets.connect(uid)
        if why == "connections" and self._make_room(now_s):
            why = self._budgets.connect(uid)
        if why:
            _send(connection, self._desk.refusal(why, "too many connections; try again"))
            connection.close()
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._connections[connection.fileno()] = connection, uid, now_s
        self._poll.register(connection, _HEARD)
        if (until_s := self._quiet_users.get(uid, 0.0)) > now_s:
            self._rest(connection.fileno(), until_s)

    def _make_room(self, now_s: float) -> bool:
        """Close the connection on which nothing was asked for longest; False if all are in use."""
        descriptor = min(self._connections, key=lambda one: self._connections[one][2])
        if now_s - self._connections[descriptor][2] < self._yields_s:
            return False
        self._drop(descriptor)
        return True

    def _hear(self, descriptor: int) -> None:
        """Read one packet, and answer it; the next one of the same connection has its turn after the others'."""
        connection, uid, _ = self._connections[descriptor]
        try:
            packet, ancillary, flags, _ = connection.recvmsg(MOST_BYTES + 1, ROOM)
        except BlockingIOError:
            return
        except OSError:
            packet, ancillary, flags = b"", [], 0
        if not packet:
            self._drop(descriptor)
            return
        now_s = time.monotonic()
        self._connections[descriptor] = connection, uid, now_s
        sender = sender_of(ancillary)
        if not self._budgets.spend(sender.uid if sender.uid >= 0 else uid, now_s):
            answer = self._desk.refusal("packets", "too many packets a second; try again")
            self._quieten(uid, now_s)
        elif flags & socket.MSG_TRUNC or (message := unpacked(packet)) is None:
            answer = self._desk.refusal("malformed", f"a packet is a JSON object of at most {MOST_BYTES} bytes")
        else:
            answer = self._answer(sender, connection, message)
        if not _send(connection, answer):
            self._drop(descriptor)

    def _quieten(self, uid: int, now_s: float) -> None:
        """Listen to none of a user's connections for a while."""
        self._quiet_users = {who: until_s for who, until_s in self._quiet_users.items() if until_s > now_s}
        self._quiet_users[uid] = now_s + RESTS_S
        for descriptor, (_, who, _) in self._connections.items():
            if who == uid:
                self._rest(descriptor, now_s + RESTS_S)

    def _answer(self, sender: Sender, connection: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
        try:
            process = self._senders.process_of(sender, connection, self._quiet_us)
        except UnknownSenderError as error:
            return self._desk.refusal("unknown_process", str(error))
        if process is None:
            return {"again": "which process sent this is not certain; send it again"}
        return self._desk.answer(process, message, self._clock())

    def _close_idle(self) -> None:
        now_s = time.monotonic()
        for descriptor, (_, _, used_s) in list(self._connections.items()):
            if now_s - used_s > IDLE_S:
                self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        connection, uid, _ = self._connections.pop(descriptor)
        self._resting.pop(descriptor, None)
        self._budgets.disconnect(uid)
        if not self._poll.closed:
            self._poll.unregister(descriptor)
        connection.close()


def _send(connection: socket.socket, answer: Mapping[str, Any]) -> bool:
    """Send an answer; False if whoever asked does not read."""
    packet = packed(answer)
    if len(packet) > MOST_BYTES:
        packet = packed({"error": "the answer is too long for a packet"})
    try:
        connection.send(packet, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True
