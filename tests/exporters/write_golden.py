"""Write the golden pages anew: ``python -m tests.exporters.write_golden``; read the diff before committing it."""

from pathlib import Path

from tests.exporters import snapshots
from wattshed.exporters.formats import dcgm, prometheus
from wattshed.exporters.formats.exposition import Writer


def main():
    """Write every golden page of the exporters."""
    golden = Path(__file__).parent / "golden"
    snapshot = snapshots.rich()
    for name, openmetrics, families in (
        ("metrics.txt", False, tuple(prometheus.families(snapshot))),
        ("metrics.openmetrics.txt", True, tuple(prometheus.families(snapshot))),
        ("dcgm.txt", False, dcgm.families()),
    ):
        writer = Writer(openmetrics=openmetrics, on_fault=print)
        (golden / name).write_bytes(writer.write(snapshot, families))


if __name__ == "__main__":
    main()
