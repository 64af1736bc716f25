"""A BMC that answers Redfish over real HTTP or HTTPS, with the faults that real ones have."""

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "wattshed", "s3cret"
SESSIONS = "/redfish/v1/SessionService/Sessions"


def resource(path, **more):
    return {"@odata.id": path, **more}


def chassis(*names, **links):
    """The collection, and chassis that say where their power is."""
    base = "/redfish/v1/Chassis"
    return {base: resource(base, Members=[{"@odata.id": f"{base}/{name}"} for name in names])} | {
        f"{base}/{name}": resource(f"{base}/{name}", **links.get(name, {})) for name in names
    }


def metrics(name="Self", watts=412.5, **sensor):
    """A chassis with environment metrics, whose sensor is elsewhere if anything is said of it."""
    base = f"/redfish/v1/Chassis/{name}"
    power = {"Reading": watts} | ({"DataSourceUri": f"{base}/Sensors/Power"} if sensor else {})
    return {
        f"{base}/EnvironmentMetrics": {"PowerWatts": power, "EnergykWh": {"Reading": 325_675}},
        f"{base}/Sensors/Power": {"Reading": watts, **sensor},
    }


def supplies(name, *watts):
    base = f"/redfish/v1/Chassis/{name}/PowerSubsystem/PowerSupplies"
    members = {f"{base}/{place}/Metrics": {"InputPowerWatts": {"Reading": one}} for place, one in enumerate(watts)}
    return {base: {"Members": [{"@odata.id": f"{base}/{place}"} for place in range(len(watts))]}} | members


def control(name, *watts):
    return {f"/redfish/v1/Chassis/{name}/Power": {"PowerControl": [{"PowerConsumedWatts": one} for one in watts]}}


def linked(name, what):
    return {what: {"@odata.id": f"/redfish/v1/Chassis/{name}/{what}"}}


ONE = chassis("Self", Self=linked("Self", "EnvironmentMetrics"))


class Bmc:
    """A server of resources by path.

    ``resources`` may change at any time; ``hangs`` is for how long the next answers wait; ``sessions`` are those that
    are open, and ``opened`` how many there have been; ``garbage`` is sent in place of any resource, and ``answers``
    answers in place of this server; ``token`` and ``place`` are told of a session in place of its own.
    """

    def __init__(self, resources, tls=None, port=0):
        self.resources, self.hangs, self.garbage, self.date = dict(resources), threading.Event(), b"", ""
        self.hangs.set()
        self.sessions, self.opened, self.most, self.asked = {}, 0, 8, []
        self.answers, self.token, self.place = None, "", ""
        self.connections = []
        handler = type("Handler", (_Handler,), {"bmc": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self):
        return f"{self.scheme}://localhost:{self._server.server_address[1]}"

    def hang_up(self):
        """End all connections, as BMCs do to who was silent for a while."""
        while self.connections:
            with contextlib.suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.hangs.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bmc = None

    def setup(self):
        super().setup()
        self.bmc.connections.append(self.connection)

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return self.bmc.date or formatdate(time.time() if timestamp is None else timestamp, usegmt=True)

    def answer(self, status, document, **headers):
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bmc.asked.append(("POST", self.path))
        self.bmc.hangs.wait(60)
        if self.path != SESSIONS:
            self.answer(404, {})
        elif told != {"UserName": USER, "Password": PASSWORD}:
            self.answer(401, {"error": {"message": "wrong password"}})
        elif len(self.bmc.sessions) >= self.bmc.most:
            self.answer(503, {"error": {"code": "RAC0218"}})
        else:
            self.bmc.opened += 1
            token = f"token-{self.bmc.opened}"
            self.bmc.sessions[token] = f"{SESSIONS}/{self.bmc.opened}"
            place = self.bmc.place or self.bmc.url + self.bmc.sessions[token]
            self.answer(201, {}, X_Auth_Token=self.bmc.token or token, Location=place)

    def do_GET(self):
        self.bmc.asked.append(("GET", self.path))
        self.bmc.hangs.wait(60)
        if self.bmc.answers is not None:
            self.bmc.answers(self)
        elif self.path == "/sessions":
            self.answer(200, list(self.bmc.sessions))  # for a test in another process
        elif self.headers.get("X-Auth-Token") not in self.bmc.sessions:
            self.answer(401, {})
        elif self.bmc.garbage:
            self.answer(200, self.bmc.garbage)
        elif self.path in self.bmc.resources:
            self.answer(200, self.bmc.resources[self.path])
        else:
            self.answer(404, {})

    def do_DELETE(self):
        self.bmc.asked.append(("DELETE", self.path))
        token = self.headers.get("X-Auth-Token")
        self.answer(204 if self.bmc.sessions.pop(token, "") == self.path else 401, b"")


def tls_of(certificate):
    """What a server shows this certificate with (trustme's)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


if __name__ == "__main__":
    with Bmc(ONE | metrics(), port=int(sys.argv[1])):
        threading.Event().wait()
