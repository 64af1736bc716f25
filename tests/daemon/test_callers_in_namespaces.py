"""Callers in containers: another network namespace, the socket's folder mounted read-only, users of their own."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.daemon.callers import listening
from tests.daemon.process import ROOT
from wattshed.agent.wire.agent_socket import ask

POD = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 9
touch "$1/probe" 2> /dev/null && exit 8
"$2" -c 'import fcntl, socket, struct
with socket.socket() as sock: fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 65))  # ip link set lo up'
"$2" -m tests.daemon.token_server 8000 5000 "$3/server.pid" 2> /dev/null &
export WATTSHED_SOCKET="$1/agent.sock"
exec "$2" -m wattshed work --scrape http://127.0.0.1:8000 --interval 0.1
"""
USERS_OF_ITS_OWN, MOUNTS_OF_ITS_OWN, READ_ONLY = 0x10000000, 0x00020000, 1 | 32 | 4096  # sched.h, mount.h
LIBC = ctypes.CDLL(None, use_errno=True)


def test_work_is_told_from_a_pod(tmp_path):
    pod = ["unshare", "--net", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    if shutil.which("unshare") is None or subprocess.run([*pod, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nobody may make namespaces here")
    folder = tmp_path / "run"
    folder.mkdir()
    with listening(folder) as agent:
        command = [*pod, "sh", "-c", POD, "sh", str(folder), sys.executable, str(tmp_path)]
        run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while not agent.work.work and time.monotonic() < end and run.poll() is None:
            time.sleep(0.05)
            agent.settle()
        server = int((tmp_path / "server.pid").read_text())
        os.kill(server, signal.SIGTERM)
        run.terminate()
        _, told = run.communicate(timeout=30)
    assert run.returncode == 0
    assert told.count(b"\n") <= 1  # the server had ended before
    job, unit, count = agent.work.work[0]
    assert (job, unit) == (f"job:{run.pid}", "output_tokens")
    assert 0 < count < 5000 * 60


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("read_only", [True, False])
def test_in_users_of_its_own_whoever_mounted_the_folder_is_believed(read_only):
    """There root's agent is nobody's, by its number; it is believed where only the runtime can have put it."""
    with tempfile.TemporaryDirectory() as around:
        Path(around).chmod(0o755)
        folder = Path(around) / "run"
        folder.mkdir()
        with listening(folder) as agent:
            told = _in_a_container(agent.path, read_only=read_only)
    if told.startswith("PermissionError"):
        pytest.skip("users may make no namespaces here")
    assert ("wait" in told) is read_only
    assert ("neither root" in told) is not read_only


def _in_a_container(path, *, read_only):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _enter(Path(path).parent, read_only=read_only)
            told = json.dumps(ask(path, {"op": "hello"}))
        except BaseException as error:
            told = repr(error)
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return told


def _enter(folder, *, read_only):
    """Become another user, and enter namespaces of one's own: of users, and of mounts."""
    os.setgroups([])
    os.setresgid(65533, 65533, 65533)
    os.setresuid(65533, 65533, 65533)
    LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its maps are its own
    if LIBC.unshare(USERS_OF_ITS_OWN | MOUNTS_OF_ITS_OWN):
        raise PermissionError(ctypes.get_errno())
    Path("/proc/self/uid_map").write_text("0 65533 1")
    if read_only:
        path = os.fsencode(folder)
        assert LIBC.mount(path, path, None, 4096, None) == 0
        assert LIBC.mount(None, path, None, READ_ONLY, None) == 0
