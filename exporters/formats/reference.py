"""The reference of all metrics, ``docs/metrics.md``, out of the same tables that make the pages."""

from __future__ import annotations

from wattshed.exporters.formats import dcgm, prometheus, self_metrics
from wattshed.exporters.formats.prometheus import JOB_LABELS

HEAD = """# Metrics

Generated from the tables in `exporters/`; do not edit: `python -m wattshed.exporters.formats.reference >
docs/metrics.md` regenerates it.

Every energy and power here holds at the boundary of the **GPU board**, as NVML reports it, except `wattshed_fleet_*`,
which names its boundary. What is unknown has no series: a missing reading is never 0.

## `/metrics`

Served as text (0.0.4) or OpenMetrics 1.0, whichever the client prefers; the latter adds `_created` to counters.
Energies are exact decimals. For every `gpu_uuid` the sum of `wattshed_job_energy_joules_total` over `job` and
`component`, plus `wattshed_ended_jobs_energy_joules_total`, equals `wattshed_gpu_energy_joules_total`. No owner's
series ever rises faster than its GPU, and together they rise as it does: `increase()` over jobs needs no exception. The
series of a job go five minutes after its end, and its joules are with the ended jobs from then on: that counter jumps,
so it is for sums at one moment, never for `rate()` or `increase()`.

On a simulated node (`--meter simulated`, or a recording of one) every series of energy or power, here, at
`/metrics/dcgm`, by OTLP and in a backfill, has the label `simulated="1"` beside those listed; a real one has no such
label, so that `{simulated=""}` selects what was measured.

Scrape with `honor_labels: true`: the label `job` names the user's job, and Prometheus would rename it to
`exported_job`.

"""

QUIET = """
`wattshed_gpu_counter_resets_total` has a name that `promtool check metrics` objects to: the text format shows it only
from the first reset on; OpenMetrics, which Prometheus asks for, always.
"""

PROCESS = """
What the agent itself costs (left out where the kernel hides it from the agent):

| metric | type | meaning |
|---|---|---|
"""

HOST_CPU = """
What the processors of the host did:

| metric | type | labels | meaning |
|---|---|---|---|
"""

JOINS = """
### Who used it

Names, users and pods are on `wattshed_job_info` only, so that the energy series stay few. To sum by user:

```promql
sum by (user) (
  sum by (instance, job) (rate(wattshed_job_energy_joules_total{simulated=""}[5m]))
  * on (instance, job) group_left (user)
  topk by (instance, job) (1, count_over_time(wattshed_job_info{user!=""}[5m])) ^ 0
)
```

[promql.md](promql.md) says why, and has what else people ask; `deploy/prometheus/` has recording rules for users,
accounts and namespaces.

## `/metrics/dcgm`

The names and labels of dcgm-exporter, for dashboards and rules made for it. Every value is emitted once per GPU and
holds at the board: it is not repeated for MIG instances or pods.

"""

REGISTRY = """
## In a registry of your own

A program that has a registry of `prometheus_client` registers the same families there, beside its own metrics:

```python
from prometheus_client import CollectorRegistry, Counter, generate_latest

from wattshed import Collector
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import measure_one
from wattshed.agent.fleet.live.serve import FleetPublisher
from wattshed.agent.fleet.live.site import extrapolate

inventory = read_inventory("FLEET.toml")
fleet = FleetPublisher(inventory, lambda: extrapolate(inventory, measure_one(inventory, "node-1", 5120.0, "train")))
fleet.update()  # and again every few seconds

registry = CollectorRegistry()
tokens = Counter("tokens", "Tokens that this program made.", registry=registry)
registry.register(Collector(lambda: fleet.snapshot))
print(generate_latest(registry).decode())
```

`Collector` takes anything that returns a `wattshed.exporters.snapshot.Snapshot`, and calls it once a scrape. The series
are those of `/metrics` in OpenMetrics; `process_*` is left to the registry's own collector, and `created=False` leaves
`_created` out. Joules are floats there, not exact decimals.
"""

PATHS = """
## Other paths

| path | answers |
|---|---|
| `/` | the page for people |
| `/api/v1/snapshot` | the same data as JSON, with the last hour of power |
| `/api/v1/snapshot.schema.json` | its JSON schema |
| `/api/v1/power?range=hour` (`day`, `week`, `start`) | power of each GPU and job over time, from the history too |
| `/api/v1/access` | what whoever asks may ask about jobs ([history](history.md)) |
| `/-/healthy` | 200 while the server runs |
| `/-/ready` | 200 while energy is accounted; else 503 and why not: no driver, no GPU that can be metered |
"""


def markdown() -> str:
    """Write the whole page."""
    lines = [HEAD, "| metric | type | labels | meaning |\n|---|---|---|---|\n"]
    table = sorted(prometheus.TABLE, key=lambda family: family.name)
    lines += [_row(family.name, family.kind, family.labels, family.text) for family in table]
    lines.append(
        _row(
            "wattshed_job_info",
            "info",
            ("job", *JOB_LABELS),
            "Always 1; who a job is, to be joined on job. Empty labels do not apply; managers add labels of their own.",
        )
    )
    lines += [QUIET, PROCESS, *(f"| `{name}` | {kind} | {text} |\n" for name, kind, text, _ in self_metrics.PROCESS)]
    cpu = self_metrics.HOST_CPU
    lines += [HOST_CPU, _row(cpu.name, cpu.kind, cpu.labels, cpu.text)]
    lines += [JOINS, "| metric | type | meaning |\n|---|---|---|\n"]
    families = dcgm.families()
    lines += [f"| `{family.name}` | {family.kind} | {family.text} |\n" for family in families]
    lines.append(f"\nLabels: {', '.join(f'`{name}`' for name in families[0].labels)}.\n")
    return "".join([*lines, REGISTRY, PATHS])


def _row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
