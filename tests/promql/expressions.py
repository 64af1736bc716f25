"""Every PromQL that wattshed gives its users: README, docs, dashboards, annotations and rules, each with a name."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").glob("*/README.md"))]
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
RULES = sorted((ROOT / "deploy/prometheus").glob("*.rules.yml"))
ALL = dict.fromkeys(("instance", "gpu", "user", "account", "namespace", "job", "boundary"), ".*")
ALL |= {"price": "0.25", "currency": "EUR"}
"""Variables of the boards as they are before anything is chosen; ``nodes`` depends on what there is."""
CALL = re.compile(r"\b(?:sum|count|avg|max|min|topk|rate|increase|\w+_over_time)\b[^`]*\(.*wattshed", re.DOTALL)
"""What a query looks like wherever it stands."""


def documents():
    """(name, expression) of the fenced queries of the pages; a name is the page and the line above the query."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```promql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            above = text[: match.start()].strip().rpartition("\n\n")[2].replace("\n", " ")
            yield f"{path.relative_to(ROOT)}: {above}", match[1]


def unfenced():
    """Queries that stand elsewhere in the pages, in indented blocks or within a line; decisions discuss forms."""
    for path in (path for path in PAGES if path.parent.name != "decisions"):
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        blocks = re.findall(r"(?:^    .*\n?)+", text, re.MULTILINE)
        lines = re.findall(r"`([^`\n]+)`", re.sub(r"(?:^    .*\n?)+", "", text, flags=re.MULTILINE))
        yield from ((str(path.relative_to(ROOT)), expr.strip()) for expr in [*blocks, *lines] if CALL.search(expr))


def filled(expr, values):
    """An expression with variables replaced, the longest names first."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(f"${name}", values[name])
    return expr


def panels(**values):
    """(name, expression) of every panel, its variables replaced."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                name = f"{path.stem}: {panel['title'] or 'banner'} {target['refId']}"
                yield name, filled(target["expr"], values)


def marks(**values):
    """(name, expression) of every annotation, its variables replaced."""
    for path in DASHBOARDS:
        for mark in json.loads(path.read_text(encoding="utf-8"))["annotations"].get("list", ()):
            yield f"{path.stem}: {mark['name']}", filled(mark["expr"], values)


def rules():
    """(name, expression) of every recording rule and alert."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield rule.get("record") or rule["alert"], rule["expr"]
