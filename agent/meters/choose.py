"""From the word after ``--meter`` to an open meter, and to what goes with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.meters.errors import NoMeter
from agent.meters.meter import NvmlMeter, start
from agent.meters.nvml import LIBRARY, Nvml
from agent.meters.scenario import default_scenario, read_scenario
from agent.meters.simulated import SimulatedNode, simulated_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.meters.clock import Clock
    from agent.window import Device

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """An open meter.

    Attributes
    ----------
    meter : NvmlMeter
    note : str
        What the user has to know about it; empty on a real driver that was asked for.
    node : SimulatedNode or None
        With the process tree to resolve jobs from, and the truth.
    """

    meter: NvmlMeter
    note: str = ""
    node: SimulatedNode | None = None

    def close(self) -> None:
        """Remove what was made for a simulation; the sampler closes the meter."""
        if self.node is not None:
            self.node.remove()


def open_meter(name: str, clock: Clock, host: str, known: Callable[[Device], Device] = lambda device: device) -> Chosen:
    """Open the meter that ``name`` means.

    Parameters
    ----------
    name : str
        ``auto``, ``nvml``, ``nvml:LIBRARY``, ``simulated`` or ``simulated:FILE``. ``auto`` is NVML if a driver answers,
        else the simulated node.
    clock : Clock
    host : str
    known : callable
        Fills in what is known of a device beforehand.

    Raises
    ------
    NoMeter
        NVML was asked for and there is none.
    InputError
        The scenario file is wrong.
    """
    kind, _, argument = name.partition(":")
    if kind == "simulated":
        return _simulated(clock, host, known, argument, "simulated node: these are not measurements")
    try:
        nvml = Nvml(clock, argument or LIBRARY)
        meter = NvmlMeter(nvml, clock, host, known=known)
        start(meter)
    except NoMeter as error:
        if kind != "auto":
            raise
        note = f"no NVIDIA driver here, so this is a simulated node and these are not measurements ({error})"
        return _simulated(clock, host, known, "", note)
    LOG.info("NVML library: %s", nvml.path)
    return Chosen(meter)


def _simulated(clock: Clock, host: str, known: Callable[[Device], Device], file: str, note: str) -> Chosen:
    scenario = read_scenario(Path(file)) if file else default_scenario()
    node = simulated_node(clock, scenario)
    try:
        meter = NvmlMeter(Nvml(clock, node.library), clock, host, known=known, simulated=True)
        start(meter)
    except NoMeter:
        node.remove()
        raise
    LOG.warning("%s", note)
    return Chosen(meter, note, node)
