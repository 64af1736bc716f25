"""What a collector publishes about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family

if TYPE_CHECKING:
    from wattshed.agent.collect.pull import Puller


def families(puller: Puller) -> list[Family]:
    """Return the families, which read what is so when they are written."""
    return [
        Family(
            "wattshed_collect_targets",
            "gauge",
            "Agents by state: up, down (no answer), refused (its history cannot be taken), new (not asked yet).",
            ("state",),
            lambda _: [((state,), count) for state, count in puller.states().items()],
        ),
        Family(
            "wattshed_collect_parts_total",
            "counter",
            "Parts of jobs that were taken from agents.",
            (),
            lambda _: [((), puller.totals()[0])],
        ),
        Family(
            "wattshed_collect_gaps_total",
            "counter",
            "Times that an agent had dropped parts before they were taken.",
            (),
            lambda _: [((), puller.totals()[1])],
        ),
        Family(
            "wattshed_collect_lag_seconds",
            "gauge",
            "Seconds since all was taken that the agent had which is furthest behind.",
            (),
            lambda _: [((), puller.lag_s())],
        ),
        Family(
            "wattshed_collect_write_seconds",
            "gauge",
            "Seconds that the last page of parts took in the database.",
            (),
            lambda _: [((), puller.write_s)],
        ),
        Family(
            "wattshed_faults_total",
            "counter",
            "Faults of parts of the collector, which goes on; the log has what happened.",
            ("part",),
            lambda snapshot: [((part,), count) for part, count in sorted(snapshot.faults.items())],
        ),
    ]
