"""The same facts pushed by OTLP, for sites that collect with OpenTelemetry (extra ``otlp``).

Each family of ``/metrics`` becomes an observable instrument of the OpenTelemetry SDK: counters as monotonic sums, the
rest as gauges; histograms stay with Prometheus, for the SDK takes no counts that are already summed. Names lose
``_total``, which an exporter to Prometheus adds again (opentelemetry.io/docs/specs/otel/compatibility/prometheus...).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exporters import prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporters.exposition import Family
    from exporters.snapshot import Snapshot

UNITS = {"joules": "J", "watts": "W", "seconds": "s", "watts_per_second": "W/s", "ratio": "1"}


class Push:
    """Pushes the current snapshot every ``interval_s`` from a thread of the SDK.

    Parameters
    ----------
    publish : callable
        Returns the current Snapshot.
    endpoint : str
        OTLP over HTTP, such as ``http://collector:4318``, to which the usual ``/v1/metrics`` is added unless it names a
        path; empty: what OTEL_EXPORTER_OTLP_* say.
    interval_s : float, s
    reader : optional
        Another metric reader, for tests.

    Raises
    ------
    ImportError
        If the extra is not installed; the message says how.
    """

    def __init__(
        self, publish: Callable[[], Snapshot], endpoint: str = "", interval_s: float = 15.0, reader: Any = None
    ) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - an extra
                OTLPMetricExporter,
            )
            from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        except ImportError as error:
            raise ImportError("OTLP needs the extra otlp: pip install 'wattshed[otlp]'") from error
        if reader is None:
            if endpoint and not urlsplit(endpoint).path.strip("/"):
                endpoint = f"{endpoint.rstrip('/')}/v1/metrics"
            exporter = OTLPMetricExporter(endpoint=endpoint or None)
            reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval_s * 1000)
        first = publish()
        resource = Resource.create(
            {"service.name": "wattshed", "service.version": first.version, "host.name": first.host}
        )
        self._publish = publish
        self._provider = MeterProvider([reader], resource)
        meter = self._provider.get_meter("wattshed", first.version)
        for family in prometheus.TABLE:
            if family.histograms is None:
                self._instrument(meter, family)
        meter.create_observable_gauge(
            "wattshed_job_info", [lambda _: self._observe(prometheus.job_info(self._publish()))]
        )

    def _instrument(self, meter: Any, family: Family) -> None:
        name = family.name.removesuffix("_total")
        unit = next((symbol for word, symbol in UNITS.items() if name.endswith(f"_{word}")), "")
        make = meter.create_observable_counter if family.kind == "counter" else meter.create_observable_gauge
        make(name, [lambda _: self._observe(family)], unit, family.text)

    def _observe(self, family: Family) -> Iterable[Any]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415 - an extra

        for labels, value in family.samples(self._publish()):
            if math.isfinite(value):
                number = value / family.per if family.per > 1 else value
                yield Observation(number, dict(zip(family.labels, labels, strict=True)))

    def stop(self) -> None:
        """Push once more and end the thread."""
        self._provider.shutdown()
