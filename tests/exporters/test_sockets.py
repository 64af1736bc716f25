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


def test_a_name_is_bound_at_those_of_its_addresses_that_this_host_has(monkeypatch):
    """The others may be of a protocol that is switched off; an address that is taken is another matter."""
    (first,) = bind("127.0.0.1:0")
    port = first.getsockname()[1]

    def found(addresses):
        return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    with first:
        monkeypatch.setattr(socket, "getaddrinfo", found([("192.0.2.1", 0), ("127.0.0.1", 0)]))
        (sock,) = bind("name:0")
        with sock:
            assert sock.getsockname()[0] == "127.0.0.1"
        monkeypatch.setattr(socket, "getaddrinfo", found([("127.0.0.1", port)]))
        with pytest.raises(OSError, match="cannot listen on name:1") as raised:
            bind("name:1")
        assert raised.value.errno == errno.EADDRINUSE
        monkeypatch.setattr(socket, "getaddrinfo", found([("192.0.2.1", 0)]))
        with pytest.raises(OSError, match="cannot listen on name:1") as raised:
            bind("name:1")
        assert raised.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    ("why", "host"), [(None, "::"), (errno.EADDRNOTAVAIL, "0.0.0.0"), (errno.EAFNOSUPPORT, "0.0.0.0")]
)
def test_every_address_is_those_of_both_protocols_or_of_the_one_there_is(monkeypatch, why, host):
    bound = socket.socket.bind

    def refusing(self, address):
        if why is not None and self.family == socket.AF_INET6:
            raise OSError(why, "no IPv6 here")
        bound(self, address)

    monkeypatch.setattr(socket.socket, "bind", refusing)
    (sock,) = bind(":0")
    with sock:
        if why is None and sock.family != socket.AF_INET6:
            pytest.skip("this host has no IPv6")
        assert sock.getsockname()[0] == host
        with socket.create_connection(("127.0.0.1", sock.getsockname()[1]), timeout=5):
            pass
        taken = sock.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on :{taken}") as raised:
            bind(f":{taken}")
        assert raised.value.errno == errno.EADDRINUSE


def test_an_address_of_one_protocol_leaves_the_other_alone():
    try:
        (six,) = bind("[::]:0")
    except OSError:
        pytest.skip("this host has no IPv6")
    with six:
        (four,) = bind(f"0.0.0.0:{six.getsockname()[1]}")
        four.close()
