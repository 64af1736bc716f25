"""``wattshed check``: what this host can and cannot measure, with the reason and the remedy for each "no"."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], *, configure: Callable[[Path | None], None]
) -> None:
    """Add ``wattshed check`` to the command line; ``configure`` reads from a file how the kernels are to run."""
    parser = subparsers.add_parser(
        "check",
        help="what can this host measure, and why not more?",
        description="Ask every GPU what it can report; where it cannot, say why and what to do. "
        "Exits with 1 if nothing can be measured.",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON (schema wattshed.check/1)")
    parser.add_argument("--meter", metavar="M", default="nvml", help="nvml (default), simulated or simulated:FILE")
    parser.add_argument(
        "--config", metavar="F", type=Path,
        help="configuration file of `run`, of which jit and cache_dir are heeded (default /etc/wattshed/config.toml)",
    )  # fmt: skip
    parser.set_defaults(run=run, configure=configure)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer; returns 1 if nothing can be measured."""
    from wattshed.agent.daemon.capabilities import report  # noqa: PLC0415 - a command imports its parts when it runs

    arguments.configure(arguments.config)
    tree = report(arguments.meter)
    if arguments.json:
        sys.stdout.write(json.dumps(tree, indent=2) + "\n")
    else:
        print_tables(tree)
    return 0 if tree["can_measure"] else 1


def print_tables(tree: dict[str, Any]) -> None:
    """Print tables; GPUs that are alike share one."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, markup=False)  # reasons are other programs' words
    if tree["gpus"]:
        simulated = " (SIMULATED: nothing here is measured)" if tree["gpus"][0]["simulated"] else ""
        console.print(f"driver {tree['driver']}, library {tree['library']}{simulated}")
    alike: dict[str, list[dict[str, Any]]] = {}
    for gpu in tree["gpus"]:
        kind = json.dumps([gpu["model"], gpu["energy_source"], gpu["limit_w"], gpu["capabilities"]])
        alike.setdefault(kind, []).append(gpu)
    for gpus in alike.values():
        first = gpus[0]
        limit = "" if first["limit_w"] is None else f", limit {first['limit_w']:.0f} W"
        title = f"GPU {', '.join(str(g['gpu']) for g in gpus)}: {first['model']}, energy from {first['energy_source']}"
        table = Table(title=title + limit, title_justify="left", title_style="bold")
        for column in ("reading", "works", "every", "why not", "what to do"):
            table.add_column(column, overflow="fold")  # a command or a path is of no use in part
        told = first["capabilities"]
        if len({found["reason"] for found in told.values()}) == 1 and not any(
            found["works"] for found in told.values()
        ):
            told = {"all of them": next(iter(told.values()))}  # it is sick: one reason for everything
        for name, found in told.items():
            every = [p for g in gpus if (p := g["publication_ms"].get(name)) is not None]
            period = f"{sum(every) / len(every):.0f} ms" if every else ""
            table.add_row(name, "yes" if found["works"] else "no", period, found["reason"], found["remedy"])
        console.print(table)
    table = Table(title="Jobs are known from", title_justify="left", title_style="bold")
    for column in ("source", "works", "why not", "what to do"):
        table.add_column(column, overflow="fold")
    for name, found in tree["jobs"].items():
        table.add_row(name, "yes" if found["works"] else "no", found["reason"], found["remedy"])
    console.print(table)
    console.print(_kernels(tree["kernels"]))
    for line in tree["kernels"]["passed_over"]:
        console.print(f"Kernels: {line}.")
    verdict = "This host can be measured." if tree["can_measure"] else "This host cannot be measured"
    reason = f": {tree['reason']}" if tree["reason"] else ""
    console.print(f"{verdict}{reason}" if not tree["can_measure"] else verdict + (reason and f" {tree['reason']}"))


def _kernels(told: dict[str, Any]) -> str:
    """Say how the code that bills runs on this host."""
    names = {"so": "compiled (a library)", "objects": "compiled (objects)", "numba": "compiled at the start by numba"}
    name = names.get(told["form"], "plain Python: the same integers, for some more processor time")
    where = f" for {told['cpu']}" if told["cpu"] else ""
    return f"Kernels: {name}{where} ({told['reason']})."
