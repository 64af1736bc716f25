"""A gRPC call against servers that misbehave; the conversation with a real one is tests/jobs/test_kubernetes.py's."""

import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("h2", reason="needs the extra kubernetes")

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from tests.depth import examples
from wattshed.agent.wire.grpc_call import CallFailed, call


@contextmanager
def server(answer):
    """A unix socket on which each connection is given to ``answer``; gives its path."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        path = Path(folder, "s")
        listening.bind(str(path))
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            with connection:
                answer(connection)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # what is closed with something unread is reset
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(10)


def http2(headers, *data, trailers=None, goaway=False):
    """An answer of HTTP/2 to the first request; what it saw of that is in ``seen``."""
    seen = {}

    def answer(connection):
        server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        server.initiate_connection()
        connection.sendall(server.data_to_send())
        ended = False
        while not ended:
            for event in server.receive_data(connection.recv(65536)):
                if isinstance(event, RequestReceived):
                    seen.update(event.headers)
                ended = ended or isinstance(event, StreamEnded)
        server.send_headers(1, headers, end_stream=not data and trailers is None)
        for place, piece in enumerate(data):
            server.send_data(1, piece, end_stream=trailers is None and place == len(data) - 1)
        if trailers is not None:
            server.send_headers(1, trailers, end_stream=True)
        if goaway:
            server.close_connection()
        connection.sendall(server.data_to_send())

    answer.seen = seen
    return answer


def ask(answer, timeout_s=5.0, largest=100):
    with server(answer) as path:
        return call(path, "/a.B/C", b"question", timeout_s, largest)


GOOD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def test_a_message_in_pieces():
    answer = http2(GOOD, b"\0\0\0\0", b"\3ab", b"c", trailers=OK)
    assert ask(answer) == b"abc"
    assert (answer.seen[":path"], answer.seen["te"]) == ("/a.B/C", "trailers")
    assert 0 < int(answer.seen["grpc-timeout"].removesuffix("m")) <= 5000


def test_a_server_that_takes_no_more_calls_has_answered_this_one():
    assert ask(http2(GOOD, b"\0\0\0\0\3abc", trailers=OK, goaway=True)) == b"abc"
    with pytest.raises(CallFailed, match="no gRPC status"):
        ask(http2(GOOD, b"\0\0\0\0\3ab", goaway=True))


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (http2([*GOOD, ("grpc-status", "2"), ("grpc-message", "pod a%2Fb not found")]), "UNKNOWN", "pod a/b not found"),
        (http2([*GOOD, ("grpc-status", "99")]), "UNKNOWN", ""),
        (http2([(":status", "503")]), "UNKNOWN", "no gRPC status (HTTP status 503)"),
        (http2(GOOD, b"\0\0\0\0\3ab", trailers=OK), "INTERNAL", "truncated"),
        (http2(GOOD, b"\1\0\0\0\1a", trailers=OK), "INTERNAL", "compressed"),
        (http2(GOOD, trailers=OK), "INTERNAL", "truncated"),
        (http2(GOOD, b"\0\0\0\0\x65", trailers=OK), "RESOURCE_EXHAUSTED", "101 bytes, of 100 at most"),
        (lambda one: one.sendall(b"\0\0\1\0\0\0\0\0\7x"), "INTERNAL", "not HTTP/2"),
        (lambda one: one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "UNAVAILABLE", "closed before the answer"),
        (lambda one: one.recv(1), "UNAVAILABLE", "closed before the answer ended"),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_a_status_and_a_reason(answer, status, told):
    with pytest.raises(CallFailed) as failed:
        ask(answer)
    assert failed.value.status == status
    assert told in str(failed.value)


def test_a_server_that_drips_is_not_waited_for_longer_than_agreed():
    over = threading.Event()

    def drip(connection):
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        while not over.wait(0.02):
            http.ping(b"12345678")
            connection.sendall(http.data_to_send())

    with server(drip) as path:
        with pytest.raises(CallFailed, match=r"DEADLINE_EXCEEDED no answer within 0\.2 s"):
            call(path, "/a.B/C", b"", 0.2, 100)
        over.set()


def test_nobody_there(tmp_path):
    with pytest.raises(CallFailed, match=r"UNAVAILABLE .*No such file"):
        call(tmp_path / "none", "/a.B/C", b"", 1.0, 100)


@settings(max_examples=examples(60))
@given(st.binary(max_size=80))
@example(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x02\x01\x05\x00\x00\x00\x01\xff\xff")
@example(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\x00" * 8)
def test_any_bytes_are_refused(noise):
    """What is no answer fails as a call, never as anything else."""
    with pytest.raises(CallFailed):
        ask(lambda one: one.sendall(noise))
