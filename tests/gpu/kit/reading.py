"""What a run found, as text: one table, and with it the predictions and every number."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = {"step", "simulated", "scale", "state", "prediction", "verdict", "line", "seconds", "errors", "trace"}
LABELS = 40  # what goes before a line of the table
MOST_LINES = 6  # of a fact without parts
MOST_ERRORS = 4  # shown in the table


def steps_of(out: Path) -> list[dict]:
    """Return a run's steps in their order: from results.json, and from loose files where a run was cut off."""
    packed = out / "results.json"
    steps = {step["step"]: step for step in json.loads(packed.read_text())["steps"]} if packed.exists() else {}
    for file in sorted(out.glob("[0-9][0-9]-*.json")):
        steps[file.stem] = json.loads(file.read_text())
    return [steps[name] for name in sorted(steps)]


def table(steps: list[dict], width: int) -> Iterator[str]:
    """Return one row a step: how it ended, how long it took, and what came out against the prediction."""
    if any(step.get("simulated") for step in steps):
        yield "SIMULATED: nothing here was measured on a card"
        yield ""
    yield f"{'step':<12} {'state':<8} {'s':>5} {'verdict':<12} line"
    for step in steps:
        yield from row(step, width)


def row(step: dict, width: int) -> Iterator[str]:
    """Return a step's lines of the table, what failed in it among them."""
    first, *rest = textwrap.wrap(step["line"], max(40, width - LABELS)) or ["-"]
    yield f"{step['step']:<12} {step['state'][:8]:<8} {step['seconds']:>5.1f} {step['verdict']:<12} {first}"
    yield from (" " * LABELS + line for line in rest)
    errors = step["errors"]
    yield from (" " * LABELS + "! " + error[: max(40, width - LABELS - 2)] for error in errors[:MOST_ERRORS])
    if len(errors) > MOST_ERRORS:
        yield " " * LABELS + f"! and {len(errors) - MOST_ERRORS} errors more"


def numbers(step: dict, width: int) -> Iterator[str]:
    """Return what was predicted, and the numbers behind the verdict."""
    for line in textwrap.wrap("predicted: " + step.get("prediction", ""), width - 4):
        yield "    " + line
    for name, value in step.items():
        if name not in HEADER:
            yield from (f"    {line}" for line in taken_apart(name, value, width - 4))


def taken_apart(label: str, value: object, width: int) -> Iterator[str]:
    """Return a fact in as few lines as it fits in: whole, or part by part; what has no parts is wrapped."""
    whole = f"{label}: {told(value)}"
    parts = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else ()
    if len(whole) <= width or not any(isinstance(part, dict | list) for _, part in parts):
        lines = textwrap.wrap(whole, max(40, width), subsequent_indent="    ")
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"    ... {len(lines) - MOST_LINES} lines more"
        return
    yield f"{label}:"
    for name, part in value.items() if isinstance(value, dict) else enumerate(value, 1):
        yield from (f"  {line}" for line in taken_apart(str(name), part, width - 2))


def told(value: object) -> str:
    """Return a value in short: numbers to five digits, no quotes."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {told(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(told, value)) + "]"
    return str(value)
