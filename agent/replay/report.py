"""The answer of a replay: one document, shown as JSON, as CSV or as tables.

Energies are whole half-nanojoules up to here. They are rounded once, to microjoules, GPU by GPU: a GPU's total to the
nearest, its parts by the largest remainder, so that printed parts still sum to the printed whole exactly.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.accounts.uncertainty import gpu_flags, gpu_sigma_j, job_sigma_j
from wattshed.agent.replay.host_meters import HOST_CSV_COLUMNS, host_document, host_rows, node_estimate_of
from wattshed.agent.replay.nothing import flags_of_nothing
from wattshed.agent.wire.parts import method_name
from wattshed.exporters.numbers import plain
from wattshed.exporters.split_facts import mean_watts
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.replay.books import Part
    from wattshed.agent.replay.extremes import Extremes

HNJ_PER_UJ = HNJ_PER_JOULE // 1_000_000
_STATIC, _DYNAMIC = "static", "dynamic"
_IDLE, _NOBODY = ("", "idle"), ("", "unattributed")
_PAYERS = ("user", "account")
_FIRST_LABELS = (*_PAYERS, "name", "partition")
_JOB_KEYS = 18  # keys of a job before its labels
AMOUNTS = ("wall_kwh", "cost", "co2e_g", "marginal_co2_g")
"""Of a report, in CSV."""


@dataclass(frozen=True, slots=True)
class Joules:
    """An energy in whole microjoules, printed in joules with six decimals."""

    uj: int

    def __str__(self) -> str:
        sign = "-" if self.uj < 0 else ""
        return f"{sign}{abs(self.uj) // 1_000_000}.{abs(self.uj) % 1_000_000:06d}"

    def __add__(self, other: Joules) -> Joules:
        return Joules(self.uj + other.uj)


def rounded_parts(total_hnj: int, parts: dict[tuple[str, str], int]) -> tuple[int, dict[tuple[str, str], int]]:
    """Round a whole and its parts to microjoules, so that they still agree.

    Parameters
    ----------
    total_hnj : int, hnj
    parts : dict of key -> hnj
        They sum to the whole.

    Returns
    -------
    (int, dict), uJ
    """
    total, rest = divmod(total_hnj, HNJ_PER_UJ)
    total += 2 * rest > HNJ_PER_UJ or (2 * rest == HNJ_PER_UJ and total % 2 == 1)
    floors = {key: value // HNJ_PER_UJ for key, value in parts.items()}
    left = total - sum(floors.values())
    for key in sorted(parts, key=lambda key: (-(parts[key] % HNJ_PER_UJ), key))[:left]:
        floors[key] += 1
    return total, floors


def in_order(gpus: Mapping[GpuKey, GpuAccount]) -> list[tuple[GpuKey, GpuAccount]]:
    """Return the accounts of GPUs in the order of the document."""
    return sorted(gpus.items(), key=lambda item: (item[0].host, item[1].device.index, item[0].gpu))


def document(
    part: Part, where: dict[str, Any] | None = None, *, partial: bool = False, notes: list[str] | None = None
) -> dict[str, Any]:
    """Make the document of schema ``wattshed.replay/1``; energies in it are `Joules`.

    Parameters
    ----------
    part : Part
    where : dict, optional
        Where sums were made, see `agent.replay.placing.WhereSummed.told`.
    partial : bool
    notes : list of str, optional
    """
    accounts = part.accounts
    shares: dict[GpuKey, dict[tuple[str, str], int]] = defaultdict(dict)
    for job, gpu, static, dynamic in accounts.ledger.shares():
        mine = shares[gpu]
        mine[job, _STATIC] = mine.get((job, _STATIC), 0) + static
        mine[job, _DYNAMIC] = mine.get((job, _DYNAMIC), 0) + dynamic
    watts, of_hosts = watts_of(accounts), host_document(accounts, _rounded_names, Joules)
    jobs: dict[str, dict[str, int]] = defaultdict(lambda: {_STATIC: 0, _DYNAMIC: 0})
    idle = unattributed = total = 0
    gpus = []
    for key, account in in_order(accounts.gpus):
        parts = {**shares.get(key, {}), _IDLE: account.idle_hnj, _NOBODY: account.unattributed_hnj}
        energy, rounded = rounded_parts(account.energy_hnj, parts)
        idle += rounded.pop(_IDLE)
        unattributed += rounded.pop(_NOBODY)
        for (job, component), uj in rounded.items():
            jobs[job][component] += uj
        total += energy
        gpus.append(_gpu(account, part.extremes.get(key), energy))
    spans = [(e.first_us, e.last_us) for e in part.extremes.values() if e.first_us >= 0]
    answer: dict[str, Any] = {
        "schema": "wattshed.replay/1",
        "sources": [_source(report) for report in part.reports],
        "start_s": min(first for first, _ in spans) / 1e6 if spans else None,
        "end_s": max(last for _, last in spans) / 1e6 if spans else None,
        "gpus": gpus,
        "jobs": [
            _job(
                job,
                part,
                Joules(jobs[job.key][_STATIC]),
                Joules(jobs[job.key][_DYNAMIC]),
                _estimates(job, watts.get(job.key), of_hosts.get("nodes", ())),
            )
            for job in sorted(accounts.ledger.jobs.values(), key=lambda job: (job.start_us, job.key))
        ],
        "idle_j": Joules(idle),
        "unattributed_j": Joules(unattributed),
        "total_j": Joules(total),
    }
    for name in _PAYERS:
        totals: dict[str, Joules] = {}
        for job in answer["jobs"]:
            if name in job:
                totals[job[name]] = totals.get(job[name], Joules(0)) + job["energy_j"]
        if totals:
            answer[f"per_{name}"] = dict(sorted(totals.items()))
    answer |= of_hosts | (where or {})
    if notes:
        answer["notes"] = notes
    if partial:
        answer["partial"] = True
    return answer


def _rounded_names(total_hnj: int, parts: dict[str, int]) -> tuple[int, dict[str, int]]:
    total, rounded = rounded_parts(total_hnj, {(name, ""): hnj for name, hnj in parts.items()})
    return total, {name: uj for (name, _), uj in rounded.items()}


def _source(report: SourceReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "format": report.format,
        "boundary": report.boundary,
        "rows": report.rows,
        "rows_rejected": report.rows_rejected,
        "rejected": dict(sorted(report.rejected.items())),
    }


def _joules(hnj: int) -> Joules:
    return Joules(rounded_parts(hnj, {})[0])


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None or milliwatts < 0 else milliwatts / 1e3


def _gpu(account: GpuAccount, extremes: Extremes | None, energy_uj: int) -> dict[str, Any]:
    device, totals = account.device, account.totals
    covered, gap = totals.covered_us, totals.gap_us
    span = extremes.last_us - extremes.first_us if extremes is not None and extremes.first_us >= 0 else 0
    counter, power = totals.counter_hnj, totals.power_hnj
    by_counter = account.method == "counter"
    run_us = extremes.longest_run_us if extremes else 0
    if by_counter and not totals.samples:
        covered = span - gap
    # A counter saw its gaps too; readings of power say nothing about theirs, and two that are far apart have no mean.
    mean_of, over = (account.energy_hnj, account.booked_us) if by_counter and not power else (power, covered)
    p50, p95, p99 = account.power.quantiles()
    return {
        "host": device.host,
        "gpu": device.index,
        "uuid": device.uuid,
        "model": device.model,
        "samples": totals.samples,
        "span_s": span / 1e6,
        "covered_s": covered / 1e6,
        "gap_s": gap / 1e6,
        "gaps": totals.gaps,
        "energy_j": Joules(energy_uj),
        "method": account.method,
        "counter_j": _joules(counter) if by_counter else None,
        "power_j": _joules(power) if totals.samples else None,
        "counter_resets": totals.resets,
        "disagreement": (power - counter) / counter if counter and power else None,
        "power_w": {
            "mean": mean_of / 2e3 / over if over > 0 else None,  # hnj / us is half a milliwatt
            "min": _watts(extremes.min_mw) if extremes else None,
            "max": _watts(extremes.max_mw) if extremes else None,
            "p50": _watts(p50),
            "p95": _watts(p95),
            "p99": _watts(p99),
        },
        "sigma_j": round(gpu_sigma_j(account, run_us), 6),
        "flags": [*flags_of_nothing(account), *gpu_flags(account, run_us)],
    }


def _job(job: JobAccount, part: Part, static: Joules, dynamic: Joules, estimates: Mapping[str, Any]) -> dict[str, Any]:
    energy = static + dynamic
    counted_us = sum(line.active_us + line.held_us for line in job.lines.values())
    names = sorted(job.lines)
    own_us = part.times.of(job.key)
    mean_w = round(energy.uj / own_us, 3) if own_us > 0 else None
    # What was sampled bounds the peak from below, and so does the mean, which a counter may put above every sample.
    peak_w = max(sum(line.peak_mw for line in job.lines.values()) / 1e3, mean_w or 0.0)
    sigma_j = math.hypot(job_sigma_j(job, part.accounts.gpus), part.doubt.get(job.key, 0) * 1e-15)
    work = job.work
    answer = {
        "job": job.key,
        "hosts": sorted({key.host for key in names}),
        "gpus": [f"{key.host}/{key.gpu}" if key.host else key.gpu for key in names],
        "start_s": job.start_us / 1e6 if job.start_us >= 0 else None,
        "end_s": job.end_us / 1e6 if job.end_us >= 0 else None,
        "energy_j": energy,
        "static_j": static,
        "dynamic_j": dynamic,
        "gpu_s": round((counted_us - part.less_time.get(job.key, 0) / 1e6) / 1e6, 6),
        "mean_w": mean_w,
        "peak_w": peak_w,
        "sigma_j": round(sigma_j, 6),
        "method": method_name(job.method),
        "work": [one.plain() for one in work.facts(job.energy_hnj, sigma_j)] if work is not None else None,
        "waiting_j": _joules(work.waiting_hnj) if work is not None and work.waiting_hnj is not None else None,
        **estimates,
    }
    # The other columns of a jobs file, and what the trace knows; one called like a key above gets an underscore behind.
    return answer | {(f"{name}_" if name in answer else name): text for name, text in sorted(job.labels.items())}


def _estimates(
    job: JobAccount, watts: Mapping[str, float] | None, nodes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what is estimated of a job, and in no bill; null where it is not."""
    return {
        "node_energy_estimate": node_estimate_of(job.node_hnj, nodes, _rounded_names, Joules) if job.node_hnj else None,
        **{name: None if watts is None else round(watts[name], 3) for name in ("watts", "watts_sigma")},
    }


def watts_of(accounts: Accounts) -> dict[str, dict[str, Any]]:
    """Return what was learned of each job: mean W over its GPUs, one sigma, and s alone and shared over them all."""
    found: dict[str, list[Any]] = {}
    for one in accounts.watts.jobs().values():
        found.setdefault(one.job, []).append(one)
    return {
        job: {
            **mean_watts((one.watts, one.sigma_w) for one in those),
            "alone_s": sum(one.alone_us for one in those) / 1e6,
            "shared_s": sum(one.shared_us for one in those) / 1e6,
        }
        for job, those in found.items()
    }


def label_names(answer: Mapping[str, Any]) -> list[str]:
    """Name what is said about jobs besides the schema's own keys: owners first."""
    if not answer["jobs"]:
        return []
    found = {name for job in answer["jobs"] for name in list(job)[_JOB_KEYS:]}
    return [name for name in _FIRST_LABELS if name in found] + sorted(found - set(_FIRST_LABELS))


def as_json(answer: dict[str, Any]) -> str:
    """Write the document; joules as numbers with six decimals, whatever their size."""

    def written(value: object) -> str:
        if isinstance(value, Joules):
            return f"\0{value}\0"
        raise TypeError(type(value))

    text = json.dumps(plain(answer), indent=1, default=written, ensure_ascii=False, allow_nan=False)
    return re.sub(r'"\\u0000(-?[\d.]+)\\u0000"', r"\1", text)


_CSV_COLUMNS = (
    "kind",
    "name",
    "host",
    "gpu",
    "energy_j",
    "static_j",
    "dynamic_j",
    "gpu_s",
    "mean_w",
    "sigma_j",
    "method",
    "flags",
    "start_s",
    "end_s",
)


_WORK_COLUMNS = ("unit", "source", "count", "joules_per_unit")
"""Beside these, of rows of work, if there are any; ``sigma_j`` is then that of a unit."""


def write_csv(answer: dict[str, Any], out: TextIO) -> None:
    """Write a row for each GPU, each job, what was idle, what is attributed to nobody, and the total.

    Meters of hosts, nodes and their parts are rows of other kinds, with two columns more: in no total.
    """
    labels = {name: f"job_{name}" if name in _CSV_COLUMNS else name for name in label_names(answer)}
    report = answer.get("report", {"by": "", "rows": [], "total": {}})
    amounts = [name for name in AMOUNTS if name in report["total"]]
    did = _WORK_COLUMNS if any(job["work"] for job in answer["jobs"]) else ()
    beside = list(host_rows(answer))
    of_host = HOST_CSV_COLUMNS if beside else ()
    writer = csv.DictWriter(out, (*_CSV_COLUMNS, *did, *of_host, *labels.values(), *amounts), lineterminator="\n")
    writer.writeheader()
    of_job = _amounts_of_rows(report, amounts) if report["by"] == "job" else {}
    for gpu in answer["gpus"]:
        writer.writerow(
            {
                "kind": "gpu",
                "name": gpu["uuid"] or gpu["gpu"],
                "host": gpu["host"],
                "gpu": gpu["gpu"],
                "energy_j": gpu["energy_j"],
                "mean_w": _short(gpu["power_w"]["mean"]),
                "sigma_j": gpu["sigma_j"],
                "method": gpu["method"],
                "flags": " ".join(gpu["flags"]),
            }
        )
    for job in answer["jobs"]:
        row = {name: job[name] for name in list(job)[:_JOB_KEYS] if name in _CSV_COLUMNS}
        row |= {column: job[name] for name, column in labels.items() if name in job}
        row |= of_job.get(job["job"], {})
        writer.writerow({**row, "kind": "job", "name": job["job"], "host": " ".join(job["hosts"])})
        writer.writerows({"kind": "work", "name": job["job"], **one} for one in job["work"] or ())
    for kind in ("idle", "unattributed"):
        writer.writerow({"kind": kind, "energy_j": answer[f"{kind}_j"], **of_job.get(f"_{kind}", {})})
    for line in report["rows"] if not of_job else ():
        energy = {"name": line["name"], "energy_j": line["energy_j"], "sigma_j": line["sigma_j"]}
        writer.writerow({"kind": report["by"], **energy, **{name: line[name] for name in amounts}})
    writer.writerows(beside)
    total = {name: report["total"][name] for name in amounts}
    writer.writerow({"kind": "total", "energy_j": answer["total_j"], **total})


def _amounts_of_rows(report: dict[str, Any], amounts: list[str]) -> dict[str, dict[str, Any]]:
    """Add up the amounts of each job; several runs of one key are rows of their own in a report."""
    found: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        mine = found.setdefault(row["name"], {})
        for name in amounts:
            both = (mine.get(name, Decimal(0)), row[name])
            mine[name] = None if None in both else both[0] + Decimal(both[1])
    return found


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
