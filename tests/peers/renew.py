"""``make peers``: measures with wattshed and its peers; renews docs/measurements/peers.json and docs/accuracy.md."""

import argparse
import json
import sys
from pathlib import Path

from wattshed.agent.bench.accuracy import running, table, tools
from wattshed.agent.bench.accuracy.scenarios import SCENARIOS
from wattshed.agent.printing.progress import in_sight

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "accuracy.md"
NUMBERS = ROOT / "docs" / "measurements" / "peers.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real-time", type=float, default=20.0, help="seconds in which each tool's cost is measured")
    arguments = parser.parse_args()
    found, absent = tools.installed()
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}")
    with in_sight("measuring", 1.0) as line:
        document = running.document(found, SCENARIOS, absent, arguments.real_time, line.at)
    NUMBERS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(table.generated(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    main()
