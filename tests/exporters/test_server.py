"""The server as a client meets it: paths, methods, negotiation, faults, addresses."""

import dataclasses
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.exporters import snapshots
from tests.exporters.wire import get, read_all, read_one
from wattshed.exporters.formats.exposition import OPENMETRICS_TYPE, TEXT_TYPE
from wattshed.exporters.formats.negotiation import qualities, wants_gzip, wants_openmetrics
from wattshed.exporters.web import api
from wattshed.exporters.web.history import History
from wattshed.exporters.web.http import Server
from wattshed.exporters.web.listen import activated, bind, parse_address

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PATHS = ["/", "/metrics", "/metrics/dcgm", "/-/healthy", "/-/ready", "/api/v1/snapshot", "/api/v1/snapshot.schema.json"]


def test_every_path_answers_and_head_says_the_same(serve):
    snapshot = snapshots.rich()
    _, port = serve(lambda: snapshot)
    for path in PATHS:
        status, headers, body = get(port, path)
        assert status == 200, path
        assert int(headers["content-length"]) == len(body) > 0
        assert headers["x-content-type-options"] == "nosniff"
        again, head, nothing = get(port, path, method="HEAD")
        assert (again, head["content-length"], nothing) == (200, headers["content-length"], b"")


def test_unknown_paths_and_methods(serve):
    _, port = serve()
    for path in ("/metrics/", "/nothing", "/page/../http.py", "/page/%2e%2e/http.py", "//", "/page/"):
        assert get(port, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, headers, _ = get(port, "/metrics", method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert get(port, "/metrics?name[]=up")[0] == 200
    assert get(port, "http://elsewhere.example/-/healthy?x")[0] == 200
    assert get(port, "http://[")[0] == 200  # the page itself, "/"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT_TYPE),
        ("*/*", TEXT_TYPE),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT_TYPE),
        (PROMETHEUS_3, OPENMETRICS_TYPE),
        ("application/openmetrics-text", OPENMETRICS_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.9", TEXT_TYPE),
        ("application/openmetrics-text;q=0,*/*", TEXT_TYPE),
        ("application/openmetrics-text;version=0.0.1", TEXT_TYPE),
        ('application/openmetrics-text;version="1.0.0", text/plain', OPENMETRICS_TYPE),
        (";;;,q=,application/openmetrics-text;q=x", TEXT_TYPE),
    ],
)
def test_format_by_accept(serve, accept, expected):
    _, port = serve()
    _, headers, body = get(port, headers=f"Accept: {accept}\r\n")
    assert headers["content-type"] == expected
    assert body.endswith(b"# EOF\n") == (expected == OPENMETRICS_TYPE)


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("*;q=0.1", True), ("identity", False)],
)
def test_gzip_by_accept_encoding(serve, encoding, compressed):
    _, port = serve()
    plain = get(port, "/metrics/dcgm")[2]
    _, headers, body = get(port, "/metrics/dcgm", headers=f"Accept-Encoding: {encoding}\r\n")
    assert (headers.get("content-encoding") == "gzip") == compressed
    assert (gzip.decompress(body) if compressed else body) == plain


@given(st.dictionaries(st.sampled_from(["gzip", "x-gzip", "*", "br", "identity"]), st.sampled_from([0, 0.001, 0.5, 1])))
def test_what_is_named_counts_before_what_is_anything(named):
    """RFC 9110, 12.5.3: a coding is taken by its own weight, else by that of ``*``; 0 is no."""
    weight = next((named[name] for name in ("gzip", "x-gzip", "*") if name in named), 0)
    assert wants_gzip(", ".join(f"{name};q={q}" for name, q in named.items())) == (weight > 0)


@settings(max_examples=examples(100))
@given(st.text(max_size=60))
def test_any_accept_header_is_understood_somehow(text):
    assert all(0 <= quality <= 1 for _, _, quality in qualities(text))
    assert wants_openmetrics(text) in (True, False)
    assert wants_gzip(text) in (True, False)


def test_not_ready_before_the_first_window_but_scrapable(serve):
    _, port = serve(snapshots.empty)
    assert get(port, "/-/ready")[0] == 503
    assert get(port, "/-/healthy")[0] == 200
    assert b"wattshed_build_info{" in get(port)[2]


def test_a_new_snapshot_shows_at_once_and_one_snapshot_is_rendered_once(serve):
    now = [snapshots.rich(1)]
    _server, port = serve(lambda: now[0])
    assert b"wattshed_windows_total 1\n" in get(port)[2]
    now[0] = snapshots.rich(2)
    assert b"wattshed_windows_total 2\n" in get(port)[2]
    assert b"process_cpu_seconds_total" in get(port)[2]


def test_a_publisher_that_fails_gives_500_without_a_word_of_the_inside(serve):
    def publish():
        raise RuntimeError("secret inside")

    _server, port = serve(publish)
    status, _, body = get(port)
    assert status == 500
    assert b"secret" not in body
    assert get(port, "/-/healthy")[0] == 200


def test_own_faults_are_counted_on_the_page(serve):
    bad = dataclasses.replace(snapshots.rich(), calls={"x": None})
    now = [bad]
    _, port = serve(lambda: now[0])
    assert b"wattshed_gpu_up{" in get(port)[2]
    now[0] = dataclasses.replace(bad)
    assert b'wattshed_faults_total{part="exporter"} ' in get(port)[2]


def test_a_last_hour_that_cannot_be_kept_is_a_fault_and_the_rest_goes_on(serve, monkeypatch):
    calls = []

    def observe(history, snapshot):
        calls.append(snapshot)
        if len(calls) == 1:
            raise RuntimeError("of the history")

    monkeypatch.setattr(History, "observe", observe)
    monkeypatch.setattr(History, "__init__", lambda history: setattr(history, "step_s", 0.04))
    server, port = serve()
    end = time.monotonic() + 20
    while len(calls) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert b'wattshed_faults_total{part="history"} 1\n' in get(port, "/metrics")[2]
    assert server._site.faults == {"history": 1}


def test_connections_are_kept_and_requests_may_be_pipelined(serve):
    _, port = serve()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for _ in range(3):
            sock.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_one(sock)[0] == 200
        sock.sendall(
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answers = read_all(sock)
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.count(b"HTTP/1.1 404") == 1
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + b"x" * 200_000,
    ],
)
def test_junk_gets_an_error_and_a_closed_door(serve, junk):
    _, port = serve()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        try:
            sock.sendall(junk)
            answer = read_all(sock)
        except ConnectionError:
            answer = b""
        assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 413", b"HTTP/1.1 414", b"")
    assert get(port)[0] == 200


def test_the_default_is_loopback_only():
    server = Server(snapshots.rich)
    assert server._listen == ("127.0.0.1:9961",)


def test_addresses(serve, tmp_path):
    server, _port = serve(listen=["localhost:0", f"unix:{tmp_path}/s"])
    assert any(address.startswith("http://127.0.0.1:") for address in server.addresses)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/s")
        sock.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 200")
    server.stop()
    assert not (tmp_path / "s").exists()
    for text, expected in (("[::1]:9", ("::1", 9)), (":9", ("", 9)), ("a.b:0", ("a.b", 0))):
        assert parse_address(text) == expected
    for text in ("9961", "a:b", "::1:9", "a:99999", "", "a:-1", "a:¹"):
        with pytest.raises(ValueError, match="listen address"):
            parse_address(text)


def test_ipv6_and_every_address(serve):
    if not socket.has_ipv6:
        pytest.skip("this Python knows no IPv6")
    _server, port = serve(listen=[":0"])
    assert get(port)[0] == 200


def test_a_taken_port_is_said_and_nothing_is_left_open(serve):
    _, port = serve()
    second = Server(snapshots.rich, ["127.0.0.1:0", f"127.0.0.1:{port}"])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        second.start()
    assert second.addresses == ()


def test_sockets_handed_over_by_systemd():
    (sock,) = bind("127.0.0.1:0")
    code = (
        "import os, sys, urllib.request\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from wattshed.exporters.web.http import Server\n"
        "from tests.exporters import snapshots\n"
        "server = Server(snapshots.rich, ['256.0.0.1:1'])\n"
        "server.start()\n"
        "print(urllib.request.urlopen(server.addresses[0] + '/-/ready').status, len(server.addresses))\n"
        "server.stop()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LISTEN_FDS": "1", "PYTHONPATH": str(root / "deploy/python")},
        preexec_fn=lambda: os.dup2(sock.fileno(), 3),
        cwd=root, pass_fds=[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    sock.close()
    assert (done.stdout, done.returncode) == ("200 1\n", 0), done.stderr
    assert activated({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, 2) == []


@pytest.mark.parametrize("build", [snapshots.empty, snapshots.rich, snapshots.hostile, snapshots.large])
def test_json_keeps_to_its_schema(build):
    schema = json.loads((Path(api.__file__).parents[1] / "snapshot.schema.json").read_text(encoding="utf-8"))
    history = History()
    history.observe(build())
    document = json.loads(api.document(build(), history.columns()))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    total = sum(gpu["energy_j"] for gpu in document["gpus"])
    if build is snapshots.rich:
        ended = sum(gpu["ended_jobs_j"] for gpu in document["gpus"])
        assert ended > 0
        assert sum(job["energy_j"] for job in document["jobs"]) + ended == pytest.approx(total)


def test_what_is_stopped_has_ended_though_it_was_at_work(serve):
    """No thread of it reads another snapshot, nor holds the address; one that hangs is not waited for."""
    at_work, go_on = threading.Event(), threading.Event()

    def publish():
        at_work.set()
        go_on.wait(30)
        return snapshots.rich()

    server, _ = serve(publish)
    thread = server._thread
    assert at_work.wait(30)
    threading.Timer(0.2, go_on.set).start()
    server.stop(timeout_s=30)
    assert go_on.is_set()
    assert not thread.is_alive()
    at_work.clear()
    go_on.clear()
    hangs, _ = serve(publish)
    assert at_work.wait(30)
    hangs.stop(timeout_s=0.01)
    assert not go_on.is_set()
    assert hangs.addresses == ()
    go_on.set()


def test_what_is_stopped_as_soon_as_it_was_started_has_ended_too():
    for _ in range(20):
        server = Server(snapshots.rich, ["127.0.0.1:0"])
        server.start()
        thread = server._thread
        server.stop()
        assert not thread.is_alive()


def test_stop_is_quick_with_open_connections(serve):
    server, port = serve()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /metr")
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 1
