"""What ``wattshed fleet demand`` answers: its findings as a document, and as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.fleet.demand.ensemble import Ensemble
    from wattshed.agent.fleet.demand.figures import Figures
    from wattshed.agent.fleet.demand.findings import Findings
    from wattshed.agent.fleet.demand.lines import SpectralLine
    from wattshed.agent.fleet.demand.measure import Demand
    from wattshed.agent.fleet.demand.transformer import Ageing, Transformer

SWINGS_DO_NOT_AGE = (
    "swings of 0.2-3 Hz do not age a transformer (its winding takes minutes to warm up): see ramps and bands"
)


def as_json(found: Findings) -> dict[str, Any]:
    """Lay the findings out as ``wattshed.demand/1``; of fleets medians, with 95th percentiles as ``p95_w``."""
    d, s, peaks = found.figures.demand, found.figures.spectrum, _high(found.high, "peaks")
    return {
        "schema": "wattshed.demand/1",
        "source": found.source,
        "of": found.of,
        "boundary": found.boundary,
        "power": found.power,
        "series": len(found.recording.series),
        "kind": found.recording.kind,
        "rows": found.recording.rows,
        "rejected": dict(found.recording.rejected),
        "step_s": found.step_s,
        "extremes_over_s": d.step_s,
        **_load_json(d),
        "peaks": [
            {"window": p.window, "watts": p.watts, "reason": p.reason, **_p95(peaks, i)} for i, p in enumerate(d.peaks)
        ],
        "duration_curve": [{"percent": percent, "watts": watts} for percent, watts in d.duration.items()],
        "coincidence": _coincidence(found),
        "ramps": _ramps_json(found),
        "observable_up_to_hz": s.observable_up_to_hz,
        "swing": {"rms_w": s.sd_w, "span_s": s.span_s},
        "bands": _bands_json(found),
        "lines": [_line_json(line) for line in found.lines],
        "transformer": _transformer_json(found),
        "ensemble": _ensemble_json(found.ensemble),
        "recorded": None if found.recorded is None else _load_json(found.recorded),
        **found.where,
        "warnings": list(found.warnings),
    }


def _ramps_json(found: Findings) -> list[dict[str, Any]]:
    high = _high(found.high, "ramps")
    return [
        {
            "window": r.window,
            "watts": r.watts,
            "up_w": r.up_w,
            "down_w": r.down_w,
            "rms_w": r.rms_w,
            "mw_per_s": None if r.watts is None else r.watts / r.window_s / 1e6,
            "mw_per_min": None if r.watts is None else r.watts / r.window_s * 60.0 / 1e6,
            "reason": r.reason,
            **_p95(high, i),
        }
        for i, r in enumerate(found.figures.demand.ramps)
    ]


def _bands_json(found: Findings) -> list[dict[str, Any]]:
    high = _bands(found.high)
    return [
        {
            "band": b.name,
            "low_hz": b.low_hz,
            "high_hz": b.high_hz,
            "observable_up_to_hz": b.observable_up_to_hz,
            "rms_w": b.rms_w,
            "partial_rms_w": b.partial_w,
            "lower_w": b.lower_w,
            "upper_w": b.upper_w,
            "reason": b.reason,
            **_p95(high, i),
        }
        for i, b in enumerate(found.figures.spectrum.bands)
    ]


def _line_json(line: SpectralLine) -> dict[str, Any]:
    return {
        "hz": line.hz,
        "or_hz": line.mirror_hz,
        "rms_w": line.rms_w,
        "lower_w": line.lower_w,
        "upper_w": line.upper_w,
        "in_step": line.in_step,
        "moments_known": line.moments_known,
    }


def _load_json(d: Demand) -> dict[str, float]:
    return {
        "span_s": d.span_s,
        "covered_s": d.covered_s,
        "mean_w": d.mean_w,
        "max_w": d.max_w,
        "min_w": d.min_w,
        "sd_w": d.sd_w,
        "load_factor": d.load_factor,
    }


def _high(high: Figures | None, what: str) -> list[float | None]:
    return [] if high is None else [one.watts for one in getattr(high.demand, what)]


def _bands(high: Figures | None) -> list[float | None]:
    return [] if high is None else [band.rms_w for band in high.spectrum.bands]


def _p95(high: list[float | None], place: int) -> dict[str, float | None]:
    return {"p95_w": high[place]} if high else {}


def _transformer_json(found: Findings) -> dict[str, Any] | None:
    t, a = found.transformer, found.figures.ageing
    if t is None or a is None:
        return None
    told = {
        "of": found.of,
        "rated_va": t.rated_va,
        "units": t.units,
        **_ageing_json(a),
        "sized_by": _sized_by(t),
        "note": SWINGS_DO_NOT_AGE,
    }
    if found.high is not None and found.high.ageing is not None:
        told["p95"] = _ageing_json(found.high.ageing)
    return told


def _ageing_json(a: Ageing) -> dict[str, float]:
    return {
        "hot_spot_max_c": a.hot_spot_max_c,
        "hot_spot_final_c": a.hot_spot_final_c,
        "top_oil_max_c": a.top_oil_max_c,
        "top_oil_final_c": a.top_oil_final_c,
        "loss_of_life_h": a.loss_of_life_h,
        "loss_of_life_share": a.loss_of_life_share,
        "equivalent_ageing": a.equivalent_ageing,
        "peak_loading": a.peak_loading,
        "headroom_w": a.headroom_w,
        "units_needed": a.units_needed,
    }


def _sized_by(t: Transformer) -> str:
    return (
        f"root mean square over {t.winding_time_constant_min:g} min within {t.limit:.0%} of nameplate, "
        "hot spot up to 120 °C, ageing no faster than normal"
    )


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
        [_load_text(found)], _peaks(found), _ramps(found), _swings(found), _lines(found), _transformer_text(found),
        _ensemble_text(found.ensemble),
    ):  # fmt: skip
        parts += [*block, ""] if block else []
    if say_device:
        where = "the CUDA device" if found.where["device"] == "cuda" else "the CPU"
        parts.append(f"computed on {where}: {found.where['device_reason']}")
    parts += [f"warning: {w}" for w in found.warnings]
    return parts if parts[-1] else parts[:-1]


def _load_text(found: Findings) -> str:
    d, r = found.figures.demand, found.recorded
    series = f"{len(found.recording.series)} series"
    head = (
        f"{series if r is None else found.of}, {d.span_s:g} s in steps of {found.step_s:g} s: "
        f"mean {shown(d.mean_w, 'W')}, largest {shown(d.max_w, 'W')}, load factor {d.load_factor:.3f}"
    )
    lines = [head]
    if (together := _coincidence(found)) is not None:
        lines.append(f"coincidence factor {together:.3f}")
    if r is not None:
        lines.append("medians of simulated fleets, and their 95th percentiles")
        lines.append(f"recorded: {series}, mean {shown(r.mean_w, 'W')}, largest {shown(r.max_w, 'W')}")
    extremes = "" if d.step_s == found.step_s else f"; extremes are of means over {d.step_s:g} s"
    lines.append(f"power at the boundary {found.boundary}, by {found.power}{extremes}")
    return "\n".join(lines)


def _coincidence(found: Findings) -> float | None:
    drawn = found.high is not None and found.ensemble is not None
    return found.ensemble.coincidence if drawn and found.ensemble else found.figures.demand.coincidence


def _with_high(head: tuple[str, ...], rows: list[tuple[str, ...]], high: list[float | None]) -> TableRows:
    """Make a table, with the 95th percentiles behind the figures, in the third column, if there are some."""
    if high:
        told = ["" if watts is None else shown(watts, "W") for watts in high]
        head = (*head[:2], "95th percentile", *head[2:])
        rows = [(*row[:2], more, *row[2:]) for row, more in zip(rows, told, strict=True)]
    return table(head, rows, left=(0, len(head) - 1))


def _peaks(found: Findings) -> list[str | TableRows]:
    d, high = found.figures.demand, found.high
    peaks = _with_high(
        ("peak, mean over", "power", "why unknown"),
        [(p.window, "unknown" if p.watts is None else shown(p.watts, "W"), p.reason) for p in d.peaks],
        _high(high, "peaks"),
    )
    duration = table(("of the time at or above", "power"), [(f"{p:g} %", shown(w, "W")) for p, w in d.duration.items()])
    return [peaks, "", duration]


def _ramps(found: Findings) -> list[str | TableRows]:
    rows: list[tuple[str, ...]] = []
    for r in found.figures.demand.ramps:
        if r.watts is None:
            rows.append((r.window, "unknown", "", "", r.reason))
        else:
            per_s = r.watts / r.window_s
            rows.append((r.window, shown(r.watts, "W"), f"{per_s / 1e6:.4g}", f"{per_s * 60 / 1e6:.4g}", ""))
    head = ("ramp within", "largest change", "MW/s", "MW/min", "why unknown")
    return [_with_high(head, rows, _high(found.high, "ramps"))]


def _swings(found: Findings) -> list[str | TableRows]:
    s = found.figures.spectrum
    rows: list[tuple[str, ...]] = [
        (b.name, "refused", "", b.reason)
        if b.rms_w is None
        else (b.name, shown(b.rms_w, "W"), between(b.lower_w or 0.0, b.upper_w or 0.0, "W"), b.reason)
        for b in s.bands
    ]
    head = f"swings, observable up to {s.observable_up_to_hz:g} Hz"
    names = ("band", "root mean square", "95 % interval", "why refused")
    return [head, _with_high(names, rows, _bands(found.high))]


def _lines(found: Findings) -> list[str | TableRows]:
    rows = [
        (
            line.frequency,
            shown(line.rms_w, "W"),
            between(line.lower_w, line.upper_w, "W"),
            "" if line.in_step is None else f"{line.in_step:.0%}",
        )
        for line in found.lines
    ]
    head = ("line of the recording", "root mean square", "95 % interval", "in step")
    return [table(head, rows, left=(0,))] if rows else []


def _transformer_text(found: Findings) -> list[str]:
    told = _transformer_json(found)
    if told is None:
        return []
    text = f"transformer: {_ageing_text(told)}"
    more = [f"95th percentile: {_ageing_text(told['p95'])}"] if "p95" in told else []
    return [text, *more, f"sized by: {told['sized_by']}", SWINGS_DO_NOT_AGE]


def _ageing_text(told: Mapping[str, Any]) -> str:
    return (
        f"hot spot up to {told['hot_spot_max_c']:.1f} °C, "
        f"ageing {told['equivalent_ageing']:.3g} times normal, "
        f"{told['loss_of_life_h']:.3g} h of life used, loaded to {told['peak_loading']:.0%}, "
        f"headroom {shown(told['headroom_w'], 'W')}, {counted(told['units_needed'], 'unit')} with one spare"
    )


def _ensemble_text(e: Ensemble | None) -> list[str]:
    if e is None:
        return []
    low, high = (float(np.percentile(e.peaks_w, q)) for q in (2.5, 97.5))
    text = (
        f"{counted(e.units, f'such {e.unit}')}, {counted(int(e.peaks_w.size), 'simulated fleet')} of {e.span_s:g} s: "
        f"mean {shown(e.mean_w, 'W')}, peak {shown(float(np.median(e.peaks_w)), 'W')} "
        f"({between(low, high, 'W')}), coincidence factor {e.coincidence:.3f}"
    )
    if (x := e.exceedance) is None:
        return [text]
    return [
        text,
        f"peak above {shown(x.limit_w, 'W')}: probability {x.probability:.3g} ({x.lower:.3g} to {x.upper:.3g})",
    ]
