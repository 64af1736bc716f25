"""The socket at which administrators have this agent let go of the driver, and take it back.

Root, the agent's own user and members of one group may ask; who that is the kernel says. A question is answered at
once: what is wanted is done by whoever holds the driver (`agent.meters.letting_go`), which a later question tells.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.config.settings import METERS
from wattshed.agent.daemon.questions import socket_path
from wattshed.agent.meters.release import LONGEST_US
from wattshed.agent.wire.agent_socket import MOST_BYTES, packed, unpacked
from wattshed.agent.wire.control_socket import NAME
from wattshed.exporters.web.listen import ListenError, bind_unix
from wattshed.exporters.web.peer import Access, caller_of, group_id, overflow_uids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from wattshed.agent.config.settings import Config
    from wattshed.agent.meters.release import Release, ReleaseDesk
    from wattshed.agent.window import Device

LOG = logging.getLogger("wattshed")
USUAL_US = 600_000_000
"""For how long, where nobody says."""
PATIENCE_S = 1.0
LONGEST_WHY = 120


class Control:
    """Answers what may be asked at the socket.

    Parameters
    ----------
    desk : ReleaseDesk
    version : str

    Attributes
    ----------
    devices : callable
        Returns the GPUs that are metered; none before there are any.
    dev_root : Path
        Where the driver's device nodes are.
    trouble : str
        Why nobody can ask, or nothing.
    """

    def __init__(self, desk: ReleaseDesk, version: str) -> None:
        self._desk, self._version = desk, version
        self.devices: Callable[[], Sequence[Device]] = tuple
        self.dev_root = Path("/dev")
        self.trouble = ""

    def release(self, why: str, for_us: int = USUAL_US) -> None:
        """Let go of the driver for a while; may be called from a signal handler."""
        self._desk.ask(for_us, why=why)

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer one question."""
        op = message.get("op")
        if op == "release":
            return self._release(message)
        if op == "resume":
            self._desk.resume()
        elif op != "status":
            return {"error": f"{op!r} is none of release, resume, status"}
        return self._status(self._desk.wanted())

    def _release(self, message: dict[str, Any]) -> dict[str, Any]:
        for_s, given, why = message.get("for_s", USUAL_US / 1e6), message.get("gpus", []), message.get("why", "")
        if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 1 <= for_s <= LONGEST_US / 1e6:
            return {"error": f"a release is for 1 to {LONGEST_US // 1_000_000} seconds, not {for_s!r}"}
        if not isinstance(given, list) or not isinstance(why, str):
            return {"error": "gpus is a list of numbers and UUIDs, and why a text"}
        found = {str(one): self._uuid(str(one)) for one in given}
        if unknown := [name for name, uuid in found.items() if not uuid]:
            known = ", ".join(str(one.index) for one in self.devices()) or "none yet"
            return {"error": f"no GPU {', '.join(unknown)} is metered here; there are {known} (or a UUID)"}
        why = "".join(c for c in why if c.isprintable())[:LONGEST_WHY]
        return self._status(self._desk.ask(round(for_s * 1e6), frozenset(found.values()), why))

    def _uuid(self, name: str) -> str:
        """Return the UUID of a GPU by its number or UUID; empty if there is none."""
        return next((one.uuid for one in self.devices() if name in {str(one.index), one.uuid}), "")

    def _status(self, wanted: Release | None) -> dict[str, Any]:
        """Say what is wanted and what is done, and where the driver's nodes are."""
        done = self._desk.obeyed
        return {
            "wattshed": self._version,
            "pid": os.getpid(),
            "dev": str(self.dev_root),
            "wanted": _plain(wanted),
            "released": _plain(done),
            "gpus": [{"gpu": one.index, "uuid": one.uuid, "minor": one.minor} for one in self.devices()],
        }


def _plain(release: Release | None) -> dict[str, Any] | None:
    if release is None:
        return None
    return {"until_us": release.until_us, "gpus": sorted(release.gpus), "why": release.why}


class ControlServer:
    """Listens at a Unix socket of packets, in a thread of its own, until it is closed: a question a connection.

    Parameters
    ----------
    path : str
    control : Control
    access : Access
        Who may ask.
    group : int or None
        The group that the socket belongs to.

    Raises
    ------
    wattshed.exporters.web.listen.ListenError
        The socket cannot be bound.
    """

    def __init__(self, path: str, control: Control, access: Access, group: int | None) -> None:
        self.path, self._control, self._access = path, control, access
        self._listener = bind_unix(path, 0o660, socket.SOCK_SEQPACKET)
        self._listener.setblocking(True)
        if group is not None:
            try:
                os.chown(path, -1, group)
            except OSError as error:
                LOG.warning("%s cannot be given to group %d (%s): only root may use it", path, group, error.strerror)
        self._thread = threading.Thread(target=self._run, name="wattshed-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and take the socket away."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - before it is closed: after that it may be another agent's
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=2 * PATIENCE_S)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                LOG.debug("control socket: %s", error)
                return
            with connection:
                connection.settimeout(PATIENCE_S)
                with contextlib.suppress(OSError):  # who asked is gone, or does not ask
                    connection.send(packed(self._answer(connection)))

    def _answer(self, connection: socket.socket) -> dict[str, Any]:
        if not self._access.sees_all(caller_of(connection)):
            return {"error": "only root and members of the control group may ask this"}
        message = unpacked(connection.recv(MOST_BYTES + 1))
        if message is None:
            return {"error": f"a packet is a JSON object of at most {MOST_BYTES} bytes"}
        if message.get("op") != "status":
            LOG.info("control: %s", json.dumps(message)[:LONGEST_WHY])
        return self._control.answer(message)


def open_control(config: Config, control: Control, opened: ExitStack) -> None:
    """Listen for administrators, where there shall be a socket; `Control.trouble` says why it cannot be had.

    Parameters
    ----------
    config : Config
    control : Control
    opened : ExitStack
        Closes the socket.
    """
    if config.meter.partition(":")[0] not in METERS:
        return  # a recording is played back: there is no driver to let go of
    path = socket_path(config.control_socket, NAME, "no socket for `wattshed release`", "control_socket", os.environ)
    if not path:
        return
    group = _group(config.control_group)
    access = Access(frozenset({0, os.geteuid()}), group, overflow_uids(Path(config.proc_root)))
    try:
        opened.callback(ControlServer(path, control, access, group).close)
    except ListenError as error:
        control.trouble = str(error)


def _group(name: str) -> int | None:
    """Look a group up; one that does not exist lets nobody in, and is no fault: packages make it, images have none."""
    try:
        return group_id(name) if name else None
    except KeyError:
        LOG.debug("no group %r on this host: only root may use the control socket", name)
        return None
