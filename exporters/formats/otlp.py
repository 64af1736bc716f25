"""The same data pushed by OTLP, for sites that collect with OpenTelemetry (extra ``otlp``).

One push is one snapshot, so that its parts add up. Each family of ``/metrics`` becomes a metric: counters as monotonic
cumulative sums, the rest as gauges and histograms. Names lose ``_total``, which an exporter to Prometheus adds again
(opentelemetry.io/docs/specs/otel/compatibility/prometheus...).

The SDK's instruments are gone round: they keep every set of attributes that was ever seen, merge all beyond 2,000 into
one, and give a series that comes back the start time that it had before. Jobs come and go, so each of these would break
the sums. Its data types and its exporter are what is used.
"""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wattshed.exporters.formats import prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from wattshed.exporters.formats.exposition import Family
    from wattshed.exporters.snapshot import Histogram, Snapshot

UNITS = {"joules": "J", "watts": "W", "seconds": "s", "watts_per_second": "W/s", "ratio": "1"}
UNITS |= {"bytes": "By", "celsius": "Cel", "hertz": "Hz"}


class Push:
    """Pushes the current snapshot every ``interval_s`` from a thread of its own.

    Parameters
    ----------
    publish : callable
        Returns the current Snapshot.
    endpoint : str
        OTLP over HTTP, such as ``http://collector:4318``, to which the usual ``/v1/metrics`` is added unless it names a
        path; empty: what OTEL_EXPORTER_OTLP_* say.
    interval_s : float, s
    exporter : optional
        Another exporter of metrics, for tests.
    noting : callable
        From "otlp" to the context in which a push may fail.

    Raises
    ------
    ImportError
        If the extra is not installed; the message says how.
    """

    def __init__(
        self,
        publish: Callable[[], Snapshot],
        endpoint: str = "",
        interval_s: float = 15.0,
        exporter: Any = None,
        *,
        noting: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - an extra
                OTLPMetricExporter,
            )
            from opentelemetry.sdk.metrics import export  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
        except ImportError as error:
            raise ImportError("OTLP needs the extra otlp: pip install 'wattshed[otlp]'") from error
        if endpoint and not urlsplit(endpoint).path.strip("/"):
            endpoint = f"{endpoint.rstrip('/')}/v1/metrics"
        self._exporter = OTLPMetricExporter(endpoint=endpoint or None) if exporter is None else exporter
        first = publish()
        version = _encodable(first.version)
        self._types = export
        self._resource = Resource.create(
            {"service.name": "wattshed", "service.version": version, "host.name": _encodable(first.host)}
        )
        self._scope = InstrumentationScope("wattshed", version)
        self._publish, self._interval_s, self._noting = publish, interval_s, noting
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattshed-otlp", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float = 5.0) -> None:
        """Push once more and end the thread; a collector that does not answer is not waited for longer than this."""
        self._stopped.set()
        self._thread.join(wait_s)
        self._exporter.shutdown()  # whoever is still waiting to try again gives up

    def data(self, snapshot: Snapshot) -> Any:
        """Return a snapshot as the SDK's ``MetricsData``."""
        metrics = [self._metric(family, snapshot) for family in (*prometheus.TABLE, prometheus.job_info(snapshot))]
        scope = self._types.ScopeMetrics(self._scope, [metric for metric in metrics if metric is not None], "")
        return self._types.MetricsData([self._types.ResourceMetrics(self._resource, [scope], "")])

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._push()
        self._push()

    def _push(self) -> None:
        with self._noting("otlp"):  # the next push may go through
            self._exporter.export(self.data(self._publish()))  # what cannot be sent, the exporter logs

    def _metric(self, family: Family, snapshot: Snapshot) -> Any:
        """Return one family as a metric; None without a series."""
        name = family.name.removesuffix("_total")
        unit = next((symbol for word, symbol in UNITS.items() if name.endswith(f"_{word}")), "")
        cumulative = self._types.AggregationTemporality.CUMULATIVE
        data: Any
        if family.histograms:
            data = self._types.Histogram(self._histograms(family, snapshot), cumulative)
        elif family.kind == "counter":
            data = self._types.Sum(self._numbers(family, snapshot), cumulative, is_monotonic=True)
        else:
            data = self._types.Gauge(self._numbers(family, snapshot))
        return self._types.Metric(name, family.text, unit, data) if data.data_points else None

    def _numbers(self, family: Family, snapshot: Snapshot) -> list[Any]:
        default = (snapshot.counters_since_us or snapshot.started_us) / 1e6
        since = family.since(snapshot) if family.since else {}
        mark = family.mark(snapshot)
        return [
            self._types.NumberDataPoint(
                {**_attributes(family.labels, labels), **mark},
                round(since.get(labels[0] if labels else "", default) * 1e6) * 1000,
                snapshot.time_us * 1000,
                value / family.per if family.per > 1 else value,
            )
            for labels, value in family.samples(snapshot)
            if math.isfinite(value)
        ]

    def _histograms(self, family: Family, snapshot: Snapshot) -> list[Any]:
        histograms: Mapping[str, Histogram] = family.histograms(snapshot) if family.histograms else {}
        points = []
        for value, histogram in histograms.items():
            bounds = [bound for bound in histogram.bounds if math.isfinite(bound)]
            upto = [0, *histogram.counts[: len(bounds)], histogram.counts[-1] if histogram.counts else 0]
            counts = [after - before for before, after in itertools.pairwise(upto)]
            times = snapshot.started_us * 1000, snapshot.time_us * 1000
            attributes = _attributes(family.labels, (value,))
            points.append(
                self._types.HistogramDataPoint(
                    attributes, *times, sum(counts), histogram.total, counts, bounds, min=None, max=None
                )
            )
        return points


def _attributes(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    return {name: _encodable(value) for name, value in zip(names, values, strict=True)}


def _encodable(text: str) -> str:
    """Replace what no UTF-8 holds: names are user text, and one of them must not stop the push."""
    return str(text).encode(errors="replace").decode()
