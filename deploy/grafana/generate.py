"""Write the Grafana dashboards beside this file: ``python deploy/grafana/generate.py``.

The JSON is committed, and a test compares it with what this makes. Every expression works on wattshed's own series,
scraped with honor_labels: true; none needs a recording rule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fleet_board
import host_board
import job_board
import owners_board
from grafana_foundation_sdk.cog.encoder import JSONEncoder

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard


def generate() -> dict[str, str]:
    """Make every dashboard: file name -> JSON text."""
    boards = {"host": host_board, "job": job_board, "owners": owners_board, "fleet": fleet_board}
    built = {name: board.build() for name, board in boards.items()}
    return {f"wattshed-{name}.json": _text(board) for name, board in built.items()}


def _text(board: dashboard.Dashboard) -> str:
    document: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write them beside this file."""
    for name, text in generate().items():
        path = Path(__file__).parent / name
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
