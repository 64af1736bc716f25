"""The native metrics as a collector of prometheus_client, for a program that has a registry of its own.

Our own server writes its pages itself, six times as fast (`exporters.formats.exposition`); this gives the same families
to whatever else serves, pushes or tests by a registry.
"""

from __future__ import annotations

import logging
from math import isfinite
from typing import TYPE_CHECKING

from prometheus_client import Metric, registry

from wattshed.exporters.formats.exposition import buckets, legible, openmetrics_head
from wattshed.exporters.formats.prometheus import families
from wattshed.exporters.snapshot import Snapshot
from wattshed.exporters.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.exporters.formats.exposition import Family

log = logging.getLogger(__name__)

_NOTHING = Snapshot("", "", "", "", 0, 0, 0)


class Collector(registry.Collector):
    """Gives a registry the families of ``/metrics``, as of one snapshot for each scrape.

    They are those of our OpenMetrics page, series by series, without ``process_*``, which a registry has from
    `prometheus_client.ProcessCollector`. Values are the nearest floats of the page's exact decimals. The client library
    turns them into either text format; in the older one it shows ``_created`` as gauges and no exact decimals.

    Parameters
    ----------
    source : callable
        Returns the snapshot of now: of an agent, of a fleet's publisher, or one that you make.
    created : bool
        Whether counters say when they began.
    """

    def __init__(self, source: Callable[[], Snapshot], *, created: bool = True) -> None:
        self._source, self._created = source, created

    def describe(self) -> Iterator[Metric]:
        """Yield the families without their series: a registry asks for the names before there is anything to read."""
        for family in families(_NOTHING):
            yield _metric(family)

    def collect(self) -> Iterator[Metric]:
        """Yield the families that have series; one that fails is logged and left out, as on the page."""
        snapshot = self._source()
        for family in families(snapshot):
            metric = _metric(family)
            try:
                if family.histograms is not None:
                    self._histograms(snapshot, family, metric)
                else:
                    self._series(snapshot, family, metric)
            except Exception as error:  # noqa: BLE001 - one family must not cost the program all of its metrics
                log.warning("%s is missing: %r", family.name, error)
                continue
            if metric.samples:
                yield metric

    def _series(self, snapshot: Snapshot, family: Family, metric: Metric) -> None:
        mark = family.mark(snapshot)
        created = self._created and metric.type == "counter"
        began = (snapshot.counters_since_us or snapshot.started_us) / MICRO
        since = family.since(snapshot) if created and family.since else {}
        for values, number in family.samples(snapshot):
            if not isfinite(number):
                continue
            named = dict(zip(family.labels, map(legible, map(str, values)), strict=True)) | dict(mark)
            metric.add_sample(family.name, named, int(number) / family.per if family.per > 1 else number)
            if created:
                at = since.get(values[0], began) if values else began
                metric.add_sample(f"{metric.name}_created", named, round(at, 3))

    def _histograms(self, snapshot: Snapshot, family: Family, metric: Metric) -> None:
        for value, histogram in family.histograms(snapshot).items() if family.histograms else ():
            named = dict(zip(family.labels, (legible(value),), strict=True))
            steps = buckets(histogram)
            for bound, count in steps:
                metric.add_sample(f"{family.name}_bucket", {**named, "le": bound}, count)
            metric.add_sample(f"{family.name}_sum", named, histogram.total)
            metric.add_sample(f"{family.name}_count", named, steps[-1][1])
            if self._created:
                metric.add_sample(f"{family.name}_created", named, round(snapshot.started_us / MICRO, 3))


def _metric(family: Family) -> Metric:
    name, kind, unit = openmetrics_head(family)
    return Metric(name, family.text, kind, unit)
