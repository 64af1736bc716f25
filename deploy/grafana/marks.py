"""What is marked on the graphs: XID errors, starts of agents, and the starts and ends of jobs."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from panels import SOURCE
from queries import GPUS, HOST, NODES, OF_GPU, RATE, titled

BEFORE = "$__interval"
STEP = "15s"
MOST_JOBS = 5


class Mark(model.AnnotationQuery):
    """An annotation of Grafana's Prometheus data source, whose own keys the foundation SDK does not know.

    The query stands twice: Grafana 11 reads ``expr`` and ``step``, later ones ``target``.
    """

    def __init__(self, name: str, colour: str, text: str, expr: str, *, on: bool, at_value: bool) -> None:
        super().__init__(name=name, datasource=SOURCE, enable=on, icon_color=colour, expr=expr, built_in=None)
        self._text, self._at_value = text, at_value

    def to_json(self) -> dict[str, object]:
        """Give the JSON that Grafana reads."""
        return super().to_json() | {
            "step": STEP,
            "target": {"expr": self.expr, "interval": STEP, "refId": "Anno"},
            "titleFormat": self.name,
            "textFormat": self._text,
            "useValueForTime": self._at_value,
        }

    def build(self) -> Mark:
        """Be its own builder."""
        return self


def marks(chosen: str, *, jobs: bool) -> list[Mark]:
    """Make what is marked on every graph: XID errors, starts of agents, and the starts and ends of jobs.

    Parameters
    ----------
    chosen : str
        Which jobs, as matchers.
    jobs : bool
        Whether jobs are marked unless switched off; where many are shown they are not, unless switched on.

    Notes
    -----
    Grafana asks at some hundred moments of the time range: what was there at one and not at the one before is an
    event. A job that is back within ten minutes, as after a start of the agent, did not begin. Where an agent was away,
    no end is told. Where more than some few jobs are shown at once none is marked: lines would hide the graphs.
    """
    shown = f"and on (instance) group by (instance) (wattshed_gpu_info{{{HOST}, {NODES}}})"
    seen = f"wattshed_job_info{{{chosen}}}"
    few = f"and on () (count(count by (job) ({seen} {shown})) <= {MOST_JOBS})"
    ran, runs = (
        f"(sum by (instance, job) (rate(wattshed_job_gpu_seconds_total{{{chosen}}}{RATE}{moment})) > 0)"
        for moment in (f" offset {BEFORE}", "")
    )
    xids = f"wattshed_gpu_xid_errors_total{{{HOST}}}"
    came = f"({xids} - {xids} offset {BEFORE} > 0 or {xids} unless last_over_time({xids}[10m] offset {BEFORE}))"
    started = f"process_start_time_seconds{{{HOST}}} * 1000 > $__from"
    return [
        Mark(
            "XID errors",
            "red",
            "XID {{xid}}: {{host}} GPU {{gpu}}",
            f"{came} * {OF_GPU} (gpu, host) {GPUS}",
            on=True,
            at_value=False,
        ),
        Mark(
            "Agent starts",
            "blue",
            "The agent on {{instance}} started",
            f"({started}) and on (instance, job) wattshed_up {shown}",
            on=True,
            at_value=True,
        ),
        Mark(
            "Job starts",
            "green",
            "{{title}} started",
            f"max by (job, title) ({titled(seen)} {shown}) "
            f"unless on (job) last_over_time({seen}[10m] offset {BEFORE}) {few}",
            on=jobs,
            at_value=False,
        ),
        Mark(
            "Job ends",
            "orange",
            "{{job}} ended on {{instance}}",
            f"{ran} unless {runs} and on (instance) wattshed_up {shown} {few}",
            on=jobs,
            at_value=False,
        ),
    ]
