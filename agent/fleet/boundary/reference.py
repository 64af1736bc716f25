"""Reference table of GPUs: design power, idle, and a wide prior for a GPU that nobody has measured.

The prior is not a measurement: its interval reaches from idle to the design power, and what depends on it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.inputs.boards import called
from wattshed.agent.inputs.tables import read_table


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One model: watts of one GPU (board), and where they come from."""

    model: str
    pattern: str
    tdp_w: float
    idle_w: float
    typical: Range
    source: str


@cache
def gpus() -> tuple[GpuModel, ...]:
    """Read the shipped table; the first pattern that matches a name wins."""
    path = Path(str(files("wattshed.agent.inputs"))) / "gpus.csv"
    return tuple(
        GpuModel(
            row.name("model"),
            row.name("pattern"),
            row.number("tdp_w"),
            row.number("idle_w"),
            Range(row.number("typical_w"), row.number("typical_low_w"), row.number("typical_high_w")),
            row.name("source"),
        )
        for row in read_table(path, ("model", "pattern", "tdp_w", "idle_w", "typical_w", "source"))
    )


@cache
def find(name: str) -> GpuModel | None:
    """Entry for a model as NVML or a data sheet calls it (``NVIDIA H100 80GB HBM3``, ``H100 SXM``); None if unknown."""
    table = gpus()
    exact = next((g for g in table if g.model.casefold() == name.strip().casefold()), None)
    return exact or next((g for g in table if called(g.pattern, name)), None)
