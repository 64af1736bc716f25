"""``fleet dossier``: a recorded load against a grid operator's limits, and the load for programs of grids."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.exports import PROGRAMS, write_exports
from wattshed.agent.fleet.decide.hosts import EVEN_MEANS_S, read_hosts, reading_of
from wattshed.agent.fleet.decide.limits import read_limits
from wattshed.agent.fleet.demand.grid import Load
from wattshed.agent.fleet.demand.measure import ramp
from wattshed.agent.fleet.demand.spectrum import line_powers, observable_up_to, shares
from wattshed.agent.inputs.toml import meant
from wattshed.agent.printing.paragraphs import TableRows, table, text_of
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hosts import HostPowers
    from wattshed.agent.fleet.decide.limits import OperatorLimits, SwingLimit
    from wattshed.agent.fleet.demand.series import OpenTrace

MEETS, EXCEEDS, NOT_OBSERVABLE, DECLARE = "meets", "exceeds", "not observable", "declare"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One limit, what was found, W with its interval, and the verdict.

    Attributes
    ----------
    what, limit : str
    limit_w, found_w, lower_w, upper_w : float or None
    verdict : {"meets", "exceeds", "not observable", "declare"}
        Exceeded where the upper end of the interval is above the limit.
    why : str
    source : str
    """

    what: str
    limit: str
    limit_w: float | None
    found_w: float | None
    lower_w: float | None
    upper_w: float | None
    verdict: str
    why: str
    source: str


def dossier(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet dossier``."""
    ready(args)
    exports = tuple(name.strip() for name in args.export.split(",")) if args.export else ()
    for name in exports:
        if name not in PROGRAMS:
            raise InputError(f"--export {name!r} is none of {', '.join(PROGRAMS)}{meant(name, PROGRAMS)}")
    limits = read_limits(args.limits)
    if args.job_hosts is not None and not limits.steps:
        raise InputError("--job-hosts needs a [[step]] in the limits, and would be ignored; leave it out")
    hosts = read_hosts(open_trace, args.source, reading_of(args), lines=True)
    found = judge(hosts, limits, args.hosts, args.job_hosts)
    decision = _decision(args, hosts, limits, found)
    if args.out is not None:
        folder = Path(args.out)
        coarse = hosts.over(max(1.0, hosts.step_s))
        start_us = hosts.start_us + round((coarse.step_s - hosts.step_s) * 5e5)
        write_exports(folder, exports, coarse.load(args.hosts), coarse.step_s, start_us)
        _write(folder, decision)
    return give(decision, args)


def _even(hosts: HostPowers) -> HostPowers:
    """Return steps that can be trusted: energy counters are published unevenly, and jitter in short ones."""
    return hosts.over(EVEN_MEANS_S) if hosts.jitters else hosts


def judge(hosts: HostPowers, limits: OperatorLimits, count: int | None, job_hosts: int | None) -> list[Requirement]:
    """Hold a recording against each limit; ``job_hosts`` are those of the largest job, None if nobody knows."""
    even = _even(hosts)

    def changes(window_s: float, times: int | None, *, up: bool) -> Callable[[HostPowers], float | None]:
        def largest(of: HostPowers) -> float | None:
            found = ramp(Load(of.step_s, of.start_us, of.load(times), "total"), "", window_s)
            return found.up_w if up else found.down_w

        return largest

    rows = []
    for r in limits.ramps:
        for up, watts in ((True, r.up_w), (False, r.down_w)):
            if watts is not None:
                what = f"{'rise' if up else 'fall'} within {r.window_s:g} s"
                why = _window_unseen(even, r.window_s)
                rows.append(_judged(even, what, watts, changes(r.window_s, count, up=up), why=why, source=r.source))
    for s in limits.steps:
        what, why = f"{s.of}, fall within {s.seconds:g} s", _window_unseen(even, s.seconds)
        why = why if job_hosts else "the size of the largest job is unknown; give --job-hosts"
        rows.append(_judged(even, what, s.watts, changes(s.seconds, job_hosts, up=False), why=why, source=s.source))
    rows += [_swing(hosts, limit, count) for limit in limits.swings]
    why = "power cannot show it"
    rows += [Requirement(d.what, d.limit, None, None, None, None, DECLARE, why, d.source) for d in limits.declared]
    return rows


def _window_unseen(hosts: HostPowers, window_s: float) -> str:
    if window_s < hosts.step_s * (1.0 - 1e-6):
        return f"steps are {hosts.step_s:g} s"
    return f"the recording is {hosts.span_s:g} s" if window_s >= hosts.span_s else ""


def _judged(
    hosts: HostPowers,
    what: str,
    limit_w: float,
    measure: Callable[[HostPowers], float | None],
    *,
    why: str,
    source: str,
) -> Requirement:
    """Measure at the node model's slope, and at both ends of it."""
    value = None if why else measure(hosts)
    limit = shown(limit_w, "W")
    if value is None:
        return Requirement(what, limit, limit_w, None, None, None, NOT_OBSERVABLE, why, source)
    ends = [value]
    if hosts.node is not None and not hosts.node.slope.is_exact:
        slope = hosts.node.slope
        for end in (slope.low, slope.high):
            node = replace(hosts.node, slope=replace(slope, value=end))
            ends.append(measure(replace(hosts, node=node)) or 0.0)
    verdict = EXCEEDS if max(ends) > limit_w else MEETS
    only_end = "only at the upper end of the interval" if verdict == EXCEEDS and value <= limit_w else ""
    exact = len(ends) == 1
    return Requirement(
        what, limit, limit_w, value, None if exact else min(ends), None if exact else max(ends), verdict, only_end,
        source,
    )  # fmt: skip


def _swing(hosts: HostPowers, limit: SwingLimit, count: int | None) -> Requirement:
    """Judge a band; what lies above half the sampling rate cannot be met, but what is seen may exceed the limit."""
    top_hz, what = observable_up_to(hosts.step_s), f"swing in {limit.low_hz:g}-{limit.high_hz:g} Hz, rms"
    limit_w = limit.rms_w
    if limit_w is None:
        limit_w = (limit.share_of_peak or 0.0) * float(_even(hosts).load(count).max())

    def rms(of: HostPowers) -> float:
        power = of.load(count)
        frequency = np.asarray(np.fft.rfftfreq(power.size, of.step_s))
        return math.sqrt(
            float(shares(frequency, limit.low_hz, min(limit.high_hz, top_hz)) @ line_powers(power, of.mixing))
        )

    unseen = limit.low_hz >= top_hz or hosts.span_s * max(limit.low_hz, 0.0) < 1.0 or hosts.gpu_w.shape[1] < 8
    why = f"shows {1.0 / hosts.span_s:.2g} to {top_hz:g} Hz" if unseen else ""
    found = _judged(hosts, what, limit_w, rms, why=why, source=limit.source)
    if found.verdict == MEETS and limit.high_hz > top_hz * (1.0 + 1e-9):
        return replace(found, verdict=NOT_OBSERVABLE, why=f"what is shown, up to {top_hz:g} Hz, is within it")
    return found


def synchrony(hosts: HostPowers) -> float | None:
    """Mean correlation of the hosts' changes from second to second, over all pairs; None for one host."""
    changes = np.diff(hosts.over(1.0).powers(), axis=1)
    moving = changes[changes.std(axis=1) > 0.0]
    if len(moving) < 2:
        return None
    unit = (moving - moving.mean(axis=1, keepdims=True)) / moving.std(axis=1, keepdims=True)
    k = len(unit)
    return (float(np.mean(unit.sum(axis=0) ** 2)) - k) / (k * (k - 1))


def _decision(
    args: argparse.Namespace, hosts: HostPowers, limits: OperatorLimits, found: list[Requirement]
) -> Decision:
    load_w = _even(hosts).load(args.hosts)
    counts = {
        verdict: sum(r.verdict == verdict for r in found) for verdict in (EXCEEDS, MEETS, NOT_OBSERVABLE, DECLARE)
    }
    worst = [r.what for r in found if r.verdict == EXCEEDS]
    sentence = (
        f"Of {counted(len(found), 'limit')} of {limits.name}, {counts[EXCEEDS]} exceeded"
        f"{' (' + '; '.join(worst) + ')' if worst else ''}, {counts[MEETS]} met, {counts[NOT_OBSERVABLE]} not "
        f"observable, {counts[DECLARE]} to declare; the load is {shown(float(load_w.max()), 'W')} at most."
    )
    together, warnings = synchrony(hosts), list(hosts.said)
    applies = float(load_w.max()) >= limits.site_w_at_least
    if not applies:
        warnings.append(f"the limits apply from {shown(limits.site_w_at_least, 'W')} on ({limits.applies_source})")
    if together is None:
        warnings.append("one series does not show whether hosts move together")
    elif args.hosts:
        warnings.append(f"the changes of recorded hosts have a correlation of {together:.2f}; lockstep assumes 1")
    assumed = (
        [f"all {counted(args.hosts, 'host')} do at each moment what the mean recorded host does"] if args.hosts else []
    )
    if limits.steps and args.job_hosts:
        assumed.append(f"the largest job has {counted(args.job_hosts, 'host')}; it falls as the recorded hosts fell")
    if args.export and "psse" in args.export:
        assumed.append("PSS/E: bus 1, no reactive power; both are to be set")
    figures = {
        "name": limits.name, "applies": applies, "hosts": args.hosts or len(hosts.names), "max_w": float(load_w.max()),
        "mean_w": float(load_w.mean()), "synchrony": together, "observable_up_to_hz": observable_up_to(hosts.step_s),
        "lines": _lines(hosts, args.hosts), "requirements": [asdict(r) for r in found],
    }  # fmt: skip
    exact = hosts.node is None or hosts.node.slope.is_exact
    method = "none: extremes of one recording" if exact else "both ends of the slope of the node's model"
    return Decision(
        "dossier", sentence, (_table(found), *_lines_text(hosts, args.hosts)), figures,
        Basis(hosts.boundary, "the recording as a whole", method, None, hosts.span_s),
        _drawing(hosts, load_w, found), tuple(assumed), tuple(warnings),
    )  # fmt: skip


def _lines(hosts: HostPowers, count: int | None) -> list[dict[str, Any]]:
    """Swings of one frequency, at the load that is meant, with what each may be the mirror image of."""
    times = (1.0 if hosts.node is None else hosts.node.slope.value) * (count or len(hosts.names)) / len(hosts.names)
    return [
        {
            "hz": line.hz, "or_hz": line.mirror_hz, "rms_w": line.rms_w * times, "lower_w": line.lower_w * times,
            "upper_w": line.upper_w * times, "in_step": line.in_step,
            "moments_known": line.moments_known,
        }
        for line in hosts.lines
    ]  # fmt: skip


def _lines_text(hosts: HostPowers, count: int | None) -> list[TableRows]:
    if not hosts.lines:
        return []
    rows = [
        (
            line.frequency, shown(told["rms_w"], "W"), between(told["lower_w"], told["upper_w"], "W"),
            "unknown" if line.in_step is None else f"{line.in_step:.2f}",
        )
        for line, told in zip(hosts.lines, _lines(hosts, count), strict=True)
    ]  # fmt: skip
    return [table(("swing of one frequency", "rms", "95 % interval", "in step"), rows)]


def _table(found: list[Requirement]) -> TableRows:
    cells = [
        (
            r.what, r.limit, "" if r.found_w is None else shown(r.found_w, "W"),
            "" if r.lower_w is None or r.upper_w is None else between(r.lower_w, r.upper_w, "W"),
            r.verdict, r.why, r.source,
        )
        for r in found
    ]  # fmt: skip
    head = ("requirement", "limit", "found", "95 % interval", "verdict", "why", "source")
    return table(head, cells, left=(0, 1, 4, 5, 6))


def _write(folder: Path, decision: Decision) -> None:
    """Write the answer beside the exports, as text and as JSON."""
    parts: list[str | TableRows] = decision.parts()
    try:
        (folder / "dossier.txt").write_text(text_of(parts), encoding="utf-8")
        text = json.dumps(plain(decision.document()), indent=2, allow_nan=False)
        (folder / "dossier.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", str(folder)) from None


def _drawing(hosts: HostPowers, load_w: NDArray[np.float64], found: list[Requirement]) -> Callable[[Any, Any], None]:
    """Draw the load, and what was found over each limit."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.fleet.demand.plots import thinned  # noqa: PLC0415
        from wattshed.agent.printing.pictures import COLOURS, INK, scale_of  # noqa: PLC0415

        scale, unit = scale_of(float(load_w.max()))
        at, low, high = thinned(load_w)
        above.fill_between(at * hosts.span_s, low / scale, high / scale, color=COLOURS[0], edgecolor=COLOURS[0])
        above.set(ylabel=unit, xlabel="seconds", title="Load", ylim=(0, None))
        rows = [r for r in found if r.found_w is not None and r.limit_w]
        ratios = [(r.found_w or 0.0) / (r.limit_w or 1.0) for r in rows]
        colours = [COLOURS[4] if r.verdict == EXCEEDS else COLOURS[2] for r in rows]
        below.barh([r.what for r in rows], ratios, color=colours)
        below.axvline(1.0, color=INK, linestyle=":")
        below.invert_yaxis()
        below.set(xlabel="found over limit", title="Limits (1: as much as is allowed)")

    return draw
