"""`wattshed.replay`: the command's flags as keywords, its answer as an object."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wattshed.agent.errors import InputError
from wattshed.agent.library.amounts import BY, Amounts
from wattshed.agent.library.paths import texts_of
from wattshed.agent.library.report import Report
from wattshed.agent.replay.given import options_from, quantity, settings_from
from wattshed.agent.replay.outlets import open_outlets
from wattshed.agent.replay.picture import title_of
from wattshed.agent.replay.points import Points
from wattshed.agent.replay.power import MOST_STEPS_OF_PAGE, PowerOverTime
from wattshed.agent.replay.running import refuse, refuse_for_runs, replay_on_cluster
from wattshed.agent.replay.running import replay as replay_here
from wattshed.agent.reports.tariff_flags import tariffs_from
from wattshed.agent.traces.sources import find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.inputs.frames import Frame
    from wattshed.agent.library.paths import Path as AnyPath
    from wattshed.agent.library.paths import Paths
    from wattshed.agent.replay.books import Settings
    from wattshed.agent.replay.given import Columns, Conditions
    from wattshed.agent.replay.outlets import Outlet
    from wattshed.agent.replay.running import Replayed
    from wattshed.agent.traces.sources import Chain

    By = Literal["job", "user", "account", "partition", "namespace", "qos", "host", "model", "day", "month"]


def replay(
    paths: Paths,
    jobs: AnyPath | Frame | None = None,
    *,
    columns: Columns | None = None,
    where: Conditions = (),
    period: float | None = None,
    timezone: str = "UTC",
    max_gap: float | None = None,
    max_power: float | None = None,
    job_columns: Columns | None = None,
    idle_watts: float | None = None,
    work: AnyPath | Frame | None = None,
    work_columns: Columns | None = None,
    watts: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    openmetrics: AnyPath | None = None,
    remote_write: str | None = None,
    history: AnyPath | None = None,
    by: By | None = None,
    price: float | str | None = None,
    currency: str | None = None,
    carbon: float | str | None = None,
    pue: float | str | None = None,
    basis: Literal["lifecycle", "direct"] = "lifecycle",
    sequence: str = "",
    area: str = "",
    tariff_columns: Columns | None = None,
    html: AnyPath | None = None,
) -> Report:
    """Compute the energy of recorded GPUs, and of each job: what ``wattshed replay`` does.

    Parameters
    ----------
    paths : path or sequence of paths
        Recordings of the agent, logs of other tools, or folders of them; ``FILE@HOST`` names the host of one.
    jobs : path or table, optional
        Who held which GPU: ``job,host,gpu,start,end``, or an accounting dump of Slurm. Without it, owners come from
        the recording. A table is one of pandas, polars, pyarrow or any library that hands tables over as Arrow.
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
    work : path or table, optional
        What jobs did: ``job,time,unit,count``, or counters of inference servers as Prometheus answers them
        (docs/work.md). A recording of the agent knows what it heard of by itself.
    work_columns : str or mapping, optional
        What its columns, or the label that names the job, are called: ``{"job": "pod"}``.
    watts : str, optional
        By what watts per activity a shared GPU's energy is split: ``"common"``, or ``"learned"`` of each job
        (docs/accuracy.md), which may say more: ``"learned,bound=1.5,spread=0.6,remember=30m"``.
    device : {"auto", "cpu", "cuda"}
        Where power is summed. The integers are the same.
    workers : int, optional
        Processes on this machine (extra ``scale``).
    scheduler : str, optional
        Address of a running Dask scheduler (extra ``scale``).
    openmetrics : path, optional
        Also write the energies as a backfill for Prometheus.
    remote_write : str, optional
        Also send them by remote write, to an address such as ``http://HOST:9090/api/v1/write``.
    history : path, optional
        Also write a new history of the jobs, for ``wattshed jobs --store``.
    by : {"job", "user", "account", "partition", "namespace", "qos", "host", "model", "day", "month"}, optional
        What `Report.amounts` is added up by; by job, if only one of the next is given.
    price, carbon, pue : float or str, optional
        Price of a kWh, g of CO2e a kWh, energy at the wall over that of the boards: a number, or the path of a file of
        values over time (docs/report.md).
    currency : str, optional
        Of prices, such as ``"EUR"``.
    basis : {"lifecycle", "direct"}
        Of carbon.
    sequence, area : str
        Which auction, and which bidding zone, of a file of day-ahead prices.
    tariff_columns : str or mapping, optional
        Columns of another table of values over time.
    html : path, optional
        Also write the amounts as a page.

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
    traces, read = texts_of(paths), {"period": period, "max_gap": max_gap, "max_power": max_power}
    options = options_from(columns=columns, where=where, timezone=timezone, **read)
    settings = settings_from(
        options, jobs=jobs, job_columns=job_columns, idle_watts=idle_watts, work=work, work_columns=work_columns,
        split=watts,
    )  # fmt: skip
    asked: dict[str, object] = {"jobs": jobs, "work": work, "openmetrics": openmetrics, "remote_write": remote_write}
    asked |= {"history": history, "device": device, "workers": workers, "scheduler": scheduler}
    asks = any(one is not None for one in (by, html, price, carbon, pue, currency, tariff_columns))
    refuse(asked | {"by": asks or None})
    tariffs = tariffs_from(
        price=price, currency=currency, carbon=carbon, pue=pue, basis=basis, sequence=sequence, area=area,
        columns=tariff_columns,
    ) if asks else None  # fmt: skip
    chains = find(traces, options)
    refuse_for_runs(asked, chains)
    power = partial(_power_over_time, traces, settings)
    if workers is not None or scheduler is not None:
        done = replay_on_cluster(chains, settings, device=device, workers=_count(workers), scheduler=scheduler or "")
        return Report(done, power, title_of(traces))
    with Amounts(tariffs, by=_checked(by), html=_text(html), history=_text(history)) as amounts:
        sent: list[str] = []
        outlets = open_outlets(_text(openmetrics), remote_write, sent.append)
        of_page = PowerOverTime(MOST_STEPS_OF_PAGE) if amounts.draws else None
        done = _replayed(chains, settings, device, outlets=outlets, history=amounts.history, power=of_page)
        report = Report(done, power, title_of(traces), amounts, of_page)
        report.notes += sent
    return report


def _count(workers: int | None) -> int:
    return 0 if workers is None else int(quantity(workers, "number of workers", 1.0))


def _text(path: AnyPath | None) -> str | None:
    return None if path is None else os.fspath(path)


def _checked(by: str | None) -> str | None:
    if by is not None and by not in BY:
        raise InputError(f"by: there is no {by!r}, only {', '.join(BY)}")
    return by


def _replayed(
    chains: list[Chain],
    settings: Settings,
    device: str,
    *,
    outlets: Sequence[Outlet],
    history: str | None,
    power: PowerOverTime | None,
) -> Replayed:
    """Replay in this process, and hand the points on."""
    kept = None if history is None else Path(history)
    if not outlets:
        return replay_here(chains, settings, device=device, history=kept, power=power)
    with closing(Points()) as points:
        done = replay_here(chains, settings, device=device, points=points, history=kept, power=power)
        for outlet in outlets:
            outlet(points, lambda: False)
    return done


def _power_over_time(traces: Sequence[str], settings: Settings) -> PowerOverTime:
    """Read the traces once more, which is what a picture takes."""
    chains = find(traces, settings.options)
    refuse_for_runs({"plot": True}, chains)
    replay_here(chains, settings, device="cpu", power=(power := PowerOverTime()))
    return power
