"""What the server asks of the sockets of its connections."""

import errno
import socket

import pytest

from tests.exporters.wire import get
from wattshed.exporters.web.listen import bind


def test_answers_are_not_held_back_for_more(serve, monkeypatch):
    """Without TCP_NODELAY the last part of a page may wait for a delayed acknowledgement of the one before."""
    asked, ask = [], socket.socket.setsockopt
    monkeypatch.setattr(
        socket.socket, "setsockopt", lambda self, *words: (asked.append((self.type, *words)), ask(self, *words))[1]
    )
    _, port = serve()
    assert get(port)[0] == 200
    assert (socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in asked


@pytest.mark.parametrize("where", ["127.0.0.1:{}", "[::1]:{}"])
def test_an_address_that_is_taken_is_named_with_the_systems_reason(where):
    host, _, _ = where.rpartition(":")
    family = socket.AF_INET6 if "::" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip("this host has no such address")
        other.listen()
        text = where.format(other.getsockname()[1])
        with pytest.raises(OSError, match="cannot listen on") as raised:
            bind(text)
    assert raised.value.errno == errno.EADDRINUSE
    assert text in raised.value.strerror
