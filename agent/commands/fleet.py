"""``wattshed fleet``: its parsers. numpy and the rest are imported only when a command runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.commands import fleet_estimate
from wattshed.agent.commands.fleet_decisions import add_decisions
from wattshed.agent.commands.fleet_estimate import add_json, add_server
from wattshed.agent.fleet.decide.given import power
from wattshed.agent.fleet.flags import fraction_or_whole, note_given, positive, runs, seed, share, whole
from wattshed.agent.replay.reading_flags import add_reading_flags, options_of
from wattshed.agent.wire.cluster import add_cluster_flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from wattshed.agent.fleet.demand.series import PowerTrace
    from wattshed.agent.traces.options import Options

    OpenAny = Callable[[Sequence[str], Options], PowerTrace]


_EXAMPLES = {
    "": """examples:
  wattshed fleet estimate --sample sample.csv --population fleet.csv
  wattshed fleet demand load.csv --plot load.svg
  wattshed fleet scenario xai-memphis
""",
    "node": """examples:
  wattshed fleet node --gpu gpus.csv --node bmc.csv
  wattshed fleet node --gpu gpus.csv --node bmc.csv --average 60 --json
""",
    "scenario": """examples:
  wattshed fleet scenario                          list them
  wattshed fleet scenario xai-memphis --explain    with sources and formulas
  wattshed fleet scenario --all                    every claim with its verdict
  wattshed fleet scenario own.toml                 a claim of your own
""",
    "demand": """examples:
  wattshed fleet demand load.csv --plot load.svg
  wattshed fleet demand load.csv --transformer transformer.toml
  wattshed fleet demand load.csv --scale 20 --limit 160e6
      how likely twenty such jobs draw more than 160 MW
""",
    "serve": """examples:
  wattshed fleet serve --prometheus http://prom:9090 --inventory FLEET.toml
  wattshed fleet serve --prometheus http://prom:9090 --inventory FLEET.toml \\
      --listen 0.0.0.0:9961 --interval 60
""",
    "simulate": """examples:
  wattshed fleet simulate --inventory FLEET.toml --to http://victoria:8428
  wattshed fleet simulate --inventory FLEET.toml --to http://prom:9090 \\
      --via remote-write --for 600
""",
}


def add_parser(subparsers: Any, open_trace: OpenAny) -> None:
    """Add ``fleet`` and its commands.

    Parameters
    ----------
    subparsers
        What ``ArgumentParser.add_subparsers`` returned.
    open_trace : callable
        Opens traces of any known format, for ``fleet demand`` and ``fleet node``.
    """
    fleet = subparsers.add_parser(
        "fleet", help="from measured GPUs to a fleet, with honest intervals", epilog=_EXAMPLES[""]
    )
    commands = fleet.add_subparsers(dest="fleet_command", required=True, metavar="COMMAND")
    fleet_estimate.add_parsers(commands)
    _node(commands, open_trace)
    _scenario(commands)
    _demand(commands, open_trace)
    add_decisions(commands, open_trace)
    _serve(commands)
    _simulate(commands)


def _node(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "node", help="fit a node's power to its GPUs', from a recording of both", epilog=_EXAMPLES["node"]
    )
    note_given(p)
    p.add_argument("--gpu", required=True, metavar="GPU.csv", help="power of the node's GPUs over time")
    p.add_argument("--node", required=True, metavar="BMC.csv", help="power of the node over time")
    p.add_argument(
        "--average",
        type=positive,
        default=10.0,
        metavar="S",
        help="average over this many seconds (default %(default)s)",
    )
    add_json(p)
    runs(p, _run_node, open_trace=open_trace)


def _scenario(commands: Any) -> None:
    p = commands.add_parser(
        "scenario",
        help="recompute and judge public claims; without a name, list the scenarios",
        epilog=_EXAMPLES["scenario"],
    )
    note_given(p)
    p.add_argument("name", nargs="?", metavar="NAME|FILE.toml")
    p.add_argument("--all", action="store_true", help="every claim of every scenario, a row each")
    p.add_argument("--explain", action="store_true", help="every number with its source, every formula")
    add_json(p)
    runs(p, _run_scenario)


def _demand(commands: Any, open_trace: OpenAny) -> None:
    p = commands.add_parser(
        "demand", help="peaks, ramps, frequency bands and transformers of a load", epilog=_EXAMPLES["demand"]
    )
    note_given(p)
    p.add_argument("source", nargs="+", metavar="TRACE|SERIES.csv", help="files or folders; FILE@HOST names its host")
    add_reading_flags(p)
    p.add_argument(
        "--step", type=positive, metavar="S", help="step of the time grid (default: the recording's own period)"
    )
    p.add_argument(
        "--meter-window",
        type=positive,
        default=None,
        metavar="S",
        help="each reading is a mean over this long (such as 1)",
    )
    p.add_argument("--transformer", metavar="F.toml", help="rated_va and thermal constants")
    p.add_argument("--scale", type=whole, metavar="N", help="make a fleet of N such jobs, each with a start of its own")
    p.add_argument("--replicates", type=whole, default=200, metavar="N", help="fleets to draw (default %(default)s)")
    p.add_argument(
        "--resample", default="job", metavar="job|host", help="what varies together in the fleet (default %(default)s)"
    )
    p.add_argument("--checkpoint", type=positive, metavar="S", help="checkpoint period that the recording must hold")
    p.add_argument(
        "--limit", type=power, metavar="POWER", help="supply limit, such as 5MW: how likely is a peak above it"
    )
    p.add_argument("--seed", type=seed, default=1, help="random seed (default %(default)s)")
    p.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where fleets are drawn (default auto: where it is quicker)",
    )
    add_cluster_flags(p, whole)
    p.add_argument("--plot", metavar="FILE.png|FILE.svg", help="draw the load, its duration curve and its spectrum")
    add_json(p)
    of_fleets = ("--resample", "--replicates", "--seed", "--device", "--workers", "--scheduler")
    needs = {**dict.fromkeys(of_fleets, ("--scale", "--limit")), "--checkpoint": ("--scale",)}
    runs(p, _run_demand, needs=needs, open_trace=open_trace)


def _serve(commands: Any) -> None:
    p = commands.add_parser("serve", help="publish wattshed_fleet_* metrics", epilog=_EXAMPLES["serve"])
    note_given(p)
    add_server(p, required=True)
    p.add_argument("--listen", action="append", metavar="ADDR:PORT", help="default 127.0.0.1:9961 (repeatable)")
    p.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        help="TLS and users, in the format of other Prometheus exporters",
    )
    p.add_argument(
        "--interval",
        type=positive,
        default=15.0,
        metavar="S",
        help="query the server this often (default %(default)s)",
    )
    p.add_argument("--for", dest="duration", type=positive, metavar="S", help="stop after this long")
    runs(p, _run_serve)


def _simulate(commands: Any) -> None:
    p = commands.add_parser(
        "simulate",
        help="send the recorded series of a simulated fleet to a server, to try estimates at scale",
        epilog=_EXAMPLES["simulate"],
    )
    note_given(p)
    p.add_argument("--inventory", metavar="FLEET.toml", required=True)
    p.add_argument(
        "--to",
        metavar="URL",
        required=True,
        help="VictoriaMetrics, or Prometheus with --web.enable-remote-write-receiver",
    )
    p.add_argument(
        "--via", choices=("import", "remote-write"), default="import", help="how to send (default %(default)s)"
    )
    p.add_argument(
        "--share",
        type=fraction_or_whole,
        default=1.0,
        metavar="F",
        help="share of the hosts that report, of those that are not off (default %(default)s)",
    )
    for name, which in (("idle", "run no job"), ("off", "are powered down, and silent")):
        p.add_argument(
            f"--{name}",
            type=share,
            default=0.0,
            metavar="F",
            help=f"share of the hosts that {which} (default %(default)s)",
        )
    p.add_argument("--seed", type=seed, default=1, help="random seed (default %(default)s)")
    p.add_argument("--interval", type=positive, default=15.0, metavar="S", help="send this often (default %(default)s)")
    p.add_argument(
        "--for", dest="duration", type=positive, metavar="S", help="keep sending for this long (default: once)"
    )
    runs(p, _run_simulate, needs={"--interval": ("--for",)})


def _run_node(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet import actions  # noqa: PLC0415  (numpy only when a command runs)
    from wattshed.agent.traces.options import Options  # noqa: PLC0415

    return actions.node(args, lambda paths: args.open_trace(paths, Options(loads=True)))


def _run_scenario(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.claims import action  # noqa: PLC0415  (numpy only when a command runs)

    return action.scenario(args)


def _run_demand(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.demand import action as demand_action  # noqa: PLC0415  (numpy only when a command runs)

    options = replace(options_of(args), loads=True)
    return demand_action.demand(args, lambda paths: args.open_trace(paths, options))


def _run_serve(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.live import serve  # noqa: PLC0415  (numpy only when a command runs)

    return serve.run(args)


def _run_simulate(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.live import simulate  # noqa: PLC0415  (numpy only when a command runs)

    return simulate.run(args)
