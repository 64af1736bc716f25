"""The one HTTP client: addresses, and laws that hold for whatever speaks to a monitoring server through it."""

import base64
import json
import socket
import ssl
import time
from contextlib import closing

import pytest
import trustme

from tests.wire.servers import serving
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.live.simulate import send
from wattshed.agent.terminal.following import fetch
from wattshed.agent.wire.agents import DocumentServer, NoDocumentError
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.wire.query import Prometheus, ServerError
from wattshed.agent.wire.remote_write import RemoteWrite

VECTOR = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()
SNAPSHOT = b'{"schema": "wattshed.snapshot/1"}'
SERIES = [("m", {"a": "b"}, 1.0)]


def query(url):
    Prometheus(url, timeout_s=5.0).query("up")


def write(url):
    with closing(RemoteWrite(url, tell=lambda _: None, sleep=lambda _: None)) as remote:
        remote.greet()


def top(url):
    fetch(DocumentServer.of(url))


DOORS = {
    "query": query,
    "remote write": write,
    "simulated import": lambda url: send(url, "import", SERIES, 1),
    "simulated remote write": lambda url: send(url, "remote-write", SERIES, 1),
    "top": top,
}
each_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


def address(url):
    return Address.parse(url, "--to", "http://localhost:9090")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with serving() as httpd:
        yield httpd


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def tls_server(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with serving(tls=context) as httpd:
        yield httpd


@pytest.fixture
def trusted(ca, tmp_path, monkeypatch):
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def answered(door):
    """Make what a door takes for success."""
    return (200, {}, {query: VECTOR, top: SNAPSHOT}.get(door, b""))


# Addresses


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "shown"),
    [
        ("http://h", "h", 80, "", "http://h"),
        ("https://h", "h", 443, "", "https://h"),
        ("http://H:9090/p/?a=b&c=%20", "h", 9090, "/p/?a=b&c=%20", "http://H:9090/p/?a=b&c=%20"),
        ("http://[::1]/x", "::1", 80, "/x", "http://[::1]/x"),
        ("https://me:pw@[2001:db8::7]:8443/x", "2001:db8::7", 8443, "/x", "https://[2001:db8::7]:8443/x"),
        ("http://me:p@ss:w@h:1/x", "h", 1, "/x", "http://h:1/x"),
        ("http://h:/x", "h", 80, "/x", "http://h:/x"),
    ],
)
def test_an_address(url, host, port, target, shown):
    found = address(url)
    assert (found.host, found.port, found.target, found.url) == (host, port, target, shown)
    assert "pw" not in repr(found)


def test_a_path_below_an_address():
    assert address("http://h").below("/api").url == "http://h/api"
    assert address("http://h/prefix//?tenant=7").below("/api").url == "http://h/prefix/api?tenant=7"


@pytest.mark.parametrize(
    ("url", "trouble"),
    [
        ("", "does not start with http:// or https://"),
        ("localhost:9090", "does not start with http"),
        ("file:///etc/passwd", "does not start with http"),
        ("http://", "host or port is not valid"),
        ("http://:80/", "host or port is not valid"),
        ("http://h:0/", "host or port is not valid"),
        ("http://h:65536/", "host or port is not valid"),
        ("http://me:secret@h:x/", "host or port is not valid"),
        ("http://me:se/cret@h:1/", "%2F"),
        ("http://me:1#secret@h:1/", "fragment"),
        ("http://[::1/secret", "host or port is not valid"),
        ("http://h/a secret", "percent-encoded"),
        ("http://h/secret\n", "percent-encoded"),
        ("http://h\u00e9/secret", "percent-encoded"),
        ("http://a%3Ab:secret@h/", "user name contains a colon"),
    ],
)
@each_door
def test_what_is_not_an_address_is_one_line_without_the_password(door, url, trouble):
    with pytest.raises(InputError, match=r"--\S+ takes a URL such as http://\S+:\d+") as refused:
        door(url)
    said = str(refused.value)
    assert trouble in said
    assert "\n" not in said
    assert "secret" not in said
    assert "cret@" not in said


# Authentication


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ("ada:p%40ss", b"ada:p@ss"),
        ("ada:p%2Fs%3As%23", b"ada:p/s:s#"),
        ("ada:p:ss", b"ada:p:ss"),
        ("ada:p@ss", b"ada:p@ss"),
        ("a%20b:100%25", b"a b:100%"),
        ("%C3%A9:%E2%82%AC", "\u00e9:\u20ac".encode()),
        ("ada", b"ada:"),
        ("ada:+", b"ada:+"),
        (":token", b":token"),
    ],
)
def test_every_door_sends_the_same_credentials(server, written, pair):
    for door in DOORS.values():
        server.script.append(answered(door))
        door(server.url.replace("//", f"//{written}@"))
    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert sent == ["Basic " + base64.b64encode(pair).decode()] * len(DOORS)


def test_every_door_says_who_it_is_and_where_it_goes(server):
    for door in DOORS.values():
        server.script.append(answered(door))
        door(f"{server.url}/prefix/?tenant=7")
    assert {asked.headers["User-Agent"] for asked in server.asked} == {"wattshed"}
    assert {asked.headers["Host"] for asked in server.asked} == {server.place}
    assert not any("Authorization" in asked.headers for asked in server.asked)
    assert [asked.target for asked in server.asked] == [
        "/prefix/api/v1/query?tenant=7",
        "/prefix/?tenant=7",
        "/prefix/api/v1/import/prometheus?tenant=7",
        "/prefix/api/v1/write?tenant=7",
        "/prefix/api/v1/snapshot?tenant=7",
    ]


def test_an_address_without_a_path_asks_for_the_root(server):
    with closing(Client(address(server.url), timeout_s=5.0)) as client:
        assert client.post(b"").taken
    assert server.asked[0].target == "/"


def test_ipv6(server):
    try:
        with serving(host="::1") as six:
            query_answer = answered(query)
            six.script.append(query_answer)
            query(six.url)
            assert six.asked[0].headers["Host"] == f"[::1]:{six.server_port}"
    except OSError:
        pytest.skip("no IPv6 here")


# Answers


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {}, b"who are you?\nmore"), "answered 401 (who are you?)"),
        ((403, {}, b""), "answered 403 (Forbidden)"),
        ((404, {}, b"\n <html><title>x"), "answered 404 (Not Found)"),
        ((422, {}, b'{"status":"error","error":"parse error\\nat 1"}'), "answered 422 (parse error)"),
        ((400, {}, b"\x1b[31mred\xff"), "answered 400 ( [31mred\ufffd)"),
        ((400, {}, b"x" * 10_000), f"answered 400 ({'x' * 300})"),
        ((302, {"Location": "https://elsewhere/x"}, b"gone"), "answered 302 (moved to https://elsewhere/x; give that"),
        ((307, {}, b"gone"), "answered 307 (gone)"),
    ],
)
@each_door
def test_a_refusal_reads_the_same_at_every_door(server, door, answer, said):
    server.script.append(answer)
    with pytest.raises((InputError, ServerError, OSError, NoDocumentError)) as refused:
        door(server.url.replace("//", "//me:secret@"))
    assert str(refused.value).startswith(server.url)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


@each_door
def test_a_redirect_is_not_followed(server, door):
    """It might lead to another host, which must not learn the password, and a POST would arrive there as a GET."""
    with serving() as other:
        server.script.append((301, {"Location": f"{other.url}/"}, b""))
        with pytest.raises((InputError, ServerError, OSError, NoDocumentError), match="moved to"):
            door(server.url.replace("//", "//me:secret@"))
        assert other.asked == []
    assert len(server.asked) == 1


def dripping(before, drop):
    """Send a beginning and then one byte after the other, as long as somebody listens."""

    def answer(connection):
        connection.sendall(before)
        try:
            while True:
                connection.sendall(drop)
                time.sleep(0.02)
        except OSError:
            return

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"", b"H"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        lambda connection: connection.recv(1),
    ],
    ids=["status", "headers", "length", "chunks", "silence"],
)
def test_a_deadline_is_for_the_whole_exchange(server, answer):
    server.script.append(answer)
    with (
        closing(Client(address(server.url), timeout_s=0.3)) as client,
        pytest.raises(NoAnswerError, match=r"^does not answer within 0\.3 s$") as late,
    ):
        client.post(b"x")
    assert late.value.sent
    assert not late.value.lasting


def test_any_deadline_can_be_given(server):
    server.script.append((200, {}, VECTOR))
    assert Prometheus(server.url, timeout_s=1e15).query("up") == []


def test_an_answer_that_is_cut_off_is_none(server):
    server.script += [(200, {"Content-Length": "100", "Connection": "close"}, VECTOR)]
    with pytest.raises(ServerError, match=r"does not answer \(its answer was cut off\)"):
        query(server.url)


def test_what_does_not_speak_http_is_said(server):
    server.script.append(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\x07\r\n"))
    with pytest.raises(ServerError, match=r"does not answer \(.*SSH-2\.0") as refused:
        query(server.url)
    assert str(refused.value).isprintable()


def test_nobody_listens():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with (
            closing(Client(address(url), timeout_s=5.0)) as client,
            pytest.raises(NoAnswerError, match=r"^does not answer \(Connection refused\)$") as refused,
        ):
            client.post(b"")
    assert not refused.value.sent


def test_a_connection_is_kept_between_requests_and_not_between_queries(server):
    with closing(Client(address(server.url), timeout_s=5.0)) as client:
        assert [client.post(b"x").status for _ in range(3)] == [200] * 3
        assert server.connections == 1
        server.script.append((200, {}, b"long" * 100))
        assert client.post(b"x", most_bytes=7).content == b"longlon"
        assert client.post(b"x").content == b""  # what was left of the other answer is not taken for this one's
        assert server.connections == 2
    server.script += [(200, {}, VECTOR)] * 2
    prometheus = Prometheus(server.url)
    prometheus.query("up")
    prometheus.query("up")
    assert server.connections == 4


def test_an_endless_answer_is_refused(server, monkeypatch):
    monkeypatch.setattr("wattshed.agent.wire.query.MOST_BYTES", 2**20)
    server.script.append((200, {}, b" " * (2**20 + 1)))
    with pytest.raises(ServerError, match="more than 1 MiB"):
        query(server.url)


# TLS


@pytest.mark.usefixtures("trusted")
def test_a_server_with_a_certificate_of_ones_own_authority(tls_server):
    for door in DOORS.values():
        tls_server.script.append(answered(door))
        door(tls_server.url)
    assert len(tls_server.asked) == len(DOORS)


@each_door
def test_a_certificate_that_is_not_trusted_is_told_at_once(tls_server, door):
    with pytest.raises(
        (InputError, ServerError, OSError, NoDocumentError),
        match=r"certificate that is not trusted \(.+(SSL_CERT_FILE|--ca-file F) may name",
    ):
        door(tls_server.url.replace("//", "//me:secret@"))
    assert tls_server.asked == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_another_host_is_not_trusted(tls_server):
    with pytest.raises(ServerError, match=r"not trusted .*localhost"):
        query(tls_server.url.replace("127.0.0.1", "localhost"))


# Proxies of the environment


@each_door
def test_the_environments_proxy_is_used(server, door, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:p%40ss@"))
    server.script.append(answered(door))
    door("http://ada:secret@metrics.example/prefix")
    (asked,) = server.asked
    assert asked.target.startswith("http://metrics.example/prefix")
    assert asked.headers["Host"] == "metrics.example"
    assert asked.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"ada:secret").decode()


def test_hosts_that_need_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.script.append((200, {}, VECTOR))
    query(server.url)
    assert server.asked[0].target == "/api/v1/query"


@pytest.mark.usefixtures("trusted")
def test_tls_goes_through_a_proxy_unread(server, tls_server, monkeypatch):
    monkeypatch.setenv("https_proxy", server.place)  # as curl and Go read it, without a scheme too
    tls_server.script.append((200, {}, VECTOR))
    query(tls_server.url.replace("//", "//me:secret@"))
    assert server.asked[0].target == tls_server.place
    assert "Authorization" not in server.asked[0].headers
    assert "Authorization" in tls_server.asked[0].headers


def test_a_proxy_that_refuses(server, tls_server, monkeypatch):
    monkeypatch.setenv("https_proxy", server.url)
    server.refuses = True
    with pytest.raises(ServerError, match=r"does not answer \(Tunnel connection failed: 407"):
        query(tls_server.url)


@pytest.mark.parametrize("proxy", ["socks5://me:secret@h:1080", "https://me:secret@h", "http://me:secret@h:x"])
def test_a_proxy_that_cannot_be_used_is_named(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(InputError, match="the environment's http_proxy takes a URL") as refused:
        query("http://metrics.example")
    assert "secret" not in str(refused.value)
