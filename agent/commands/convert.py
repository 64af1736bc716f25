"""``wattshed convert``: any trace into the native format, as Arrow segments or as Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError, counted
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.replay.reading_flags import add_reading_flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from wattshed.agent.printing.progress import ProgressLine
    from wattshed.agent.traces.sources import Chain
    from wattshed.agent.window import Window


_EXAMPLES = """examples:
  wattshed convert power.csv power.parquet     a log, for pandas, polars, DuckDB
  wattshed convert power.csv converted         a log, as `record` writes it
  wattshed convert trace trace --to parquet    compact a recording in place
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``convert``."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a trace of any format to the native one",
        description="Read traces of any known format and write them in the native one (docs/trace-format.md). "
        "With --to parquet, a recording that is its own OUT is compacted in place.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("trace", nargs="+", metavar="TRACE", help="files or folders; FILE@HOST names its host")
    parser.add_argument("out", metavar="OUT", help="a folder, or one .parquet file")
    parser.add_argument(
        "--to", choices=("arrow", "parquet"), help="default: parquet if OUT ends in .parquet, else arrow"
    )
    add_reading_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert; the words printed go to standard error, the trace to OUT."""
    from wattshed.agent.replay.reading_flags import settings_of  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.traces.sources import find  # noqa: PLC0415

    out = Path(args.out)
    to = args.to or ("parquet" if out.suffix == ".parquet" else "arrow")
    settings = settings_of(args)
    if to == "parquet" and [Path(trace).resolve() for trace in args.trace] == [out.resolve()] and out.is_dir():
        return _in_place(out)
    chains = find(args.trace, settings.options)
    if any(source.path.resolve().is_relative_to(out.resolve()) for chain in chains for source in chain.sources):
        raise InputError("the trace is in OUT itself; choose another folder", args.out)
    try:
        windows = 0
        total = sum(source.path.stat().st_size for chain in chains for source in chain.sources)
        with in_sight("converting", total) as line:
            for chain in chains:
                stream = _watched(chains, chain.windows(settings.options), line)
                windows += _to_parquet(chain, stream, out) if to == "parquet" else _to_segments(stream, out)
    except OSError as error:
        raise InputError(f"it cannot be written ({error.strerror or error})", error.filename or args.out) from error
    print(f"wattshed: {counted(windows, 'window')} written to {out}", file=sys.stderr)  # noqa: T201 - the command line
    return 0


def _watched(chains: list[Chain], stream: Iterator[Window], line: ProgressLine) -> Iterator[Window]:
    """Show how many bytes of the traces have been read when a window comes."""
    if not line.shown:
        yield from stream
        return
    for window in stream:
        line.at(sum(report.position for chain in chains for report in chain.reports))
        yield window


def _in_place(folder: Path) -> int:
    """Compact a recording; segments that are being written are left alone."""
    from wattshed.agent.traces.native.compact import compact  # noqa: PLC0415

    done = []
    with in_sight("compacting", sum(1 for _ in folder.rglob("*.arrows"))) as line:
        for target, windows in compact(folder):
            done.append((target, windows))
            line.at(len(done), f"compacting {target.name}")
    total = sum(windows for _, windows in done)
    made = f"{counted(len(done), 'segment')} ({counted(total, 'window')})"
    print(f"wattshed: {made} compacted in {folder}", file=sys.stderr)  # noqa: T201
    return 0


def _to_parquet(chain: Chain, stream: Iterator[Window], out: Path) -> int:
    from wattshed.agent.traces.native.parquet import write_parquet  # noqa: PLC0415

    if out.suffix == ".parquet":
        if out.exists():
            raise InputError("it already exists", str(out))
        out.parent.mkdir(parents=True, exist_ok=True)
        return write_parquet(stream, out)
    folder = out / f"host={(chain.name or 'unknown').replace('/', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    return write_parquet(stream, folder / f"{chain.sources[0].path.stem}.parquet")


def _to_segments(stream: Iterator[Window], out: Path) -> int:
    from wattshed.agent.traces.native.recorder import Recorder  # noqa: PLC0415

    recorders: dict[str, Recorder] = {}
    windows = 0
    try:
        for window in stream:
            recorder = recorders.get(window.host)
            if recorder is None:
                recorder = recorders[window.host] = Recorder(
                    out, window.host, segment_s=float("inf"), sync_s=float("inf")
                )
            if not recorder.append(window):
                raise InputError(f"it cannot be written: {recorder.state.fault}", str(out))
            windows += 1
    finally:
        for recorder in recorders.values():
            recorder.close()
    return windows
