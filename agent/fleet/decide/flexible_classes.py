"""CLASSES.toml: kinds of hosts, what was recorded of them, and how each can draw less for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.decide.hosts import EVEN_MEANS_S, HostReading, read_hosts
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hosts import HostPowers
    from wattshed.agent.fleet.demand.series import OpenTrace
    from wattshed.agent.inputs.toml import Table

MODES = ("firm", "pause", "cap", "shift")
_OF_MODES = {
    "firm": (),
    "pause": ("idle_w", "share", "notice_s", "least_s", "most_h", "rebound"),
    "shift": ("idle_w", "share", "notice_s", "least_s", "most_h", "rebound"),
    "cap": ("cap_w", "speed", "idle_w", "share", "notice_s", "least_s", "most_h", "rebound"),
}
_COMMON = ("name", "traces", "hosts", "mode", "node")


@dataclass(frozen=True, slots=True)
class HostClass:
    """Hosts of one kind.

    Attributes
    ----------
    name : str
    hosts : int
    mode : {"firm", "pause", "cap", "shift"}
    share : float
        Of its hosts that can take part.
    notice_s, least_s, most_s : float, s
        Time until it has taken effect, and how long it lasts at least and at most.
    rebound : float or None
        Energy that comes back later, over what was spared, and 2 if it is twice as much; None unknown.
    power_w, less_w : float64[jobs], W
        Mean power of a host of each recorded job, and how much less it draws.
    boundary : str
    span_s : float
    said : tuple of str
    """

    name: str
    hosts: int
    mode: str
    share: float
    notice_s: float
    least_s: float
    most_s: float
    rebound: float | None
    power_w: NDArray[np.float64]
    less_w: NDArray[np.float64]
    boundary: str
    span_s: float
    said: tuple[str, ...]


def read_classes(path: str | Path, open_trace: OpenTrace) -> tuple[HostClass, ...]:
    """Read and check a CLASSES.toml, and the recordings that it names.

    Raises
    ------
    InputError
        Naming the line, if it or one of the recordings cannot be used.
    """
    document = Document(path)
    tables = document.root.only(("class",)).tables("class", required=True)
    return tuple(_class(table, document.folder, open_trace) for table in tables)


def _class(table: Table, folder: Path, open_trace: OpenTrace) -> HostClass:
    table.only((*_COMMON, *dict.fromkeys(key for keys in _OF_MODES.values() for key in keys)))
    name, mode = table.text("name"), table.text("mode", choices=MODES)
    for key in table:
        if key not in (*_COMMON, *_OF_MODES[mode]):
            table.fail(f"is not used with mode {mode!r}; leave it out", key)
    files = table.each("traces", str)
    if not files:
        table.fail("needs at least one recording; each is a job", "traces")
    cap_w = table.number("cap_w", above=0) if mode == "cap" else math.inf
    if mode == "cap" and "idle_w" in table and "speed" not in table:
        table.fail("is for what comes back after a cap with a speed, and would not be used; leave it out", "idle_w")
    idle_w = table.number("idle_w", low=0) if "idle_w" in table or mode in ("pause", "shift") else None
    how = HostReading(node=table.table("node") if "node" in table else None)
    jobs = [read_hosts(open_trace, [str(folder / file)], how, each_gpu=mode != "firm") for file in files]
    for i, job in enumerate(jobs):
        if mode != "firm" and job.node is None:
            table.fail(f"mode {mode!r} needs the power of GPUs; this shows that of hosts or jobs", "traces", i)
    power_w = np.array([float(job.powers().mean()) for job in jobs])
    less_w = np.array([_less(job, cap_w if mode == "cap" else idle_w) for job in jobs])
    work_w = power_w if idle_w is None else np.array([_less(job, idle_w) for job in jobs])
    return HostClass(
        name, table.count("hosts", low=1), mode, table.number("share", 1.0, above=0, high=1),
        table.number("notice_s", 0.0, low=0), table.number("least_s", 0.0, low=0),
        3600.0 * table.number("most_h", 1e9, above=0), power_w=power_w, less_w=less_w,
        rebound=_rebound(table, mode, work_w, less_w),
        boundary="node" if any(job.node is not None for job in jobs) else "as recorded",
        span_s=min(job.span_s for job in jobs), said=tuple(dict.fromkeys(text for job in jobs for text in job.said)),
    )  # fmt: skip


def _rebound(table: Table, mode: str, work_w: NDArray[np.float64], less_w: NDArray[np.float64]) -> float | None:
    """Energy that comes back over what was spared; ``work_w`` is the power of a host at work over that at rest.

    All of it from work that waited. A cap defers ``1 - speed`` of the work, which is then done at full power.
    """
    if "rebound" in table:
        if "speed" in table:
            table.fail("rebound is given, and it would not be used; leave one of them out", "speed")
        return table.number("rebound", low=0)
    if mode != "cap":
        return 1.0 if mode in ("pause", "shift") else 0.0
    if "speed" not in table:
        return None
    later = 1.0 - table.number("speed", above=0, high=1)
    return later * float(work_w.mean() / less_w.mean()) if less_w.any() else 0.0


def _less(job: HostPowers, gpu_w: float | None) -> float:
    """Mean power of a host that is spared where its GPUs draw no more than ``gpu_w``, W; nothing where none is said."""
    if gpu_w is None:
        return 0.0
    coarse = job.over(EVEN_MEANS_S)
    return float((coarse.powers() - coarse.powers(gpu_w)).mean())
