"""What a replay shows on a terminal while it works; elsewhere nothing."""

from __future__ import annotations

import contextlib
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    least = {detect.NATIVE: 8, detect.NATIVE_PARQUET: 2, detect.PARQUET: 2}  # bytes of a reading
    of_text = 5 if source.path.suffix == ".gz" else 50
    return source.path.stat().st_size // least.get(source.format, of_text)


def _compile_in_sight() -> None:
    """On a terminal, say so if the kernels have to be compiled first: half a minute of silence looks like a fault."""
    if not sys.stderr.isatty():
        return
    from rich.console import Console  # noqa: PLC0415

    from wattshed.kernels.warm import WarmError, warm_up  # noqa: PLC0415

    status = Console(stderr=True).status("building the library of kernels, once, which takes half a minute")
    with status, contextlib.suppress(WarmError):  # then numba compiles each as it is needed
        warm_up(lambda line: status.update(f"kernels: {line}"))


@contextmanager
def in_sight(what: str) -> Iterator[None]:
    """Say on a terminal what is being done."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(what):
        yield


@contextmanager
def sending(total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many points were sent; yields what is to be sent."""
    if not sys.stderr.isatty():
        yield lambda _sent: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(f"sending {total} points") as status:
        yield lambda sent: status.update(f"sending points: {sent} of {total}")


@contextmanager
def reading(chains: list[Chain]) -> Iterator[Tell]:
    """Show on a terminal how far the reading is; yields what is to be called after each window."""
    if not sys.stderr.isatty():
        yield lambda _part, _host, _start_us, _end_us: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    total = sum(source.path.stat().st_size for chain in chains for source in chain.sources)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total)
        finished: dict[int, int] = {}

        def tell(part: Part, host: str, _start_us: int, _end_us: int) -> None:
            finished[id(part)] = sum(report.position for report in part.reports)
            bar.update(task, completed=sum(finished.values()), description=f"reading {host}")

        yield tell
