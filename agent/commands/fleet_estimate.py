"""``wattshed fleet estimate`` and ``plan``: their parsers. numpy and the rest are imported only when a command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.fleet.flags import fraction, fraction_or_zero, note_given, positive, runs, seed, variation, whole

if TYPE_CHECKING:
    import argparse
    from typing import Any

_EXAMPLES = {
    "estimate": """examples:
  wattshed fleet estimate --sample sample.csv --population fleet.csv --unit W
  wattshed fleet estimate --sample sample.csv --population fleet.csv --plan 2%
      also how many hosts the next sample takes for an interval of ±2%
  wattshed fleet estimate --sample racks.csv --population fleet.csv --by rack
  wattshed fleet estimate --sample now.csv --population p.csv --against old.csv
  wattshed fleet estimate --prometheus http://prom:9090 --inventory FLEET.toml
      from the agents of the hosts that are measured
  wattshed fleet estimate --period 2026-10 --times hours.csv
      energy of a month from some of its hours
""",
    "plan": """examples:
  wattshed fleet plan --cv 40% --error 2% --hosts 5000
  wattshed fleet plan --cv 0.4 --error 0.02 --confidence 0.99 --deff 1.5
  wattshed fleet plan --unit job --jobs running.csv --draw 40
""",
}


def add_parsers(commands: Any) -> None:
    """Add ``estimate`` and ``plan`` to the commands of ``fleet``."""
    _estimate(commands)
    _plan(commands)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_server(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add what names a server and the fleet that it sees."""
    parser.add_argument(
        "--prometheus", metavar="URL", required=required, help="server that has the series of the recording rules"
    )
    parser.add_argument("--inventory", metavar="FLEET.toml", required=required, help="sites and strata of the fleet")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=10.0,
        metavar="S",
        help="wait at most this long for an answer (default %(default)s)",
    )


def _estimate(commands: Any) -> None:
    p = commands.add_parser(
        "estimate",
        help="power of the whole fleet from a sample, or from a Prometheus-compatible server",
        epilog=_EXAMPLES["estimate"],
    )
    note_given(p)
    p.add_argument("--sample", metavar="S.csv", help="stratum,host[,unit],value[,size][,units][,job]")
    p.add_argument("--population", metavar="P.csv", help="stratum,hosts[,size][,limit]")
    p.add_argument(
        "--method",
        choices=("stratified", "ratio", "cluster", "two-stage", "regression", "pps", "pi"),
        default="stratified",
        metavar="NAME",
        help="stratified, ratio, regression, cluster, two-stage, pps or pi (default %(default)s)",
    )
    _doubted(p)
    _known(p)
    p.add_argument("--unit", default="", help="unit of the values, for the table")
    p.add_argument(
        "--boundary", choices=("gpu", "node", "it", "facility", "grid"), default="", help="what the values include"
    )
    p.add_argument("--span", default="", metavar="TEXT", help="when the values were measured")
    p.add_argument("--bootstrap", type=whole, metavar="N", help="check the standard error with N bootstrap replicates")
    p.add_argument(
        "--resample", default="", metavar="host|job", help="what the bootstrap draws (default: the sampling unit)"
    )
    p.add_argument("--plan", type=fraction, metavar="E", help="also say how many hosts an interval of +-E needs")
    add_server(p, required=False)
    p.add_argument("--period", metavar="2026-10", help="energy of a year, month or day from some of its hours")
    p.add_argument("--times", metavar="T.csv", help="time,value[,pass]: the hours that were measured")
    p.add_argument("--timezone", default="UTC", metavar="TZ", help="of times without one, and of days (default UTC)")
    add_json(p)
    of_files = (
        "--method",
        "--interval",
        "--by",
        "--calibrate",
        "--joint",
        "--against",
        "--boundary",
        "--span",
    )
    runs(
        p,
        _run_estimate,
        needs={
            **dict.fromkeys((*of_files, "--bootstrap", "--plan"), ("--sample",)),
            "--resample": ("--bootstrap",),
            "--unit": ("--sample", "--times"),
            "--timeout": ("--prometheus",),
            "--times": ("--period",),
            "--period": ("--times",),
            "--timezone": ("--period",),
        },
    )


def _doubted(p: argparse.ArgumentParser) -> None:
    """Add how the interval is made."""
    p.add_argument(
        "--confidence", type=fraction, default=0.95, metavar="C", help="confidence level (default %(default)s)"
    )
    p.add_argument(
        "--interval",
        choices=("auto", "t", "johnson", "hall", "bounded"),
        default="auto",
        help="kind of interval (default auto: t, or johnson if the sample is skewed)",
    )
    p.add_argument(
        "--meter-sigma",
        type=fraction_or_zero,
        default=0.0,
        metavar="F",
        help="one sigma of the gain error all meters share, such as 0.02",
    )


def _known(p: argparse.ArgumentParser) -> None:
    """Add what is known or asked beside the sample."""
    p.add_argument("--by", default="", metavar="COL", help="also totals by this column of the sample")
    p.add_argument(
        "--calibrate",
        default="",
        metavar="M.csv",
        help="column,category,total: known totals, met by raking (by regression with --method regression)",
    )
    p.add_argument("--joint", default="", metavar="J.csv", help="host,other,pi: joint probabilities, for pps and pi")
    p.add_argument("--against", default="", metavar="OLD.csv", help="also the change since an earlier sample")


def _plan(commands: Any) -> None:
    p = commands.add_parser("plan", help="how many hosts to measure for a wanted error", epilog=_EXAMPLES["plan"])
    note_given(p)
    p.add_argument("--cv", type=variation, help="standard deviation over mean of a host's power: 0.4, or 40%%")
    p.add_argument("--error", type=fraction, help="wanted half-width of the interval over the total: 0.02, or 2%%")
    p.add_argument("--hosts", type=whole, help="hosts in the fleet (default: very many)")
    p.add_argument(
        "--deff",
        type=positive,
        default=1.0,
        help="design effect: variance over that of a simple random sample of the same size (default %(default)s)",
    )
    p.add_argument(
        "--confidence", type=fraction, default=0.95, metavar="C", help="confidence level (default %(default)s)"
    )
    p.add_argument(
        "--unit",
        choices=("host", "job"),
        default="host",
        help="what is drawn; job: in proportion to hosts (default %(default)s)",
    )
    p.add_argument("--jobs", metavar="J.csv", help="job,hosts[,stratum]: jobs to draw from, for --unit job")
    p.add_argument("--draw", type=whole, metavar="N", help="number of jobs, instead of --cv and --error")
    p.add_argument("--seed", type=seed, default=1, help="random seed of the draw (default %(default)s)")
    add_json(p)
    needs = dict.fromkeys(("--jobs", "--draw"), ("--unit",))
    runs(p, _run_plan, needs={**needs, "--seed": ("--jobs",)})


def _run_estimate(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet import actions  # noqa: PLC0415  (numpy only when a command runs)

    return actions.estimate_fleet(args)


def _run_plan(args: argparse.Namespace) -> int:
    from wattshed.agent.fleet.estimate import action  # noqa: PLC0415  (numpy only when a command runs)

    return action.plan(args)
