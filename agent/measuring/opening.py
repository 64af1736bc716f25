"""Finds what to measure with: the agent of this host, else NVML, else nothing, and why not."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.clock import RealClock
from wattshed.agent.measuring.agent_meter import AgentMeter
from wattshed.agent.measuring.own_meter import OwnMeter
from wattshed.agent.measuring.session import MeteringSession
from wattshed.agent.measuring.visible import WrongGpusError
from wattshed.agent.meters.errors import NoMeter
from wattshed.agent.wire.agent_socket import AgentAbsentError, agent_socket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METER, SIMULATED = "WATTSHED_METER", "simulated"
SCOPES = ("auto", "job", "gpu")


def open_session(wanted: Sequence[int | str] | None, scope: str, environ: Mapping[str, str]) -> MeteringSession:
    """Open a session; one without a meter says why.

    Parameters
    ----------
    wanted : sequence of int or str, or None
        GPUs by the driver's number or UUID.
    scope : str
        ``job``: the joules of this process's job, by the agent alone. ``gpu``: those of whole GPUs, by NVML. ``auto``:
        the former where an agent answers.
    environ : mapping
        ``WATTSHED_METER=simulated`` measures GPUs that exist in this process only, for trying things out.
    """
    why = []
    by_number = wanted is not None and any(isinstance(one, int) for one in wanted)
    if scope != "gpu" and not by_number and not environ.get(METER, "").startswith(SIMULATED):
        try:
            path = agent_socket(environ, os.geteuid())
            return MeteringSession(AgentMeter(path, None if wanted is None else [str(one) for one in wanted]))
        except AgentAbsentError as error:
            why.append(str(error))
    if scope == "job":
        return MeteringSession(None, why[0] if why else "an agent knows GPUs by UUID, not by number")
    try:
        return MeteringSession(_own_meter(wanted, environ))
    except (NoMeter, WrongGpusError) as error:
        return MeteringSession(None, "; ".join([*why, str(error)]))


def _own_meter(wanted: Sequence[int | str] | None, environ: Mapping[str, str]) -> OwnMeter:
    meter = environ.get(METER, "")
    if meter.partition(":")[0] == SIMULATED:
        return _simulated(meter.partition(":")[2], wanted, environ)
    from wattshed.agent.meters.nvml import Nvml  # noqa: PLC0415 - not where an agent tells

    return OwnMeter(Nvml(RealClock()), time.monotonic_ns, wanted, environ)


def _simulated(script: str, wanted: Sequence[int | str] | None, environ: Mapping[str, str]) -> OwnMeter:
    from wattshed.agent.meters.nvml import Nvml  # noqa: PLC0415
    from wattshed.agent.simulation.node import SimulatedNode  # noqa: PLC0415

    clock = RealClock()
    folder = tempfile.TemporaryDirectory(prefix="wattshed-simulated-")
    node = SimulatedNode(clock, Path(folder.name), script)
    nvml = Nvml(clock, node.library)
    return OwnMeter(nvml, time.monotonic_ns, wanted, environ, simulated=True, keeps=(folder, node))
