"""The accounts of a replay as Arrow tables: whole half-nanojoules beside joules."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.replay.report import in_order, label_names
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.replay.books import Part

_AMOUNTS = (
    "wall_kwh", "wall_sigma_kwh", "cost", "cost_sigma", "co2e_g", "co2e_sigma_g", "marginal_co2_g",
    "marginal_co2_sigma_g",
)  # fmt: skip
EXACT = pa.decimal128(38, 0)
"""Of energies in hnj: a GPU of 700 W passes what an int64 holds in eleven weeks."""
TIME = pa.timestamp("us", "UTC")
_GPU = pa.schema(
    [
        ("host", pa.string()),
        ("gpu", pa.int32()),
        ("uuid", pa.string()),
        ("model", pa.string()),
        ("energy_j", pa.float64()),
        ("energy_hnj", EXACT),
        ("sigma_j", pa.float64()),
        ("method", pa.string()),
        ("counter_j", pa.float64()),
        ("power_j", pa.float64()),
        ("disagreement", pa.float64()),
        ("mean_w", pa.float64()),
        ("min_w", pa.float64()),
        ("max_w", pa.float64()),
        ("p50_w", pa.float64()),
        ("p95_w", pa.float64()),
        ("p99_w", pa.float64()),
        ("samples", pa.int64()),
        ("span_s", pa.float64()),
        ("covered_s", pa.float64()),
        ("coverage", pa.float64()),
        ("gap_s", pa.float64()),
        ("gaps", pa.int64()),
        ("counter_resets", pa.int64()),
        ("flags", pa.list_(pa.string())),
    ]
)
_JOB = pa.schema(
    [
        ("job", pa.string()),
        ("hosts", pa.list_(pa.string())),
        ("gpus", pa.list_(pa.string())),
        ("start", TIME),
        ("end", TIME),
        ("energy_j", pa.float64()),
        ("energy_hnj", EXACT),
        ("static_j", pa.float64()),
        ("static_hnj", EXACT),
        ("dynamic_j", pa.float64()),
        ("dynamic_hnj", EXACT),
        ("sigma_j", pa.float64()),
        ("coverage", pa.float64()),
        ("gpu_s", pa.float64()),
        ("mean_w", pa.float64()),
        ("peak_w", pa.float64()),
        ("method", pa.string()),
    ]
)
_WORK = pa.schema(
    [
        ("job", pa.string()),
        ("unit", pa.string()),
        ("source", pa.string()),
        ("count", pa.int64()),
        ("joules_per_unit", pa.float64()),
        ("sigma_j", pa.float64()),
    ]
)


def _joules(energy: Any) -> float | None:
    return None if energy is None else energy.uj / 1e6


def gpus_table(part: Part, answer: Mapping[str, Any]) -> pa.Table:
    """Lay the GPUs of an answer out, in its order.

    Parameters
    ----------
    part : Part
        Closed accounts.
    answer : mapping
        Their document, see `agent.replay.report.document`.
    """
    rows = []
    for (_, account), gpu in zip(in_order(part.accounts.gpus), answer["gpus"], strict=True):
        power, span_s = gpu["power_w"], gpu["span_s"]
        rows.append(
            {name: gpu[name] for name in _GPU.names if name in gpu}
            | {name: _joules(gpu[name]) for name in ("energy_j", "counter_j", "power_j")}
            | {f"{name}_w": power[name] for name in power}
            | {"energy_hnj": Decimal(account.energy_hnj)}
            | {"coverage": min(gpu["covered_s"] / span_s, 1.0) if span_s > 0 else None}
        )
    return pa.Table.from_pylist(rows, _GPU)


def jobs_table(part: Part, answer: Mapping[str, Any]) -> pa.Table:
    """Lay the jobs of an answer out, in its order, with a column for each label behind; see `gpus_table`."""
    accounts = {job.key: job for job in part.accounts.ledger.jobs.values()}
    labels = {name: f"{name}_" if name in _JOB.names else name for name in label_names(answer)}
    rows = []
    for job in answer["jobs"]:
        account = accounts[job["job"]]
        static, dynamic = _parts(account)
        rows.append(
            {name: job[name] for name in _JOB.names if name in job}
            | {column: job.get(name) for name, column in labels.items()}
            | {name: _joules(job[name]) for name in ("energy_j", "static_j", "dynamic_j")}
            | {"energy_hnj": static + dynamic, "static_hnj": static, "dynamic_hnj": dynamic}
            | {"start": _time(account.start_us), "end": _time(account.end_us), "coverage": _coverage(account)}
        )
    return pa.Table.from_pylist(rows, _with(labels.values()))


def work_table(answer: Mapping[str, Any]) -> pa.Table:
    """Lay out what the jobs of an answer did, unit by unit."""
    rows = [{"job": job["job"], **one} for job in answer["jobs"] for one in job["work"] or ()]
    return pa.Table.from_pylist(rows, _WORK)


def amounts_table(answer: Mapping[str, Any]) -> pa.Table:
    """Lay out the report of an answer: energy, cost and emissions.

    Raises
    ------
    InputError
        If it has none.
    """
    if "report" not in answer:
        raise InputError("no amounts were asked for; give replay by, price, carbon or pue")
    rows = answer["report"]["rows"]
    numbers = ["energy_j", "sigma_j", *(name for name in _AMOUNTS if any(name in row for row in rows))]
    columns = {name: [None if row[name] is None else float(row[name]) for row in rows] for name in numbers}
    schema = pa.schema([("name", pa.string()), ("jobs", pa.int64()), *((name, pa.float64()) for name in numbers)])
    return pa.table({"name": [row["name"] for row in rows], "jobs": [row["jobs"] for row in rows], **columns}, schema)


def _with(labels: Iterable[str]) -> pa.Schema:
    return pa.schema([*_JOB, *(pa.field(name, pa.string()) for name in labels)])


def _parts(account: JobAccount) -> tuple[Decimal, Decimal]:
    """Sum the static and the dynamic energy of a job, hnj."""
    lines = account.lines.values()
    return Decimal(sum(line.static_hnj for line in lines)), Decimal(sum(line.dynamic_hnj for line in lines))


def _coverage(account: JobAccount) -> float | None:
    there_us = sum(line.active_us + line.held_us for line in account.lines.values())
    covered_us = sum(line.covered_us for line in account.lines.values())
    return min(covered_us / there_us, 1.0) if there_us > 0 else None


def _time(time_us: int) -> int | None:
    return None if time_us <= MISSING else time_us


def power_table(steps: Mapping[int, Mapping[str, float]], step_us: int) -> pa.Table:
    """Lay power over time out: a row for each step and owner, W.

    Parameters
    ----------
    steps : mapping of int to mapping of owner to float
        See `agent.replay.power.PowerOverTime.steps`.
    step_us : int, us
    """
    rows = [(place * step_us, owner, watts) for place, owners in steps.items() for owner, watts in owners.items()]
    start, owner, power = zip(*rows, strict=True) if rows else ((), (), ())
    columns = [pa.array(start, TIME), pa.array(owner, pa.string()), pa.array(power, pa.float64())]
    return pa.table(columns, names=["start", "job", "power_w"])
