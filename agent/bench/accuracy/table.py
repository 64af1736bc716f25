"""The peers' table of docs/accuracy.md: ``python -m tests.peers.table`` renews it; ``--print`` only says it."""

import json
import re
import sys
from pathlib import Path

from tests.peers import measuring, tools
from tests.peers.scenarios import CASES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "accuracy.md"
NUMBERS = ROOT / "docs" / "measurements" / "peers.json"
COLUMNS = ("Zeus", "CodeCarbon", "nvitop")


def own(case):
    """wattshed's bills of one scenario beside the truth, as the document has them."""
    bills, true = measuring.wattshed(case)
    return {
        "true_j": true,
        "wattshed_j": {job: bill.joules for job, bill in bills.items()},
        "sigma_j": {job: bill.sigma for job, bill in bills.items()},
    }


def peers(case):
    """What each peer says of one scenario: joules by job, or why there are none."""
    tools.hush()
    found = {}
    for name in COLUMNS:
        bills = measuring.peer(case, tools.PEERS[name])
        found[name] = {job: bill.reason or bill.joules for job, bill in bills.items()}
    return found


def measured():
    """Everything, as it is committed."""
    scenarios = {case.name: {"title": case.title, **own(case), "peers": peers(case)} for case in CASES}
    return {"schema": "wattshed.peers/1", "versions": tools.versions(), "scenarios": scenarios}


def markdown(document):
    """The table, with the versions above it."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(document["versions"].items()))
    lines = [
        f"Versions: {versions}. Errors and sigma in percent of each job's true joules.",
        "",
        f"| scenario | true J | wattshed | its sigma | {' | '.join(COLUMNS)} |",
        f"|---|--:|--:|--:|{'--:|' * len(COLUMNS)}",
    ]
    for row in document["scenarios"].values():
        true = row["true_j"]
        whole = "whole GPU: " if len(true) == 2 else ""
        cells = [
            row["title"],
            _several(true.values(), "{:,.0f}"),
            _errors(row["wattshed_j"], true),
            _several([100 * (sigma or 0) / true[job] for job, sigma in row["sigma_j"].items()], "{:.1f}"),
        ]
        cells += [whole + _errors(row["peers"][name], true) for name in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _errors(said, true):
    silent = sum(not isinstance(joules, int | float) for joules in said.values())
    if silent:
        return f"no answer for {silent} of {len(said)}" if len(said) > 1 else "no answer"
    return _several([100 * (joules / true[job] - 1) for job, joules in said.items()], "{:+,.2f}")


def _several(values, form):
    """One or two as they are; of more, the least and the greatest."""
    if len(values) <= 2:
        return " / ".join(form.format(value) for value in values)
    least, greatest = form.format(min(values)), form.format(max(values))
    return least if least == greatest else f"{least} to {greatest}"


def generated(page, document):
    """The page with its table renewed."""
    return re.sub(
        r"(<!-- peers: [^\n]*-->\n).*?(<!-- end of peers -->)",
        lambda found: f"{found[1]}\n{markdown(document)}\n\n{found[2]}",
        page,
        count=1,
        flags=re.DOTALL,
    )


def main():
    if "--print" in sys.argv:
        print(json.dumps({case.name: peers(case) for case in CASES} | {"versions": tools.versions()}))
        return
    document = measured()
    NUMBERS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    main()
