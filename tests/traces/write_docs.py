"""Writes the table of formats in docs/replay.md from the registry: ``python -m tests.traces.write_docs``."""

from pathlib import Path

from tests.markdown import with_blocks
from wattshed.agent.traces.foreign.registry import formats, refusals

PAGE = Path(__file__).parents[2] / "docs" / "replay.md"


def row(*cells):
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def format_rows():
    """The formats that are read, with what each number is of and what to beware of."""
    native = row("native", "its first bytes", "all, with jobs ([trace-format.md](trace-format.md))", "GPU board", "")
    head = [row("format", "told by", "what is read", "boundary", "traps"), "|---|---|---|---|---|", native]
    return "\n".join(head + [row(f.title, f.told_by, f.reads, f.boundary, f.traps) for f in formats()])


def refusal_rows():
    """The formats that are known and not read."""
    head = [row("format", "what to do"), "|---|---|"]
    return "\n".join(head + [row(one.title, one.way_out) for one in refusals()])


def generated(page):
    """The page with its generated tables renewed."""
    return with_blocks(page, {"formats": f"{format_rows()}\n", "refused": f"{refusal_rows()}\n"})


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
