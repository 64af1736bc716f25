"""One gRPC call over a unix socket: a connection of its own, a message there, a message back.

gRPC is HTTP/2 with a five-byte head before each message and a status in the trailers
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). HTTP/2 is h2's; the rest is little, and grpcio would
be 19 MB and a thread pool for it.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

if TYPE_CHECKING:
    from pathlib import Path

    from h2.events import Event

STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_HEAD = 5
"""Bytes before a message: whether it is compressed, and its length."""
_FRAME = 1 << 20
_READ = 1 << 18


class CallFailed(RuntimeError):  # noqa: N818 - named for what happened
    """A call that brought no message.

    Attributes
    ----------
    status : str
        One of `STATUS`.
    """

    def __init__(self, status: str, details: str) -> None:
        super().__init__(f"{status} {details}".rstrip())
        self.status = status


@dataclass(slots=True)
class _Answer:
    """What has come of an answer so far."""

    body: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    ended: bool = False


def call(path: Path, method: str, request: bytes, timeout_s: float, largest: int) -> bytes:
    """Send one message and return the one that comes back.

    Parameters
    ----------
    path : Path
        A unix socket.
    method : str
        As in ``/package.Service/Method``.
    request : bytes
    timeout_s : float, s
        For the whole call.
    largest : int, bytes
        A longer answer is refused before it is read.

    Raises
    ------
    CallFailed
    """
    until = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            return _message(_converse(connection, method, request, until, largest), largest)
    except TimeoutError:
        raise CallFailed("DEADLINE_EXCEEDED", f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise CallFailed("UNAVAILABLE", f"{path}: {error.strerror or error}") from error
    except ProtocolError as error:
        raise CallFailed("INTERNAL", f"not HTTP/2: {error}") from error


def _converse(connection: socket.socket, method: str, request: bytes, until: float, largest: int) -> _Answer:
    """Send the request; read until the answer has ended."""
    http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http.initiate_connection()
    http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: largest + _HEAD, SettingCodes.MAX_FRAME_SIZE: _FRAME})
    http.increment_flow_control_window(largest + _HEAD)
    stream = http.get_next_available_stream_id()
    wait_ms = max(1, int((until - time.monotonic()) * 1e3))
    http.send_headers(
        stream,
        [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", method.encode()), (b":authority", b"localhost"),
            (b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"grpc-timeout", b"%dm" % wait_ms),
        ],
    )  # fmt: skip
    http.send_data(stream, b"\0" + len(request).to_bytes(4, "big") + request, end_stream=True)
    connection.sendall(http.data_to_send())
    answer = _Answer()
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        data = connection.recv(_READ)
        if not data:
            raise CallFailed("UNAVAILABLE", "the connection was closed before the answer ended")
        for event in http.receive_data(data):
            _take(answer, event, stream)
        _refuse_what_is_larger(answer.body, largest)
        if answer.ended:
            return answer
        connection.sendall(http.data_to_send())


def _take(answer: _Answer, event: Event, stream: int) -> None:
    """Add what an event brought."""
    if isinstance(event, ConnectionTerminated) and event.error_code == ErrorCodes.NO_ERROR:
        return  # it takes no other calls, and ends this one; if it does not, the end of the connection says so
    if isinstance(event, ConnectionTerminated):
        raise CallFailed("UNAVAILABLE", f"the server closed the connection (error {event.error_code})")
    if getattr(event, "stream_id", None) != stream:
        return
    if isinstance(event, ResponseReceived | TrailersReceived):
        answer.headers.update((bytes(name), bytes(value)) for name, value in event.headers or ())
    elif isinstance(event, DataReceived):
        answer.body += event.data or b""
    elif isinstance(event, StreamReset) and event.error_code != ErrorCodes.NO_ERROR:
        raise CallFailed("UNAVAILABLE", f"the server reset the call (error {event.error_code})")
    elif isinstance(event, StreamEnded | StreamReset):
        answer.ended = True


def _refuse_what_is_larger(body: bytearray, largest: int) -> None:
    if len(body) >= _HEAD and (length := int.from_bytes(body[1:_HEAD], "big")) > largest:
        raise CallFailed("RESOURCE_EXHAUSTED", f"the answer has {length} bytes, of {largest} at most")


def _message(answer: _Answer, largest: int) -> bytes:
    """Return the one message of a whole answer, or raise what its status says."""
    told = answer.headers.get(b"grpc-status", b"")
    if not told.isdigit():
        http_status = answer.headers.get(b":status", b"").decode("latin-1")
        raise CallFailed("UNKNOWN", f"no gRPC status (HTTP status {http_status or 'missing'})")
    if (number := int(told)) != 0:
        details = unquote(answer.headers.get(b"grpc-message", b"").decode("latin-1"))
        raise CallFailed(STATUS[number] if number < len(STATUS) else "UNKNOWN", details)
    _refuse_what_is_larger(answer.body, largest)
    length = int.from_bytes(answer.body[1:_HEAD], "big")
    if len(answer.body) != _HEAD + length or answer.body[0]:
        raise CallFailed("INTERNAL", "the answer is truncated, or compressed without being asked to be")
    return bytes(answer.body[_HEAD:])
