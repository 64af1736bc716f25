"""What a replay shows on a terminal while it works; elsewhere nothing."""

from __future__ import annotations

import contextlib
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wattshed.agent.printing.progress import in_sight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.replay.books import Part, Tell
    from wattshed.agent.traces.options import TraceFile
    from wattshed.agent.traces.sources import Chain


FEW_ROWS = 1_200_000
"""Fewer readings than this are done in plain Python before a compiler is done: of power alone in two seconds, with
counters in as long as it takes to compile."""


@contextmanager
def kernels_for(chains: list[Chain]) -> Iterator[None]:
    """See to it that the kernels are worth their start.

    A library that was built ahead takes a millisecond. Where there is none, and numba would compile: a short trace is
    replayed in plain Python; for a long one, and on a terminal, it is said that the library is built, once.
    """
    from wattshed.kernels import load  # noqa: PLC0415

    if load.form().name != "numba" or load.setting() == "numba":
        yield
        return
    if sum(map(_rows_at_most, (source for chain in chains for source in chain.sources))) >= FEW_ROWS:
        _compile_in_sight()
        yield
        return
    load.use("auto", just_in_time=False)
    try:
        yield
    finally:
        load.use("auto")


def _rows_at_most(source: TraceFile) -> int:
    from wattshed.agent.traces.foreign import detect  # noqa: PLC0415

    least = {detect.NATIVE: 8, detect.NATIVE_PARQUET: 2, detect.PARQUET: 2, detect.ARROW: 2}  # bytes of a reading
    of_text = 5 if source.path.suffix == ".gz" else 50
    return source.path.stat().st_size // least.get(source.format, of_text)


def _compile_in_sight() -> None:
    """On a terminal, say so if the kernels have to be compiled first: half a minute of silence looks like a fault."""
    if not sys.stderr.isatty():
        return
    from wattshed.kernels.warm import WarmError, warm_up  # noqa: PLC0415

    with (
        in_sight("building the library of kernels, once, which takes half a minute") as line,
        contextlib.suppress(WarmError),  # then numba compiles each as it is needed
    ):
        warm_up(lambda told: line.say(f"kernels: {told}"))


@contextmanager
def reading(chains: list[Chain]) -> Iterator[Tell]:
    """Show on a terminal how far the reading is; yields what is to be called after each window."""
    total = sum(source.path.stat().st_size for chain in chains for source in chain.sources)
    with in_sight("reading", total) as line:
        if not line.shown:
            yield lambda *_: None
            return
        finished: dict[int, int] = {}

        def tell(part: Part, host: str, _start_us: int, _end_us: int) -> None:
            finished[id(part)] = sum(report.position for report in part.reports)
            line.at(sum(finished.values()), f"reading {host}")

        yield tell
