"""What every planner's command answers: one sentence, tables, a document, a picture, and what it assumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed.agent.fleet.printing import answer
from wattshed.agent.spans import SPANS_S, YEAR_S

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from wattshed.agent.printing.paragraphs import TableRows


def lasting(seconds: float) -> str:
    """Write a time in the unit that suits it: ``270 s``, ``4.5 minutes``, ``1 year``."""
    for size, name in ((YEAR_S, "year"), (SPANS_S["d"], "day"), (SPANS_S["h"], "hour"), (SPANS_S["m"], "minute")):
        if seconds >= size * (10.0 if name == "minute" else 1.0 - 1e-9):
            return f"{seconds / size:.4g} {name}{'' if abs(seconds / size - 1.0) < 5e-5 else 's'}"
    return f"{seconds:g} s"


@dataclass(frozen=True, slots=True)
class Basis:
    """What a figure rests on: no answer is given without it.

    Attributes
    ----------
    boundary : str
        At which of GPU, node, IT, facility and grid its power is meant.
    sampling_unit : str
        What was measured and stands for others; or that nothing was sampled.
    interval : str
        How its 95 % interval is made, or why there is none.
    df : float or None
        Degrees of freedom, where the interval has some.
    span_s : float or None, s
        How long the recording is that it rests on.
    """

    boundary: str
    sampling_unit: str
    interval: str
    df: float | None = None
    span_s: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One command's answer.

    Attributes
    ----------
    name : str
        The document's schema is ``wattshed.NAME/1``.
    sentence : str
    tables : tuple of TableRows or str
    figures : mapping
        The numbers of the document.
    basis : Basis
    assumptions, warnings : tuple of str
    draw : callable
        Draws into the axes that it is given, two below each other.
    """

    name: str
    sentence: str
    tables: tuple[str | TableRows, ...]
    figures: Mapping[str, Any]
    basis: Basis
    draw: Callable[[Any, Any], None]
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Lay it out as ``wattshed.NAME/1``."""
        basis = self.basis
        return {
            "schema": f"wattshed.{self.name}/1",
            "answer": self.sentence,
            **self.figures,
            "boundary": basis.boundary,
            "sampling_unit": basis.sampling_unit,
            "interval": {"confidence": 0.95, "method": basis.interval, "df": basis.df},
            "span_s": basis.span_s,
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
        }

    def parts(self) -> list[str | TableRows]:
        """Lay it out for a terminal."""
        parts: list[str | TableRows] = [self.sentence, ""]
        for part in self.tables:
            parts += [part, ""]
        basis = self.basis
        df = "" if basis.df is None else f", {basis.df:.3g} degrees of freedom"
        span = "" if basis.span_s is None else f"; span {lasting(basis.span_s)}"
        parts.append(
            f"boundary: {basis.boundary}; sampling unit: {basis.sampling_unit}{span}\n"
            f"95 % interval: {basis.interval}{df}"
        )
        if self.assumptions:
            parts.append("\n".join(["", "assumed:", *(f"  {text}" for text in self.assumptions)]))
        if self.warnings:
            parts.append("\n".join(["", *(f"warning: {text}" for text in self.warnings)]))
        return parts


def ready(args: argparse.Namespace) -> None:
    """Refuse a picture that could not be drawn, before any work is done.

    Raises
    ------
    InputError
        See `agent.printing.pictures.check_target`.
    """
    if args.plot is not None:
        from wattshed.agent.printing.pictures import check_target  # noqa: PLC0415

        check_target(args.plot)


def give(decision: Decision, args: argparse.Namespace) -> int:
    """Print a decision as text or JSON, and draw it where ``--plot`` says; the exit code is 0.

    Raises
    ------
    InputError
        If the picture cannot be written.
    """
    if args.plot is not None:
        _picture(decision, args.plot)
    return answer(decision.document(), decision.parts(), as_json=args.json)


def _picture(decision: Decision, path: str) -> None:
    import textwrap  # noqa: PLC0415

    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    from wattshed.agent.printing.pictures import STYLE, save  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(9.0, 7.5), layout="constrained")
        above, below = figure.subplots(2, 1)
        decision.draw(above, below)
        figure.suptitle(textwrap.fill(decision.sentence, 100), x=0.01, ha="left", fontsize=10.5)
        save(figure, path)
