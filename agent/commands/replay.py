"""``wattshed replay``: recorded traces through the same accounts as the daemon's."""

from __future__ import annotations

import dataclasses
import signal
import sys
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError, counted
from wattshed.agent.library.amounts import add_amount_flags, amounts_of
from wattshed.agent.replay.boundaries import boundary_of
from wattshed.agent.replay.given import quantity
from wattshed.agent.replay.reading_flags import add_reading_flags, count, settings_of, watts
from wattshed.agent.wire.cluster import add_cluster_flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from wattshed.agent.library.amounts import Amounts
    from wattshed.agent.replay.books import Settings
    from wattshed.agent.replay.points import Points
    from wattshed.agent.replay.power import PowerOverTime
    from wattshed.agent.replay.running import Replayed
    from wattshed.agent.traces.sources import Chain

_INTERRUPTED = 130
_OF_A_TRACE = (
    "work", "plot", "openmetrics", "remote_write", "history", "emissions", "idle_watts", "by", "html", "price",
    "carbon", "pue", "workers", "scheduler",
)  # fmt: skip
"""Flags that a table of jobs alone has nothing for."""
_EXAMPLES = """examples:
  wattshed replay power.csv                    energy of each GPU, from a log
  wattshed replay power.csv --jobs jobs.csv    and of each job
  wattshed replay trace --format json          a recording, for programs
  wattshed replay power.csv --jobs jobs.csv --plot power.svg
      power over time by job, as a picture
  wattshed replay site.csv --columns time=ts:ms,gpu=id,power=board:mW
      a table whose columns have names of their own
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``replay``."""
    parser = subparsers.add_parser(
        "replay",
        help="joules of recorded traces, per GPU and per job",
        description="Read traces of any known format (see docs/replay.md) and print energy per GPU and per job.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("trace", nargs="*", metavar="TRACE", help="files or folders; FILE@HOST names its host")
    add_reading_flags(parser)
    parser.add_argument("--jobs", metavar="F", help="who held which GPU: job,host,gpu,start,end, or sacct -P")
    parser.add_argument("--job-columns", metavar="k=v,...", help="columns of another tool's jobs table")
    parser.add_argument(
        "--work",
        metavar="F",
        help="what jobs did: job,time,unit,count, or counters of servers as Prometheus answers",
    )
    parser.add_argument("--work-columns", metavar="k=v,...", help="its columns, or the label of the job: job=pod")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument(
        "--plot", metavar="FILE", help="also draw power over time by job (SVG or PNG; needs the extra 'plot')"
    )
    parser.add_argument("--idle-watts", type=watts, metavar="W", help="idle power of every GPU: its share is static")
    parser.add_argument(
        "--watts",
        metavar="HOW",
        help="how the energy of a shared GPU is split by activity: common (default), or learned of each job",
    )
    parser.add_argument("--compare-watts", action="store_true", help="both ways, job by job")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where power is summed (default auto: where it is quicker)",
    )
    parser.add_argument("--openmetrics", metavar="F", help="also write the energies as a backfill for Prometheus")
    parser.add_argument(
        "--remote-write",
        metavar="URL",
        help="also send them by remote write, for example to http://HOST:9090/api/v1/write",
    )
    parser.add_argument(
        "--history", metavar="F", help="also write parts of jobs into a new history, for `wattshed jobs --store F`"
    )
    parser.add_argument(
        "--emissions", metavar="F", help="also append a row for each job, in the columns of CodeCarbon's emissions.csv"
    )
    add_amount_flags(parser)
    add_cluster_flags(parser, count)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay; prints the answer, or after Ctrl-C what is known so far, marked as partial (exit code 130)."""
    from wattshed.agent.commands.starting import quick_start  # noqa: PLC0415

    with quick_start():
        from wattshed.agent.replay.running import refuse, refuse_for_runs, replay_on_cluster  # noqa: PLC0415
        from wattshed.agent.traces.sources import find  # noqa: PLC0415

    if args.compare_watts:
        if args.watts is not None and not args.watts.startswith("learned"):
            raise InputError("--compare-watts compares learned watts with common ones; leave --watts out")
        if args.workers or args.scheduler:
            raise InputError("--compare-watts reads in one process; leave --workers and --scheduler out")
        args.watts = args.watts or "learned"
    settings = dataclasses.replace(settings_of(args), compare=args.compare_watts)
    if not args.trace:
        return _jobs_alone(args, settings)
    if args.emissions is not None:
        _rates(args)  # what it cannot do is refused before any work
    amounts = amounts_of(args)
    picture = _picture(args, page=amounts.draws)
    refuse(vars(args))
    chains = find(args.trace, settings.options)
    refuse_for_runs(vars(args), chains)
    if args.workers or args.scheduler:
        workers, scheduler = args.workers or 0, args.scheduler or ""
        _print(args, replay_on_cluster(chains, settings, device=args.device, workers=workers, scheduler=scheduler))
        return 0
    with amounts:
        return _replay(args, chains, settings, picture, amounts)


def _replay(
    args: argparse.Namespace,
    chains: list[Chain],
    settings: Settings,
    picture: PowerOverTime | None,
    amounts: Amounts,
) -> int:
    """Replay in this process."""
    from wattshed.agent.replay.outlets import open_outlets  # noqa: PLC0415
    from wattshed.agent.replay.running import replay  # noqa: PLC0415

    outlets = open_outlets(args.openmetrics, args.remote_write, _say)
    history = None if amounts.history is None else Path(amounts.history)
    with _interruptible() as stopped, closing(_points()) if outlets else nullcontext() as points:
        done = replay(chains, settings, device=args.device, points=points, history=history, power=picture, stop=stopped)
        try:
            if points is not None:
                # What was read before an interruption is still written out; an interruption from here on ends that.
                stop = (lambda: False) if done.interrupted else stopped
                for outlet in outlets:
                    outlet(points, stop)
            if picture is not None and args.plot is not None:
                _draw(picture, args, settings)
        finally:  # the answer is known, whatever becomes of its copies
            _print(args, done, amounts, picture)
    if stopped():
        _say("interrupted")
        return _INTERRUPTED
    return 0


def _picture(args: argparse.Namespace, *, page: bool) -> PowerOverTime | None:
    """Return what follows power for the pictures that are asked for; a name that cannot be drawn is refused at once."""
    if args.plot is None and not page:
        return None
    from wattshed.agent.printing.pictures import check_target  # noqa: PLC0415
    from wattshed.agent.replay.power import MOST_STEPS_OF_PAGE, PowerOverTime  # noqa: PLC0415

    if args.plot is not None:
        check_target(args.plot)
        return PowerOverTime()
    return PowerOverTime(MOST_STEPS_OF_PAGE)


def _draw(picture: PowerOverTime, args: argparse.Namespace, settings: Settings) -> None:
    from wattshed.agent.printing.pictures import save  # noqa: PLC0415
    from wattshed.agent.replay.picture import draw, title_of  # noqa: PLC0415 - matplotlib is an extra

    save(draw(picture, source=title_of(args.trace), zone=settings.options.local), args.plot)


def _points() -> Points:
    from wattshed.agent.replay.points import Points  # noqa: PLC0415

    return Points()


def _say(text: str) -> None:
    print(f"wattshed: {text}", file=sys.stderr)  # noqa: T201 - this is the command line


def _print(
    args: argparse.Namespace, done: Replayed, amounts: Amounts | None = None, power: PowerOverTime | None = None
) -> None:
    from wattshed.agent.replay.report import as_json, label_names, write_csv  # noqa: PLC0415

    answer = done.document()
    for line in answer.get("notes", ()):
        _say(line)
    boundary = boundary_of(answer["sources"])
    if amounts is not None and (report := amounts.report(answer, boundary)) is not None:
        answer["report"] = report
    if args.format == "json":
        sys.stdout.write(as_json(answer) + "\n")
    elif args.format == "csv":
        write_csv(answer, sys.stdout)
    else:
        from wattshed.agent.replay.tables import print_tables  # noqa: PLC0415

        say_device = args.device != "auto" or answer["device"] == "cuda"
        print_tables(answer, label_names(answer), sys.stdout, say_device=say_device)
        if amounts is not None:
            amounts.print(sys.stdout)
    if amounts is not None:
        amounts.write_page(answer, power)
    if args.emissions is not None:
        from wattshed.agent.replay.emissions import write_emissions  # noqa: PLC0415

        write_emissions(args.emissions, done, answer, **_rates(args))


def _rates(args: argparse.Namespace) -> dict[str, float | None]:
    """Read what emissions are made with: a number for all jobs, if there is any."""
    given = {name: getattr(args, name) for name in ("carbon", "pue")}
    return {
        name: None if text is None else quantity(text, f"number, which --emissions needs of --{name}", 0.0)
        for name, text in given.items()
    }


def _jobs_alone(args: argparse.Namespace, settings: Settings) -> int:
    """Sum up a jobs file without any trace: GPU time, no joules."""
    from wattshed.agent.traces.jobs.jobs_file import gpu_share_seconds  # noqa: PLC0415

    if settings.jobs is None:
        raise InputError("replay needs a trace (or --jobs F alone, for GPU time without energy)")
    for name in _OF_A_TRACE:
        if getattr(args, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} needs a trace; a jobs file alone tells GPU time")
    if args.format == "csv" or args.device != "auto":
        given = "--format csv" if args.format == "csv" else f"--device {args.device}"
        raise InputError(f"{given} needs a trace; a jobs file alone tells GPU time")
    jobs = {row.job for row in settings.jobs}
    seconds = gpu_share_seconds(settings.jobs)
    if args.format == "json":
        import json  # noqa: PLC0415

        answer = {"schema": "wattshed.jobs/1", "jobs": len(jobs), "rows": len(settings.jobs), "gpu_share_s": seconds}
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write(f"{counted(len(jobs), 'job')}, {seconds:.0f} GPU-share-seconds\n")
    return 0


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM end the reading, once; a second one ends the program. Yields whether it came."""
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    try:
        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals belong to the main thread; elsewhere there is nothing to catch
        previous = {}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
