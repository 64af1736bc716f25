"""A real Prometheus (or VictoriaMetrics) in virtual time: pages of half an hour are written into it within seconds.

Pages go in by remote write, with what a scrape itself would add: the target's labels, ``up``, and a stale marker for
every series that was on the page before and is not any more. Blocks made by promtool hold no stale markers, so that
a series that ended would go on for five minutes; a shorter look-back would end those that merely miss a scrape.
Recording rules are evaluated in their groups' order and intervals, by queries at virtual times, and written back.
"""

import json
import re
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.exporters.wire import peer
from tests.ports import free_port
from wattshed.agent.wire.protobuf import encode, field, in_snappy

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""Prometheus' own NaN for a series that ended (model/value/value.go); Python keeps its bits."""


def seconds(text):
    """A duration as Prometheus writes it, in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))


def samples(page):
    """Samples of an OpenMetrics page: (name and labels, value)."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if not sample.name.endswith("_created"):  # scraped into no series of its own
                yield {"__name__": sample.name, **sample.labels}, sample.value


class Server:
    """A store that speaks the query API and remote write; its time is that of what is written."""

    def __init__(self, url, write="/api/v1/write"):
        self.url, self._write = url, url + write
        self._living = {}

    def scrape(self, time_s, page, **target):
        """Write what a scrape of this page would store; None is a scrape that failed.

        A page is OpenMetrics, or its samples: (name and labels, value).
        """
        found = {} if page is None else dict(self._labelled(page, target))
        gone = self._living.get(target["instance"], {}).keys() - found.keys()
        self._living[target["instance"]] = found
        up = self._key({"__name__": "up", **target})
        self.write(time_s, [*found.items(), *((key, STALE) for key in gone), (up, float(page is not None))])

    def _labelled(self, page, target):
        for labels, value in samples(page) if isinstance(page, str) else page:
            yield self._key({**target, **labels}), value  # honor_labels: the page's own win

    @staticmethod
    def _key(labels):
        return tuple(sorted((k, v) for k, v in labels.items() if v))

    def write(self, time_s, rows):
        """Send samples of one moment: (sorted labels, value)."""
        body = encode(
            (
                b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in key),
                [(round(time_s * 1000), value)],
            )
            for key, value in rows
        )
        urllib.request.urlopen(urllib.request.Request(self._write, in_snappy(body)), timeout=30).close()

    def flush(self):
        """Make what was written visible at once, where a server keeps it back (VictoriaMetrics)."""
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10).close()

    def query(self, expr, time_s):
        """Instant vector: labels (without the name) as a sorted tuple -> value; NaN, as of 0 / 0, is no answer.

        A refusal is a `ValueError`.
        """
        form = urllib.parse.urlencode({"query": expr, "time": f"{time_s:.3f}"}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data=form, timeout=30) as answer:
                found = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{json.load(error)['error']} in {expr}") from None
        if found["resultType"] == "scalar":
            return {(): float(found["result"][1])}
        assert found["resultType"] == "vector", (found["resultType"], expr)
        return {
            tuple(sorted((k, v) for k, v in item["metric"].items() if k != "__name__")): float(item["value"][1])
            for item in found["result"]
            if item["value"][1] != "NaN"
        }


class Ruler:
    """Evaluates recording rules as Prometheus does: group by group, in order, each at its interval.

    ``refused`` holds what the server said to a rule that failed; such a rule records nothing.
    """

    def __init__(self, server, paths, groups=""):
        self._server, self._living = server, {}
        self.refused = {}
        self._groups = [
            (seconds(group.get("interval", "30s")), [rule for rule in group["rules"] if "record" in rule])
            for path in paths
            for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
            if groups in group["name"]
        ]

    def evaluate(self, time_s):
        """Evaluate the groups that are due at this whole second."""
        for interval_s, rules in self._groups:
            if time_s % interval_s:
                continue
            for rule in rules:
                labels = {"__name__": rule["record"], **rule.get("labels", {})}
                try:
                    answer = self._server.query(rule["expr"], time_s)
                except ValueError as error:
                    self.refused[rule["record"]] = str(error)
                    continue
                found = {self._server._key({**dict(key), **labels}): value for key, value in answer.items()}
                gone = self._living.get(rule["record"], set()) - found.keys()
                self._living[rule["record"]] = set(found)
                if rows := [*found.items(), *((key, STALE) for key in gone)]:
                    self._server.write(time_s, rows)


@contextmanager
def _running(home, program, arguments, ready):
    with (home / "log").open("w") as log:
        process = subprocess.Popen([peer(program), *arguments], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(ready, timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (home / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "it does not become ready"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def prometheus(home):
    """Run a Prometheus that scrapes nothing and takes remote write."""
    port = free_port()
    (home / "prometheus.yml").write_text("{}\n", encoding="utf-8")
    arguments = [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"]
    arguments += ["--storage.tsdb.retention.time=100y", "--log.level=warn"]
    with _running(home, "prometheus", arguments, f"http://127.0.0.1:{port}/-/ready"):
        yield Server(f"http://127.0.0.1:{port}")


@contextmanager
def victoria_metrics(home):
    """Run a VictoriaMetrics that shows what was written at once."""
    port = free_port()
    arguments = [f"-storageDataPath={home}/data", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y"]
    arguments += ["-search.latencyOffset=0s", "-search.disableCache"]
    with _running(home, "victoria-metrics", arguments, f"http://127.0.0.1:{port}/health"):
        yield Server(f"http://127.0.0.1:{port}")
