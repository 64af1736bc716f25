"""One job for people: what it used, on which GPUs, how its power went, and what is not known of it."""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.printing.figures import (
    BOUNDARY,
    SIMULATED,
    UNKNOWN,
    elapsed,
    energy,
    moment,
    printable,
    sparkline,
    watts,
)
from wattshed.agent.printing.tables import EXTRA, Column, not_shown, print_facts, print_notes, print_rows, printer_for
from wattshed.agent.printing.work import joules_per_unit
from wattshed.agent.reports.listing import is_lower_bound, measured_in_part, state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

BARS = 36
"""How many bars power over time is drawn with, at most."""
FULL = "W@100: power at full activity, above idle; an estimate, ± two sigma."
_WHO = ("user", "account", "partition", "qos", "namespace", "cluster")
_PARTS = {"cpu": "CPUs"}
_GPU_COLUMNS = (
    Column("host", least=8, leaves=4),
    Column("GPU", least=12, middle=True),
    Column("model", least=8, leaves=5),
    Column("energy", right=True),
    Column("mean W", right=True, leaves=1),
    Column("peak W", right=True, leaves=3),
    Column("idle", right=True, leaves=2),
    Column("measured", right=True, leaves=3),
    Column("W@100", right=True, leaves=EXTRA),
)
_RUN_COLUMNS = (
    Column("start"),
    Column("end", leaves=2),
    Column("elapsed", right=True, leaves=1),
    Column("energy", right=True),
    Column("hosts", least=8, leaves=3),
)


def print_job(
    document: Mapping[str, Any],
    out: TextIO,
    *,
    amounts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    zone: tzinfo | None = None,
    now_s: float | None = None,
) -> None:
    """Print all that is known of one job.

    Parameters
    ----------
    document : mapping
        Of schema ``wattshed.job/1``.
    out : TextIO
    amounts : mapping of str to str, optional
        What it comes to in money and carbon, by name.
    notes : sequence of str, optional
        What must be known to read them.
    zone : tzinfo, optional
        Of the times; that of this machine by default.
    now_s : float, s
    """
    printer = printer_for(out)
    job, earlier, gone = document["job"], document["earlier"], list[str]()
    name = f"  {printable(job['name'])}" if job["name"] else ""
    printer.line((f"{printable(job['job'])}{name}", "bold"))  # whole, whatever the job is called
    print_facts(printer, _facts(job, amounts or {}, zone))
    if job["by_gpu"]:
        printer.line()
        gone += print_rows(printer, _GPU_COLUMNS, [_gpu(one) for one in job["by_gpu"]])
    if earlier:
        printer.line()
        printer.line(("Earlier runs of it", "bold"))
        year = datetime.fromtimestamp(time.time() if now_s is None else now_s, zone).year if out.isatty() else 0
        gone += print_rows(printer, _RUN_COLUMNS, [_run(one, zone, year) for one in earlier])
    lower_bound = ["≥: parts of some hosts are missing yet, the total is at least that."] if is_lower_bound(job) else []
    simulated = [SIMULATED] if document.get("simulated") else []
    shows_full = "W@100" not in gone and any(one.get("watts") is not None for one in job["by_gpu"])
    full = [FULL] if shows_full else []
    left_out = not_shown(printer, gone, "--json has all")
    print_notes(printer, [BOUNDARY, *simulated, *lower_bound, *full, *notes, *left_out])


def _facts(job: Mapping[str, Any], amounts: Mapping[str, str], zone: tzinfo | None) -> dict[str, str]:
    """Name what is known of a job in the order in which it is asked for."""
    who = ", ".join(f"{name} {printable(job[name])}" for name in _WHO if job[name])
    hours = (job["active_s"] + job["held_s"]) / 3600
    idle = job["held_idle"]
    peak = "" if job["peak_w"] is None else f", highest reading of one GPU {watts(job['peak_w'])} W"
    whole = float(job["energy_j"])
    parts = f", {float(job['static_j']) / whole:.0%} of it static" if whole > 0 else ""
    return {
        "who": who or "unknown",
        "state": state(job),
        "time": _time(job, zone),
        "hosts": _hosts(job),
        "GPUs": f"{UNKNOWN if job['gpus'] is None else job['gpus']}, {hours:,.2f} GPU hours",
        "energy": f"{'≥' if is_lower_bound(job) else ''}{energy(job['energy_j'], job['sigma_j'])}{parts}",
        **amounts,
        "power": "unknown" if job["mean_w"] is None else f"mean {watts(job['mean_w'])} W{peak}",
        "": power_line(job["power"]),
        "measured": _measured(job),
        "held idle": "unknown" if idle is None else f"{idle:.1%} of its GPU time nothing of it ran",
        "node": _node(job),
        "work": _work(job),
        "waiting": _waiting(job),
        "split": printable(job["method"]),
        "flags": printable(", ".join(job["flags"])),
    }


def _work(job: Mapping[str, Any]) -> str:
    """Say what a job did, unit by unit, and what a unit took."""
    did = []
    for one in job.get("work") or ():  # an older agent, or collector, does not say
        each = "" if one["joules_per_unit"] is None else f", {' ± '.join(joules_per_unit(one))} J each"
        told = " told by the job" if one["source"] == "told" else ""
        did.append(f"{one['count']:,} {printable(one['unit'])}{told}{each}")
    return "; ".join(did) or "unknown (nothing tells of it)"


def _node(job: Mapping[str, Any]) -> str:
    """Say what of the node beyond its GPUs may be the job's; empty where nothing estimates it."""
    estimate = job.get("node_energy_estimate")
    if estimate is None:
        return ""
    parts = ", ".join(
        f"{_PARTS.get(part, part)} {energy(joules, None)}" for part, joules in estimate["parts_j"].items()
    )
    return f"{energy(estimate['energy_j'], None)} beyond the GPUs of this host ({parts}); an estimate, in no bill"


def _waiting(job: Mapping[str, Any]) -> str:
    """Say which part of its energy a job used while its servers had no request; empty where that is not known."""
    waiting, whole = job.get("waiting_j"), float(job["energy_j"])
    return "" if waiting is None or whole <= 0 else f"{float(waiting) / whole:.1%} of its energy without a request"


def power_line(power: Sequence[tuple[float, float, float | None]], bars: int = BARS) -> str:
    """Draw power over time as bars from 0 to the highest mean of one; empty where there is only one to be drawn."""
    means = over_time(power, bars)
    known = [value for value in means if value is not None]
    if len(known) < 2:
        return ""
    length_s = (power[-1][1] - power[0][0]) / len(means)
    return f"{sparkline(means)} 0 to {watts(max(known))} W, {elapsed(length_s)} each"


def over_time(power: Sequence[tuple[float, float, float | None]], bars: int) -> list[float | None]:
    """Return means over equal stretches of time, W; None where nothing is known.

    Parameters
    ----------
    power : sequence of (from_s, to_s, mean_w)
        In order of time.
    bars : int
        How many, at most: never more than there are stretches of the shortest length in it.
    """
    lengths = [end - begin for begin, end, _ in power if end > begin]
    if not lengths:
        return []
    first, whole = power[0][0], power[-1][1] - power[0][0]
    count = max(1, min(bars, round(whole / min(lengths))))
    step = whole / count
    joules, seconds = [0.0] * count, [0.0] * count
    for begin, end, mean_w in power:
        if mean_w is None:
            continue
        for index in range(max(int((begin - first) / step), 0), min(int((end - first) / step) + 1, count)):
            there = min(end, first + (index + 1) * step) - max(begin, first + index * step)
            if there > 0:
                joules[index] += mean_w * there
                seconds[index] += there
    return [energy_j / known if known > 0 else None for energy_j, known in zip(joules, seconds, strict=True)]


def _time(job: Mapping[str, Any], zone: tzinfo | None) -> str:
    begin = datetime.fromtimestamp(job["start_s"], zone).astimezone(zone)
    until = "now" if job["end_s"] is None else moment(job["end_s"], zone)
    return f"{moment(job['start_s'], zone)} to {until} {begin.tzname() or ''} ({elapsed(job['elapsed_s'])})"


def _measured(job: Mapping[str, Any]) -> str:
    """Say how much of a job's GPU time its energy was measured in: the mean power is over that."""
    share = job.get("coverage")
    if share is None:
        return "unknown; mean power is over all of its time"
    if not measured_in_part(job):
        return "all of its GPU time"
    if share <= 0:
        return "none of its GPU time"
    return f"{share:.1%} of its GPU time; mean power is over that"


def _hosts(job: Mapping[str, Any]) -> str:
    names = printable(", ".join(job["hosts"]))
    expected = job["hosts_expected"]
    return names if expected is None else f"{len(job['hosts'])} of {expected}: {names}"


def _gpu(one: Mapping[str, Any]) -> dict[str, str]:
    there_s = one["active_s"] + one["held_s"]
    share, mean_w = one.get("coverage"), float(one["energy_j"]) / there_s if there_s > 0 else None
    return {
        "host": printable(one["host"]),
        "GPU": printable(one["gpu"]),
        "model": printable(one["model"]),
        "energy": energy(one["energy_j"], one["sigma_j"]),
        "mean W": watts(one.get("mean_w", mean_w)),  # an older agent tells neither
        "peak W": watts(one["peak_w"]),
        "idle": f"{one['held_s'] / there_s:.0%}" if there_s > 0 else UNKNOWN,
        "W@100": full_watts(one),
        "measured": UNKNOWN if share is None else f"{math.floor(share * 100)}%" if measured_in_part(one) else "100%",
    }


def full_watts(one: Mapping[str, Any]) -> str:
    """Write what is believed to be drawn at full activity, above idle, ± two sigma; an older agent does not tell."""
    if one.get("watts") is None:
        return ""
    return f"{watts(one['watts'])} ± {watts(2 * one['watts_sigma'])}"


def _run(job: Mapping[str, Any], zone: tzinfo | None, year: int) -> dict[str, str]:
    return {
        "start": moment(job["start_s"], zone, year=year),
        "end": moment(job["end_s"], zone, year=year),
        "elapsed": elapsed(job["elapsed_s"]),
        "energy": ("≥" if is_lower_bound(job) else "") + energy(job["energy_j"], job["sigma_j"]),
        "hosts": printable(",".join(job["hosts"])),
    }
