"""Requests byte by byte, and real peers that may be missing."""

import os
import shutil
import socket

import pytest


def peer(program):
    """Find a real peer; a missing one skips, or fails where CI promised it."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI_REAL") == "1":
            pytest.fail(f"{program} is missing though CI_REAL=1")
        pytest.skip(f"needs {program}")
    return found


def get(port, path="/metrics", *, headers="", method="GET", timeout=5.0, wrap=None):
    """Make one request over a fresh socket; gives (status, headers, body)."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as plain:
        sock = wrap(plain) if wrap else plain
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        sock.sendall(request.encode("latin-1"))
        return parse(read_all(sock))


def read_all(sock):
    """Read until the other side closes."""
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def parse(data):
    """Split an answer into (status, headers, body)."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, body


def read_one(sock):
    """Read one answer of a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionError(data)
        data += chunk
    status, headers, body = parse(data)
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65536)
    return status, headers, body
