"""What ``wattshed fleet demand`` does: a recording, to the figures that its supply must be built for."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.demand.drawing import Drawing
from wattshed.agent.fleet.demand.ensemble import Ensemble, resample, simulate
from wattshed.agent.fleet.demand.findings import Findings
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries
from wattshed.agent.fleet.demand.measure import measure
from wattshed.agent.fleet.demand.series import LoadRecording, read_series
from wattshed.agent.fleet.demand.spectrum import analyse
from wattshed.agent.fleet.demand.transformer import Transformer, age, read_transformer, units_needed
from wattshed.agent.fleet.estimate.bootstrap import check_unit
from wattshed.agent.fleet.printing import answer
from wattshed.agent.printing.paragraphs import TableRows, table
from wattshed.agent.printing.progress import in_sight

if TYPE_CHECKING:
    import argparse

    from wattshed.agent.fleet.demand.grid import Load
    from wattshed.agent.fleet.demand.series import OpenTrace

SWINGS_DO_NOT_AGE = (
    "swings of 0.2-3 Hz do not age a transformer (its winding takes minutes to warm up): see ramps and bands"
)


def demand(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet demand``."""
    check_unit(args.resample)
    drawing = Drawing(args.device)
    transformer = None if args.transformer is None else read_transformer(args.transformer)
    if args.plot is not None:
        from wattshed.agent.printing.pictures import check_target  # noqa: PLC0415

        check_target(args.plot)
    trace = open_trace(args.source)
    try:
        with closing(KeptSeries()) as kept:
            with in_sight("reading", trace.size) as line:
                recording = read_series(trace, kept, line.at if line.shown else None)
            unit = "" if args.scale is None and args.limit is None else args.resample
            load = on_grid(recording, args.step, unit=unit, max_gap_s=args.max_gap)
        found = examine(args, recording, load, transformer, drawing)
    except InputError as error:
        raise InputError(error.message, error.path or args.source[0], error.line, error.column) from None
    if args.plot is not None:
        from wattshed.agent.fleet.demand.plots import draw  # noqa: PLC0415  (matplotlib is an extra)

        draw(found, args.plot)
    say_device = args.device != "auto" or found.where["device"] == "cuda"
    return answer(as_json(found), as_parts(found, say_device=say_device), as_json=args.json)


def examine(
    args: argparse.Namespace, recording: LoadRecording, load: Load, transformer: Transformer | None, drawing: Drawing
) -> Findings:
    """All figures of a recording that lies on its grid."""
    if np.isnan(load.power_w).all():
        raise InputError("no moment is known for all series at once")
    figures = measure(load)
    said = list(recording.notes)
    said += [f"{n} of {recording.rows} rows rejected: {why.replace('_', ' ')}" for why, n in recording.rejected.items()]
    holes = figures.span_s - figures.covered_s
    if holes > 0.0:
        said.append(f"{holes:g} s of {figures.span_s:g} s are holes and left out")
    if recording.kind == "gpu" and args.meter_window is None:
        said.append(
            "GPU power is a mean over 1 s on many boards: give --meter-window 1 if so, "
            "or swings above 0.5 Hz are understated"
        )
    spectrum = analyse(load.stretch, load.step_s, meter_window_s=args.meter_window or 0.0)
    ageing = None
    if transformer is not None:
        ageing = age(load.stretch, load.step_s, transformer)
        if ageing.headroom_w < 0.0:
            said.append(
                f"the transformer is loaded to {ageing.peak_loading:.0%}, above its planned {transformer.limit:.0%}"
            )
        if load.stretch.size * load.step_s < 3600.0 * transformer.oil_time_constant_h:
            said.append(
                "the recording is shorter than the oil's time constant: temperatures start in equilibrium with its mean"
            )
    ensemble, remarks = _ensemble(args, recording, load, drawing)
    said += remarks
    return Findings(
        ", ".join(args.source),
        recording,
        load,
        figures,
        spectrum,
        transformer,
        ageing,
        ensemble,
        tuple(dict.fromkeys(said)),
        drawing.told(),
    )


def _ensemble(
    args: argparse.Namespace, recording: LoadRecording, load: Load, drawing: Drawing
) -> tuple[Ensemble | None, list[str]]:
    """Draw fleets like the recorded one, if they are asked for; and what is to be said of them."""
    if args.scale is not None:
        with in_sight("drawing fleets", args.replicates) as line:
            drawn = simulate(
                load,
                args.scale,
                replicates=args.replicates,
                unit=args.resample,
                checkpoint_s=args.checkpoint or 0.0,
                limit_w=args.limit,
                seed=args.seed,
                progress=line.at,
            )
        apart = "the simulated jobs are independent of one another; a schedule that starts them together peaks higher"
        return drawn, [apart]
    if args.limit is None:
        return None, []
    if recording.kind == "total":
        return None, [
            "--limit needs --scale, or a recording of several jobs: one load has one peak, and no probability"
        ]
    with in_sight("drawing fleets", 1.0) as line:
        drawn = resample(
            load,
            replicates=args.replicates,
            unit=args.resample,
            limit_w=args.limit,
            seed=args.seed,
            drawing=drawing,
            progress=line.at,
        )
    return drawn, []


def as_json(found: Findings) -> dict[str, Any]:
    """Lay the findings out as ``wattshed.demand/1``."""
    d, s = found.demand, found.spectrum
    return {
        "schema": "wattshed.demand/1",
        "source": found.source,
        "series": len(found.recording.series),
        "kind": found.recording.kind,
        "rows": found.recording.rows,
        "rejected": dict(found.recording.rejected),
        "step_s": d.step_s,
        "span_s": d.span_s,
        "covered_s": d.covered_s,
        "mean_w": d.mean_w,
        "max_w": d.max_w,
        "min_w": d.min_w,
        "sd_w": d.sd_w,
        "load_factor": d.load_factor,
        "peaks": [{"window": p.window, "watts": p.watts, "reason": p.reason} for p in d.peaks],
        "duration_curve": [{"percent": percent, "watts": watts} for percent, watts in d.duration.items()],
        "coincidence": d.coincidence,
        "ramps": [
            {
                "window": r.window,
                "watts": r.watts,
                "up_w": r.up_w,
                "down_w": r.down_w,
                "rms_w": r.rms_w,
                "mw_per_s": None if r.watts is None else r.watts / r.window_s / 1e6,
                "mw_per_min": None if r.watts is None else r.watts / r.window_s * 60.0 / 1e6,
                "reason": r.reason,
            }
            for r in d.ramps
        ],
        "observable_up_to_hz": s.observable_up_to_hz,
        "bands": [
            {
                "band": b.name,
                "low_hz": b.low_hz,
                "high_hz": b.high_hz,
                "observable_up_to_hz": b.observable_up_to_hz,
                "rms_w": b.rms_w,
                "partial_rms_w": b.partial_w,
                "reason": b.reason,
            }
            for b in s.bands
        ],
        "transformer": _transformer_json(found),
        "ensemble": _ensemble_json(found.ensemble),
        **found.where,
        "warnings": list(found.warnings),
    }


def _transformer_json(found: Findings) -> dict[str, Any] | None:
    t, a = found.transformer, found.ageing
    if t is None or a is None:
        return None
    return {
        "rated_va": t.rated_va,
        "units": t.units,
        "hot_spot_max_c": float(a.hot_spot_c.max()),
        "hot_spot_final_c": float(a.hot_spot_c[-1]),
        "top_oil_max_c": float(a.top_oil_c.max()),
        "top_oil_final_c": float(a.top_oil_c[-1]),
        "loss_of_life_h": a.loss_of_life_h,
        "loss_of_life_share": a.loss_of_life_share,
        "equivalent_ageing": a.equivalent_ageing,
        "peak_loading": a.peak_loading,
        "headroom_w": a.headroom_w,
        "units_needed": units_needed(found.demand.max_w, t.rated_va, loading=t.limit, power_factor=t.power_factor),
        "note": SWINGS_DO_NOT_AGE,
    }


def _ensemble_json(e: Ensemble | None) -> dict[str, Any] | None:
    if e is None:
        return None
    return {
        "units": e.units,
        "unit": e.unit,
        "replicates": int(e.peaks_w.size),
        "block_s": e.block_s,
        "span_s": e.span_s,
        "mean_w": e.mean_w,
        "sd_w": e.sd_w,
        "peak_w": {
            name: float(np.percentile(e.peaks_w, q)) for name, q in (("p5", 5), ("p50", 50), ("p95", 95), ("p99", 99))
        },
        "coincidence": e.coincidence,
        "exceedance": None
        if e.exceedance is None
        else {
            "limit_w": e.exceedance.limit_w,
            "probability": e.exceedance.probability,
            "lower": e.exceedance.lower,
            "upper": e.exceedance.upper,
        },
    }


def as_parts(found: Findings, *, say_device: bool = False) -> list[str | TableRows]:
    """Lay the findings out for a terminal; ``say_device``: where fleets were drawn, and why there."""
    parts: list[str | TableRows] = []
    for block in (
        [_load_text(found)], _peaks(found), _ramps(found), _swings(found), _transformer_text(found),
        _ensemble_text(found.ensemble),
    ):  # fmt: skip
        parts += [*block, ""] if block else []
    if say_device:
        where = "the CUDA device" if found.where["device"] == "cuda" else "the CPU"
        parts.append(f"computed on {where}: {found.where['device_reason']}")
    parts += [f"warning: {w}" for w in found.warnings]
    return parts if parts[-1] else parts[:-1]


def _load_text(found: Findings) -> str:
    d = found.demand
    head = (
        f"{len(found.recording.series)} series, {d.span_s:g} s in steps of {d.step_s:g} s: "
        f"mean {shown(d.mean_w, 'W')}, largest {shown(d.max_w, 'W')}, load factor {d.load_factor:.3f}"
    )
    return head if d.coincidence is None else f"{head}\ncoincidence factor {d.coincidence:.3f}"


def _peaks(found: Findings) -> list[str | TableRows]:
    d = found.demand
    peaks = table(
        ("peak, mean over", "power", "why unknown"),
        [(p.window, "unknown" if p.watts is None else shown(p.watts, "W"), p.reason) for p in d.peaks],
        left=(0, 2),
    )
    duration = table(("of the time at or above", "power"), [(f"{p:g} %", shown(w, "W")) for p, w in d.duration.items()])
    return [peaks, "", duration]


def _ramps(found: Findings) -> list[str | TableRows]:
    rows = []
    for r in found.demand.ramps:
        if r.watts is None:
            rows.append((r.window, "unknown", "", "", r.reason))
        else:
            per_s = r.watts / r.window_s
            rows.append((r.window, shown(r.watts, "W"), f"{per_s / 1e6:.4g}", f"{per_s * 60 / 1e6:.4g}", ""))
    return [table(("ramp within", "largest change", "MW/s", "MW/min", "why unknown"), rows, left=(0, 4))]


def _swings(found: Findings) -> list[str | TableRows]:
    rows = [(b.name, "refused" if b.rms_w is None else shown(b.rms_w, "W"), b.reason) for b in found.spectrum.bands]
    head = f"swings, observable up to {found.spectrum.observable_up_to_hz:g} Hz"
    return [head, table(("band", "root mean square", "why refused"), rows, left=(0, 2))]


def _transformer_text(found: Findings) -> list[str]:
    told = _transformer_json(found)
    if told is None:
        return []
    loaded = (
        f"transformer: hot spot up to {told['hot_spot_max_c']:.1f} °C, "
        f"ageing {told['equivalent_ageing']:.3g} times normal, "
        f"{told['loss_of_life_h']:.3g} h of life used, loaded to {told['peak_loading']:.0%}, "
        f"headroom {shown(told['headroom_w'], 'W')}, {counted(told['units_needed'], 'unit')} with one spare"
    )
    return [loaded, SWINGS_DO_NOT_AGE]


def _ensemble_text(e: Ensemble | None) -> list[str]:
    if e is None:
        return []
    low, high = (float(np.percentile(e.peaks_w, q)) for q in (2.5, 97.5))
    text = (
        f"{e.units} such {e.unit}s, {e.peaks_w.size} simulated fleets by blocks of {e.block_s:g} s: "
        f"mean {shown(e.mean_w, 'W')}, peak {shown(float(np.median(e.peaks_w)), 'W')} "
        f"({between(low, high, 'W')}), coincidence factor {e.coincidence:.3f}"
    )
    if (x := e.exceedance) is None:
        return [text]
    return [
        text,
        f"peak above {shown(x.limit_w, 'W')}: probability {x.probability:.3g} ({x.lower:.3g} to {x.upper:.3g})",
    ]
