"""Servers that are read: pages where they may be, answers that are none, and whose a server is."""

import gzip
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.servers import serving
from wattshed.agent.errors import Faults
from wattshed.agent.window import JobKey, Owner
from wattshed.agent.wire.http import Address
from wattshed.agent.work_units import servers as servers_room
from wattshed.agent.work_units.inbox import WorkInbox
from wattshed.agent.work_units.peers import NoPeerError, cgroup_of_peer
from wattshed.agent.work_units.servers import MOST_BYTES, NOT_ONE_ROUNDS, WorkServer, WorkServers

PAGE = (Path(__file__).parent / "pages/vllm-0.33-a.prom").read_bytes()
IDLE = (Path(__file__).parent / "pages/vllm-0.33-b.prom").read_bytes()
JOB = Owner(JobKey("slurm:7"))


class Owners:
    """Says of every connection that it is this job's."""

    def __init__(self, owner=JOB):
        self.owner = owner

    def owner_of(self, connection):
        assert connection.getpeername()[0] == "127.0.0.1"
        if isinstance(self.owner, Exception):
            raise self.owner
        return self.owner


def reading(url, owners=None, **about):
    inbox, faults = WorkInbox(lambda: 1), Faults()
    server = WorkServer(Address.parse(url, "url", "http://x"), **about)
    return WorkServers([server], inbox, owners or Owners(), 5.0, faults), inbox


def test_a_page_is_looked_for_where_it_may_be_and_then_known():
    script = [(404, {}, b""), (200, {}, b"up 1\n"), (200, {}, PAGE), (200, {}, IDLE)]
    with serving() as server:
        server.script[:] = script
        read, inbox = reading(server.url)
        read.read_all()
        read.read_all()
    assert [one.target for one in server.asked] == ["/metrics", "/prometheus/metrics", "/v1/metrics", "/v1/metrics"]
    assert inbox.status({}).servers == (("slurm:7", "vllm", True),)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "status"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(PAGE)), "compressed"),
        ((200, {}, b"x" * (MOST_BYTES + 1)), "too_long"),
        ((200, {}, PAGE[:-1]), "cut"),
        ((200, {}, PAGE.replace(b" 4096.0", b" -1")), "negative"),
        ((200, {"Content-Length": str(len(PAGE) + 9)}, PAGE), "no_answer"),
    ],
)
def test_what_is_no_page_is_counted_and_is_no_work(answer, reason):
    with serving() as server:
        server.script.append(answer)
        read, inbox = reading(server.url, kind="vllm")
        if reason == "no_answer":  # the connection ends before the page does
            server.script[0] = lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PAGE)
        read.read_all()
    assert inbox.status({}).rejected == {reason: 1}
    assert inbox.status({}).servers == ()
    assert len(server.asked) == 1


def test_a_server_that_never_ends_takes_no_longer_than_two_seconds(monkeypatch):
    monkeypatch.setattr(servers_room, "TIMEOUT_S", 0.2)
    end = threading.Event()

    def drip(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not end.wait(0.02):
            sock.sendall(b"vllm:x 1\n")

    with serving() as server:
        server.script.append(drip)
        read, inbox = reading(server.url, kind="vllm")
        read.read_all()
        end.set()
    assert inbox.status({}).rejected == {"no_answer": 1}


def test_a_server_of_nobody_on_a_gpu_is_sent_nothing():
    with serving() as server:
        read, inbox = reading(server.url, Owners(None), named=False)
        read.read_all()
    assert server.asked == []
    assert inbox.status({}).rejected == {}


def test_where_the_kernel_does_not_say_whose_it_is_the_job_is_to_be_named():
    with serving() as server:
        read, inbox = reading(server.url, Owners(NoPeerError("too old")), kind="vllm")
        read.read_all()
        assert server.asked == []
        assert inbox.status({}).rejected == {"no_answer": 1}
        server.script.append((200, {}, PAGE))
        read, inbox = reading(server.url, Owners(NoPeerError("too old")), kind="vllm", job="unit:vllm.service")
        read.read_all()
    assert inbox.status({}).servers == (("unit:vllm.service", "vllm", True),)


def test_a_port_that_has_no_such_page_is_left_alone_for_a_while():
    with serving() as server:
        read, inbox = reading(server.url, named=False)
        for _ in range(NOT_ONE_ROUNDS + 1):
            read.read_all()
        assert len(server.asked) == 3
        read.read_all()
        assert len(server.asked) == 6
    assert inbox.status({}).rejected == {}


@contextmanager
def connected(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as connection:
            yield connection


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_the_kernel_says_in_which_cgroup_a_server_is(family, host):
    mounts = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    root = next((one for one in mounts if (one / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("cgroup v2 is not mounted here")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
    with connected(family, host) as connection:
        assert cgroup_of_peer(connection) == (root / path.strip("/")).stat().st_ino


def test_a_far_end_that_is_not_here_is_an_error():
    with connected() as connection:

        class Elsewhere:
            getsockname = connection.getsockname

            def getpeername(self):
                return "192.0.2.1", 80

        with pytest.raises(NoPeerError):
            cgroup_of_peer(Elsewhere())
