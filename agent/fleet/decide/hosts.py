"""The power of each host of a recording on one even grid, at the node where a node's model says how."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.demand.grid import longest_stretch, on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries
from wattshed.agent.fleet.demand.lines import find_lines, said_of
from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.fleet.estimate.node_model import assumed, read_node
from wattshed.agent.inputs.toml import Document
from wattshed.agent.printing.progress import in_sight

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.lines import SpectralLine
    from wattshed.agent.fleet.demand.series import LoadRecording, OpenTrace
    from wattshed.agent.fleet.estimate.node_model import NodeModel
    from wattshed.agent.inputs.toml import Table

EVEN_MEANS_S = 0.5
"""Over which caps and steps are judged: single readings of an energy counter jitter."""


@dataclass(frozen=True, slots=True)
class HostPowers:
    """The hosts of a recording, over the longest stretch that all of them have without a hole.

    Attributes
    ----------
    step_s : float, s
    start_us : int, us
    gpu_w : float64[gpus, n], W
        Each GPU, where these are asked for; else each host's sum.
    of_host : int64[gpus]
        The host of each row.
    names : tuple of str
        Of the hosts.
    gpus : tuple of int
        Of each host; 0 where the recording does not show GPUs.
    node : NodeModel or None
        None where it shows the power of nodes or of sites already.
    said : tuple of str
        What was assumed or left out.
    counted : bool
        Power is that of energy counters, which are published unevenly: means over less than half a second jitter.
    mixing : float
        How far its steps mix readings, see `agent.fleet.demand.mixing`.
    lines : tuple of SpectralLine
        Swings of one frequency of the recorded power, as it is summed, where they are asked for.
    """

    step_s: float
    start_us: int
    gpu_w: NDArray[np.float64]
    of_host: NDArray[np.int64]
    names: tuple[str, ...]
    gpus: tuple[int, ...]
    node: NodeModel | None
    said: tuple[str, ...]
    counted: bool = False
    mixing: float = 0.0
    lines: tuple[SpectralLine, ...] = ()

    @property
    def span_s(self) -> float:
        """Length of the stretch."""
        return float(self.gpu_w.shape[1] * self.step_s)

    @property
    def boundary(self) -> str:
        """Where the power of `powers` is meant."""
        return "as recorded" if self.node is None else "node"

    def over(self, seconds: float) -> HostPowers:
        """Return means over pieces of at least so many seconds; what is left at the end is left out."""
        steps = min(max(1, math.ceil(seconds / self.step_s - 1e-9)), self.gpu_w.shape[1])
        n = self.gpu_w.shape[1] // steps * steps
        means = self.gpu_w[:, :n].reshape(len(self.gpu_w), -1, steps).mean(axis=2)
        return replace(self, gpu_w=means, step_s=self.step_s * steps, mixing=self.mixing if steps == 1 else 0.0)

    def powers(self, cap_w: float = math.inf) -> NDArray[np.float64]:
        """Power of each host: float64[hosts, n], W; of GPUs that draw no more than ``cap_w`` each."""
        host_w = np.zeros((len(self.names), self.gpu_w.shape[1]))
        np.add.at(host_w, self.of_host, np.minimum(self.gpu_w, cap_w))
        if self.node is None:
            return host_w
        model = self.node
        return model.level_w.value + model.slope.value * (host_w - model.pivot_w)

    def load(self, count: int | None) -> NDArray[np.float64]:
        """Power of the load: float64[n], W; as recorded, or of so many hosts that all do what the mean one does."""
        powers = self.powers()
        return np.asarray(powers.sum(axis=0) if count is None else powers.mean(axis=0) * count, np.float64)

    @property
    def jitters(self) -> bool:
        """Whether its steps are too short to be trusted: energy counters are published unevenly."""
        return self.counted and self.step_s < EVEN_MEANS_S


@dataclass(frozen=True, slots=True)
class HostReading:
    """How recordings are read.

    Attributes
    ----------
    step_s, max_gap_s : float or None
        See `agent.fleet.demand.grid.on_grid`.
    node : Table or None
        The model of the hosts' nodes, as ``fleet node`` prints it.
    """

    step_s: float | None = None
    max_gap_s: float | None = None
    node: Table | None = None


def reading_of(args: argparse.Namespace) -> HostReading:
    """Understand ``--step``, ``--max-gap`` and ``--node``.

    Raises
    ------
    InputError
        If the file of the node cannot be used.
    """
    node = None if args.node is None else Document(args.node).root.only(("node",)).table("node")
    return HostReading(args.step, args.max_gap, node)


def read_hosts(
    open_trace: OpenTrace, paths: Sequence[str], how: HostReading, *, each_gpu: bool = False, lines: bool = False
) -> HostPowers:
    """Read recordings of hosts.

    Files that have no moment in common are recordings of different hosts, and as long as the shortest of them.

    Parameters
    ----------
    open_trace : OpenTrace
    paths : sequence of str
    how : HostReading
    each_gpu : bool
        Keep each GPU apart.
    lines : bool
        Look for swings of one frequency, in files that have moments in common.

    Raises
    ------
    InputError
        If they cannot be used, or if a node's model is given for what is no power of GPUs.
    """
    found = _read(open_trace, paths, how, each_gpu=each_gpu, lines=lines)
    if found is None:
        apart = [_read(open_trace, [path], how, each_gpu=each_gpu) for path in paths]
        found = _beside([one for one in apart if one is not None], paths[0])
    said = list(found.said)
    return replace(found, node=_node_of(how.node, found.gpus, paths[0], said), said=tuple(dict.fromkeys(said)))


def _read(
    open_trace: OpenTrace, paths: Sequence[str], how: HostReading, *, each_gpu: bool, lines: bool = False
) -> HostPowers | None:
    """Read files as one recording, without a node's model; None if their series have no moment in common."""
    trace = open_trace(paths)
    try:
        with closing(KeptSeries()) as kept, closing(KeptSeries()) as counters:
            with in_sight("reading", trace.size) as line:
                recording = read_series(trace, kept, line.at if line.shown else None, counters=counters)
            starts, ends = zip(*map(kept.span_us, kept), strict=True)
            if len(paths) > 1 and recording.kind != "job" and max(starts) >= min(ends):
                return None
            load = on_grid(recording, how.step_s, unit="gpu" if each_gpu else "host", max_gap_s=how.max_gap_s)
            swings = find_lines(load, recording, max_gap_s=how.max_gap_s) if lines else ()
    except InputError as error:
        raise InputError(error.message, error.path or paths[0], error.line, error.column) from None
    table = np.array(list(load.units.values())) if load.units else load.power_w[None, :]
    first, last = longest_stretch(np.isnan(table).any(axis=0))
    if first == last:
        raise InputError("no stretch of the recording is without a hole for all of its series", paths[0])
    names, of_host, gpus = _hosts_of(recording, table.shape[0])
    said = [*recording.notes, *said_of(swings)]
    left_out = table.shape[1] - (last - first)
    if left_out:
        said.append(
            f"{left_out * load.step_s:g} s of {table.shape[1] * load.step_s:g} s are not in the longest stretch"
        )
    start_us = load.start_us + round(first * load.step_s * 1e6)
    return HostPowers(
        load.step_s, start_us, np.ascontiguousarray(table[:, first:last]), of_host, names, gpus, None, tuple(said),
        counted=load.counted > 0, mixing=load.mixing, lines=swings,
    )  # fmt: skip


def _beside(parts: list[HostPowers], path: str) -> HostPowers:
    """Put recordings of different times beside each other."""
    if len({part.step_s for part in parts}) > 1:
        raise InputError("the files have readings at different rates; give --step", path)
    n = min(part.gpu_w.shape[1] for part in parts)
    before = np.cumsum([0, *(len(part.names) for part in parts)])
    return HostPowers(
        parts[0].step_s,
        parts[0].start_us,
        np.concatenate([part.gpu_w[:, :n] for part in parts]),
        np.concatenate([part.of_host + first for part, first in zip(parts, before[:-1], strict=True)]),
        tuple(name for part in parts for name in part.names),
        tuple(count for part in parts for count in part.gpus),
        None,
        (*(text for part in parts for text in part.said), "the files were recorded at different times"),
        counted=any(part.counted for part in parts),
        mixing=float(np.mean([part.mixing for part in parts])),
    )


def _hosts_of(recording: LoadRecording, rows: int) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[int, ...]]:
    """Name the hosts (or jobs); say which of them each row of the table belongs to, and how many GPUs each has."""
    series = list(recording.series)
    by_host = all(name.host for name in series)
    keys = [(name.host if by_host else name.job) or "all" for name in series]
    names = tuple(dict.fromkeys(keys))
    place = {name: i for i, name in enumerate(names)}
    of_host = np.array([place[key] for key in keys] if rows == len(keys) else range(rows), np.int64)
    gpus = np.bincount([place[key] for key in keys], minlength=len(names)).tolist()
    return names, of_host, tuple(gpus) if all(name.gpu for name in series) else (0,) * len(names)


def _node_of(node: Table | None, gpus: tuple[int, ...], path: str, said: list[str]) -> NodeModel | None:
    """Return the model of the hosts' nodes, as given or assumed."""
    if not any(gpus):
        if node is not None:
            raise InputError("a node's model is for power of GPUs; this recording shows that of hosts or jobs", path)
        return None
    if node is not None:
        return read_node(node, max(gpus))
    if len(set(gpus)) > 1:
        said.append(f"the hosts have {min(gpus)} to {max(gpus)} GPUs, and one model of their nodes is assumed")
    model = assumed(max(gpus))
    said.append(
        f"without a node's model, {model.level_w.value:.0f} W and {model.slope.value:g} W per GPU watt are assumed "
        f"for a node of {counted(max(gpus), 'GPU')}"
    )
    return model
