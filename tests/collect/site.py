"""A site of simulated agents: real histories, behind one HTTP server with a path for each host."""

import json
import random
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from tests.history.made_up import HOUR_US, MARCH_US, opened
from wattshed.agent.collect.merge import Merger
from wattshed.agent.collect.pull import Puller, PullPace
from wattshed.agent.collect.targets import Target, Targets
from wattshed.agent.errors import Faults
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.wire.agents import DocumentServer
from wattshed.agent.wire.parts import END, Doubt, JobPart, JobRecord


class SimulatedAgent:
    """One host that meters a virtual day.

    Attributes
    ----------
    down : bool
        It does not answer.
    cuts : int
        So many answers are cut off in the middle.
    skew_us : int, us
        How far its clock is ahead.
    """

    def __init__(self, path, host, seed=0):
        self.path, self.host, self._random = path, host, random.Random(f"{host} {seed}")
        self.down, self.cuts, self.skew_us, self.now_us = False, 0, 0, MARCH_US
        self.store_id, self.seq, self.made = f"store-of-{host}", 0, []
        self.store = opened(path, self.store_id, host)
        self._asked = threading.Lock()
        self._answers = Answers(open_database(path, read_only=True), host, clock=self._now_s)

    def _now_s(self):
        return (self.now_us + self.skew_us) / 1e6

    def hour(self, jobs=()):
        """Use an hour: idle power, and each of some jobs, given as (key, run_us, last, labels)."""
        begin, records = self.now_us, {}
        self.now_us += HOUR_US
        made = [self._part("_idle", 0, begin, 0)]
        for key, run_us, last, labels in jobs:
            records[key, run_us] = JobRecord(key, run_us, run_us, self.now_us if last else -1, 1000, labels)
            made.append(self._part(key, run_us, begin, END if last else 0))
        with self._asked:
            self.store.add(made, records, {f"GPU-{self.host}": "H100"})
        self.made += made

    def _part(self, key, run_us, begin_us, flags):
        self.seq += 1
        static, dynamic = self._random.randrange(10**15), self._random.randrange(10**15)
        watts_mw = None if key.startswith("_") else (static % 900_000, dynamic % 90_000)
        return JobPart(
            self.seq, key, run_us, f"GPU-{self.host}", begin_us, self.now_us, static, dynamic, HOUR_US // 2,
            HOUR_US // 2, self._random.randrange(700_000), 1, 1, Doubt(dynamic / 4e10, 0, 0, 0, 1.0), flags,
            watts_mw=watts_mw,
        )  # fmt: skip

    def answer(self, params):
        with self._asked:
            return self._answers.parts(int(params["after"]), int(params["limit"]), params.get("store", ""))

    def close(self):
        self.store.close()


class Site:
    """The server, and a collector that asks it."""

    def __init__(self, folder, hosts=3):
        self.agents = {f"n{i}": SimulatedAgent(folder / f"n{i}.db", f"n{i}") for i in range(hosts)}
        self.faults, self.requests = Faults(), 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.serve(self)

            def log_message(self, *_):
                pass

        class SiteServer(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

            def handle_error(self, request, client_address):
                """A collector that is killed hangs up."""

        self._server = SiteServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, handler):
        self.requests += 1
        split = urlsplit(handler.path)
        agent = self.agents.get(split.path.split("/")[1])
        if agent is None or agent.down:
            handler.close_connection = True
            handler.connection.close()
            return
        body = json.dumps(agent.answer(dict(parse_qsl(split.query)))).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if agent.cuts:
            agent.cuts -= 1
            handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(body)

    def url(self, host):
        return f"http://127.0.0.1:{self._server.server_port}/{host}"

    def target(self, host, cluster="east"):
        return Target(DocumentServer.of(self.url(host)), cluster)

    def hour(self, jobs=None):
        """Let all agents use an hour; ``jobs`` gives the jobs of a host."""
        for host, agent in self.agents.items():
            agent.hour(jobs(host) if jobs else ())

    def round(self, puller, hosts=None):
        """Ask all agents once."""
        for host in hosts or self.agents:
            puller.poll(self.target(host))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def collecting(site, place, pods=None, **pace):
    """A collector on a database, until it is killed at the end."""
    database = open_database(place, only=True)
    try:
        targets = Targets([], site.faults, 1)
        merger = Merger(database)
        yield Puller(targets, merger, site.faults, PullPace(timeout_s=5, **pace), pods, wall=lambda: wall_s(site))
    finally:
        database.close()


def wall_s(site):
    return max(agent.now_us for agent in site.agents.values()) / 1e6


def parts_at(place, host, ignored=0):
    """All parts of one host that a database has, oldest first, but for some of their flags."""
    from wattshed.agent.history.part_rows import PART_COLUMNS, part_of

    database = open_database(place, read_only=True)
    rows = database.rows(
        f"SELECT {PART_COLUMNS} FROM part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu "
        "WHERE job.host = ? ORDER BY part.from_us, part.seq",
        (host,),
    )
    database.close()
    parts = [part_of(row) for row in rows]
    return [replace(part, flags=part.flags & ~ignored) for part in parts]
