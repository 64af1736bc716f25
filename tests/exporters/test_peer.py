"""Who is at the other end of a Unix socket."""

import json
import os
import socket
import subprocess
import sys

import pytest

from wattshed.exporters.web.peer import NOBODY, Access, Caller, caller_of, overflow_uids

CONNECT = """
import json, os, socket, sys
path, uid, gid, groups = json.loads(sys.argv[1])
if uid is not None:
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
sock.recv(1)
"""


@pytest.fixture
def listening(tmp_path):
    """A socket that everybody may connect to."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        path.chmod(0o666)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            if folder.stat().st_uid == os.getuid() and folder != folder.parent:
                folder.chmod(folder.stat().st_mode | 0o055)
        sock.listen(4)
        yield sock, str(path)


def asked(listening, uid=None, gid=None, groups=()):
    """Let another process connect, as another user if one is named, and return who that is found to be."""
    sock, path = listening
    argv = [sys.executable, "-I", "-c", CONNECT, json.dumps([path, uid, gid, list(groups)])]
    with subprocess.Popen(argv) as process:
        sock.settimeout(30)
        accepted, _ = sock.accept()
        with accepted:
            caller = caller_of(accepted)
            accepted.sendall(b"x")
        assert process.wait(30) == 0
    return caller


def test_it_is_whoever_runs_the_process(listening):
    assert asked(listening) == Caller(os.getuid(), frozenset({os.getgid(), *os.getgroups()}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("extra", [[], [4711, 4712], list(range(5000, 5200)), list(range(5000, 5400))])
def test_another_user_with_any_number_of_groups(extra, listening):
    caller = asked(listening, 12345, 12346, extra)
    known = extra if len(extra) <= 256 else []  # beyond what getsockopt returns, the main group alone
    assert caller == Caller(12345, frozenset({12346, *known}))


def test_who_sees_what():
    access = Access(frozenset({0, 900}), group=4711)
    assert access.sees_all(Caller(0))
    assert access.sees_all(Caller(900))
    assert access.sees_all(Caller(12345, frozenset({1, 4711})))
    assert not access.sees_all(Caller(12345, frozenset({1})))
    assert not Access(frozenset({0})).sees_all(Caller(12345, frozenset({4711})))
    assert access.own(Caller(12345)) == 12345


@pytest.mark.parametrize("caller", [Caller(NOBODY), Caller(-1), Caller(NOBODY, frozenset({4711})), Caller(77)])
def test_who_may_be_anybody_sees_nothing(caller):
    """A user of a container that is not mapped to one of the host's, whatever groups it says it has."""
    access = Access(frozenset({0, NOBODY}), group=4711, unmapped=frozenset({NOBODY, 77}))
    assert not access.sees_all(caller)
    assert access.own(caller) is None


def test_the_kernels_own_overflow_user(tmp_path):
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/overflowuid").write_text("4000000\n")
    assert overflow_uids(tmp_path) == {NOBODY, 4_000_000}
    assert overflow_uids(tmp_path / "none") == {NOBODY}
    assert NOBODY in overflow_uids()
