"""The picture of a replay: power over clock time, a band for each job. Needs matplotlib."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.printing.figures import JOULES_PER_KWH, printable
from wattshed.agent.printing.pictures import (
    COLOURS,
    INK,
    OTHERS,
    STYLE,
    UNKNOWN_OWNER,
    clock_axis,
    days,
    scale_of,
)  # fmt: skip
from wattshed.agent.printing.pictures import (
    IDLE as IDLE_COLOUR,
)
from wattshed.agent.window import IDLE, OTHER, UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from wattshed.agent.replay.power import PowerOverTime

MOST_JOBS = len(COLOURS)
_NAME = 34  # characters
_NOBODY = {IDLE: ("idle", IDLE_COLOUR), UNATTRIBUTED: ("unattributed", UNKNOWN_OWNER)}


def draw(power: PowerOverTime, *, source: str, zone: tzinfo) -> Figure:
    """Draw the power of each job over time, the largest jobs by name and the others as one.

    Parameters
    ----------
    power : PowerOverTime
    source : str
        What was replayed, for the title.
    zone : tzinfo
        Of the clock below.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    from matplotlib.patches import Patch  # noqa: PLC0415 - an extra

    steps = power.steps()
    step_s = power.step_us / 1e6
    with rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.8), layout="constrained")
        axis: Any = figure.subplots()
        first, last = (min(steps), max(steps) + 1) if steps else (0, 1)
        edges = np.arange(first, last + 1, dtype=np.float64) * step_s
        bands = _bands(steps, power.energies_j(), first, last)
        top = np.zeros(last - first)
        for _, watts, _, _ in bands:
            top = top + watts
        scale, unit = scale_of(float(np.nanmax(top, initial=0.0)) if np.isfinite(top).any() else 0.0)
        low = np.zeros(last - first)
        handles = []
        for name, watts, colour, joules in bands:
            high = low + watts
            axis.stairs(
                high / scale, days(edges), baseline=low / scale, fill=True, facecolor=colour, edgecolor="white",
                linewidth=0.4,
            )  # fmt: skip
            handles.append(Patch(facecolor=colour, label=f"{name}  {_energy(joules / JOULES_PER_KWH)}"))
            low = np.where(np.isnan(high), low, high)
        _gaps(axis, np.isnan(top), edges)
        if np.isnan(top).any():
            handles.insert(0, Patch(facecolor="white", edgecolor=OTHERS, hatch="////", label="no reading"))
        axis.set(ylabel=f"power of GPU boards, {unit}", ylim=(0, None))
        axis.set_title(f"GPU power by job, means of {_length(step_s)}: {printable(source)}")
        clock_axis(axis, edges[0], edges[-1], zone)
        figure.legend(handles=handles[::-1], loc="outside right upper", labelcolor=INK)
    return figure


def title_of(traces: Sequence[str]) -> str:
    """Say of what a picture is, in few words."""
    first = Path(traces[0]).name
    return first if len(traces) == 1 else f"{first} and {len(traces) - 1} more"


def _bands(
    steps: dict[int, dict[str, float]], joules: dict[str, float], first: int, last: int
) -> list[tuple[str, NDArray[np.float64], str, float]]:
    """Return names, watts, colours and joules, from the bottom up: idle, nobody's, the largest jobs, the others."""
    known = np.full(last - first, np.nan)
    known[[step - first for step in steps]] = 0.0
    by_owner: dict[str, NDArray[np.float64]] = defaultdict(known.copy)
    for step, watts in steps.items():
        for owner, value in watts.items():
            by_owner[owner][step - first] = value
    jobs = sorted((name for name in by_owner if name not in _NOBODY), key=lambda name: -joules[name])
    shown = [name for name in jobs if name != OTHER][:MOST_JOBS]
    nobody = [(owner, *told) for owner, told in _NOBODY.items() if joules.get(owner, 0.0) > 0]
    bands = [(name, by_owner[owner], colour, joules[owner]) for owner, name, colour in nobody]
    bands += [
        (_short(name), by_owner[name], colour, joules[name]) for name, colour in zip(shown, COLOURS, strict=False)
    ]
    rest = [name for name in jobs if name not in shown]
    if rest:
        name = (
            "other jobs" if OTHER in rest else counted(len(rest), "other job")
        )  # how many that owner is, nobody knows
        watts = np.sum([by_owner[one] for one in rest], axis=0)
        bands.append((name, watts, OTHERS, sum(joules[one] for one in rest)))
    return bands


def _gaps(axis: Any, unknown: NDArray[np.bool_], edges: NDArray[np.float64]) -> None:
    """Hatch the time of which nothing is known."""
    change = np.flatnonzero(np.diff(np.concatenate(([0], unknown.astype(np.int8), [0]))))
    for begin, end in zip(change[::2], change[1::2], strict=True):
        axis.axvspan(
            days(edges[begin]), days(edges[end]), facecolor="white", edgecolor=OTHERS, hatch="////", linewidth=0.0
        )


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME else f"{name[: _NAME // 2 - 1]}…{name[-_NAME // 2 :]}"


def _energy(kwh: float) -> str:
    for unit, size in (("MWh", 1e3), ("kWh", 1.0)):
        if kwh >= size:
            return f"{kwh / size:.3g} {unit}"
    return f"{kwh * 1e3:.3g} Wh"


def _length(step_s: float) -> str:
    minutes, seconds = divmod(round(step_s), 60)
    return f"{seconds} s" if not minutes else f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
