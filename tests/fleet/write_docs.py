"""Writes the tables of docs/fleet.md: ``python -m tests.fleet.write_docs``.

They follow from the shipped scenarios, and from the simulations that are kept (``python -m tests.fleet.coverage``).
"""

from pathlib import Path

from tests.fleet import coverage
from tests.markdown import with_blocks
from wattshed.agent.fleet.claims.answers import claims_markdown, powers_markdown
from wattshed.agent.fleet.claims.scenario import load, shipped

PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"


def generated(page):
    """The page with its generated tables renewed."""
    scenarios = [load(name) for name in shipped()]
    blocks = {"claims": claims_markdown(scenarios), "powers": powers_markdown(scenarios)}
    return with_blocks(page, {**blocks, "coverage": coverage.markdown(coverage.stored())})


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
