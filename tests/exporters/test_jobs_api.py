"""Questions about jobs over HTTP: who may ask, and that nobody waits for them."""

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time

import bcrypt
import pytest

from tests.exporters.wire import get, parse, read_all, read_one
from wattshed.exporters.web.jobs_api import RELAYED, JobsApi
from wattshed.exporters.web.peer import Access, Caller

ROOT = frozenset({0, os.geteuid()})
JOBS = ("/api/v1/jobs", "/api/v1/jobs/slurm:1", "/api/v1/report?by=user", "/api/v1/parts")


class Echo:
    """Answers with what it was asked, once it is let go."""

    def __init__(self, go=None):
        self.go, self.over = go, threading.Event()

    def answer(self, path, params, uid):
        while self.go is not None and not self.go.is_set() and not self.over.is_set():
            time.sleep(0.002)
        return 200, {"path": path, "params": dict(params), "uid": uid, "interrupted": self.over.is_set()}

    def interrupt(self):
        self.over.set()


@pytest.fixture
def api():
    return JobsApi(Access(ROOT), frozenset({"boss", "boss.example"}), limit_s=0.3)


@pytest.fixture
def listening(serve, api, tmp_path):
    """A server with a socket for everybody: (API, port, path)."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    path = str(tmp_path / "api.sock")
    _, port = serve(jobs=api, jobs_socket=path)
    return api, port, path


def ask(path, target, method="GET", headers=""):
    """One request over the socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        return parse(read_all(sock))


AS_ANOTHER = """
import os, socket, sys
path, target, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setgroups([int(group) for group in sys.argv[4:]])
os.setgid(uid)
os.setuid(uid)
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
sock.sendall(f"GET {target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
while data := sock.recv(65536):
    sys.stdout.buffer.write(data)
"""


def ask_as(uid, path, target, groups=()):
    argv = [sys.executable, "-I", "-c", AS_ANOTHER, path, target, str(uid), *map(str, groups)]
    status, _, body = parse(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)
    return status, json.loads(body)


def test_root_and_whom_the_agent_runs_as_see_all(listening):
    api, _, path = listening
    assert ask(path, "/api/v1/jobs")[0] == 503
    api.open(Echo)
    status, headers, body = ask(path, "/api/v1/jobs?user=ada&limit=5&running=")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "no-store")
    assert json.loads(body) == {
        "path": "/api/v1/jobs", "params": {"user": "ada", "limit": "5", "running": ""}, "uid": None,
        "interrupted": False,
    }  # fmt: skip
    for target in (*JOBS, "/metrics", "/-/healthy"):
        status, headers, body = ask(path, target)
        assert status == 200
        assert ask(path, target, "HEAD")[0::2] == (200, b"")
    assert ask(path, "/api/v1/jobs", "POST")[0] == 405
    api.close("this agent keeps no history")
    assert json.loads(ask(path, "/api/v1/jobs")[2]) == {"error": "this agent keeps no history"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_sees_their_own_and_nothing_else(serve, tmp_path, listening):
    api, _, path = listening
    api.open(Echo)
    for target in JOBS:
        status, body = ask_as(12345, path, target)
        assert (status, body["uid"]) == (200, 12345)
    for target in ("/", "/metrics", "/api/v1/snapshot"):
        assert ask_as(12345, path, target) == (403, {"error": "only questions about jobs are answered here"})
    status, body = ask_as(65534, path, "/api/v1/jobs")
    assert (status, "stands for users" in body["error"]) == (403, True)
    admins = JobsApi(Access(ROOT, group=4711))
    admins.open(Echo)
    second = str(tmp_path / "second.sock")
    serve(jobs=admins, jobs_socket=second)
    assert ask_as(12345, second, "/api/v1/jobs", [4711])[1]["uid"] is None
    assert ask_as(12345, second, "/api/v1/jobs", [4712])[1]["uid"] == 12345


def test_over_tcp_nobody_is_known_without_a_password(listening):
    api, port, _ = listening
    api.open(Echo)
    for target in JOBS:
        status, _, body = get(port, target)
        assert (status, "only where the web configuration" in json.loads(body)["error"]) == (403, True)
    assert get(port, "/metrics")[0] == 200


def test_over_tcp_those_who_are_named_see_all(serve, api, tmp_path):
    api.open(Echo)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yml"
    config.write_text(f'basic_auth_users:\n  boss: "{hashed}"\n  prometheus: "{hashed}"\n')
    _, port = serve(jobs=api, web_config=config)

    def as_user(name):
        token = base64.b64encode(f"{name}:secret".encode()).decode()
        status, _, body = get(port, "/api/v1/jobs", headers=f"Authorization: Basic {token}\r\n")
        return status, body

    assert get(port, "/api/v1/jobs")[0] == 401
    assert json.loads(as_user("boss")[1])["uid"] is None
    status, body = as_user("prometheus")
    assert (status, json.loads(body)) == (403, {"error": "history.tcp_users does not name who asks"})
    assert as_user("nobody")[0] == 401


def told(answer):
    """What a server says that one may ask; always with 200."""
    status, headers, body = answer
    assert (status, headers["cache-control"]) == (200, "no-store")
    document = json.loads(body)
    assert document.pop("schema") == "wattshed.access/1"
    return document


def test_what_one_may_ask_is_told_without_a_refusal(listening, serve):
    api, port, path = listening
    assert told(ask(path, "/api/v1/access")) == {"jobs": "later", "why": "the agent is starting"}
    assert told(get(port, "/api/v1/access"))["jobs"] == "refused"
    api.open(Echo)
    assert told(ask(path, "/api/v1/access")) == {"jobs": "all", "why": ""}
    assert told(get(port, "/api/v1/access")) == {"jobs": "refused", "why": json.loads(get(port, JOBS[0])[2])["error"]}
    api.close("this agent keeps no history")
    for answer in (ask(path, "/api/v1/access"), get(port, "/api/v1/access")):
        assert told(answer) == {"jobs": "none", "why": "this agent keeps no history"}
    _, other = serve()
    assert told(get(other, "/api/v1/access"))["jobs"] == "none"
    for address in (port, other):
        assert get(address, "/api/v1/access", method="POST")[0] == 405


def test_what_one_may_ask_is_what_one_gets(serve, api, tmp_path):
    api.open(Echo)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yml"
    config.write_text(f'basic_auth_users:\n  boss: "{hashed}"\n  prometheus: "{hashed}"\n')
    _, port = serve(jobs=api, web_config=config)
    for name, jobs, status in (("boss", "all", 200), ("prometheus", "refused", 403)):
        token = base64.b64encode(f"{name}:secret".encode()).decode()
        headers = f"Authorization: Basic {token}\r\n"
        assert told(get(port, "/api/v1/access", headers=headers))["jobs"] == jobs
        assert get(port, JOBS[0], headers=headers)[0] == status
    assert get(port, "/api/v1/access")[0] == 401


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_over_the_socket_a_user_is_told_of_their_own_jobs(listening):
    api, _, path = listening
    api.open(Echo)
    assert ask_as(12345, path, "/api/v1/access")[1]["jobs"] == "own"
    assert ask_as(65534, path, "/api/v1/access")[1]["jobs"] == "refused"


@pytest.mark.parametrize(
    ("told", "uid"),
    [
        ("0", 0), ("1000", 1000), ("4294967295", 2**32 - 1), ("42949672950", -1), ("-1", -1), ("", -1), ("\u0661", -1),
        ("\xb2", -1), ("1_0", -1),
    ],
)  # fmt: skip
def test_whom_a_relay_asks_for_is_a_number_of_a_user_and_all_else_is_nobody(told, uid):
    api = JobsApi(Access(ROOT), frozenset({"relay.example"}), frozenset({"relay.example"}))
    for names, believed in (({"relay.example"}, uid), ({"other.example"}, -1), (set(), -1)):
        asker = api.over_tcp("", frozenset(names), {RELAYED: told}, known=True)
        assert (asker.caller, asker.names, asker.relayed) == (Caller(believed), frozenset(), True)
        assert not api.sees_all(asker)


@pytest.mark.parametrize(
    ("query", "why"), [("user=a&user=b", "user: is given twice"), ("user=%ff", "cannot be read"), ("a=1&" * 60, "read")]
)
def test_a_query_that_cannot_be_read(listening, query, why):
    api, _, path = listening
    api.open(Echo)
    status, _, body = ask(path, f"/api/v1/jobs?{query}")
    assert (status, why in json.loads(body)["error"]) == (400, True)


def test_a_question_that_takes_too_long_is_ended_and_metrics_do_not_wait(listening):
    api, port, path = listening
    asked = [Echo(threading.Event()) for _ in range(2)]
    waiting = list(asked)
    api.open(lambda: waiting.pop() if waiting else Echo())
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        for sock in (one, other):
            sock.settimeout(20)
            sock.connect(path)
            sock.sendall(b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
        while waiting:
            time.sleep(0.002)
        status, headers, body = ask(path, "/api/v1/jobs")  # a third of the same user's
        assert (status, headers["retry-after"]) == (503, "1")
        assert "too many questions" in json.loads(body)["error"]
        assert get(port, "/metrics")[0] == 200
        for sock in (one, other):
            status, headers, body = read_one(sock)
            assert (status, "took more than 0.3 s" in json.loads(body)["error"]) == (503, True)
    assert all(question.over.wait(10) for question in asked)
    end = time.monotonic() + 20
    while ask(path, "/api/v1/jobs")[0] != 200:  # their places are free again
        assert time.monotonic() < end


def test_what_fails_inside_stays_inside(listening):
    api, _, path = listening

    class Broken(Echo):
        def answer(self, path, params, uid):
            raise RuntimeError("a secret")

    api.open(Broken)
    for _ in range(6):
        status, _, body = ask(path, "/api/v1/jobs")
        assert (status, b"secret" in body) == (500, False)


def test_a_page_that_fails_over_the_socket_tells_nothing_of_the_inside_either(serve, api, tmp_path):
    def publish():
        raise RuntimeError("a secret")

    path = str(tmp_path / "api.sock")
    _, port = serve(publish, jobs=api, jobs_socket=path)
    for _ in range(2):
        status, headers, body = ask(path, "/metrics")
        assert (status, headers["content-type"]) == (500, "application/json")
        assert json.loads(body) == {"error": "internal error"}
        assert ask(path, "/-/healthy")[0] == get(port, "/-/healthy")[0] == 200


def test_long_answers_are_compressed(listening):
    api, _, path = listening
    api.open(Echo)
    target = f"/api/v1/jobs?user={'a' * 5000}"
    _, headers, body = ask(path, target, headers="Accept-Encoding: gzip\r\n")
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["params"]["user"] == "a" * 5000


def test_a_socket_that_cannot_be_is_a_fault_and_not_the_end(serve, api, tmp_path):
    path = tmp_path / "api.sock"
    first, port = serve(jobs=api, jobs_socket=str(path))
    assert path.stat().st_mode & 0o777 == 0o666
    second, other = serve(jobs=api, jobs_socket=str(path))
    third, another = serve(jobs=api, jobs_socket=str(tmp_path / "no folder" / "api.sock"))
    for server, at, count in ((first, port, 0), (second, other, 1), (third, another, 1)):
        assert (b'wattshed_faults_total{part="jobs-socket"}' in get(at, "/metrics")[2]) == bool(count), server
    first.stop()
    assert not path.exists()
