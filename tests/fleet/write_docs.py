"""Writes the tables of docs/fleet.md: ``python -m tests.fleet.write_docs``, and ``... states`` for what takes long.

A table that takes minutes is simulated, with one seed; the tests simulate less of the same. That of the intervals of
samples is kept in coverage.csv (``python -m tests.fleet.coverage``).
"""

import sys
from pathlib import Path

from tests.fleet.coverage import markdown, stored
from tests.fleet.simulated_months import coverage as month_coverage
from tests.fleet.simulated_months import some_days, some_passes
from tests.fleet.simulated_states import CASES, coverage
from tests.markdown import with_blocks
from wattshed.agent.fleet.claims.answers import claims_markdown, powers_markdown
from wattshed.agent.fleet.claims.scenario import load, shipped

PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"


def generated(page):
    """The page with its generated tables renewed."""
    scenarios = [load(name) for name in shipped()]
    blocks = {"claims": claims_markdown(scenarios), "powers": powers_markdown(scenarios)}
    return with_blocks(page, {**blocks, "coverage": markdown(stored())})


def states_markdown(times=1000):
    """How often the interval of a simulated fleet covers, where hosts do not answer."""
    rows = ["| fleet | hosts that are on and answer | coverage | half-width |", "|---|---:|---:|---:|"]
    for case in CASES:
        share, width = coverage(case, times)
        rows.append(f"| {case.name} | {case.answer:.0%} | {share:.3f} | {width:.1%} |")
    return "\n".join(rows)


def period_markdown(times=1000):
    """How often the interval of a month's energy covers."""
    rows = ["| what was measured of a month | coverage | half-width |", "|---|---:|---:|"]
    for name, draw in (("four whole days drawn at random", some_days), ("six passes of every 45th hour", some_passes)):
        share, width = month_coverage(draw, times)
        rows.append(f"| {name} | {share:.3f} | {width:.1%} |")
    return "\n".join(rows)


SLOW = {"states": states_markdown, "period": period_markdown}


if __name__ == "__main__":
    text = generated(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(with_blocks(text, {name: SLOW[name]() for name in sys.argv[1:]}), encoding="utf-8")
