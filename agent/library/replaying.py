"""`wattshed.replay`: the command's flags as keywords, its answer as an object."""

from __future__ import annotations

import os
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wattshed.agent.library.paths import texts_of
from wattshed.agent.library.report import Report
from wattshed.agent.replay.given import options_from, quantity, settings_from
from wattshed.agent.replay.picture import title_of
from wattshed.agent.replay.power import PowerOverTime
from wattshed.agent.replay.running import refuse, refuse_for_runs, replay_on_cluster
from wattshed.agent.replay.running import replay as replay_here
from wattshed.agent.traces.sources import find

if TYPE_CHECKING:
    from wattshed.agent.library.paths import Path as AnyPath
    from wattshed.agent.library.paths import Paths
    from wattshed.agent.replay.given import Columns, Conditions


def replay(
    paths: Paths,
    jobs: AnyPath | None = None,
    *,
    columns: Columns | None = None,
    where: Conditions = (),
    period: float | None = None,
    timezone: str = "UTC",
    max_gap: float | None = None,
    max_power: float | None = None,
    job_columns: Columns | None = None,
    idle_watts: float | None = None,
    work: AnyPath | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    openmetrics: AnyPath | None = None,
    history: AnyPath | None = None,
) -> Report:
    """Compute the energy of recorded GPUs, and of each job: what ``wattshed replay`` does.

    Parameters
    ----------
    paths : path or sequence of paths
        Recordings of the agent, logs of other tools, or folders of them; ``FILE@HOST`` names the host of one.
    jobs : path, optional
        Who held which GPU: ``job,host,gpu,start,end``, or an accounting dump of Slurm. Without it, owners come from
        the recording.
    columns, job_columns : str or mapping, optional
        Names of columns, for a table whose columns cannot be told by their names: ``{"time": "ts:ms", "gpu": "id",
        "power": "board:mW"}``, or the same as text, ``"time=ts:ms,gpu=id,power=board:mW"``.
    where : str or mapping
        Rows of a table that count: ``{"metric": "power", "host": ["n1", "n2"]}``.
    period : float, optional, s
        Between rounds of a log without times.
    timezone : str
        Of times without one, such as ``"Europe/Berlin"``.
    max_gap : float, optional, s
        Longest interval that is bridged; longer ones are gaps.
    max_power : float, optional, W
        Readings above it are rejected; 20,000 if nothing is said.
    idle_watts : float, optional, W
        Idle power of every GPU: its share is static.
    work : path, optional
        What jobs did: ``job,time,unit,count``. A recording of the agent knows what it heard of by itself.
    device : {"auto", "cpu", "cuda"}
        Where power is summed. The integers are the same.
    workers : int, optional
        Processes on this machine (extra ``scale``).
    scheduler : str, optional
        Address of a running Dask scheduler (extra ``scale``).
    openmetrics : path, optional
        Also write the energies as a backfill for Prometheus.
    history : path, optional
        Also write a new history of the jobs, for ``wattshed jobs --store``.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If a file or keyword cannot be used. It says which file, line and column; a flag that its message names is the
        keyword of that name.

    Examples
    --------
    >>> import wattshed
    >>> report = wattshed.replay("examples/recordings/h200-minute")
    >>> round(report.total_j, 1)
    22530.9
    """
    traces = texts_of(paths)
    options = options_from(
        columns=columns, where=where, period=period, timezone=timezone, max_gap=max_gap, max_power=max_power
    )
    table = None if jobs is None else os.fspath(jobs)
    told = None if work is None else os.fspath(work)
    settings = settings_from(options, jobs=table, job_columns=job_columns, idle_watts=idle_watts, work=told)
    asked: dict[str, object] = {"jobs": jobs, "openmetrics": openmetrics, "history": history, "device": device}
    asked |= {"workers": workers, "scheduler": scheduler}
    refuse(asked)
    chains = find(traces, options)
    refuse_for_runs(asked, chains)

    def power_over_time() -> PowerOverTime:
        """Read the traces once more, which is what a picture takes."""
        again = find(traces, options)
        refuse_for_runs({"plot": True}, again)
        replay_here(again, settings, device="cpu", power=(power := PowerOverTime()))
        return power

    if workers is not None or scheduler is not None:
        count = 0 if workers is None else int(quantity(workers, "number of workers", 1.0))
        done = replay_on_cluster(chains, settings, device=device, workers=count, scheduler=scheduler or "")
        return Report(done, power_over_time, title_of(traces))
    from wattshed.agent.replay.points import OpenMetricsFile, Points  # noqa: PLC0415 - for those who ask for it

    target = None if openmetrics is None else OpenMetricsFile(Path(openmetrics))
    with closing(Points()) if target else nullcontext() as points:
        done = replay_here(
            chains, settings, device=device, points=points, history=None if history is None else Path(history)
        )
        if target is not None and points is not None:
            target.write(points)
    return Report(done, power_over_time, title_of(traces))
