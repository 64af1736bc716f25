"""The socket at which an agent tells jobs their own joules, and hears what work they did: packets of JSON.

A packet is one question, its answer one packet more: ``{"op": "hello"}``, ``{"op": "add", "unit": "steps", "count":
1}``, ``{"op": "energy", "start_ns": ..., "end_ns": ...}`` with times of CLOCK_MONOTONIC. Who asks is what the kernel
says of each packet, never what is in it. Answers have ``error`` where something is refused, ``wait`` where it is not
known yet (with an estimate, where there is one), and ``again`` where the kernel did not tell who asks for certain.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.wire.sockets import SHARED, is_trusted, own_folders
from wattshed.exporters.web.peer import credentials_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "agent.sock"
SCHEMA = "wattshed.agent/1"
VARIABLE = "WATTSHED_SOCKET"
JOB, PROCESS = "job", "process"
"""Whose joules an answer tells: those of the job of whoever asks; or, outside of jobs, its own and those of what it
started."""
MOST_BYTES = 4096
"""Of a packet, in either direction."""
MOST_COUNT = 1 << 53
"""What a JavaScript, or any other double-precision, reader still counts exactly."""
UNIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What a unit of work may be called."""
_ALL_USERS = ["0", "0", str(2**32 - 1)]
_PATIENCE_S = 1.0
_TRIES, _AGAIN_S = 5, 0.02


class AgentAbsentError(OSError):
    """No agent can be asked; the text says where it was looked for, and why none was believed.

    Attributes
    ----------
    sent : bool
        The question was sent, and may have arrived.
    """

    def __init__(self, text: str, *, sent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent


def wrong_work(unit: object, count: object) -> str:
    """Say what is wrong with an amount of work; empty if nothing is.

    Parameters
    ----------
    unit : object
        Should be a str that `UNIT` matches.
    count : object
        Should be an int, 1 to 2^53.
    """
    if not isinstance(unit, str) or not UNIT.fullmatch(unit):
        return f"{unit!r} is no name of a unit: a to z, 0 to 9 and _, a letter first, at most 32"
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_COUNT:
        return f"a count of {unit} is a whole number from 1 to 2^53, not {count!r}"
    return ""


def packed(message: Mapping[str, Any]) -> bytes:
    """Write a packet."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()


def unpacked(packet: bytes) -> dict[str, Any] | None:
    """Read a packet; None if it is none of ours."""
    if len(packet) > MOST_BYTES:
        return None
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def agent_socket(environ: Mapping[str, str], uid: int, *, shared: Path = SHARED) -> str:
    """Return the path of the socket to ask at; empty if there is none.

    One's own agent goes first; of several, one that does not know this process (it plays a recording back, or meters a
    simulated node) is passed over.

    Parameters
    ----------
    environ : mapping
        ``WATTSHED_SOCKET`` names one; empty there means none.
    uid : int
    shared : Path
        Where root's agent listens.
    """
    if VARIABLE in environ and environ[VARIABLE] != "auto":
        return environ[VARIABLE]
    folders = own_folders(environ, uid), (shared,)
    places = [str(folder / NAME) for of in folders for folder in of if (folder / NAME).exists()]
    return next(filter(_knows_us, places[:-1]), places[-1]) if places else ""


def _knows_us(path: str) -> bool:
    try:
        return "error" not in ask(path, {"op": "hello"})
    except AgentAbsentError:
        return False


def ask(path: str, message: Mapping[str, Any], patience_s: float = _PATIENCE_S) -> dict[str, Any]:
    """Ask an agent one question.

    Parameters
    ----------
    path : str
        Of its socket.
    message : mapping
    patience_s : float, s
        The agent answers at once or not at all.

    Raises
    ------
    AgentAbsentError
        Nobody answers there who can be believed.
    """
    if not path:
        raise AgentAbsentError("no agent of wattshed runs here")
    believed = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            # With a timeout of Python's, connecting fails at once where others wait for their turn, too.
            patience = struct.pack("@ll", int(patience_s), int(patience_s % 1 * 1e6))
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, patience)
            sock.connect(path)
            believed = _is_believed(credentials_of(sock).uid, Path(path).parent)
            answer = _exchanged(sock, packed(message)) if believed else None
    except BlockingIOError:
        raise AgentAbsentError(f"{path}: no answer within {patience_s:g} s", sent=believed) from None
    except OSError as error:
        raise AgentAbsentError(f"{path}: {error.strerror or error}", sent=believed) from None
    if not believed:
        raise AgentAbsentError(f"{path}: whoever listens there is neither root, wattshed nor you")
    if answer is None:
        raise AgentAbsentError(f"{path}: the answer is none of an agent's", sent=True)
    return answer


def _exchanged(sock: socket.socket, packet: bytes) -> dict[str, Any] | None:
    """Send a packet until the kernel has told for certain who sent it; see `agent.daemon.callers.senders`."""
    for _ in range(_TRIES):
        with contextlib.suppress(BrokenPipeError):  # an agent that takes no more connections said so, and hung up
            sock.send(packet)
        answer = unpacked(_received(sock))
        if answer is None or "again" not in answer:
            return answer
        time.sleep(_AGAIN_S)
    return answer


def _received(sock: socket.socket) -> bytes:
    """Receive an answer; also one given before the agent hung up on a question that it did not read."""
    try:
        return sock.recv(MOST_BYTES + 1)
    except ConnectionResetError:  # told once, and before what has arrived
        return sock.recv(MOST_BYTES + 1)


def _is_believed(uid: int, folder: Path) -> bool:
    """Tell whether an agent of that user may tell joules: root's, one's own, or one that root gave the folder to."""
    if uid in {0, os.geteuid()} or is_trusted(folder) or _was_handed_in(uid, folder):
        return True
    try:
        return uid == pwd.getpwnam("wattshed").pw_uid
    except KeyError:
        return False


def _was_handed_in(uid: int, folder: Path) -> bool:
    """Tell whether a folder was mounted read-only into a container that has users of its own.

    There the host's root, as every user of the host, is the one of whom the kernel says nothing. Who made the mount is
    who made the container.
    """
    try:
        own_users = Path("/proc/self/uid_map").read_text(encoding="utf-8").split() != _ALL_USERS
        nobody = Path("/proc/sys/kernel/overflowuid").read_text(encoding="utf-8").strip()
        return own_users and str(uid) == nobody and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False
