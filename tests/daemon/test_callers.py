"""The socket at which jobs ask: who asks is what the kernel says, and nobody's questions are in anybody's way."""

import array
import contextlib
import json
import os
import select
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.daemon.callers import connected, listening, now_us
from wattshed.agent.daemon.callers.desk import MOST_REFUSALS
from wattshed.agent.daemon.callers.limits import Budgets, CallLimits
from wattshed.agent.daemon.callers.senders import Senders
from wattshed.agent.daemon.callers.server import RESTS_S, CallersServer
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.wire.agent_socket import MOST_BYTES, AgentAbsentError, agent_socket, ask, wrong_work


@pytest.fixture
def socket_of(tmp_path):
    with ExitStack() as opened:
        yield lambda limits=None, refuses=(): opened.enter_context(listening(tmp_path, limits, refuses))


def in_a_child(what, uid=65534):
    """Run something in a process of another user, and return what it returned, and its pid."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.write(writing, json.dumps(what()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        answer = json.loads(told.read())
    os.waitpid(pid, 0)
    return answer, pid


def test_a_caller_learns_its_own_job_after_the_next_window(socket_of):
    agent = socket_of()
    assert "wait" in ask(agent.path, {"op": "hello"})
    agent.settle()
    assert ask(agent.path, {"op": "hello"})["job"] == f"job:{os.getpid()}"
    with pytest.raises(AgentAbsentError, match="no agent"):
        ask("", {"op": "hello"})


def test_work_is_whose_process_sent_it_whoever_connected(socket_of):
    agent = socket_of()
    with connected(agent.path) as mine:

        def push():
            for _ in range(10):
                mine.send(b'{"op": "add", "unit": "steps", "count": 7}')
                answer = json.loads(mine.recv(MOST_BYTES))
                if "again" not in answer:
                    return answer
                time.sleep(0.02)
            return answer

        answer, child = in_a_child(push)
    assert answer == {"ok": True}
    agent.settle()
    assert agent.work.work == [(f"job:{child}", "steps", 7)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_forged_push_changes_nobodys_work(socket_of):
    agent, victim = socket_of(), os.getpid()

    def forge():
        with connected(agent.path) as sock:
            forged = struct.pack("3i", victim, 0, 0)
            sock.sendmsg(
                [b'{"op": "add", "unit": "steps", "count": 7}'],
                [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, forged)],
            )
            return "sent"

    answer, _ = in_a_child(forge)
    assert answer.startswith("PermissionError")
    agent.settle()
    assert agent.work.work == []


def test_what_is_no_question_is_refused_and_counted(socket_of):
    agent = socket_of(refuses={"images"})
    with connected(agent.path) as sock:
        for packet in (b"[]", b"{", b'"quoted"', b"\xff", b'{"op": 1}', b" " * MOST_BYTES + b"{}", b"[" * 3000):
            sock.send(packet)
            assert "error" in json.loads(sock.recv(MOST_BYTES)), packet
    for unit, count in (
        ("Steps", 1),
        ("steps", 0),
        ("steps", 1.5),
        ("steps", True),
        ("s" * 33, 1),
        ("steps", 2**53 + 1),
    ):
        assert "error" in ask(agent.path, {"op": "add", "unit": unit, "count": count}), unit
    assert set(agent.work.reasons) == {"malformed", "unknown_op"}
    ask(agent.path, {"op": "add", "unit": "images", "count": 1})
    agent.settle()
    assert ask(agent.path, {"op": "add", "unit": "images", "count": 1}) == {"error": "no more units"}
    assert wrong_work("output_tokens", 2**53) == ""


def test_refusals_of_made_up_units_are_few(socket_of):
    units = [f"unit{k}" for k in range(MOST_REFUSALS + 5)]
    agent = socket_of(refuses=units)
    tell = lambda unit: ask(agent.path, {"op": "add", "unit": unit, "count": 1})
    assert all("ok" in tell(unit) for unit in units)
    agent.settle()
    assert [unit for unit in units if "error" in tell(unit)] == units[5:]


def test_descriptors_that_are_sent_along_are_not_kept(socket_of):
    agent = socket_of()
    reading, writing = os.pipe()
    with connected(agent.path) as sock:
        sock.sendmsg([b'{"op": "hello"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))])
        os.close(writing)
        assert json.loads(sock.recv(MOST_BYTES))
        assert os.read(reading, 1) == b"", "the other end is closed: nobody holds it"
    os.close(reading)


def test_a_user_has_so_many_connections_and_packets(socket_of):
    agent = socket_of(CallLimits(connections=3, of_a_user=2, packets_per_s=5))
    with connected(agent.path), connected(agent.path), connected(agent.path) as third:
        assert json.loads(third.recv(MOST_BYTES))["reason"] == "connections_of_a_user"
        assert third.recv(MOST_BYTES) == b""
    deadline = time.monotonic() + 5
    answers = []
    while not any(answer.get("reason") == "packets" for answer in answers) and time.monotonic() < deadline:
        answers.append(ask(agent.path, {"op": "hello"}))
    assert answers[-1]["reason"] == "packets"
    assert len(answers) > 5


def test_who_sends_too_much_is_not_listened_to_for_a_while(socket_of):
    """What is not read stays in the kernel, and its sender waits: a flood costs no more than what is allowed."""
    agent = socket_of(CallLimits(packets_per_s=5))
    with connected(agent.path) as flood:
        begun, told = time.monotonic(), []
        flood.setblocking(False)
        while time.monotonic() < begun + 0.5 or len(told) < 6:
            with contextlib.suppress(BlockingIOError):
                flood.send(b'{"op": "hello"}')
            with contextlib.suppress(BlockingIOError):
                told.append(json.loads(flood.recv(MOST_BYTES)))
        rests = (time.monotonic() - begun) / RESTS_S
    assert 5 <= sum("wait" in one for one in told) <= 5 + 5 * RESTS_S * (rests + 1)
    assert 1 <= sum(one.get("reason") == "packets" for one in told) <= rests + 1
    assert "wait" in ask(agent.path, {"op": "hello"}, 5.0), "later its user is heard again"


def test_what_is_not_used_makes_room(socket_of):
    agent = socket_of(CallLimits(connections=2, yields_s=0.0))
    with connected(agent.path) as first, connected(agent.path) as second:
        second.send(b'{"op": "hello"}')
        assert second.recv(MOST_BYTES)
        assert "wait" in ask(agent.path, {"op": "hello"})
        assert first.recv(MOST_BYTES) == b"", "it asked nothing for longest"
        second.send(b'{"op": "hello"}')
        assert second.recv(MOST_BYTES)


def test_connections_that_come_too_fast_wait_for_their_turn(socket_of):
    agent = socket_of(CallLimits(accepted_per_s=20, of_a_user=64))
    begun = time.monotonic()
    with ExitStack() as opened:
        for sock in [opened.enter_context(connected(agent.path)) for _ in range(24)]:
            sock.send(b'{"op": "hello"}')
            assert "wait" in json.loads(sock.recv(MOST_BYTES))
    assert time.monotonic() - begun > 0.1


def test_a_refusal_is_heard_although_the_question_was_not(tmp_path):
    """The kernel resets a connection that is closed with a packet unread, but what was sent before arrives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()

        def hang_up():
            connection, _ = listener.accept()
            select.select([connection], [], [], 5)
            connection.send(b'{"error": "too many", "reason": "connections"}')
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert ask(str(tmp_path / "agent.sock"), {"op": "hello"})["reason"] == "connections"
        thread.join()


def test_budgets_are_each_users_own():
    budgets = Budgets(CallLimits(connections=3, of_a_user=2, packets_per_s=10))
    assert [budgets.connect(1) for _ in range(3)] == ["", "", "connections_of_a_user"]
    assert [budgets.connect(2), budgets.connect(3)] == ["", "connections"]
    assert budgets.connect(1) == "connections_of_a_user", "nobody else's is closed to make room for them"
    budgets.disconnect(1)
    assert budgets.connect(3) == ""
    assert [budgets.spend(1, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert budgets.spend(2, 0.0)
    assert [budgets.spend(1, 0.2) for _ in range(3)] == [True, True, False]


def test_a_pid_that_is_another_process_by_now_is_nobody(socket_of):
    """Whoever started after the packet was sent cannot have sent it, and did not connect."""
    process = SimpleNamespace(started_us=1_000_000, key=("boot", 1, 1))
    lookup = SimpleNamespace(look=lambda pid: process, meet=lambda pid: None, forget=lambda keep: None)
    senders = Senders(lookup, now_us)
    with connected(socket_of().path) as other:
        assert senders.process_of(SimpleNamespace(pid=1, uid=0), other, 999_999) is None
        assert senders.process_of(SimpleNamespace(pid=1, uid=0), other, 1_020_000) is process
        assert senders.process_of(SimpleNamespace(pid=-1, uid=-1), other, 1_020_000) is None


def test_the_socket_is_looked_for_where_agents_listen(tmp_path):
    run = tmp_path / "wattshed"
    run.mkdir()
    assert agent_socket({"WATTSHED_SOCKET": "/a/b"}, 1) == "/a/b"
    assert agent_socket({"WATTSHED_SOCKET": ""}, 1) == ""
    nobody = tmp_path / "nobody"
    assert agent_socket({"XDG_RUNTIME_DIR": str(tmp_path)}, 99999, shared=nobody) == ""
    (run / "agent.sock").touch()
    assert agent_socket({"XDG_RUNTIME_DIR": str(tmp_path)}, 99999, shared=nobody) == str(run / "agent.sock")


def test_an_agent_that_does_not_know_us_is_passed_over(socket_of, tmp_path, monkeypatch):
    agent, own = socket_of(), tmp_path / "own/wattshed"
    own.mkdir(parents=True)
    shared = Path(agent.path).parent

    class Nobody:
        def answer(self, *_):
            return {"error": "the agent sees no process"}

        def refusal(self, *_):
            return {"error": "no"}

    senders = Senders(Processes(Path("/proc"), now_us, await_exits=False), now_us)
    other = CallersServer(str(own / "agent.sock"), Nobody(), senders, now_us)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "own")}
    assert agent_socket(environ, 99999, shared=shared) == agent.path
    assert agent_socket(environ, 99999, shared=tmp_path / "nowhere") == str(own / "agent.sock")
    other.close()
