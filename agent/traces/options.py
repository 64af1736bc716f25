"""What is given about traces besides their content: how foreign ones are understood, and whose a file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANY_POWER_MW = 2**62
"""No load draws more."""


@dataclass(frozen=True, slots=True)
class Options:
    """How foreign traces are to be understood.

    Attributes
    ----------
    columns : mapping or None
        From `agent.inputs.columns.parse_spec`.
    local : tzinfo
        Zone of naive stamps.
    max_power_mw, max_gap_us : int
        See `agent.traces.foreign.gpus.Gpus`.
    utilisation : bool
        See `agent.traces.foreign.columns.layout_of_spec`.
    where : mapping of column -> values
        Rows of tables that count, see `agent.inputs.where`; empty: all.
    period_us : int, us
        How far rounds are apart in logs without times; 0 if nobody said.
    loads : bool
        Tables may hold the power of anything, of any size, see `agent.traces.foreign.loads`.
    most_load_mw : int, mW
        Readings of loads above it are rejected.
    billing : bool
        Only what energies are booked by is wanted: the utilisation of a GPU only beside its processes.
    """

    columns: Mapping[str, tuple[str, str]] | None = None
    local: tzinfo = UTC
    max_power_mw: int = 20_000_000
    max_gap_us: int = MISSING
    utilisation: bool = False
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    period_us: int = 0
    loads: bool = False
    billing: bool = False
    most_load_mw: int = ANY_POWER_MW


@dataclass(frozen=True, slots=True)
class TraceFile:
    """One file: its format, and its host if something beside its content says so."""

    path: Path
    format: str
    host: str = ""
