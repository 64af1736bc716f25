"""What ``wattshed fleet demand`` does: a recording, to the figures that its supply must be built for."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.demand.answer import as_json, as_parts
from wattshed.agent.fleet.demand.drawing import Drawing
from wattshed.agent.fleet.demand.ensemble import Ensemble, resample, simulate
from wattshed.agent.fleet.demand.figures import Examination, Figures, FleetExamination, Gridded, quantile
from wattshed.agent.fleet.demand.findings import Findings
from wattshed.agent.fleet.demand.grid import Load, on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries
from wattshed.agent.fleet.demand.lines import find_lines, said_of
from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.fleet.demand.transformer import Transformer, read_transformer
from wattshed.agent.fleet.demand.workers import drawing_on
from wattshed.agent.fleet.estimate.bootstrap import check_unit
from wattshed.agent.fleet.printing import answer
from wattshed.agent.printing.progress import in_sight

if TYPE_CHECKING:
    import argparse

    from wattshed.agent.fleet.demand.drawing import DrawingPlace
    from wattshed.agent.fleet.demand.lines import SpectralLine
    from wattshed.agent.fleet.demand.series import LoadRecording, OpenTrace, PowerTrace

COUNTED_S = 0.5
"""A counter jitters: extremes are sought in means over at least this long."""
MOST_FIGURES = 100
"""Fleets of which all figures are computed; peaks are of all that are drawn."""


def demand(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet demand``."""
    check_unit(args.resample)
    here = Drawing(args.device)
    if args.device == "cuda" and (args.workers or args.scheduler):
        raise InputError("--device cuda draws in this process; with --workers or --scheduler it would be ignored")
    transformer = None if args.transformer is None else read_transformer(args.transformer)
    if args.plot is not None:
        from wattshed.agent.printing.pictures import check_target  # noqa: PLC0415

        check_target(args.plot)
    trace = open_trace(args.source)
    with drawing_on(args.workers or 0, args.scheduler or "", here) as drawing:
        found = _found(args, trace, transformer, drawing)
    if args.plot is not None:
        from wattshed.agent.fleet.demand.plots import draw  # noqa: PLC0415  (matplotlib is an extra)

        draw(found, args.plot)
    say_device = args.device != "auto" or found.where["device"] == "cuda"
    return answer(as_json(found), as_parts(found, say_device=say_device), as_json=args.json)


def _found(
    args: argparse.Namespace,
    trace: PowerTrace,
    transformer: Transformer | None,
    drawing: DrawingPlace,
) -> Findings:
    """Read a trace and find all figures; what is wrong with it is said with its name."""
    try:
        with closing(KeptSeries()) as kept, closing(KeptSeries()) as counters:
            with in_sight("reading", trace.size) as line:
                recording = read_series(trace, kept, line.at if line.shown else None, counters=counters)
            _check_use(args, recording)
            gridded = _gridded(args, recording)
            window_s = args.meter_window or 0.0
            lines = find_lines(gridded.fine, recording, max_gap_s=args.max_gap, meter_window_s=window_s)
        examination = Examination(transformer, window_s)
        return _Demand(args, gridded, examination, drawing).examine(lines)
    except InputError as error:
        raise InputError(error.message, error.path or args.source[0], error.line, error.column) from None


def _check_use(args: argparse.Namespace, recording: LoadRecording) -> None:
    """Refuse what would be ignored with such a recording."""
    if args.meter_window is not None and len(recording.counted) == len(recording.series):
        raise InputError(
            "--meter-window is of readings of power, and would be ignored: the recording has energy counters, "
            "whose differences are means over the time between them; leave it out"
        )
    if args.limit is not None and args.scale is None and recording.kind == "total":
        raise InputError(
            "--limit needs --scale, or a recording of several jobs: one load has one peak, and no probability"
        )
    if args.resample == "host" and (args.scale or args.limit) and not all(name.host for name in recording.series):
        raise InputError("--resample host needs a recording that names hosts")


def _gridded(args: argparse.Namespace, recording: LoadRecording) -> Gridded:
    """Bring a recording onto its grid, and once more where extremes need longer steps than the spectrum."""
    unit = "" if args.scale is None and args.limit is None else args.resample
    fine = on_grid(recording, args.step, unit=unit, max_gap_s=args.max_gap)
    steps = math.ceil(COUNTED_S / fine.step_s - 1e-9) if fine.counted and args.step is None else 1
    if steps == 1:
        return Gridded(recording, fine, fine)
    return Gridded(recording, fine, on_grid(recording, steps * fine.step_s, unit=unit, max_gap_s=args.max_gap), steps)


class _Demand:
    """One recording, on its grid, and what was asked about it."""

    def __init__(
        self,
        args: argparse.Namespace,
        gridded: Gridded,
        examination: Examination,
        drawing: DrawingPlace,
    ) -> None:
        self._args, self._gridded, self._examination = args, gridded, examination
        self._drawing = drawing
        self._recording, self._load, self._fine = gridded.recording, gridded.load, gridded.fine
        self._of_fleets = FleetExamination.like(gridded, examination)

    def examine(self, lines: tuple[SpectralLine, ...]) -> Findings:
        """Find all figures, of the recording or of fleets that are made of it."""
        load, args = self._load, self._args
        if np.isnan(load.steps_w).all():
            raise InputError("no moment is known for all series at once")
        recorded = self._examination.of(load, self._fine)
        ensemble = self._ensemble()
        transformer = self._examination.transformer
        shown, figures, high, of = recorded, recorded, None, "the recording"
        if ensemble is not None and ensemble.typical_w is not None:
            figures, high = (quantile(ensemble.looked, share, transformer) for share in (0.5, 0.95))
            load = Load(self._fine.step_s, self._fine.start_us, ensemble.typical_w, load.kind)
            shown = self._of_fleets.of(ensemble.typical_w)
            of = f"a fleet of {counted(ensemble.units, ensemble.unit)}"
        return Findings(
            ", ".join(args.source),
            self._recording,
            load,
            of,
            shown,
            figures,
            high,
            None if high is None else recorded.demand,
            lines,
            self._power(),
            self._fine.step_s,
            transformer,
            ensemble,
            tuple(dict.fromkeys([*self._said(recorded, figures), *said_of(lines)])),
            self._drawing.told(),
        )

    def _power(self) -> str:
        """Say what the power was read from."""
        by_counter, series = self._fine.counted, len(self._recording.series)
        if by_counter in (0, series):
            return "energy counter" if by_counter else "power readings"
        return f"energy counter of {by_counter} of {series} series, power readings of the others"

    def _ensemble(self) -> Ensemble | None:
        """Draw fleets like the recorded one, if they are asked for."""
        args = self._args
        if args.scale is not None:
            with in_sight("drawing fleets", args.replicates) as line:
                return simulate(
                    self._fine,
                    args.scale,
                    replicates=args.replicates,
                    unit=args.resample,
                    checkpoint_s=args.checkpoint or 0.0,
                    limit_w=args.limit,
                    seed=args.seed,
                    peak_steps=self._gridded.steps,
                    progress=line.at,
                    look=self._of_fleets.numbers_of,
                    most_looks=MOST_FIGURES,
                    drawing=self._drawing,
                )
        if args.limit is None:
            return None
        with in_sight("drawing fleets", 1.0) as line:
            return resample(
                self._load,
                replicates=args.replicates,
                unit=args.resample,
                limit_w=args.limit,
                seed=args.seed,
                drawing=self._drawing,
                progress=line.at,
            )

    def _said(self, recorded: Figures, figures: Figures) -> list[str]:
        """Say what a reader should know."""
        args, recording = self._args, self._recording
        said = list(recording.notes)
        said += [
            f"{n} of {recording.rows} rows rejected: {why.replace('_', ' ')}" for why, n in recording.rejected.items()
        ]
        known_s = recorded.demand.covered_s
        span_s = recorded.demand.span_s
        if known_s < span_s - self._load.step_s * (1.0 - 1e-6):
            said.append(f"{span_s - known_s:g} s of {span_s:g} s are holes and left out")
        if self._fine.counted and args.step is not None and args.step < COUNTED_S:
            said.append(
                f"an energy counter jitters: in steps below {COUNTED_S:g} s peaks and ramps are partly the meter's"
            )
        if recording.kind == "gpu" and args.meter_window is None and self._fine.counted < len(recording.series):
            said.append(
                "GPU power is a mean over 1 s on many boards: give --meter-window 1 if so, "
                "or swings above 0.5 Hz are understated"
            )
        if (t := self._examination.transformer) is not None and figures.ageing is not None:
            if figures.ageing.headroom_w < 0.0:
                said.append(
                    f"the transformer is loaded to {figures.ageing.peak_loading:.0%}, above its planned {t.limit:.0%}"
                )
            if span_s < 3600.0 * t.oil_time_constant_h:
                said.append(
                    "the recording is shorter than the oil's time constant: "
                    "temperatures start in equilibrium with its mean"
                )
        if args.scale is not None:
            said.append(
                "the simulated jobs are independent of one another; a schedule that starts them together peaks higher"
            )
        return said
