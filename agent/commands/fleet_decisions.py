"""Parsers of what a planner asks of a fleet; numpy and the rest are imported only when a command runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.fleet.decide.given import band, duration, durations, floor, power, powers, ramps
from wattshed.agent.fleet.flags import fraction, fraction_or_whole, note_given, positive, runs, seed, whole
from wattshed.agent.replay.reading_flags import add_reading_flags, options_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from wattshed.agent.fleet.demand.series import OpenTrace, PowerTrace
    from wattshed.agent.traces.options import Options

    OpenAny = Callable[[Sequence[str], Options], PowerTrace]

_EXAMPLES = {
    "headroom": """examples:
  wattshed fleet headroom gpus.csv --feed 10MW --nameplate 10.2kW
  wattshed fleet headroom gpus.csv --feed 10MW --job-hosts 64 --horizon 1y
  wattshed fleet headroom gpus.csv --feed 10MW --cap 500,400 --node node.toml
      also how many GPUs a megawatt carries with a power limit
""",
    "storage": """examples:
  wattshed fleet storage load.csv --ramp 10MW/min --plot storage.svg
  wattshed fleet storage gpus.csv --hosts 10000 --ramp 10MW/min,100MW/min
      one job of 10,000 hosts that all do what the recorded one does
  wattshed fleet storage gpus.csv --hosts 10000 --band 0.1-0.4Hz:50kW
""",
    "flexibility": """examples:
  wattshed fleet flexibility classes.toml --target 25% --for 3h
  wattshed fleet flexibility classes.toml --target 10% --for 15m --within 30s
      only what takes effect within half a minute
  wattshed fleet flexibility classes.toml --target 25% --for 3h \\
      --grid grid.csv --curtail 0.5%
""",
    "dossier": """examples:
  wattshed fleet dossier gpus.csv --hosts 10000 --limits limits.toml
  wattshed fleet dossier load.csv --limits limits.toml --out grid \\
      --export pypsa,gridlabd,psse
""",
    "siting": """examples:
  wattshed fleet siting sites.toml --load it.csv
  wattshed fleet siting sites.toml --load it.csv --plot sites.svg
""",
    "path": """examples:
  wattshed fleet path plan.toml
  wattshed fleet path plan.toml --plot path.svg
""",
}


def add_decisions(commands: Any, open_trace: OpenAny) -> None:
    """Add the planner's commands to ``fleet``, in the order in which a site comes about.

    Parameters
    ----------
    commands
        What ``ArgumentParser.add_subparsers`` returned.
    open_trace : callable
        Opens traces of any known format.
    """
    _siting(commands)
    _path(commands)
    _dossier(commands, open_trace)
    _storage(commands, open_trace)
    _headroom(commands, open_trace)
    _flexibility(commands, open_trace)


def _answer_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--plot", metavar="FILE.png|FILE.svg", help="draw the answer")
    p.add_argument("--json", action="store_true", help="print JSON instead of text")


def _trace_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", nargs="+", metavar="TRACE|SERIES.csv", help="files or folders; FILE@HOST names its host")
    add_reading_flags(p)
    p.add_argument(
        "--step", type=positive, metavar="S", help="step of the time grid (default: the recording's own period)"
    )
    p.add_argument(
        "--node",
        metavar="N.toml",
        help="power of a node from that of its GPUs, as fleet node prints it (default: assumed)",
    )


def _headroom(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "headroom", help="how many hosts a feed carries at a risk of exceeding it", epilog=_EXAMPLES["headroom"]
    )
    note_given(p)
    _trace_flags(p)
    p.add_argument("--feed", type=power, required=True, metavar="POWER", help="what the feed carries, such as 10MW")
    p.add_argument(
        "--exceed", type=fraction, default=0.01, metavar="P", help="allowed probability (default %(default)s)"
    )
    p.add_argument(
        "--horizon", type=duration, default="1y", metavar="TIME", help="within which it counts (default %(default)s)"
    )
    p.add_argument(
        "--window",
        type=durations,
        default="1s,1m,15m",
        metavar="TIME,...",
        help="means over which the feed is judged (default %(default)s)",
    )
    jobs = p.add_mutually_exclusive_group()
    jobs.add_argument("--job-hosts", type=whole, metavar="M", help="hosts of a job, in lockstep (default 1)")
    jobs.add_argument("--jobs", metavar="J.csv", help="a row for each job, with a column hosts")
    p.add_argument("--jobs-last", type=duration, metavar="TIME", help="after which jobs are others (default: horizon)")
    p.add_argument("--one-job", action="store_true", help="the recorded hosts are of one job (default: each a kind)")
    p.add_argument("--cap", type=powers, metavar="W,...", help="also with these power limits of a GPU")
    p.add_argument("--nameplate", type=power, metavar="POWER", help="of a host, to compare with")
    p.add_argument("--seed", type=seed, default=1, help="random seed (default %(default)s)")
    _answer_flags(p)
    runs(p, _run_headroom, open_trace=open_trace)


def _storage(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "storage", help="the battery that keeps a grid's limit of ramps or swings", epilog=_EXAMPLES["storage"]
    )
    note_given(p)
    _trace_flags(p)
    limit = p.add_mutually_exclusive_group(required=True)
    limit.add_argument("--ramp", type=ramps, metavar="RAMP,...", help="how fast the grid's power may change: 10MW/min")
    limit.add_argument("--band", type=band, metavar="BAND", help="how much it may swing, rms: 0.1-20Hz:5MW")
    p.add_argument("--hosts", type=whole, metavar="N", help="so many hosts in lockstep (default: as recorded)")
    p.add_argument(
        "--round-trip",
        type=fraction_or_whole,
        default=0.9,
        metavar="F",
        help="efficiency of the battery (default %(default)s)",
    )
    p.add_argument("--floor", type=floor, metavar="F", help="GPUs' power smoothing: 65%%,50W/s,2000ms of --tmp")
    p.add_argument("--tmp", type=power, metavar="W", help="largest power of a GPU, of which the floor is a share")
    _answer_flags(p)
    runs(p, _run_storage, needs={"--floor": ("--tmp",), "--tmp": ("--floor",)}, open_trace=open_trace)


def _path(commands: Any) -> None:
    p = commands.add_parser(
        "path", help="when a growing fleet runs out of power, and what to order by when", epilog=_EXAMPLES["path"]
    )
    note_given(p)
    p.add_argument("plan", metavar="PLAN.toml", help="GPUs by month, watts of each, and supplies (docs/planning.md)")
    p.add_argument("--seed", type=seed, default=1, help="random seed (default %(default)s)")
    _answer_flags(p)
    runs(p, _run_path)


def _flexibility(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "flexibility",
        help="how much less a fleet can draw for a while, and what comes back",
        epilog=_EXAMPLES["flexibility"],
    )
    note_given(p)
    p.add_argument("classes", metavar="CLASSES.toml", help="classes of hosts with recordings (docs/planning.md)")
    p.add_argument("--target", type=fraction, required=True, metavar="F", help="how much less: 0.25, or 25%%")
    p.add_argument("--for", dest="duration", type=duration, required=True, metavar="TIME", help="for how long: 3h")
    p.add_argument("--within", type=duration, metavar="TIME", help="only what takes effect within this time")
    p.add_argument("--recover", type=duration, metavar="TIME", help="work is made up for within this time (as --for)")
    p.add_argument("--event", metavar="START..END", help="what a past event spared, against ten like days before it")
    p.add_argument("--measured", metavar="SERIES.csv", help="power of the site over those days")
    p.add_argument("--grid", metavar="L.csv", help="hourly load of a grid, column load_mw: what it takes of new load")
    p.add_argument("--curtail", type=fraction, metavar="F", help="of the new load's energy that gives way to the grid")
    _answer_flags(p)
    pairs = [("--event", "--measured"), ("--grid", "--curtail")]
    together = {one: (other,) for two in pairs for one, other in (two, two[::-1])}
    runs(p, _run_flexibility, needs=together, open_trace=open_trace)


def _run_flexibility(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import flexibility  # noqa: PLC0415  (numpy only when a command runs)
    from wattshed.agent.traces.options import Options  # noqa: PLC0415

    return flexibility.flexibility(args, lambda paths: args.open_trace(paths, Options(loads=True)))


def _dossier(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "dossier",
        help="a load against a grid operator's limits, and for programs of grids",
        epilog=_EXAMPLES["dossier"],
    )
    note_given(p)
    _trace_flags(p)
    p.add_argument("--limits", required=True, metavar="L.toml", help="ramps, bands, steps, ride-through, with sources")
    p.add_argument("--hosts", type=whole, metavar="N", help="so many hosts in lockstep (default: as recorded)")
    p.add_argument("--job-hosts", type=whole, metavar="M", help="hosts of the largest job, for a [[step]]")
    p.add_argument("--out", metavar="DIR", help="write the dossier, and the load, to this folder")
    p.add_argument("--export", metavar="NAME,...", help="the load for pypsa, gridlabd, psse")
    _answer_flags(p)
    runs(p, _run_dossier, needs={"--export": ("--out",)}, open_trace=open_trace)


def _run_dossier(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import dossier  # noqa: PLC0415  (numpy only when a command runs)

    return dossier.dossier(args, _opener(args))


def _siting(commands: Any) -> None:
    p = commands.add_parser(
        "siting", help="the same load at several sites, hour by hour: cost, carbon, water", epilog=_EXAMPLES["siting"]
    )
    note_given(p)
    p.add_argument("sites", metavar="SITES.toml", help="sites with hourly tables (docs/planning.md)")
    p.add_argument("--load", required=True, metavar="S.csv", help="IT power by the hour: columns time and load_w")
    _answer_flags(p)
    runs(p, _run_siting)


def _run_siting(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import siting  # noqa: PLC0415  (numpy only when a command runs)

    return siting.siting(args)


def _run_headroom(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import headroom  # noqa: PLC0415  (numpy only when a command runs)

    return headroom.headroom(args, _opener(args))


def _run_storage(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import storage  # noqa: PLC0415  (numpy only when a command runs)

    return storage.storage(args, _opener(args))


def _run_path(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.decide import path  # noqa: PLC0415  (numpy only when a command runs)

    return path.path(args)


def _opener(args: argparse.Namespace) -> OpenTrace:
    options = replace(options_of(args), loads=True)

    def opened(paths: Sequence[str]) -> PowerTrace:
        trace: PowerTrace = args.open_trace(paths, options)
        return trace

    return opened
