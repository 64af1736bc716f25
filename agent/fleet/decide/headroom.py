"""``fleet headroom``: how many hosts a feed carries, if they draw what was recorded and rarely peak together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, lasting, ready
from wattshed.agent.fleet.decide.crossing import (
    Crossings,
    HostSwing,
    circular_means,
    in_lockstep,
    most_hosts,
    over_horizon,
    phase_fleet_peaks,
    swing_of,
)  # fmt: skip
from wattshed.agent.fleet.decide.hosts import EVEN_MEANS_S, read_hosts, reading_of
from wattshed.agent.fleet.demand.ensemble import exceedance
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hosts import HostPowers
    from wattshed.agent.fleet.demand.ensemble import Exceedance
    from wattshed.agent.fleet.demand.series import OpenTrace

_CHECKED_CELLS = 4_000_000  # fleets times steps of the check
_SHORT = 0.01
"""A recording below this share of the horizon is stretched far."""
_LEFT_OUT = 20  # parts of the hosts, each left out once


@dataclass(frozen=True, slots=True)
class FeedLimit:
    """What the feed must carry: power, probability, and for how long; and of what jobs the fleet consists.

    ``lasts_s`` is within the horizon; ``seed`` draws which kinds the jobs are of.
    """

    feed_w: float
    exceed: float
    horizon_s: float
    job_hosts: float
    lasts_s: float
    seed: int = 1

    def most(self, swing: HostSwing, job_hosts: float | None = None, *, span_s: float | None = None) -> int:
        """Hosts that it carries, in jobs of another size or within another time if these are given."""
        lasts_s = self.lasts_s if span_s is None else None
        jobs, horizon_s = job_hosts or self.job_hosts, span_s or self.horizon_s
        return most_hosts(swing, jobs, self.feed_w, self.exceed, horizon_s, lasts_s=lasts_s, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Carried:
    """Hosts that a feed carries, for means over one window and one cap.

    Attributes
    ----------
    window : str
    hosts : int or None
        None, with the reason, where the recording cannot tell.
    lockstep : int or None
        As many as cannot exceed the feed.
    swing : HostSwing or None
    """

    window: str
    hosts: int | None
    lockstep: int | None
    swing: HostSwing | None
    reason: str = ""


def headroom(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet headroom``."""
    ready(args)
    job_hosts = _job_size(args)
    hosts = read_hosts(open_trace, args.source, reading_of(args), each_gpu=args.cap is not None)
    if args.cap is not None and hosts.node is None:
        raise InputError("--cap needs the power of GPUs; this recording shows that of hosts or jobs", args.source[0])
    lasts_s = min(args.jobs_last or args.horizon, args.horizon)
    asked = FeedLimit(args.feed, args.exceed, args.horizon, job_hosts, lasts_s, args.seed)
    kinds = _kinds(args, hosts.powers())
    rows = [_carried(kinds, hosts.step_s, window, seconds, asked) for window, seconds in args.window]
    first = next((row for row in rows if row.hosts is not None), None)
    if first is None:
        raise InputError(f"no --window can be told from it: {rows[0].reason}", args.source[0])
    caps = [_capped(args, hosts, cap, asked) for cap in (math.inf, *args.cap)] if args.cap else []
    return give(_decision(args, hosts, asked, rows, caps), args)


def _job_size(args: argparse.Namespace) -> float:
    """Hosts of a job; of a table of jobs that of equal jobs with the same variance, ``sum h^2 / sum h``."""
    if args.jobs is None:
        return float(args.job_hosts or 1)
    jobs = read_table(args.jobs, ("hosts",), used=("job", "hosts"))
    sizes = np.array([row.count("hosts", least=1) for row in jobs], np.float64)
    if not sizes.size:
        raise InputError("holds no job; add a row for each", args.jobs, 2)
    return float((sizes**2).sum() / sizes.sum())


def _kinds(args: argparse.Namespace, powers_w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of a host for each kind of job: of each recorded host, or the mean of those of one job."""
    return powers_w.mean(axis=0, keepdims=True) if args.one_job else powers_w


def _carried(kinds: NDArray[np.float64], step_s: float, window: str, seconds: float, asked: FeedLimit) -> Carried:
    if seconds < step_s * (1.0 - 1e-6):
        return Carried(window, None, None, None, f"readings every {step_s:g} s do not show means over {seconds:g} s")
    steps = max(1, round(seconds / step_s))
    if steps * 2 > kinds.shape[1]:
        return Carried(window, None, None, None, f"{kinds.shape[1] * step_s:g} s are fewer than two such windows")
    swing = swing_of(circular_means(kinds, steps), step_s)
    return Carried(window, asked.most(swing), in_lockstep(swing, asked.feed_w), swing)


def _capped(args: argparse.Namespace, hosts: HostPowers, cap_w: float, asked: FeedLimit) -> dict[str, Any]:
    """Hosts and GPUs a megawatt, of GPUs that draw no more than a cap."""
    coarse = hosts.over(EVEN_MEANS_S)
    means = coarse.gpu_w
    found = _carried(
        _kinds(args, coarse.powers(cap_w)), coarse.step_s, "", max(args.window[0][1], coarse.step_s), asked
    )
    gpus = sum(hosts.gpus) / len(hosts.gpus)
    per_mw = gpus / asked.feed_w * 1e6
    return {
        "cap_w": None if math.isinf(cap_w) else cap_w,
        "gpu_mean_w": float(np.minimum(means, cap_w).mean()),
        "hosts": found.hosts,
        "gpus_per_mw": None if found.hosts is None else found.hosts * per_mw,
        "lockstep_gpus_per_mw": None if found.lockstep is None else found.lockstep * per_mw,
        "energy_above_cap": float(np.maximum(means - cap_w, 0.0).sum() / means.sum()),
    }


def _interval(args: argparse.Namespace, hosts: HostPowers, first: Carried, asked: FeedLimit) -> tuple[Any, str, Any]:
    """Return the 95 % interval of the hosts or None, how it is made, and its degrees of freedom."""
    swing = first.swing
    if args.one_job or swing is None or swing.mean_w.size < 2:
        return None, "none: one recorded job has no spread between jobs; record more of them", None
    if first.hosts == first.lockstep:
        return None, "none: the answer rests on the largest recorded power, of which a sample shows no upper end", None
    count = swing.mean_w.size
    groups = np.array_split(np.arange(count), min(count, _LEFT_OUT))
    left = np.array([asked.most(swing.without(group)) for group in groups], np.float64)
    g = len(groups)
    square = (quantile(0.95, g - 1) ** 2) * (g - 1) / g * float(((left - left.mean()) ** 2).sum())
    if (model := hosts.node) is not None:
        level, slope = model.level_w, model.slope
        ends = [
            [asked.most(swing.times(1.0, end - level.value)) for end in (level.low, level.high)],
            [
                asked.most(swing.times(end / slope.value, level.value * (1.0 - end / slope.value)))
                for end in (max(slope.low, 1e-6 * slope.value), slope.high)
            ],
        ]
        square += sum(max(abs(end - (first.hosts or 0)) for end in two) ** 2 for two in ends)
    half, value = math.sqrt(square), float(first.hosts or 0)
    method = "jackknife over recorded hosts, Student's t" + ("; error of the node's model" if hosts.node else "")
    return [max(value - half, 0.0), value + half], method, float(g - 1)


def _check(args: argparse.Namespace, hosts: HostPowers, first: Carried, asked: FeedLimit) -> dict[str, Any] | None:
    """Compare the formula's probability over the recorded time with that of fleets drawn by exact phases."""
    if first.swing is None:
        return None
    job = max(1, round(asked.job_hosts))
    fleet = asked.most(first.swing, job, span_s=hosts.span_s)
    if not fleet:
        return None
    kinds = circular_means(_kinds(args, hosts.powers()), max(1, round(dict(args.window)[first.window] / hosts.step_s)))
    replicates = int(np.clip(_CHECKED_CELLS // kinds.size, 100, 1000))
    peaks = phase_fleet_peaks(kinds, fleet, job, replicates, asked.seed)
    seen: Exceedance = exceedance(peaks, asked.feed_w)
    formula = Crossings(first.swing, job, fleet, asked.seed).exceeding(fleet, asked.feed_w, hosts.span_s)
    return {
        "hosts": fleet,
        "span_s": hosts.span_s,
        "formula": formula,
        "simulated": seen.probability,
        "lower": seen.lower,
        "upper": seen.upper,
        "replicates": replicates,
    }


def _decision(
    args: argparse.Namespace, hosts: HostPowers, asked: FeedLimit, rows: list[Carried], caps: list[dict[str, Any]]
) -> Decision:
    first = next(row for row in rows if row.hosts is not None)
    limits, method, df = _interval(args, hosts, first, asked)
    check = _check(args, hosts, first, asked)
    warnings = list(hosts.said)
    if hosts.span_s < _SHORT * asked.horizon_s:
        warnings.append(
            f"{hosts.span_s:g} s of recording stand for {lasting(asked.horizon_s)}: what did not happen then is unknown"
        )
    if check is not None and not check["lower"] <= check["formula"] <= check["upper"]:
        warnings.append(
            f"fleets of exact phases exceed the feed with probability {check['simulated']:.3g} "
            f"({check['lower']:.3g} to {check['upper']:.3g}) where the formula says {check['formula']:.3g}"
        )
    gpus = sum(hosts.gpus) / len(hosts.gpus)
    most = first.hosts or 0
    within = "" if limits is None else f", 95 % {limits[0]:,.0f} to {limits[1]:,.0f}"
    of_gpus = f" ({most * gpus:,.0f} GPUs)" if gpus else ""
    more = (
        "" if args.nameplate is None else f"; {most * args.nameplate / asked.feed_w:.2f} times as many as by nameplate"
    )
    sentence = (
        f"{shown(asked.feed_w, 'W')} carry {counted(most, 'host')}{of_gpus}{within}: the mean over {first.window} "
        f"exceeds the feed with a probability of at most {asked.exceed:g} within {lasting(asked.horizon_s)}{more}."
    )
    figures = {
        "feed_w": asked.feed_w, "exceed": asked.exceed, "horizon_s": asked.horizon_s, "job_hosts": asked.job_hosts,
        "jobs_last_s": asked.lasts_s, "hosts": most, "hosts_interval": limits, "gpus": most * gpus if gpus else None,
        "nameplate_hosts": None if args.nameplate is None else math.floor(asked.feed_w / args.nameplate),
        "windows": [_row_json(row) for row in rows], "caps": caps, "check": check,
    }  # fmt: skip
    unit = "job (its hosts are recorded)" if args.one_job else "host, each a kind of job"
    alone = "" if asked.job_hosts == 1 else f"jobs of {asked.job_hosts:g} hosts move in lockstep, and "
    assumed = [
        f"{alone}different jobs are independent of one another",
        "hosts will draw what these did"
        + ("" if asked.lasts_s >= asked.horizon_s else f"; jobs are drawn anew every {lasting(asked.lasts_s)}"),
    ]
    if len(hosts.names) > 1 and not args.one_job:
        assumed.append(f"each job is one of the {len(hosts.names)} recorded kinds, each as likely")
    if caps:
        assumed.append("what a cap costs in speed cannot be seen in power")
    return Decision(
        "headroom", sentence, tuple(_tables(args, asked, rows, caps, check)), figures,
        Basis(hosts.boundary, unit, method, df, hosts.span_s), _drawing(args, asked, rows), tuple(assumed),
        tuple(warnings),
    )  # fmt: skip


def _row_json(row: Carried) -> dict[str, Any]:
    swing = row.swing
    return {
        "window": row.window,
        "hosts": row.hosts,
        "lockstep_hosts": row.lockstep,
        "mean_w": None if swing is None else float(swing.mean_w.mean()),
        "sd_w": None if swing is None else swing.within_w,
        "sd_between_kinds_w": None if swing is None else swing.between_w,
        "largest_w": None if swing is None else float(swing.largest_w.max()),
        "crossings_hz": None if swing is None else swing.crossings_hz,
        "reason": row.reason,
    }


def _tables(
    args: argparse.Namespace,
    asked: FeedLimit,
    rows: list[Carried],
    caps: list[dict[str, Any]],
    check: dict[str, Any] | None,
) -> list[str | TableRows]:
    cells = []
    for row in rows:
        if row.swing is None or row.hosts is None or row.lockstep is None:
            cells.append((row.window, "unknown", "", "", "", row.reason))
            continue
        cells.append(
            (
                row.window, f"{row.hosts:,}", f"{row.lockstep:,}", shown(float(row.swing.mean_w.mean()), "W"),
                shown(float(row.swing.largest_w.max()), "W"), "",
            )
        )  # fmt: skip
    parts: list[str | TableRows] = [
        table(("mean over", "hosts", "all at their peaks", "host mean", "largest", "why unknown"), cells, left=(0, 5))
    ]
    if args.nameplate is not None:
        parts.append(f"by nameplate: {counted(math.floor(asked.feed_w / args.nameplate), 'host')}")
    if caps:
        parts.append(
            table(
                ("GPU cap", "hosts", "GPUs a MW", "all at their peaks", "GPU mean", "energy above"),
                [
                    (
                        "none" if c["cap_w"] is None else shown(c["cap_w"], "W"), f"{c['hosts']:,}",
                        f"{c['gpus_per_mw']:,.0f}", f"{c['lockstep_gpus_per_mw']:,.0f}", shown(c["gpu_mean_w"], "W"),
                        shown(c["energy_above_cap"], "%"),
                    )
                    for c in caps
                    if c["hosts"] is not None
                ],
            )
        )  # fmt: skip
    if check is not None:
        parts.append(
            f"check: {counted(check['hosts'], 'host')} exceed the feed in {check['span_s']:g} s with probability "
            f"{check['formula']:.3g} by formula, {check['simulated']:.3g} "
            f"({between(check['lower'], check['upper'], '')}) in {check['replicates']} fleets of exact phases"
        )
    return parts


def _drawing(args: argparse.Namespace, asked: FeedLimit, rows: list[Carried]) -> Callable[[Any, Any], None]:
    """Draw the probability over the number of hosts, and the hosts over the size of jobs."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.printing.pictures import COLOURS, INK  # noqa: PLC0415

        known = [(row, row.swing, row.hosts) for row in rows if row.swing is not None and row.hosts is not None]
        low = min(row.lockstep or 0 for row, _, _ in known) * 0.98
        high = max(asked.feed_w / float(swing.mean_w.mean()) for _, swing, _ in known) * 1.02
        hosts = np.linspace(low, high, 120)
        for i, (row, swing, most) in enumerate(known):
            fleets = Crossings(swing, asked.job_hosts, high, asked.seed)
            each = [fleets.exceeding(float(h), asked.feed_w, asked.lasts_s) for h in hosts]
            shown_p = [over_horizon(p, asked.lasts_s, asked.horizon_s) for p in each]
            above.semilogy(hosts, np.maximum(shown_p, 1e-12), color=COLOURS[2 * i], label=f"mean over {row.window}")
            above.plot([most], [asked.exceed], "o", color=COLOURS[2 * i])
        above.axhline(asked.exceed, color=INK, linestyle=":", label=f"allowed, {asked.exceed:g}")
        above.set(
            xlabel="hosts",
            ylabel="probability",
            ylim=(1e-6, 1.5),
            title=f"Above the feed in {lasting(asked.horizon_s)}",
        )
        above.legend()
        _, swing, _ = known[0]
        sizes = np.unique(np.geomspace(1, max(high / 2, 2), 14).astype(int))
        most_of = [asked.most(swing, float(m)) for m in sizes]
        below.semilogx(sizes, most_of, "o-", color=COLOURS[0], markersize=3, label=f"mean over {known[0][0].window}")
        below.axhline(in_lockstep(swing, asked.feed_w), color=COLOURS[4], linestyle="--", label="all at their peaks")
        if args.nameplate is not None:
            below.axhline(asked.feed_w / args.nameplate, color=INK, linestyle=":", label="by nameplate")
        below.set(xlabel="hosts of a job", ylabel="hosts", title="Hosts that the feed carries")
        below.legend()

    return draw
