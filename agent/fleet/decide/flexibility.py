"""``fleet flexibility``: how much less a fleet can draw for a while, and what comes back later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.flexible_classes import read_classes
from wattshed.agent.fleet.decide.past_event import event_of, new_load, read_grid_load, spared
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.fleet.decide.flexible_classes import HostClass
    from wattshed.agent.fleet.demand.series import OpenTrace


@dataclass(frozen=True, slots=True)
class ClassPart:
    """What one class gives: its power, how much less it can draw, and why it does not, where it does not; W."""

    of: HostClass
    base_w: float
    less_w: float
    why_not: str


@dataclass(frozen=True, slots=True)
class Flexible:
    """What all classes give together.

    Attributes
    ----------
    base_w, less_w : float, W
    parts : tuple of ClassPart
    interval : tuple of float or None
        95 %, of ``less_w / base_w``; None where a class has one recorded job.
    df : float or None
    rebound_j : float or None, J
        Energy that comes back; None where a class does not say.
    """

    base_w: float
    less_w: float
    parts: tuple[ClassPart, ...]
    interval: tuple[float, float] | None
    df: float | None
    rebound_j: float | None

    @property
    def share(self) -> float:
        """Of its power that the fleet can spare."""
        return self.less_w / self.base_w


def flexibility(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet flexibility``."""
    ready(args)
    event = None if args.event is None else event_of(args.event)
    classes = read_classes(args.classes, open_trace)
    found = flexible(classes, args.duration, args.within)
    if args.recover is not None and found.rebound_j is None:
        raise InputError("--recover would be ignored: a class has neither speed nor rebound", args.classes)
    more: dict[str, Any] = {"event": None, "grid": None}
    if event is not None:
        load = on_grid(read_series(open_trace([args.measured])))
        past = spared(load.power_w, load.step_s, load.start_us, event)
        more["event"] = {
            "like_days": past.days, "during_w": past.during_w, "like_w": past.like_w, "spared_w": past.spared_w,
            "interval_w": [past.lower_w, past.upper_w],
        }  # fmt: skip
    if args.grid is not None:
        grid_w = read_grid_load(args.grid)
        more["grid"] = {
            "hours": grid_w.size, "peak_w": float(grid_w.max()), "curtailed": args.curtail,
            "new_load_w": new_load(grid_w, args.curtail),
        }  # fmt: skip
    return give(_decision(args, found, more), args)


def flexible(classes: tuple[HostClass, ...], duration_s: float, within_s: float | None = None) -> Flexible:
    """Add up what classes can spare for a time: ``sum n (P - reduced)``.

    The interval is that of the ratio of both sums, with jobs as the units that were sampled (linearised), and
    Satterthwaite's degrees of freedom.
    """
    parts = []
    for c in classes:
        why = _why_not(c, duration_s, within_s)
        less = 0.0 if why else c.hosts * c.share * float(c.less_w.mean())
        parts.append(ClassPart(c, c.hosts * float(c.power_w.mean()), less, why))
    base, less = sum(p.base_w for p in parts), sum(p.less_w for p in parts)
    interval, df = _interval(parts, base, less)
    back = [p.of.rebound for p in parts if p.less_w]
    rebound = None
    if not any(r is None for r in back):
        rebound = sum((p.of.rebound or 0.0) * p.less_w * duration_s for p in parts)
    return Flexible(base, less, tuple(parts), interval, df, rebound)


def _why_not(c: HostClass, duration_s: float, within_s: float | None) -> str:
    if c.mode == "firm":
        return "firm"
    if within_s is not None and c.notice_s > within_s:
        return f"needs {c.notice_s:g} s of notice"
    if duration_s < c.least_s:
        return f"lasts {c.least_s:g} s at least"
    return f"lasts {c.most_s / 3600.0:g} h at most" if duration_s > c.most_s else ""


def _interval(parts: list[ClassPart], base: float, less: float) -> tuple[tuple[float, float] | None, float | None]:
    ratio, variances, freedoms = less / base, [], []
    for part in parts:
        c = part.of
        if c.power_w.size < 2:
            return None, None
        takes = 0.0 if part.why_not else c.share
        rest = takes * c.less_w - ratio * c.power_w
        variances.append((c.hosts / base) ** 2 * float(rest.var(ddof=1)) / rest.size)
        freedoms.append(rest.size - 1)
    whole = sum(variances)
    df = whole**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True)) if whole > 0.0 else math.inf
    half = quantile(0.95, df) * math.sqrt(whole)
    return (max(ratio - half, 0.0), min(ratio + half, 1.0)), None if math.isinf(df) else df


def _verdict(target: float, found: Flexible, *, met: bool) -> str:
    """Say whether a target is met, and where the interval does not tell."""
    low, high = found.interval or (found.share, found.share)
    if met:
        return "is met" if target <= low or found.interval is None else "is met by the estimate, but not with 95 %"
    return "is not met by the estimate, though the interval allows it" if target <= high > found.share else "is not met"


def _decision(args: argparse.Namespace, found: Flexible, more: dict[str, Any]) -> Decision:
    target_w = args.target * found.base_w
    within = "" if found.interval is None else f", 95 % {between(*found.interval, '%')}"
    wanted = f"{shown(args.target, '%')} less for {args.duration / 3600.0:g} h"
    need = target_w / found.less_w if found.less_w > 0.0 else math.inf
    can = f"{shown(found.share, '%')} ({shown(found.less_w, 'W')} of {shown(found.base_w, 'W')}{within})"
    enough = f", and {need:.0%} of that is enough" if need <= 1.0 else ""
    sentence = f"{wanted} {_verdict(args.target, found, met=need <= 1.0)}: the fleet can spare {can}{enough}."
    recover_s = args.recover or args.duration
    used = min(need, 1.0)
    back_j = None if found.rebound_j is None else found.rebound_j * used
    peak_w = None if back_j is None else found.base_w + back_j / recover_s
    figures = {
        "target": args.target, "for_s": args.duration, "met": need <= 1.0, "share_needed": need if need < 1e9 else None,
        "base_w": found.base_w, "spared_w": found.less_w, "share": found.share,
        "share_interval": None if found.interval is None else list(found.interval),
        "rebound_wh": None if back_j is None else back_j / 3600.0, "rebound_peak_w": peak_w,
        "classes": [_class_json(part) for part in found.parts], **more,
    }  # fmt: skip
    assumed = ["hosts draw what the recorded jobs drew, on average, whenever they are asked"]
    if peak_w is not None:
        assumed.append(
            f"what is made up for later is spread over {recover_s / 3600.0:g} h, by hosts that would rest then"
        )
    warnings = list(dict.fromkeys(text for part in found.parts for text in part.of.said))
    warnings += [
        f"{p.of.name}: what a cap costs in speed is unknown; give speed or rebound"
        for p in found.parts
        if p.less_w and p.of.rebound is None
    ]
    one = [p.of.name for p in found.parts if p.of.power_w.size < 2]
    method = "jobs as sampled units, linearised ratio, Student's t" if not one else (
        f"none: of {', '.join(one)} one job is recorded"
    )  # fmt: skip
    parts: list[str | TableRows] = [_classes_table(found), *_more_text(found, back_j, peak_w, more)]
    boundary = ", ".join(dict.fromkeys(part.of.boundary for part in found.parts))
    span_s = min(part.of.span_s for part in found.parts)
    return Decision(
        "flexibility", sentence, tuple(parts), figures,
        Basis(boundary, "job (a recording each)", method, found.df, span_s),
        _drawing(found, target_w, recover_s, args.duration, peak_w), tuple(assumed), tuple(warnings),
    )  # fmt: skip


def _class_json(part: ClassPart) -> dict[str, Any]:
    c = part.of
    return {
        "class": c.name, "mode": c.mode, "hosts": c.hosts, "jobs": int(c.power_w.size), "base_w": part.base_w,
        "spared_w": part.less_w, "rebound": c.rebound, "why_not": part.why_not,
    }  # fmt: skip


def _classes_table(found: Flexible) -> TableRows:
    rows = [
        (
            p.of.name, p.of.mode, f"{p.of.hosts:,}", shown(p.base_w, "W"), shown(p.less_w, "W"),
            "unknown" if p.of.rebound is None else shown(p.of.rebound, "%"), p.why_not,
        )
        for p in found.parts
    ]  # fmt: skip
    hosts = sum(p.of.hosts for p in found.parts)
    rows.append(("all", "", f"{hosts:,}", shown(found.base_w, "W"), shown(found.less_w, "W"), "", ""))
    return table(("class", "mode", "hosts", "power", "can spare", "comes back", "why not"), rows, left=(0, 1, 6))


def _more_text(found: Flexible, back_j: float | None, peak_w: float | None, more: dict[str, Any]) -> list[str]:
    lines = []
    if back_j is not None and peak_w is not None and found.less_w:
        lines.append(f"afterwards {shown(back_j / 3600.0, 'Wh')} come back, and the power reaches {shown(peak_w, 'W')}")
    if (event := more["event"]) is not None:
        low, high = event["interval_w"]
        lines.append(
            f"the event spared {shown(event['spared_w'], 'W')} ({between(low, high, 'W')}) of "
            f"{shown(event['like_w'], 'W')} on {counted(event['like_days'], 'like day')}"
        )
    if (grid := more["grid"]) is not None:
        lines.append(
            f"a grid with a peak of {shown(grid['peak_w'], 'W')} takes {shown(grid['new_load_w'], 'W')} of new load "
            f"that gives way for {shown(grid['curtailed'], '%')} of its energy"
        )
    return lines


def _drawing(
    found: Flexible, target_w: float, recover_s: float, duration_s: float, peak_w: float | None
) -> Callable[[Any, Any], None]:
    """Draw what each class gives, and the power before, during and after."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.printing.pictures import COLOURS, INK, scale_of  # noqa: PLC0415

        scale, unit = scale_of(found.base_w)
        names = [p.of.name for p in found.parts]
        above.barh(names, [p.base_w / scale for p in found.parts], color=COLOURS[1], label="power")
        above.barh(names, [p.less_w / scale for p in found.parts], color=COLOURS[0], label="can spare")
        above.invert_yaxis()
        above.set(xlabel=unit, title="Power of each class, and what it can spare")
        above.legend()
        used = min(target_w, found.less_w)
        hours = np.array([-0.5, 0.0, 0.0, 1.0, 1.0, 1.0 + recover_s / duration_s, 1.0 + recover_s / duration_s])
        hours = np.append(hours, hours[-1] + 0.5) * duration_s / 3600.0
        after = found.base_w if peak_w is None else peak_w
        power = np.array([0.0, 0.0, -used, -used, after - found.base_w, after - found.base_w, 0.0, 0.0]) + found.base_w
        below.plot(hours, power / scale, color=COLOURS[0], label="power")
        below.axhline((found.base_w - target_w) / scale, color=INK, linestyle=":", label="target")
        below.set(xlabel="hours from the beginning", ylabel=unit, title="Before, during and after", ylim=(0, None))
        below.legend()

    return draw
