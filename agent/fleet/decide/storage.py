"""``fleet storage``: the battery that a load needs to keep a grid's limit of ramps, or of a band of frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.battery import in_band, operate, settled, sized, slew, smoothed, within_band
from wattshed.agent.fleet.decide.hosts import EVEN_MEANS_S, read_hosts, reading_of
from wattshed.agent.fleet.demand.mixing import passed
from wattshed.agent.fleet.demand.spectrum import observable_up_to
from wattshed.agent.printing.paragraphs import table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.battery import Battery
    from wattshed.agent.fleet.decide.given import BandLimit
    from wattshed.agent.fleet.decide.hosts import HostPowers
    from wattshed.agent.fleet.demand.series import OpenTrace
    from wattshed.agent.printing.paragraphs import TableRows

    _Follow = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]


_UNDERSTATED = 0.98
"""Of a swing, below which it is said that the grid took from it."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """The battery for one limit, the grid's power with it, and whether that limit is kept in operation."""

    limit: str
    battery: Battery
    load_w: NDArray[np.float64]
    grid_w: NDArray[np.float64]
    kept: bool
    reached: str
    bounds: tuple[Battery, Battery] | None = None


def storage(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet storage``."""
    ready(args)
    hosts = read_hosts(open_trace, args.source, reading_of(args), each_gpu=args.floor is not None)
    said = list(hosts.said)
    bought_w = 0.0
    if args.floor is not None:
        if hosts.node is None:
            raise InputError("--floor needs the power of GPUs; this recording shows that of others", args.source[0])
        before = hosts
        hosts = replace(hosts, gpu_w=smoothed(hosts.gpu_w, hosts.step_s, args.floor, args.tmp))
        bought_w = float(hosts.load(args.hosts).mean() - before.load(args.hosts).mean())
    if hosts.jitters:
        if args.band is None:
            hosts = hosts.over(EVEN_MEANS_S)
            said.append(
                f"steps of {hosts.step_s:g} s: energy counters are published unevenly, and jitter in shorter ones"
            )
        else:
            said.append(
                "energy counters are published unevenly: the power of the battery is too large rather than small"
            )
    load_w = hosts.load(args.hosts)
    if args.band is not None:
        limit_hz = observable_up_to(hosts.step_s)
        top_hz = min(args.band.high_hz, limit_hz)
        if args.band.low_hz >= limit_hz:
            raise InputError(
                f"readings every {hosts.step_s:g} s show swings up to {limit_hz:g} Hz; --band begins at "
                f"{args.band.low_hz:g} Hz",
                args.source[0],
            )
        if args.band.high_hz > limit_hz * (1.0 + 1e-9):
            said.append(f"swings above {limit_hz:g} Hz are not in the recording, and not in the size")
        left = math.sqrt(float(passed(2.0 * np.pi * hosts.step_s * np.array([top_hz]), hosts.mixing)[0]))
        if left < _UNDERSTATED:
            said.append(
                f"uneven stamps take {1.0 - left:.0%} from swings at {top_hz:.3g} Hz: the battery is understated by as "
                "much there, and by less at lower frequencies"
            )
    limits: list[tuple[str, Any]] = list(args.ramp) if args.band is None else [(_band_text(args.band), args.band)]
    sizings = [_sized(args, hosts, load_w, name, limit) for name, limit in limits]
    return give(_decision(args, hosts, load_w, sizings, bought_w=bought_w, said=said), args)


def _band_text(band: BandLimit) -> str:
    return f"{shown(band.rms_w, 'W')} rms in {band.low_hz:g}-{band.high_hz:g} Hz"


def _sized(
    args: argparse.Namespace, hosts: HostPowers, load_w: NDArray[np.float64], name: str, limit: float | BandLimit
) -> Sizing:
    step_s = hosts.step_s

    def follow(power_w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if isinstance(limit, float):
            # Behind its end the load stays, until the grid has come to it: a battery is not done before.
            power_w = settled(power_w, step_s, limit)
            return power_w, slew(power_w, step_s, limit)
        return power_w, within_band(power_w, step_s, limit)[0]

    load_w, wanted = follow(load_w)
    battery = sized(load_w, wanted, step_s, args.round_trip)
    grid = operate(battery, load_w, wanted, step_s)
    if isinstance(limit, float):
        reached = float(np.abs(np.diff(grid)).max(initial=0.0)) / step_s
        kept, told = reached <= limit * (1.0 + 1e-6), f"{reached * 60 / 1e6:.4g} MW/min"
    else:
        reached = float(np.sqrt(np.mean(in_band(grid, step_s, limit.low_hz, limit.high_hz) ** 2)))
        kept, told = reached <= limit.rms_w * (1.0 + 1e-6), f"{shown(reached, 'W')} rms"
    return Sizing(name, battery, load_w, grid, kept, told, _bounds(args, hosts, follow))


def _bounds(args: argparse.Namespace, hosts: HostPowers, follow: _Follow) -> tuple[Battery, Battery] | None:
    """Sizes at both ends of the node model's slope, by which all swings of GPUs are multiplied."""
    model = hosts.node
    if model is None or model.slope.is_exact:
        return None
    ends = []
    for slope in (model.slope.low, model.slope.high):
        load_w = replace(hosts, node=replace(model, slope=replace(model.slope, value=slope))).load(args.hosts)
        ends.append(sized(*follow(load_w), hosts.step_s, args.round_trip))
    return ends[0], ends[1]


def _decision(
    args: argparse.Namespace,
    hosts: HostPowers,
    load_w: NDArray[np.float64],
    sizings: list[Sizing],
    *,
    bought_w: float,
    said: list[str],
) -> Decision:
    first = sizings[0]
    of = f"{counted(args.hosts, 'host')} in lockstep" if args.hosts else f"{counted(len(hosts.names), 'recorded host')}"
    battery = first.battery
    mean_w, top_w = float(load_w.mean()), float(load_w.max())
    sentence = (
        f"For {first.limit}, a load of {shown(top_w, 'W')} at most ({of}) needs a battery of "
        f"{shown(battery.power_w, 'W')} and {shown(battery.energy_j / 3600.0, 'Wh')}{_within(first)}."
    )
    figures: dict[str, Any] = {
        "hosts": args.hosts or len(hosts.names), "mean_w": mean_w, "max_w": top_w, "min_w": float(load_w.min()),
        "largest_step_w": float(np.abs(np.diff(load_w)).max(initial=0.0)), "step_s": hosts.step_s,
        "round_trip": args.round_trip, "limits": [_sizing_json(s) for s in sizings],
    }  # fmt: skip
    assumed = [
        "the grid's power follows the load without knowing what comes",
        "what the battery loses is bought evenly over the recording",
    ]
    said += [f"{s.limit} is not kept in operation: {s.reached}" for s in sizings if not s.kept]
    if args.hosts:
        assumed.append(f"all {counted(args.hosts, 'host')} do at each moment what the mean recorded host does")
    parts: list[str | TableRows] = [_table(sizings)]
    if args.band is not None:
        foresight = _with_foresight(load_w, hosts.step_s, args.band)
        figures["with_foresight"] = foresight
        told = f"{shown(foresight['power_w'], 'W')} and {shown(foresight['energy_wh'], 'Wh')}"
        parts.append(f"with perfect foresight, the band alone would take {told}")
    if args.floor is not None:
        figures["floor"] = {"share": args.floor.share, "tmp_w": args.tmp, "bought_w": bought_w}
        assumed.append(
            f"GPUs draw at least {shown(args.floor.share, '%')} of {shown(args.tmp, 'W')} while they work: "
            f"{shown(bought_w, 'W')} more on average"
        )
    interval = "both ends of the slope of the node's model" if first.bounds else (
        "none: the size follows from the extremes of one recording"
    )  # fmt: skip
    return Decision(
        "storage", sentence, tuple(parts), figures,
        Basis(hosts.boundary, "the recording as a whole", interval, None, hosts.span_s),
        _drawing(hosts.step_s, first), tuple(assumed), tuple(said),
    )  # fmt: skip


def _table(sizings: list[Sizing]) -> TableRows:
    return table(
        ("limit", "power", "energy", "lost", "grid, in operation", "kept"),
        [
            (
                s.limit,
                shown(s.battery.power_w, "W"),
                shown(s.battery.energy_j / 3600.0, "Wh"),
                shown(s.battery.loss_w, "W"),
                s.reached,
                "yes" if s.kept else "no",
            )
            for s in sizings
        ],
        left=(0, 4, 5),
    )


def _within(sizing: Sizing) -> str:
    if sizing.bounds is None:
        return ""
    low, high = (end.energy_j / 3600.0 for end in sizing.bounds)
    return f" (95 % {between(min(low, high), max(low, high), 'Wh')})"


def _sizing_json(s: Sizing) -> dict[str, Any]:
    ends = s.bounds
    return {
        "limit": s.limit,
        "power_w": s.battery.power_w,
        "energy_wh": s.battery.energy_j / 3600.0,
        "power_interval_w": None if ends is None else sorted(end.power_w for end in ends),
        "energy_interval_wh": None if ends is None else sorted(end.energy_j / 3600.0 for end in ends),
        "charge_at_start_wh": s.battery.charge_j / 3600.0,
        "loss_w": s.battery.loss_w,
        "kept_in_operation": s.kept,
        "reached": s.reached,
    }


def _with_foresight(load_w: NDArray[np.float64], step_s: float, limit: BandLimit) -> dict[str, float]:
    """Power and energy to remove a band down to its limit, knowing the whole recording."""
    band = in_band(load_w, step_s, limit.low_hz, limit.high_hz)
    rms = math.sqrt(float(np.mean(band**2)))
    band *= max(1.0 - limit.rms_w / rms, 0.0) if rms > 0.0 else 0.0
    charge = np.concatenate(([0.0], np.cumsum(band) * step_s))
    return {
        "rms_w": rms,
        "power_w": float(np.abs(band).max()),
        "energy_wh": float(charge.max() - charge.min()) / 3600.0,
    }


def _drawing(step_s: float, first: Sizing) -> Callable[[Any, Any], None]:
    """Draw load and grid, and what the battery gives, over time."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.fleet.demand.plots import thinned  # noqa: PLC0415
        from wattshed.agent.printing.pictures import COLOURS, scale_of  # noqa: PLC0415

        span_s = first.load_w.size * step_s

        def line(axis: Any, power_w: NDArray[np.float64], scale: float, colour: str, name: str) -> None:
            at, low, high = (
                column / divisor for column, divisor in zip(thinned(power_w), (1 / span_s, scale, scale), strict=True)
            )
            axis.fill_between(at, low, high, color=colour, linewidth=1.0, edgecolor=colour, label=name)
            axis.set(ylabel=unit, xlabel="seconds")

        scale, unit = scale_of(float(first.load_w.max()))
        line(above, first.load_w, scale, COLOURS[1], "load")
        line(above, first.grid_w, scale, COLOURS[0], "grid")
        above.set(title=f"Load, and grid with the battery ({first.limit})", ylim=(0, None))
        above.legend()
        scale, unit = scale_of(first.battery.power_w)
        line(below, first.load_w - first.grid_w, scale, COLOURS[4], "battery")
        below.set(title="What the battery gives (below 0: takes)")

    return draw
