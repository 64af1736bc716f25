"""Servers that answer by a script, keep what they were asked, and may speak TLS or be a proxy."""

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingUnixStreamServer
from types import SimpleNamespace


class Handler(BaseHTTPRequestHandler):
    """Answer each GET and POST with the next of ``server.script``, or with 200 and nothing."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(SimpleNamespace(target=self.path, headers=dict(self.headers), content=content))
        answer = self.server.script.pop(0) if self.server.script else (200, {}, b"")
        if callable(answer):
            self.close_connection = True
            answer(self.connection)
            return
        status, headers, said = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(said)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def do_CONNECT(self):
        """Be a proxy that joins the client with the host that it names."""
        self.server.asked.append(SimpleNamespace(target=self.path, headers=dict(self.headers), content=b""))
        self.close_connection = True
        if self.server.refuses:
            self.send_error(407)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=splice, args=(far, self.connection))
            back.start()
            splice(self.connection, far)
            back.join()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that refuse a certificate or hang up are what is tested here."""


class Server6(Server):
    address_family = socket.AF_INET6


class UnixServer(ThreadingUnixStreamServer):
    daemon_threads = True


def splice(source, sink):
    """Pass on what arrives until it ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@contextmanager
def running(httpd):
    """Serve in a thread for as long as the block lasts."""
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield httpd
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@contextmanager
def serving(*, tls=None, host="127.0.0.1"):
    """Run a server; ``tls`` is its SSLContext."""
    with (Server6 if ":" in host else Server)((host, 0), Handler) as httpd:
        httpd.asked, httpd.script, httpd.connections, httpd.refuses = [], [], 0, False
        if tls is not None:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
        httpd.place = f"[{host}]:{httpd.server_port}" if ":" in host else f"{host}:{httpd.server_port}"
        httpd.url = f"{'https' if tls else 'http'}://{httpd.place}"
        with running(httpd):
            yield httpd


@contextmanager
def serving_on(path):
    """Run a server on a socket of Unix."""
    with UnixServer(str(path), Handler) as httpd:
        httpd.asked, httpd.script, httpd.connections = [], [], 0
        with running(httpd):
            yield httpd
