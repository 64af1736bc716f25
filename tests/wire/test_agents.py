"""Asking an agent or a collector: sockets of Unix, TLS, users, and what is said where one of them is wrong."""

import argparse
import base64
import os
import socket
import ssl
from contextlib import contextmanager

import pytest
import trustme

from tests.wire.servers import serving, serving_on
from wattshed.agent.errors import InputError
from wattshed.agent.wire.agents import DocumentServer, NoDocumentError
from wattshed.agent.wire.credentials import Credentials, add_flags, credentials_of, password_in, url_of

DOCUMENT = (200, {}, b'{"schema": "wattshed.jobs/1"}')


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    for name in list(os.environ):
        if name.lower() in {"http_proxy", "https_proxy", "no_proxy"} or name.startswith("WATTSHED_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def files(ca, tmp_path):
    """Return a folder with ca.pem, own.pem (a client's certificate and key) and a password."""
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = ca.issue_cert("client.example")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    (tmp_path / "password").write_text("p@ss:wörd\nmore\n", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    return tmp_path


@contextmanager
def secured(ca, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    if options.get("asks_for_certificates"):
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    with serving(tls=context) as httpd:
        yield httpd


def said(server, *, timeout_s=5.0):
    with pytest.raises(NoDocumentError) as refused:
        server.ask("/api/v1/jobs", timeout_s=timeout_s)
    return str(refused.value)


def parsed(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")  # a filter of jobs
    add_flags(parser, "the agent of this host")
    return parser.parse_args(words)


# A socket of Unix


def test_a_socket_of_unix_is_asked_without_a_password(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nor by a proxy
    path = tmp_path / "api.sock"
    with serving_on(path) as agent:
        agent.script.append(DOCUMENT)
        server = DocumentServer.of(f"unix:{path}", Credentials("ada", "secret"))
        assert server.ask("/api/v1/jobs", {"user": "ada & co", "limit": "5"}) == {"schema": "wattshed.jobs/1"}
    (asked,) = agent.asked
    assert asked.target == "/api/v1/jobs?user=ada+%26+co&limit=5"
    assert "Authorization" not in asked.headers


def test_a_socket_that_is_silent_or_not_there_is_said_in_time(tmp_path):
    path = tmp_path / "api.sock"
    assert said(DocumentServer.of(f"unix:{path}")) == f"unix:{path} does not answer (No such file or directory)"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert said(DocumentServer.of(f"unix:{path}")) == f"unix:{path} does not answer (Connection refused)"
        bound.listen(1)
        assert said(DocumentServer.of(f"unix:{path}"), timeout_s=0.2) == f"unix:{path} does not answer within 0.2 s"
    long = f"unix:/{'x' * 200}"
    assert "does not answer (AF_UNIX path too long)" in said(DocumentServer.of(long))


@pytest.mark.parametrize("url", ["unix:", "unix:run/api.sock", "unix:/run/\napi.sock"])
def test_what_is_not_a_sockets_address(url):
    with pytest.raises(InputError, match="--url takes a URL such as"):
        DocumentServer.of(url)


# TLS and users


def test_a_server_with_ones_own_authority_and_a_user(ca, files):
    with secured(ca) as httpd:
        httpd.script.append(DOCUMENT)
        flags = ["--login", "ada", "--password-file", str(files / "password"), "--ca-file", str(files / "ca.pem")]
        arguments = parsed("--url", httpd.url, "--user", "bob", *flags)
        server = DocumentServer.of(url_of(arguments), credentials_of(arguments))
        assert server.ask("/api/v1/jobs") == {"schema": "wattshed.jobs/1"}
    sent = httpd.asked[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "ada:p@ss:wörd"
    assert "p@ss" not in repr(server)


def test_the_environment_says_what_no_flag_does(files):
    environ = {
        "WATTSHED_URL": "https://site.example",
        "WATTSHED_LOGIN": "ada",
        "WATTSHED_PASSWORD_FILE": str(files / "password"),
        "WATTSHED_CA_FILE": "site.pem",
    }
    assert url_of(parsed(), environ) == "https://site.example"
    assert url_of(parsed("--url", "http://here"), environ) == "http://here"
    assert credentials_of(parsed("--login", "bob"), environ) == Credentials("bob", "p@ss:wörd", "site.pem")
    assert (url_of(parsed(), {}), credentials_of(parsed(), {})) == ("", Credentials())


def test_a_client_shows_its_certificate(ca, files):
    with secured(ca, asks_for_certificates=True) as httpd:
        httpd.script.append(DOCUMENT)
        own = Credentials(ca_file=str(files / "ca.pem"), cert_file=str(files / "own.pem"))
        assert DocumentServer.of(httpd.url, own).ask("/api/v1/jobs")
        assert "does not answer" in said(DocumentServer.of(httpd.url, Credentials(ca_file=str(files / "ca.pem"))))


def test_what_is_wrong_names_the_flag_that_helps(ca, files):
    with secured(ca) as httpd:
        unknown = said(DocumentServer.of(httpd.url))
        assert "certificate that is not trusted" in unknown
        assert "--ca-file F may name your own CA" in unknown
        assert "where it speaks TLS, give an https:// address" in said(
            DocumentServer.of(httpd.url.replace("https", "http"))
        )
    with serving() as plain:
        assert said(DocumentServer.of(plain.url.replace("http", "https"))).endswith(
            "does not answer (it does not speak TLS; give an http:// address)"
        )
        plain.script += [(401, {}, b"unauthorized\n")] * 3
        wanted = f"{plain.url} answered 401 (unauthorized): it wants a user; give --login NAME --password-file F"
        assert said(DocumentServer.of(plain.url)) == wanted
        known = [DocumentServer.of(plain.url, Credentials("ada", "secret"))]
        known.append(DocumentServer.of(plain.url.replace("//", "//ada:secret@")))
        for server in known:
            assert said(server) == f"{plain.url} answered 401 (unauthorized): it does not know this user and password"


def test_the_status_and_whether_anybody_is_there_can_be_told(ca):
    with serving() as plain:
        plain.script += [(404, {}, b'{"error": "no such job"}'), (200, {}, b"[]"), (200, {}, b"[" * 100_000)]
        with pytest.raises(NoDocumentError, match=r"answered 404 \(no such job\)$") as refused:
            DocumentServer.of(plain.url).ask("/api/v1/jobs/7")
        assert (refused.value.status, refused.value.nobody) == (404, False)
        for _ in range(2):
            assert said(DocumentServer.of(plain.url)).endswith("is not an agent's: /api/v1/jobs is no JSON object")
    with pytest.raises(NoDocumentError, match="Connection refused") as refused:
        DocumentServer.of(plain.url).ask("/")
    assert (refused.value.status, refused.value.nobody) == (0, True)
    with secured(ca) as httpd, pytest.raises(NoDocumentError) as refused:
        DocumentServer.of(httpd.url).ask("/")
    assert not refused.value.nobody


def test_files_that_are_no_certificates_are_named(tmp_path, files):
    for credentials in (
        Credentials(ca_file=str(tmp_path / "none.pem")),
        Credentials(ca_file=str(files / "password")),
        Credentials(ca_file=str(files / "ca.pem"), cert_file=str(files / "ca.pem")),
        Credentials(cert_file=str(files / "own.pem"), key_file=str(files / "password")),
    ):
        with pytest.raises(InputError, match=r"cannot be read|no PEM certificate") as refused:
            DocumentServer.of("https://127.0.0.1:1", credentials).ask("/")
        assert refused.value.path.startswith(str(tmp_path))


def test_a_user_is_named_once_and_with_a_password(files):
    for words in (["--login", "ada"], ["--password-file", "x"], ["--key-file", "x"]):
        with pytest.raises(InputError, match="give both"):
            credentials_of(parsed(*words), {})
    with pytest.raises(InputError, match="no colon"):
        credentials_of(parsed("--login", "a:b", "--password-file", str(files / "password")), {})
    with pytest.raises(InputError, match="give one of them") as refused:
        DocumentServer.of("http://ada:secret@h", Credentials("ada", "secret"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_password_that_others_can_read_is_refused(files, mode):
    path = files / "password"
    path.chmod(mode)
    owned_by_root = os.geteuid() == 0
    if owned_by_root and mode == 0o640:
        assert password_in(str(path)) == "p@ss:wörd"  # as of a service's group
        os.chown(path, 12345, -1)
    with pytest.raises(InputError, match="chmod 600") as refused:
        password_in(str(path))
    assert refused.value.path == str(path)
    assert "p@ss" not in str(refused.value)


def test_a_password_from_a_pipe_and_what_is_none(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"piped\r\n")
    os.close(writing)
    try:
        assert password_in(f"/dev/fd/{reading}") == "piped"
    finally:
        os.close(reading)
    empty = tmp_path / "empty"
    empty.touch(0o600)
    for path, why in ((empty, "should be a password"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be")):
        with pytest.raises(InputError, match=why):
            password_in(str(path))
