"""TLS with a test CA, client certificates, passwords, the rate limit, headers, and reloads under way."""

import asyncio
import base64
import contextlib
import os
import select
import socket
import ssl
import time

import bcrypt
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.exporters.wire import get, read_one
from wattshed.exporters.web import access
from wattshed.exporters.web.access import Busy, Passwords, RateLimit, credentials
from wattshed.exporters.web.web_config import WebConfig, WebConfigError, load

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
CA = trustme.CA()


def write_cert(folder, name="localhost"):
    cert = CA.issue_cert(name, "127.0.0.1")
    cert.private_key_pem.write_to_path(folder / "key.pem")
    cert.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    CA.cert_pem.write_to_path(folder / "ca.pem")
    return cert


@pytest.fixture
def web(tmp_path):
    write_cert(tmp_path)
    path = tmp_path / "web.yml"

    def write(text):
        path.write_text(text, encoding="utf-8")
        return path

    return write


TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"


def client(cert=None):
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if cert:
        cert.configure_cert(context)
    return lambda sock: context.wrap_socket(sock, server_hostname="localhost")


def basic(user, password):
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Authorization: Basic {token}\r\n"


def test_tls_serves_those_who_trust_the_ca_and_no_plain_text(serve, web):
    server, port = serve(web_config=web(TLS))
    assert server.addresses[0].startswith("https://")
    assert get(port, wrap=client())[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        get(port, wrap=lambda s: ssl.create_default_context().wrap_socket(s, server_hostname="localhost"))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"wattshed" not in sock.recv(65536)


def test_client_certificates(serve, web):
    stranger = trustme.CA().issue_cert("stranger")
    _, port = serve(web_config=web(MUTUAL))
    assert get(port, wrap=client(CA.issue_cert("prometheus")))[0] == 200
    for bad in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            get(port, wrap=client(bad))
    _, port = serve(web_config=web(MUTUAL + "  client_allowed_sans: [prometheus]\n"))
    assert get(port, wrap=client(CA.issue_cert("prometheus")))[0] == 200
    with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
        get(port, wrap=client(CA.issue_cert("somebody-else")))


def test_inline_certificate_and_versions(serve, web, tmp_path):
    indent = "\n".ljust(5)
    pem = {k: (tmp_path / f"{k}.pem").read_text().strip().replace("\n", indent) for k in ("cert", "key")}
    text = f"tls_server_config:\n  cert: |\n    {pem['cert']}\n  key: |\n    {pem['key']}\n  min_version: TLS13\n"
    _, port = serve(web_config=web(text))
    assert get(port, wrap=client())[0] == 200
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(port, wrap=lambda s: context.wrap_socket(s, server_hostname="localhost"))


def test_passwords(serve, web):
    _, port = serve(web_config=web(f"basic_auth_users: {{ada: {HASH}}}\n"))
    assert get(port, headers=basic("ada", "right"))[0] == 200
    wrong = [basic("ada", "wrong"), basic("bob", "right"), basic("ada", "right" + "x" * 100), basic("ada", "a\0b")]
    wrong += ["", "Authorization: Basic !!!\r\n", "Authorization: Bearer x\r\n", "Authorization: Basic YWRh\r\n"]
    wrong += [basic("é", "ü" * 50), "Authorization: Basic //8=\r\n"]
    for headers in wrong:
        for path in ("/metrics", "/", "/-/healthy", "/nothing"):
            status, answered, body = get(port, path, headers=headers)
            assert status == 401, headers
            assert answered["www-authenticate"].startswith("Basic ")
            assert HASH.encode() not in body
            assert b"ada" not in body


def test_a_slow_hash_keeps_nobody_else_waiting(serve, web, monkeypatch):
    """Told by the order of the answers and the number of hashes: the time of either is the machine's."""
    hashed, check = [], access._check
    monkeypatch.setattr(access, "_check", lambda password, known: hashed.append(password) or check(password, known))
    slow = bcrypt.hashpw(b"slow", bcrypt.gensalt(13)).decode()
    _, port = serve(web_config=web(f"basic_auth_users: {{ada: {HASH}, bob: {slow}}}\n"))
    assert get(port, headers=basic("ada", "right"))[0] == 200
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET /-/healthy HTTP/1.1\r\nHost: x\r\n{basic('bob', 'slow')}\r\n".encode())
        while hashed != [b"right", b"slow"]:
            time.sleep(0.005)
        assert get(port, headers=basic("ada", "right"))[0] == 200
        assert not select.select([sock], [], [], 0)[0], "ada's answer comes before bob's"
        assert read_one(sock)[0] == 200
        assert get(port, headers=basic("bob", "slow"))[0] == 200
    assert hashed == [b"right", b"slow"]


def test_a_flood_of_wrong_passwords_is_bounded_and_right_ones_stay_known():
    async def flood():
        passwords = Passwords()
        users = {"ada": HASH}
        right = basic("ada", "right").partition(": ")[2].strip()
        assert await passwords.allow(users, right)
        tries = [
            asyncio.ensure_future(passwords.allow(users, basic("ada", f"no{i}").partition(": ")[2].strip()))
            for i in range(300)
        ]
        assert await passwords.allow(users, right)
        results = await asyncio.gather(*tries, return_exceptions=True)
        passwords.close()
        return results

    results = asyncio.run(flood())
    assert True not in results
    assert any(isinstance(result, Busy) for result in results)


@settings(max_examples=examples(100))
@given(st.text(max_size=40))
def test_any_authorization_header_is_read_somehow(text):
    user, password = credentials(text)
    assert user is None or isinstance(password, bytes)


def test_rate_limit(serve, web):
    _, port = serve(web_config=web("rate_limit: {interval: 1h, burst: 3}\n"))
    assert [get(port, "/-/healthy")[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    now = [0.0]
    limit = RateLimit(0.5, 2, lambda: now[0])
    assert [limit.allow() for _ in range(3)] == [True, True, False]
    now[0] = 0.6
    assert [limit.allow() for _ in range(2)] == [True, False]


def test_headers_of_the_file_win(serve, web):
    text = (
        "http_server_config:\n  http2: false\n  headers:\n    Strict-Transport-Security: max-age=1\n"
        "    X-Frame-Options: sameorigin\n    Content-Security-Policy: default-src 'self'\n"
    )
    _, port = serve(web_config=web(text))
    _, headers, _ = get(port, "/")
    assert headers["strict-transport-security"] == "max-age=1"
    assert headers["x-frame-options"] == "sameorigin"
    assert headers["content-security-policy"] == "default-src 'self'"


def touch(path, text):
    path.write_text(text, encoding="utf-8")
    later = time.time_ns() + 10**9
    os.utime(path, ns=(later, later))


def test_reload_takes_users_and_certificates_and_drops_no_connection(serve, web, tmp_path):
    path = web(TLS)
    _, port = serve(web_config=path)
    wrap = client()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, wrap(plain) as kept:
        kept.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_one(kept)[0] == 200
        touch(path, TLS + f"basic_auth_users: {{ada: {HASH}}}\n")
        kept.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_one(kept)[0] == 401
        kept.sendall(f"GET /-/healthy HTTP/1.1\r\nHost: x\r\n{basic('ada', 'right')}\r\n".encode())
        assert read_one(kept)[0] == 200

        def serial():
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock, wrap(sock) as tls:
                return tls.getpeercert()["serialNumber"]

        before = serial()
        write_cert(tmp_path)
        assert serial() != before
        kept.sendall(f"GET /-/healthy HTTP/1.1\r\nHost: x\r\n{basic('ada', 'right')}\r\n".encode())
        assert read_one(kept)[0] == 200


@pytest.mark.parametrize("broken", ["basic_auth_users: {ada: plaintext}\n", "tls_server_config: [\n", None, "", "#\n"])
def test_a_broken_or_vanished_file_never_opens_the_door(serve, web, broken):
    path = web(f"basic_auth_users: {{ada: {HASH}}}\n")
    server, port = serve(web_config=path)
    if broken is None:
        path.unlink()
    else:
        touch(path, broken)
    assert get(port)[0] == 401
    status, _, _body = get(port, headers=basic("ada", "right"))
    assert status == 200
    get(port, headers=basic("ada", "right"))
    assert server._site.faults["web-config"] == 1
    touch(path, "{}")
    assert get(port)[0] == 200


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("tls_server_config:\n  cert_file: a\n  keyfile: b\n", 3, 3, "unknown key 'keyfile'"),
        ("basic_auth_users:\n  ada: hunter2\n", 2, 8, "not a bcrypt hash"),
        ("a: [\n", 2, 1, "not YAML"),
        ("- a\n", 1, 1, "must be a mapping"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: maybe\n", 3, 22, "deny or sameorigin"),
        ("http_server_config:\n  headers:\n    Server: mine\n", 3, 5, "unknown key 'Server'"),
        ("rate_limit:\n  interval: soon\n", 2, 13, "interval must be a duration"),
        ("rate_limit:\n  burst: many\n", 2, 10, "burst must be a whole number"),
        (TLS + "  min_version: SSL3\n", 4, 16, "min_version must be one of"),
        (TLS + "  cipher_suites: [RC4]\n", 4, 18, "cipher suite 'RC4'"),
        (TLS + "  client_auth_type: RequireAnyClientCert\n", 4, 21, "RequireAndVerifyClientCert"),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert\n", 2, 3, "needs client_ca_file"),
        (TLS + "  client_ca_file: ca.pem\n", 2, 3, "needs a client_auth_type"),
        ("tls_server_config:\n  cert_file: cert.pem\n  key_file: none.pem\n", 2, 3, "cannot be read"),
        ("tls_server_config:\n  cert_file: cert.pem\n  key_file: ca.pem\n", 2, 3, "cannot be used"),
        ("tls_server_config:\n  cert_file: cert.pem\n", 2, 3, "give either key_file or key"),
        ("a: 1\n", 1, 1, "unknown key 'a'"),
    ],
)
def test_a_bad_file_is_one_line_with_a_place_and_no_secret(web, text, line, column, says):
    path = web(text)
    with pytest.raises(WebConfigError) as caught:
        load(path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}:{column}: ")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("Invalid salt"), ValueError("password may not contain NUL bytes")])
def test_a_password_that_cannot_be_checked_is_wrong(serve, web, monkeypatch, error):
    """Releases of bcrypt differ in what they refuse; the door stays shut."""

    def refuse(*_):
        raise error

    _, port = serve(web_config=web(f"basic_auth_users:\n  ada: {HASH}\n"))
    monkeypatch.setattr(bcrypt, "checkpw", refuse)
    assert get(port, headers=basic("ada", "right"))[0] == 401


LISTS = ("client_allowed_sans", "cipher_suites", "curve_preferences")
WORDS = ("min_version", "max_version", "client_auth_type", "client_ca_file", "prefer_server_cipher_suites")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        *((key, value, "list of strings") for key in LISTS for value in ("a", "{a: b}", "[a, {b: c}]", "[[a], b]")),
        *((key, value, "string") for key in WORDS for value in ("[a]", "{a: b}")),
    ],
)
def test_a_value_of_another_kind_is_refused_where_it_stands(web, key, value, kind):
    """A list is no list of strings if any of it is none."""
    with pytest.raises(WebConfigError, match=f"{key} must be a {kind}") as caught:
        load(web(f"{TLS}  {key}: {value}\n"))
    assert (caught.value.line, caught.value.column) == (4, len(key) + 5)


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n"])
def test_a_file_that_says_nothing_asks_for_nothing_but_is_no_change(web, text):
    assert load(web(text)) == WebConfig(files=(web(text),))
    with pytest.raises(WebConfigError):
        load(web(text), may_be_empty=False)


def test_an_encrypted_key_is_refused_with_the_reason_and_nobody_is_asked_for_its_password(web, tmp_path):
    path = web(TLS)
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"hunter2"))
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(WebConfigError, match="the key is encrypted; give an unencrypted one"):
        load(path)


def test_the_whole_schema_is_accepted(web):
    config = load(
        web(
            MUTUAL + "  client_allowed_sans: [a, b]\n  min_version: TLS12\n  max_version: TLS13\n"
            "  prefer_server_cipher_suites: true\n  curve_preferences: [X25519]\n"
            "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"
            "http_server_config:\n  http2: true\n  headers: {X-XSS-Protection: '0', X-Content-Type-Options: nosniff}\n"
            f"basic_auth_users:\n  ada: {HASH}\nrate_limit:\n  interval: 1m30s\n  burst: 20\n"
        )
    )
    assert config.allowed_sans == {"a", "b"}
    assert config.rate_interval_s == 90.0
    assert config.tls.verify_mode == ssl.CERT_REQUIRED
    assert len(config.files) == 4
    assert load(web("tls_server_config:\nbasic_auth_users:\n")).tls is None
    assert "TLS_AES_256_GCM_SHA384" not in {c["name"] for c in config.tls.get_ciphers() if c["protocol"] == "TLSv1.2"}


@settings(max_examples=examples(100))
@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        message = f"{load(path)}"
    except WebConfigError as error:
        message = str(error)
    assert "\n" not in message


def test_a_file_nested_too_deeply_is_one_line(web):
    with pytest.raises(WebConfigError, match="not YAML, or nested too deeply"):
        load(web("[" * 20_000))
