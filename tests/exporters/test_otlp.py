"""OTLP: the same numbers through the SDK, and over the wire to something that listens."""

import gzip
import http.server
import sys
import threading

import pytest

from exporters.otlp import Push
from exporters.snapshot import HNJ_PER_JOULE
from tests.exporters import snapshots

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otlp")


def test_numbers_units_and_kinds():
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    push = Push(snapshots.rich, reader=reader)
    (resource,) = reader.get_metrics_data().resource_metrics
    assert resource.resource.attributes["host.name"] == "node1"
    metrics = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
    energy = metrics["wattshed_gpu_energy_joules"]
    assert energy.unit == "J"
    assert energy.data.is_monotonic
    by_gpu = {p.attributes["gpu_uuid"]: p.value for p in energy.data.data_points}
    assert by_gpu == {g.uuid: g.energy_hnj / HNJ_PER_JOULE for g in snapshots.rich().gpus}
    assert metrics["wattshed_gpu_power_watts"].unit == "W"
    users = {p.attributes["user"] for p in metrics["wattshed_job_info"].data.data_points}
    assert users == {"ada", "bob", ""}
    push.stop()


def test_a_collector_receives_it():
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    received = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/metrics"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        push = Push(snapshots.rich, f"http://127.0.0.1:{collector.server_port}", interval_s=60)
        push.stop()
        collector.shutdown()
    request = ExportMetricsServiceRequest.FromString(received[-1])
    names = {m.name for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"wattshed_job_energy_joules", "wattshed_gpu_up", "wattshed_fleet_power_watts"} <= names


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'wattshed\[otlp\]'"):
        Push(snapshots.rich)
