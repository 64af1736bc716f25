"""What ``wattshed fleet scenario`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.claims.answers import claims_json, claims_parts, scenario_json, scenario_parts
from wattshed.agent.fleet.claims.scenario import load, read, shipped
from wattshed.agent.fleet.printing import answer
from wattshed.agent.printing.paragraphs import table

if TYPE_CHECKING:
    import argparse


def scenario(args: argparse.Namespace) -> int:
    """``fleet scenario``: one of them, all of their claims, or the list."""
    if args.name is not None:
        if args.all:
            raise InputError("give a scenario or --all, not both")
        found = load(args.name)
        return answer(scenario_json(found), scenario_parts(found, explain=args.explain), as_json=args.json)
    all_of_them = [read(path) for path in shipped().values()]
    if args.all:
        return answer(claims_json(all_of_them), claims_parts(all_of_them, explain=args.explain), as_json=args.json)
    if args.explain:
        raise InputError("--explain needs a scenario, or --all")
    listing = [{"name": s.name, "title": s.title, "verdicts": [str(c.verdict) for c in s.claims]} for s in all_of_them]
    parts = [table(("scenario", "about"), [(s.name, s.title) for s in all_of_them], left=(0, 1))]
    return answer({"schema": "wattshed.scenarios/1", "scenarios": listing}, parts, as_json=args.json)
