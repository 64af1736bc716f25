"""What the server asks of the sockets of its connections."""

import errno
import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from tests.exporters.wire import get
from wattshed.exporters.web.listen import ListenError, bind, bind_all, bind_unix


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
def test_an_address_that_is_taken_is_named_with_who_has_it(where):
    host, _, _ = where.rpartition(":")
    family = socket.AF_INET6 if "::" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip("this host has no such address")
        other.listen()
        text = where.format(other.getsockname()[1])
        with pytest.raises(ListenError) as raised:
            bind(text)
    assert str(raised.value).startswith(f"cannot listen on {text}: in use by ")
    assert str(raised.value).endswith(f" (pid {os.getpid()})")


def test_all_addresses_that_cannot_be_bound_are_named_in_one_line_and_none_stays_bound():
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as probe:
        taken, free = other.getsockname()[1], probe.getsockname()[1]
        probe.close()
        # 192.0.2.0/24 belongs to nobody (RFC 5737), and .invalid never resolves (RFC 6761).
        asked = [f"127.0.0.1:{free}", f"127.0.0.1:{taken}", "192.0.2.1:0", "nobody.invalid:0"]
        with pytest.raises(ListenError) as raised:
            bind_all(asked)
        faults = str(raised.value).split("; ")
        assert [fault.partition(": ")[0] for fault in faults] == [f"cannot listen on {text}" for text in asked[1:]]
        assert "this host has no such address" in faults[1]
        assert "the name does not resolve" in faults[2]
        (sock,) = bind(asked[0])
        sock.close()


def test_a_port_that_needs_root_says_so(monkeypatch):
    def refuse(self, address):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ListenError, match=r"127.0.0.1:80: ports below 1024 need root or CAP_NET_BIND_SERVICE"):
        bind("127.0.0.1:80")
    with pytest.raises(ListenError, match=r"127.0.0.1:8080: Permission denied"):
        bind("127.0.0.1:8080")


def test_a_unix_socket_that_nobody_listens_at_is_replaced_and_one_in_use_is_not(tmp_path):
    path = str(tmp_path / "api.sock")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
    with bind_unix(path, 0o666):
        assert Path(path).stat().st_mode & 0o777 == 0o666
        before = Path(path).stat().st_ino
        with pytest.raises(ListenError, match=rf"cannot listen on unix:{path}: in use by .* \(pid {os.getpid()}\)"):
            bind(f"unix:{path}")
        assert Path(path).stat().st_ino == before
    (tmp_path / "file").write_text("mine")
    for other in ("file", "no folder/api.sock"):
        with pytest.raises(ListenError, match=f"cannot listen on unix:.*{other}"):
            bind_unix(str(tmp_path / other), 0o666)
    assert (tmp_path / "file").read_text() == "mine"


def test_whoever_locks_the_folder_and_stays_delays_a_start_by_a_moment_only(tmp_path, monkeypatch):
    monkeypatch.setattr("wattshed.exporters.web.listen.LOCK_PATIENCE_S", 0.1)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with bind_unix(str(tmp_path / "api.sock"), 0o666) as bound:
            assert bound.getsockname() == str(tmp_path / "api.sock")
    finally:
        os.close(held)


def test_of_two_that_start_at_once_one_gets_the_socket(tmp_path):
    path = str(tmp_path / "api.sock")
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(path)
        gate = threading.Barrier(4)
        bound, refused = [], []

        def start(gate=gate, bound=bound, refused=refused):
            gate.wait()
            try:
                bound.append(bind_unix(path, 0o600))
            except ListenError as error:
                refused.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(bound), len(refused)) == (1, 3)
        bound[0].close()
        Path(path).unlink()


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
        assert "in use by" in str(raised.value)
        monkeypatch.setattr(socket, "getaddrinfo", found([("192.0.2.1", 0)]))
        with pytest.raises(OSError, match="cannot listen on name:1") as raised:
            bind("name:1")
        assert "this host has no such address" in str(raised.value)


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
        assert "in use by" in str(raised.value)


def test_an_address_of_one_protocol_leaves_the_other_alone():
    try:
        (six,) = bind("[::]:0")
    except OSError:
        pytest.skip("this host has no IPv6")
    with six:
        (four,) = bind(f"0.0.0.0:{six.getsockname()[1]}")
        four.close()
