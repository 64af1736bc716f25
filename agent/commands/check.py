"""``wattshed check``: what this host can and cannot measure, with the reason and the remedy for each "no"."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.config.node_settings import NodeSettings
    from wattshed.agent.printing.tables import Printer


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    *,
    configure: Callable[[Path | None], NodeSettings | None],
) -> None:
    """Add ``wattshed check`` to the command line; ``configure`` reads a file: how kernels run, and `[node]`."""
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
        help="configuration file of `run`, of which jit, cache_dir and [node] are heeded "
        "(default /etc/wattshed/config.toml)",
    )  # fmt: skip
    parser.set_defaults(run=run, configure=configure)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer; returns 1 if nothing can be measured."""
    from wattshed.agent.daemon.capabilities import report  # noqa: PLC0415 - a command imports its parts when it runs

    tree = report(arguments.meter, node=arguments.configure(arguments.config))
    if arguments.json:
        sys.stdout.write(json.dumps(plain(tree), indent=2) + "\n")
    else:
        print_tables(tree)
    return 0 if tree["can_measure"] else 1


def print_tables(tree: dict[str, Any], printer: Printer | None = None) -> None:
    """Print what works in a line, and what does not in a table with its remedy; GPUs that are alike share one."""
    from wattshed.agent.printing.tables import not_shown, print_notes, printer_for  # noqa: PLC0415

    printer = printer or printer_for(sys.stdout)
    if tree["gpus"]:
        simulated = ". SIMULATED DATA: nothing here is measured." if tree["gpus"][0]["simulated"] else ""
        printer.folded(f"driver {tree['driver']}, library {tree['library']}{simulated}")
        printer.line()
    alike: dict[str, list[dict[str, Any]]] = {}
    for gpu in tree["gpus"]:
        kind = json.dumps([gpu["model"], gpu["energy_source"], gpu["limit_w"], gpu["capabilities"]])
        alike.setdefault(kind, []).append(gpu)
    gone: list[str] = []
    for gpus in alike.values():
        first = gpus[0]
        limit = "" if first["limit_w"] is None else f", limit {first['limit_w']:.0f} W"
        title = f"GPU {', '.join(str(g['gpu']) for g in gpus)}: {first['model']}, energy from {first['energy_source']}"
        printer.folded(title + limit, "bold")
        told = first["capabilities"]
        if len({found["reason"] for found in told.values()}) == 1 and not any(
            found["works"] for found in told.values()
        ):
            told = {"all": next(iter(told.values()))}  # it is sick: one reason for everything
        gone += _print_findings(printer, told, {name: _period(gpus, name) for name in told})
    gone += _print_host_meters(printer, tree["host_meters"])
    printer.line(("Sources of jobs", "bold"))
    gone += _print_findings(printer, tree["jobs"], {})
    printer.folded(_kernels(tree["kernels"]))
    for line in tree["kernels"]["passed_over"]:
        printer.folded(f"Kernels: {line}.")
    verdict = "This host can be measured." if tree["can_measure"] else "This host cannot be measured"
    reason = f": {tree['reason']}" if tree["reason"] else ""
    printer.line()
    printer.folded(f"{verdict}{reason}" if not tree["can_measure"] else verdict + (reason and f" {tree['reason']}"))
    if left_out := not_shown(printer, gone, "--json has all"):
        print_notes(printer, left_out)


def _period(gpus: list[dict[str, Any]], name: str) -> str:
    """Say how often a reading is renewed."""
    every = [period for gpu in gpus if (period := gpu["publication_ms"].get(name)) is not None]
    return f" (every {sum(every) / len(every):.0f} ms)" if every else ""


def _print_findings(printer: Printer, told: dict[str, Any], periods: dict[str, str]) -> list[str]:
    """Print what works, and what does not with its reason and its remedy; returns the columns without room."""
    from wattshed.agent.printing.tables import Column, print_facts, print_rows  # noqa: PLC0415

    works = ", ".join(f"{name}{periods.get(name, '')}" for name, found in told.items() if found["works"])
    print_facts(printer, {"works": works or "nothing"})
    columns = (Column("not available"), Column("why", least=16, folds=True), Column("what to do", least=16, folds=True))
    rows = [
        {"not available": name, "why": found["reason"], "what to do": found["remedy"]}
        for name, found in told.items()
        if not found["works"]
    ]
    gone = print_rows(printer, columns, rows, gap=2) if rows else []
    printer.line()
    return gone


def _print_host_meters(printer: Printer, told: dict[str, Any]) -> list[str]:
    """Print the meters of the host, and those that cannot be read; returns the columns without room."""
    from wattshed.agent.daemon.host_check import MAY_ALIAS, MEANT  # noqa: PLC0415
    from wattshed.agent.printing.tables import Column, print_rows  # noqa: PLC0415

    if not told["meters"] and not told["not_read"]:
        return []
    printer.line(("Meters of the host", "bold"))
    rows = [
        {
            "meter": f"{meter['source']}/{meter['domain']}",
            "of": MEANT[meter["boundary"]] + (f", within {meter['part_of']}" if meter["part_of"] else ""),
            "what": _what(meter),
            "sigma": f"{100 * meter['sigma']:g} %{', assumed' if 'sigma-assumed' in meter['flags'] else ''}",
        }
        for meter in told["meters"]
    ]
    found = (
        Column("meter"),
        Column("of", least=16, folds=True),
        Column("what", least=8, leaves=1),
        Column("sigma", leaves=2),
    )
    gone = print_rows(printer, found, rows, gap=2) if rows else []
    if aliased := [f"{meter['source']}/{meter['domain']}" for meter in told["meters"] if "may-alias" in meter["flags"]]:
        printer.folded(f"{MAY_ALIAS}: {', '.join(aliased)}.")
    columns = tuple(Column(name, least=16, folds=True) for name in ("not read", "why", "what to do"))
    alike: dict[tuple[str, str], list[str]] = {}
    for one in told["not_read"]:
        alike.setdefault((one["reason"], one["remedy"]), []).append(one["name"])
    rows = [
        {"not read": ", ".join(names), "why": reason, "what to do": remedy} for (reason, remedy), names in alike.items()
    ]
    gone += print_rows(printer, columns, rows, gap=2) if rows else []
    printer.line()
    return gone


def _what(meter: dict[str, Any]) -> str:
    """Say what a meter reports."""
    if meter["kind"] == "counter":
        return "energy"
    if meter["window_s"] is None:
        return "power"
    return f"power, mean of {meter['window_s']:g} s" if meter["window_s"] else "power at an instant"


def _kernels(told: dict[str, Any]) -> str:
    """Say how the code that bills runs on this host."""
    names = {"so": "compiled (a library)", "objects": "compiled (objects)", "numba": "compiled at the start by numba"}
    name = names.get(told["form"], "plain Python: the same integers, for some more processor time")
    where = f" for {told['cpu']}" if told["cpu"] else ""
    return f"Kernels: {name}{where} ({told['reason']})."
