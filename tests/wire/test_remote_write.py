"""Remote write: batches, patience, and a server that refuses, stalls and recovers."""

import base64
import itertools
import json
import os
import signal
from collections import defaultdict
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.wire.decoding import decode, unpacked
from tests.wire.servers import running
from wattshed.agent.errors import InputError
from wattshed.agent.replay.points import Points
from wattshed.agent.wire import remote_write
from wattshed.agent.wire.protobuf import Series
from wattshed.agent.wire.remote_write import RemoteWrite


@pytest.fixture
def server():
    """A server that answers as ``server.script`` says, 204 afterwards, and keeps what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.headers.append(dict(self.headers))
            status, extra, said = self.server.script.pop(0) if self.server.script else (204, {}, b"")
            if status == "hang up":
                self.close_connection = True
                return
            if status == 204:
                self.server.requests.append(decode(unpacked(body)))
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            self.server.on_answer.get(len(self.server.headers), lambda: None)()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.requests, httpd.headers, httpd.script, httpd.on_answer = [], [], [], {}
        httpd.url = f"http://127.0.0.1:{httpd.server_port}/api/v1/write"
        with running(httpd):
            yield httpd


@pytest.fixture
def points():
    with closing(Points()) as made:
        for host in ("a", "b"):
            for i in range(1, 40):
                made.add(Series("wattshed_gpu_energy_joules", (("host", host),)), i * 15_000_000, float(i), 0)
        yield made


@pytest.fixture
def waits():
    return []


@pytest.fixture
def remote(server, waits):
    with closing(RemoteWrite(server.url, tell=lambda _: None, sleep=waits.append)) as made:
        yield made


def test_batches_are_bounded_and_each_series_ascends(server, remote, points, monkeypatch):
    monkeypatch.setattr(remote_write, "BATCH", 7)
    told = []
    assert remote.send(points, progress=told.append) == len(points) == told[-1] == 80
    assert all(sum(len(own) for _, own in request) <= 7 for request in server.requests)
    assert all(len({tuple(labels.items()) for labels, _ in request}) == len(request) for request in server.requests)
    series = defaultdict(list)
    for labels, own in itertools.chain(*server.requests):
        series[labels["host"]] += own
    assert series == {host: [(i * 15_000, float(i)) for i in range(40)] for host in "ab"}
    newest = [max(stamp for _, own in request for stamp, _ in own) for request in server.requests]
    assert newest == sorted(newest)


def test_headers_are_those_of_the_protocol(server, remote):
    remote.greet()
    wanted = {
        "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "wattshed",
    }  # fmt: skip
    assert server.headers[0].items() >= wanted.items()
    assert "Authorization" not in server.headers[0]
    assert server.requests == [[]]


def test_a_password_is_sent_and_never_shown(server):
    server.script.append((401, {}, b"who are you?"))
    remote = RemoteWrite(server.url.replace("//", "//me:p%40ss@"))
    with closing(remote), pytest.raises(InputError) as refused:
        remote.greet()
    assert str(refused.value) == f"{server.url} answered 401 (who are you?)"
    assert server.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


@pytest.mark.parametrize("status", [429, 500, 503, "hang up"])
def test_what_fails_for_now_is_sent_again(server, remote, points, waits, status):
    server.script += [(status, {}, b"")] * 3
    assert remote.send(points) == 80
    assert sum(len(own) for request in server.requests for _, own in request) == 80
    assert sum(waits) == pytest.approx(0.5 + 1 + 2)


def test_an_answer_that_was_lost_is_no_refusal(server, remote, points):
    """Prometheus refuses samples that it has already, once newer ones followed, as out of order."""
    server.script += [("hang up", {}, b""), (400, {}, b"out of order sample\n")]
    assert remote.send(points) == 80
    server.script += [(503, {}, b""), (400, {}, b"out of order sample\n")]
    with pytest.raises(InputError, match="out of order"):
        remote.send(points)


def test_the_server_may_say_how_long_to_wait(server, remote, waits):
    server.script += [(503, {"Retry-After": "7"}, b"")]
    remote.greet()
    assert sum(waits) == pytest.approx(7)


@pytest.mark.parametrize(
    "script", [(503, {}, b"busy\nvery"), (503, {"Retry-After": "3600"}, b"busy"), ("hang up", {}, b"")]
)
def test_patience_ends(server, remote, points, waits, script):
    server.script += [script] * 50
    with pytest.raises(ConnectionError, match="given up") as lost:
        remote.send(points)
    assert "\n" not in str(lost.value)
    assert str(lost.value).startswith(server.url)
    assert sum(waits) <= remote_write.PATIENCE_S


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (400, b"\n\nbad\x1b labels\nand more", "answered 400 (bad  labels)"),
        (404, b"", "answered 404 (Not Found)"),
        (302, b"elsewhere", "answered 302 (elsewhere)"),
        (400, b"out of bounds\n", "its out_of_order_time_window must reach back to the trace"),
        (400, b"x" * 500 + b" out of order\n", "its out_of_order_time_window must reach back to the trace"),
        (500, b"too old sample\n", "its out_of_order_time_window must reach back to the trace"),
        (403, b"\xff\xfe", "answered 403"),
    ],
)
def test_a_refusal_is_one_line_and_final(server, remote, points, waits, status, said, why):
    server.script += [(204, {}, b""), (status, {}, said)]
    remote.greet()
    with pytest.raises(InputError) as refused:
        remote.send(points)
    assert why in str(refused.value)
    assert str(refused.value).startswith(server.url)
    assert "\n" not in str(refused.value)
    assert waits == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9090",
        "ftp://h/x",
        "http://",
        "http://h:99999/x",
        "http://[x/",
        "http://h/a b",
        "http://me:secret@h:x/",
    ],
)
def test_no_url_is_refused_without_showing_it(url):
    with pytest.raises(InputError, match="takes a URL") as refused:
        RemoteWrite(url)
    assert "secret" not in str(refused.value)


def test_stopping_leaves_the_rest_unsent(server, remote, points, monkeypatch):
    monkeypatch.setattr(remote_write, "BATCH", 10)
    assert remote.send(points, stop=lambda: len(server.requests) == 3) == 30


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time,gpu,power_w\n" + "".join(f"{1_700_000_000 + t},0,100\n" for t in range(101)))
    return path


def test_replay_sends_what_it_prints(server, wattshed, trace, tmp_path):
    path = tmp_path / "out.om"
    code, out, err = wattshed(
        "replay", trace, "--remote-write", server.url, "--openmetrics", path, "--format", "json"
    )  # fmt: skip
    answer = json.loads(out)
    assert code == 0
    sent = {
        (labels["__name__"], labels.get("job"), stamp / 1000, round(value, 6))
        for request in server.requests
        for labels, own in request
        for stamp, value in own
    }
    written = set()
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            name, value, stamp = line.rsplit(" ", 2)
            job = name.partition('job="')[2].partition('"')[0] or None
            written.add((name.partition("{")[0], job, int(float(stamp) * 1000) / 1000, float(value)))
    assert sent == written
    assert max(value for name, _, _, value in sent if "gpu" in name) == answer["total_j"] == 10_000
    assert f"{len(sent)} of {len(sent)} points sent to {server.url}" in err


def test_the_answer_is_printed_though_the_server_refuses(server, wattshed, trace):
    server.script += [(204, {}, b""), (400, {}, b"no")]
    code, out, err = wattshed("replay", trace, "--remote-write", server.url, "--format", "json")
    assert (code, err) == (2, f"wattshed: {server.url} answered 400 (no)\n")
    assert json.loads(out)["total_j"] == 10_000


def test_a_wrong_address_is_told_before_the_reading(server, wattshed, tmp_path):
    server.script.append((404, {}, b"no such thing"))
    (tmp_path / "log.csv").write_text("time,gpu,power_w\n1700000000,0,100\n1700000001,0,100\n")
    code, out, err = wattshed("replay", tmp_path / "log.csv", "--remote-write", server.url)
    assert (code, out, err) == (2, "", f"wattshed: {server.url} answered 404 (no such thing)\n")


def test_an_empty_url_is_no_url(wattshed, trace):
    code, out, err = wattshed("replay", trace, "--remote-write", "")
    assert (code, out) == (2, "")
    assert "--remote-write takes a URL" in err


def test_ctrl_c_ends_the_sending_not_the_answer(server, wattshed, trace, monkeypatch):
    monkeypatch.setattr(remote_write, "_PAUSE_S", 60.0)
    monkeypatch.setattr(remote_write, "_TICK_S", 0.01)
    server.script += [(204, {}, b""), (503, {}, b"later")]
    server.on_answer = {2: lambda: os.kill(os.getpid(), signal.SIGINT)}
    code, out, err = wattshed("replay", trace, "--remote-write", server.url, "--format", "json")
    assert code == 130
    assert "partial" not in json.loads(out)
    assert "0 of " in err


@pytest.mark.parametrize("flag", [["--workers", "2"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_one_process_sends(wattshed, trace, flag):
    code, _, err = wattshed("replay", trace, "--remote-write", "http://localhost:1/x", *flag)
    assert code == 2
    assert "--remote-write is written by one process" in err
