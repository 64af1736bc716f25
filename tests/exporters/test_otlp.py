"""OTLP: the same numbers through the SDK, and over the wire to something that listens."""

import dataclasses
import gzip
import http.server
import sys
import threading
import time

import pytest

from tests.exporters import snapshots
from wattshed.agent.errors import Faults
from wattshed.exporters.formats.otlp import Push
from wattshed.exporters.snapshot import EnergyShare, JobFacts
from wattshed.exporters.units import HNJ_PER_JOULE

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otlp")


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self):
        self.given = []

    def export(self, data):
        self.given.append(data)

    def shutdown(self):
        pass


def metrics_of(data):
    (resource,) = data.resource_metrics
    return {m.name: m for scope in resource.scope_metrics for m in scope.metrics}


@pytest.mark.parametrize("interval_s", [0.01, 3600])
def test_a_collector_that_hangs_does_not_keep_the_agent_from_ending(interval_s):
    """The unit and the chart give it 20 s; the recording is closed after this."""
    answers, asked = threading.Event(), threading.Event()

    class Hangs(Kept):
        def export(self, data):
            asked.set()
            answers.wait()

        def shutdown(self):
            answers.set()

    push = Push(snapshots.rich, interval_s=interval_s, exporter=Hangs(), noting=Faults().noting)
    assert interval_s > 1 or asked.wait(10)
    began = time.monotonic()
    push.stop(wait_s=0.2)
    assert time.monotonic() - began < 5
    assert answers.is_set()


def test_numbers_units_and_kinds():
    kept = Kept()
    push = Push(snapshots.rich, exporter=kept, noting=Faults().noting)
    push.stop()
    (data,) = kept.given
    assert data.resource_metrics[0].resource.attributes["host.name"] == "node1"
    metrics = metrics_of(data)
    energy = metrics["wattshed_gpu_energy_joules"]
    assert energy.unit == "J"
    assert energy.data.is_monotonic
    by_gpu = {p.attributes["gpu_uuid"]: p.value for p in energy.data.data_points}
    assert by_gpu == {g.uuid: g.energy_hnj / HNJ_PER_JOULE for g in snapshots.rich().gpus}
    assert metrics["wattshed_gpu_power_watts"].unit == "W"
    users = {p.attributes["user"] for p in metrics["wattshed_job_info"].data.data_points}
    assert users == {"ada", "bob", ""}
    (calls,) = metrics["wattshed_nvml_call_seconds"].data.data_points
    assert (calls.count, sum(calls.bucket_counts), len(calls.bucket_counts)) == (7201, 7201, 4)
    assert calls.explicit_bounds == [0.0005, 0.001, 0.01]


def test_parts_add_up_whatever_came_and_went():
    """Thousands of jobs, one after the other: each has its own series and start, and goes; nothing is merged."""
    kept, now = Kept(), [snapshots.empty()]
    push = Push(lambda: now[0], exporter=kept, noting=Faults().noting)
    uuid, ended = snapshots.UUIDS[0], 0
    for n in range(1, 2500):
        share = EnergyShare(f"slurm:{n % 2000}", uuid, n, 7 * HNJ_PER_JOULE)
        start_us = snapshots.T0 + n * 1_000_000
        job = JobFacts(share.job, {}, 1, 1, 0.0, start_us)
        gpu = snapshots.gpu(0, ended + n + 7 * HNJ_PER_JOULE, ended_hnj=ended)
        now[0] = dataclasses.replace(
            now[0], seq=n, time_us=start_us + 500_000, gpus=(gpu,), energy=(share,), jobs=(job,)
        )
        metrics = metrics_of(push.data(now[0]))
        points = metrics["wattshed_job_energy_joules"].data.data_points
        assert [(p.attributes["job"], p.start_time_unix_nano) for p in points] == [(share.job, start_us * 1000)] * 2
        parts = sum(p.value for p in points) + metrics["wattshed_ended_jobs_energy_joules"].data.data_points[0].value
        assert parts == pytest.approx(metrics["wattshed_gpu_energy_joules"].data.data_points[0].value, rel=1e-12)
        ended += n + 7 * HNJ_PER_JOULE
    push.stop()


@pytest.mark.parametrize("build", [snapshots.empty, snapshots.rich, snapshots.hostile, snapshots.large])
def test_everything_can_be_sent(build):
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    push = Push(build, exporter=Kept(), noting=Faults().noting)
    assert encode_metrics(push.data(build())).SerializeToString()
    push.stop()


def test_a_push_that_fails_is_not_the_last():
    class Broken(Kept):
        def export(self, data):
            super().export(data)
            raise OSError("gone")

    broken, faults = Broken(), Faults()
    push = Push(snapshots.rich, interval_s=0.01, exporter=broken, noting=faults.noting)
    deadline = time.monotonic() + 5
    while len(broken.given) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    push.stop()
    assert len(broken.given) >= 3
    assert faults.counts == {"otlp": len(broken.given)}


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
        push = Push(snapshots.rich, f"http://127.0.0.1:{collector.server_port}", interval_s=60, noting=Faults().noting)
        push.stop()
        collector.shutdown()
    request = ExportMetricsServiceRequest.FromString(received[-1])
    names = {m.name for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"wattshed_job_energy_joules", "wattshed_gpu_up", "wattshed_fleet_power_watts"} <= names


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'wattshed\[otlp\]'"):
        Push(snapshots.rich, noting=Faults().noting)
